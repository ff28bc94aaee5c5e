"""Sets of questions answered by Dynamic RAG, every question with all strategies.

1. A strategy has one variant for each `k` if it follows heads, and one for each random draw if it
   draws. BM25 and random windows show as many tokens as `dynamic` with the first `k` would at the
   same place of the same answer; behind the first retrieval answers go their own ways.
2. One cell is one question: all its answers share one reader, so the whole context is prefilled
   once for the strategies that look at it (`prefill_seconds`), beside full context's own.
3. Probe, static heads and threshold come from files or fields, and were chosen on other questions:
   this is checked before anything runs. Every worker reads the files, on Ray those of its node.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from retrieval_lens.analysis.probes import Probe
from retrieval_lens.errors import InputError
from retrieval_lens.experiments.conditions import Variant
from retrieval_lens.experiments.fields import several, whole_numbers
from retrieval_lens.experiments.grid import Place, register_grid, require_least, require_lists
from retrieval_lens.experiments.questions import QuestionPrompts
from retrieval_lens.experiments.rag_fields import FILES, MADE_BY, files_of, needs_of, settings_of
from retrieval_lens.heads import HeadSet
from retrieval_lens.rag.settings import Settings
from retrieval_lens.rag.strategies import Dynamic, Strategy, strategy_named
from retrieval_lens.tasks.example import without_layout

ANSWER = "answer"
DRAWING = ("dynamic_random", "fixed_random", "random_windows")


@register_grid
@dataclass(frozen=True, kw_only=True)
class RagGrid(QuestionPrompts):
    """Answers to questions: every combination of model, layout, question and strategy.

    Models and prompts (`models`, `revision`, `dtype`, `device`, `source`, `reader`, `questions`,
    `n_paragraphs`, `orders`, `max_tokens`) are described at `QuestionGrid`.

    Results are those of `load_results`, the answers with their trail those of `load_answers`. The
    same call gives the same `results.parquet`, byte for byte: times are not in it.

    Args:
        strategies: Names of `rag.STRATEGIES`.
        k: How many heads; strategies that follow heads have one variant a k.
        random_draws: Of the strategies that draw.
        seed: Of the layout, and of the first draw; the next ones count up from it.
        probe: File of a regressor, for `dynamic`, `bm25` and `random_windows`. With several models
            `{model: file}`.
        static: File of a `HeadSet` that ranks the heads, for `static`. With several models
            `{model: file}`.
        threshold: Of RIND; None takes that of `settings`.
        settings: A `rag.Settings` (such as `calibrate_threshold(…).settings()`), or a dict of some
            of its fields. With `allow_overlap` questions may be answered that probe, heads or
            threshold were chosen on.

    Raises:
        InputError: A value out of range, or twice, or a file that a strategy needs and is not
            given.
        UnknownNameError: No such strategy, order or setting; the known ones are listed.

    Examples:
        >>> grid = RagGrid(questions=3, strategies=["no_context", "oracle_dynamic"], k=(5, 10))
        >>> print(*(variant.label for variant in grid.stage_variants("answer")), sep=", ")
        no_context, oracle_dynamic k=5, oracle_dynamic k=10
    """

    task: ClassVar[str] = "rag"
    stages: ClassVar[tuple[str, ...]] = (ANSWER,)
    metrics: ClassVar[tuple[str, ...]] = ("em", "f1", "evidence_recall", "revealed_share")
    first: ClassVar[tuple[str, ...]] = ("first_recall", "first_share")
    timings: ClassVar[tuple[str, ...]] = ("seconds", "prefill_seconds")

    strategies: Any = (
        *("no_context", "full_context", "gold_spans"),
        *("oracle_dynamic", "dynamic_random", "fixed_random"),
    )
    k: Any = (5,)
    random_draws: Any = 5
    probe: Any = None
    static: Any = None
    threshold: Any = None
    settings: Any = None

    def __post_init__(self) -> None:
        self._set("strategies", several(self.strategies))
        self._set("k", whole_numbers("k", self.k))
        super().__post_init__()
        require_lists(self, ("strategies", "k"))
        require_least(self, {"random_draws": 1, "seed": 0})
        for name in ("probe", "static"):
            self._set(name, files_of(self, name))
        settings = settings_of({} if self.settings is None else self.settings, self.threshold)
        self._set("settings", json.loads(json.dumps(settings.as_json(), default=int)))
        self._set("threshold", settings.rind.threshold)
        for strategy in self.strategies:
            self._check_strategy(strategy)

    def _check_strategy(self, name: str) -> None:
        needs = needs_of(name)
        if needs & {"k", "like"} and min(self.k, default=0) < 1:
            raise InputError(f"{name!r} needs k, each from 1, such as k=(5, 10); got {self.k}")
        for field, file in FILES.items():
            if field in needs and getattr(self, file) is None:
                raise InputError(f"{name!r} needs {file}=, the file of a {file}: {MADE_BY[file]}")

    def stage_places(self, stage: str) -> Sequence[Place]:
        """Every layout of every question."""
        del stage
        return self.places_of(self.questions)

    def stage_variants(self, stage: str) -> list[Variant]:
        """Every strategy with its k and draw."""
        del stage
        return [
            Variant(name, k, draw)
            for name in self.strategies
            for k in (self.k if "k" in needs_of(name) else (None,))
            for draw in (range(self.random_draws) if name in DRAWING else (None,))
        ]

    def loop_settings(self) -> Settings:
        """The settings as `rag.answer` takes them."""
        return Settings.from_json(self.settings)

    def seed_of(self, variant: Variant) -> int:
        """What a variant draws from."""
        return int(self.seed) + (variant.draw or 0)

    def made(self, model: str) -> dict[Variant, Strategy]:
        """The strategies for one of the models, their files read.

        Raises:
            FileNotFoundError: There is no such file.
            FileFormatError: A damaged or foreign file.
            InputError: A probe that is no regressor, or k above the number of heads.
        """
        probe, static = self.file_of("probe", model), self.file_of("static", model)
        known: dict[str, Any] = {"allow_overlap": self.settings["allow_overlap"]}
        if static is not None:
            known["heads"] = HeadSet.load(static)
        if probe is not None:
            known["probe"] = Probe.load(probe)
            overlap = known["allow_overlap"]
            known["like"] = Dynamic(known["probe"], min(self.k[:1], default=5), overlap)
        found = {}
        for variant in self.stage_variants(ANSWER):
            fitting = {n: v for n, v in known.items() if n in needs_of(variant.condition)}
            fitting |= {} if variant.k is None else {"k": variant.k}
            found[variant] = strategy_named(variant.condition)(**fitting)
        return found

    def file_of(self, name: str, model: str) -> str | None:
        """The file of `probe` or `static` for a model."""
        value = getattr(self, name)
        return value.get(model) if isinstance(value, dict) else value

    def require_ready(self) -> None:
        """Refuse files that do not fit, and questions that something was chosen on.

        Raises:
            InputError: With the first of them.
            FileNotFoundError: As in `made`.
            FileFormatError: As in `made`.
        """
        asked = {self.question(number).id: number for number in self.questions}
        for model in self.models:
            self.made(model)
            for what, ids in self._chosen_on(model).items():
                both = sorted(asked[one] for one in self._questions_in(ids) & asked.keys())
                if both and not self.settings["allow_overlap"]:
                    raise InputError(
                        f"questions {both} are among those that {what} was chosen on, so they must "
                        f"not be judged with it; take other questions"
                    )

    def _chosen_on(self, model: str) -> dict[str, Sequence[str]]:
        """Names of examples, or of groups of them, by what was chosen on them."""
        found: dict[str, Sequence[str]] = {"the threshold": self.settings["calibrated_on"]}
        if (file := self.file_of("static", model)) is not None:
            found[f"the ranking {file}"] = HeadSet.load(file).example_ids
        if (file := self.file_of("probe", model)) is not None:
            probe = Probe.load(file)
            found[f"the probe {file}"] = (*probe.seen_ids, *probe.provenance.get("seen_groups", ()))
        return found

    def _questions_in(self, names: Sequence[str]) -> set[str]:
        """The questions of the source behind these names, whatever their layout."""
        known, found = {one.id for one in self.every_question()}, set()
        for name in names:
            for start in (f"{self.dataset}-", "question "):
                if name.startswith(start):
                    found |= {without_layout(name.removeprefix(start))} & known
        return found

    def sources(self) -> dict[str, str]:
        """Fingerprints of the questions and of the files."""
        found = super().sources()
        for name in ("probe", "static"):
            for model in self.models:
                if (file := self.file_of(name, model)) is not None:
                    found[f"{name} {file}"] = sha256(Path(file).read_bytes()).hexdigest()[:16]
        return found

    def open_worker(self, name: str, model: Any) -> Callable[[Any, dict[str, Any]], dict[str, Any]]:
        """See `Grid`."""
        from retrieval_lens.experiments.rag_worker import RagWorker

        return RagWorker(self, name, model)

    def frame(self, folder: Any, partial: bool = False) -> Any:
        """See `Grid`."""
        from retrieval_lens.experiments.rag_results import rag_frame

        return rag_frame(self, folder, partial)
