"""An answer with its trail: what was drafted, why it was rejected, what was shown."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retrieval_lens.errors import FileFormatError
from retrieval_lens.files import load_json, save_json
from retrieval_lens.rag.windows import Span, merged

KIND = "rag_answer"
STOPPED_BY = ("end_of_text", "stop_text", "max_tokens", "no_growth")


@dataclass(frozen=True)
class Round:
    """One draft and what became of it; positions are tokens of the prompt.

    Attributes:
        draft: Its text.
        draft_tokens: Its ids, without the end-of-sequence token.
        seen: Windows that were visible while it was written.
        rind: One dict a word, the columns of `RIND.measure`; empty where drafts are not judged.
        hit: The first word that fired, or None.
        kept: Text of the draft's sentences before the hit's; the whole draft without a hit.
        kept_tokens: Their ids.
        heads: `(layer, head)` of the heads that were averaged; None where none were.
        positions: The most attended positions, largest first.
        clusters: The same in groups of neighbours.
        windows: Half-open spans that were shown to the rewrite; None without a hit.
        rewrite: Text of the sentence that replaced the rest of the draft; None without a hit.
        rewrite_tokens: Its ids.
        ended: Whether the end of the sequence came behind draft or rewrite.
    """

    draft: str
    draft_tokens: tuple[int, ...]
    seen: tuple[Span, ...]
    kept: str
    kept_tokens: tuple[int, ...]
    ended: bool
    rind: tuple[dict[str, Any], ...] = ()
    hit: str | None = None
    heads: tuple[tuple[int, int], ...] | None = None
    positions: tuple[int, ...] = ()
    clusters: tuple[tuple[int, ...], ...] = ()
    windows: tuple[Span, ...] | None = None
    rewrite: str | None = None
    rewrite_tokens: tuple[int, ...] = ()

    @property
    def added(self) -> tuple[int, ...]:
        """Tokens that this round added to the answer."""
        return self.kept_tokens + self.rewrite_tokens


@dataclass(frozen=True)
class Answer:
    """What `rag.answer` returns: an answer with its trail.

    | metric | meaning |
    |---|---|
    | those of `tasks.response_metrics` | how right it is; `truncated`: `max_tokens` ended it |
    | `evidence_recall` | share of the evidence tokens that were visible at least once |
    | `revealed_share` | share of the context tokens that were visible at least once |
    | `n_retrievals` | how often something was retrieved |
    | `n_rounds` | how many drafts there were |

    What the first retrieval alone showed is `first_recall` and `first_share`: up to there all
    strategies that retrieve are in the same place, so that these two are matched where the sums
    over an answer are not.

    Attributes:
        text: The answer, special tokens removed.
        tokens: Its ids, without the end-of-sequence token.
        metrics: Those of the table.
        rounds: In order.
        stopped_by: `end_of_text`, `stop_text`, `max_tokens` or `no_growth`.
        provenance: Example, context, strategy, settings, seed, model and versions, JSON-able.
    """

    text: str
    tokens: tuple[int, ...]
    metrics: dict[str, float]
    rounds: tuple[Round, ...]
    stopped_by: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def revealed(self) -> tuple[Span, ...]:
        """Half-open spans of context tokens that were visible at least once."""
        return revealed(self.rounds)

    @property
    def first_windows(self) -> tuple[Span, ...] | None:
        """Half-open spans that the first retrieval showed; None where nothing was retrieved."""
        return next((one.windows for one in self.rounds if one.windows is not None), None)

    @property
    def first_recall(self) -> float | None:
        """Share of the evidence tokens in `first_windows`."""
        evidence = self.provenance["evidence"]
        return self._share_shown(set(evidence)) if self.first_windows is not None else None

    @property
    def first_share(self) -> float | None:
        """Share of the context tokens in `first_windows`."""
        context = range(*self.provenance["context"])
        return self._share_shown(set(context)) if self.first_windows is not None else None

    def _share_shown(self, positions: set[int]) -> float:
        shown = {i for start, end in self.first_windows or () for i in range(start, end)}
        return len(positions & shown) / len(positions)

    def as_json(self) -> dict[str, Any]:
        """The answer as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> "Answer":
        """The answer of `as_json`.

        Raises:
            FileFormatError: Something else.
        """
        try:
            rounds = tuple(Round(**_tuples(one)) for one in content["rounds"])
            rest = {name: content[name] for name in ("text", "metrics", "stopped_by", "provenance")}
            found = cls(tokens=tuple(content["tokens"]), rounds=rounds, **rest)
        except (KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"this is no answer: {error!r}") from error
        if found.stopped_by not in STOPPED_BY:
            raise FileFormatError(f"an answer is not stopped by {found.stopped_by!r}")
        return found

    def save(self, path: str | Path) -> Path:
        """Write the answer as JSON, atomically, and return the path.

        Raises:
            OSError: The file cannot be written; an older file stays as it was.
        """
        return save_json(path, KIND, self.as_json())

    @classmethod
    def load(cls, path: str | Path) -> "Answer":
        """Read an answer written by `save`.

        Raises:
            FileNotFoundError: There is no such file.
            FileFormatError: The file is damaged, or of another kind.
        """
        return cls.from_json(load_json(path, KIND))


def revealed(rounds: tuple[Round, ...]) -> tuple[Span, ...]:
    """Spans that a draft or a rewrite of these rounds could see."""
    return tuple(merged([span for one in rounds for span in (*one.seen, *(one.windows or ()))]))


def _tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as tuples, at any depth."""

    def turn(value: Any) -> Any:
        return tuple(map(turn, value)) if isinstance(value, list) else value

    return {name: turn(value) for name, value in content.items()}
