"""Ablate heads: fixed ones, or the ones that each decode step itself reveals (Sec. 3.3).

Three ways in: hooks for any forward pass of yours (`hooks`, `ablate`), generation (`generate`,
`generate_many`), and the effect of masking on single steps (`step_effect`, `step_effects`).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsIndex

from retrieval_lens.ablation.ablated_run import AblatedRun
from retrieval_lens.ablation.effects import selected, step_effects
from retrieval_lens.ablation.generation import Row, Setting, decode
from retrieval_lens.ablation.head_edit import HeadEdit
from retrieval_lens.ablation.modes import AblationMode, make_mode
from retrieval_lens.ablation.results import finish_run
from retrieval_lens.errors import EvidenceError, InputError
from retrieval_lens.heads import Fixed, HeadSet, StepHeads, as_step_heads, model_shape
from retrieval_lens.models import attention_layers, eos_token_ids, model_info
from retrieval_lens.progress import progress_bar
from retrieval_lens.scores import CopyPaste, Reasoning, StepScore
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing import RetrievalTracer, Trace, prefill_prefix
from retrieval_lens.tracing.edits import edit_hooks
from retrieval_lens.tracing.engine import choose_engine, open_decoder
from retrieval_lens.tracing.kv_cache import uses_only_full_attention
from retrieval_lens.tracing.limits import check_context, is_longrope
from retrieval_lens.tracing.listening import as_positions

if TYPE_CHECKING:
    from pandas import DataFrame


class Ablator:
    """Masks heads of one model.

    Args:
        model: A `TransformerBridge`.
        mode: What a masked head reads instead: `"zero"` nothing, `"mean"` its mean over the decode
            steps of `reference`, `"uniform"` every visible key alike, `"knockout"` everything but
            the evidence; or an `AblationMode` of your own.
        reference: Traces for `"mean"`.
        allow_overlap: Let head sets and reference be judged on examples they were chosen on.

    Raises:
        UnknownNameError: No such mode.
        InputError: `"mean"` without a reference, or a reference that nothing uses.

    Examples:
        ```python
        ablator = rl.Ablator(model)
        run = ablator.generate(example, rl.Dynamic(), max_new_tokens=4)
        run.text, run.n_masked
        ```
    """

    def __init__(
        self,
        model: Any,
        mode: Any = "zero",
        reference: Sequence[Trace] | None = None,
        *,
        allow_overlap: bool = False,
    ):
        self.model: Any = model
        self.allow_overlap: bool = allow_overlap
        self.mode: AblationMode = make_mode(model, mode, reference)
        self.blocks: list[int] = attention_layers(model)
        self.shape: tuple[int, int] = model_shape(model)

    def hooks(self, heads: Any, evidence: Any = None) -> list[tuple[str, Any]]:
        """Forward hooks that mask `heads` at every position, for `run_with_hooks` and the like.

        Args:
            heads: A `HeadSet`, or heads for one.
            evidence: Positions of the evidence, for `"knockout"`; the passes must be fed from
                their first token on, or continue a cache whose layers see everything.

        Raises:
            InputError: A head out of range, or a set that needs decode steps.
            EvidenceError: `"knockout"` without evidence.

        Examples:
            ```python
            hooks = rl.Ablator(model).hooks(["L18H6"])
            logits = model.run_with_hooks(example.token_ids[None], fwd_hooks=hooks)
            ```
        """
        strategy = as_step_heads(heads)
        if not isinstance(strategy, Fixed):
            raise InputError(
                f"hooks mask fixed heads; {type(strategy).__name__} chooses them at every decode "
                f"step: use generate or step_effect"
            )
        if self.mode.needs_evidence and evidence is None:
            raise EvidenceError(f"mode {self.mode.name!r} needs evidence= (token positions)")
        positions = [] if evidence is None else [as_positions(evidence)]
        mask = strategy.heads.mask(*self.shape).unsqueeze(0)
        return edit_hooks(HeadEdit(self.mode, mask, self.blocks, positions))

    def ablate(self, heads: Any, evidence: Any = None) -> AbstractContextManager[Any]:
        """Mask `heads` at every position of all forward passes within the block.

        The hooks are gone afterwards, also after an exception; yours stay. Arguments and errors
        are those of `hooks`.

        Examples:
            ```python
            with rl.Ablator(model).ablate(["L18H6", "L17H3"]):
                logits = model(example.token_ids[None])
            ```
        """
        return self.model.hooks(fwd_hooks=self.hooks(heads, evidence))

    def generate(
        self,
        example: RetrievalExample,
        heads: Any = None,
        max_new_tokens: int = 64,
        *,
        scope: str = "query",
        keep_kv: str = "ablated",
        engine: str = "auto",
        trace: Trace | None = None,
        prefix: Any = None,
        progress: bool = True,
    ) -> AblatedRun:
        """Decode one example greedily under ablation; see `generate_many` for the arguments.

        Examples:
            ```python
            run = rl.Ablator(model).generate(example, rl.Dynamic(k=2), max_new_tokens=4)
            ```
        """
        options: dict[str, Any] = {"scope": scope, "keep_kv": keep_kv, "engine": engine}
        options |= {"trace": trace, "prefix": prefix, "progress": progress}
        return self.generate_many(example, {"": heads}, max_new_tokens, **options)[""]

    def generate_many(
        self,
        example: RetrievalExample,
        conditions: Mapping[str, Any],
        max_new_tokens: int = 64,
        *,
        scope: str = "query",
        keep_kv: str = "ablated",
        engine: str = "auto",
        trace: Trace | None = None,
        prefix: Any = None,
        batch_size: SupportsIndex | None = None,
        progress: bool = True,
    ) -> dict[str, AblatedRun]:
        """Decode one example under several conditions, as one batch; the prompt is prefilled once.

        With `scope="all"` every condition has its own prefill: it is masked too.

        Args:
            example: Prompt and evidence.
            conditions: By name: a `HeadSet`, one `HeadSet` a step, a `StepHeads` such as
                `Dynamic()`, or None to mask nothing.
            max_new_tokens: At most so many decode steps.
            scope: `"query"` masks the current query of every decode step; `"all"` every position,
                prefill included (fixed sets only).
            keep_kv: What later steps see of a masked one: the `"ablated"` pass's keys and values,
                or the `"clean"` pass's.
            engine: `"fast"`, `"hooks"` or `"auto"`, as in tracing.
            trace: The clean trace, for strategies that read it; made anew where it is missing.
            prefix: From `prefill_prefix`.
            batch_size: Most conditions at a time; None takes all. The hook engine and models with
                sliding-window layers take one at a time.
            progress: Show a progress bar when it takes more than two seconds.

        Raises:
            InputError: Unknown options, heads out of range, or a head set that was chosen on this
                example.
            ContextLengthError: Prompt and response do not fit.
            NumericalError: NaN in attention or logits.
        """
        strategies = self._checked(conditions, [example.id])
        _check_choices(scope, keep_kv, strategies)
        check_context(self.model, example, max_new_tokens)
        chosen, why = choose_engine(self.model, engine, ())
        if trace is not None:
            self._require_trace_of(trace, example)
        if any(s.reads_trace for s in strategies.values()):
            trace = trace or self._clean_trace(example, strategies, max_new_tokens, engine, prefix)
        rows = {
            name: Row(example, strategy, trace, twice=_runs_twice(strategy, keep_kv))
            for name, strategy in strategies.items()
        }
        setting = Setting(
            self.mode,
            self.blocks,
            self.shape,
            eos_token_ids(self.model),
            keep_kv,
            whole=scope == "all",
        )
        order = sorted(rows.values(), key=lambda row: not row.twice)
        size = self._batch_size(chosen, batch_size, len(order))
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        if len(parts) > 1 and size > 1 and not setting.whole:
            prefix = prefill_prefix(self.model, example.token_ids) or prefix
        opened = partial(open_decoder, self.model, chosen, _unheard, prefix=prefix, replays=True)
        with progress_bar("decoding", len(parts) * max_new_tokens, progress) as advance:
            decode(opened, parts, setting, max_new_tokens, advance)
        options = {"scope": scope, "keep_kv": keep_kv, "max_new_tokens": max_new_tokens}
        options |= {"engine": chosen, "engine_reason": why, "stop_ids": list(setting.stop_ids)}
        return {name: finish_run(self.model, row, self.mode, options) for name, row in rows.items()}

    def step_effect(self, trace_or_example: Any, heads: Any, **options: Any) -> "DataFrame":
        """What masking does to single steps, for one set or strategy; see `step_effects`.

        Returns:
            step, n_heads, delta_log_prob (nats), kl (nats), is_retrieval.

        Examples:
            ```python
            effect = rl.Ablator(model).step_effect(trace, rl.Dynamic())
            effect.groupby("is_retrieval").delta_log_prob.mean()
            ```
        """
        frame = self.step_effects(trace_or_example, {"": heads}, **options)
        return frame.drop(columns="condition")

    def step_effects(
        self,
        trace_or_example: Any,
        conditions: Mapping[str, Any],
        *,
        max_new_tokens: int = 64,
        engine: str = "auto",
        prefix: Any = None,
        batch_size: SupportsIndex | None = None,
        score: StepScore | None = None,
        progress: bool = True,
    ) -> "DataFrame":
        """What masking does to single steps, each from the clean prefix.

        Args:
            trace_or_example: The clean trace, or an example to trace first.
            conditions: As in `generate_many`.
            max_new_tokens: At most so many steps, where an example is traced.
            engine: As in tracing.
            prefix: From `prefill_prefix`.
            batch_size: Most conditions at a time; None takes all.
            score: A retrieval step is one with a head active by this score; `CopyPaste()` if None.
            progress: Show a progress bar when it takes more than two seconds.

        Returns:
            condition, step, n_heads, delta_log_prob (log p(y_t) masked minus clean, nats), kl
            (KL(clean || masked), nats), is_retrieval; conventions in `frame.attrs`.

        Raises:
            InputError: As in `generate_many`, or a trace that lacks what a strategy reads.
        """
        from pandas import DataFrame

        trace = trace_or_example
        if isinstance(trace, RetrievalExample):
            check_context(self.model, trace, max_new_tokens)
            known = self._checked(conditions, [trace.id])
            trace = self._clean_trace(trace, known, max_new_tokens, engine, prefix)
        strategies = self._checked(conditions, [trace.provenance["example"]["id"]])
        self._require_trace_of(trace)
        chosen, why = choose_engine(self.model, engine, ())
        masks = selected(trace, strategies)
        size = self._batch_size(chosen, batch_size, len(masks))
        with (
            progress_bar("masking single steps", trace.n_steps, progress) as advance,
            open_decoder(self.model, chosen, _unheard, prefix=prefix, replays=True) as decoder,
        ):
            records = step_effects(decoder, trace, masks, self.mode, self.blocks, size, advance)
        score = score or CopyPaste()
        retrieval = trace.active(score).flatten(1).any(1).tolist()
        frame = DataFrame(records)
        frame["is_retrieval"] = [retrieval[t] for t in frame["step"]]
        frame.attrs = {
            "example": trace.provenance["example"]["id"],
            "mode": self.mode.parameters(),
            "engine": chosen,
            "engine_reason": why,
            "retrieval_step": score.parameters(),
            "conditions": {name: s.parameters() for name, s in strategies.items()},
        }
        return frame

    def _checked(
        self, conditions: Mapping[str, Any], example_ids: Sequence[str]
    ) -> dict[str, StepHeads]:
        """The strategies, none of which is out of range or judged on its own examples."""
        if not conditions:
            raise InputError("conditions is empty; give at least one, such as {'none': None}")
        strategies = {name: as_step_heads(heads) for name, heads in conditions.items()}
        reference = HeadSet(example_ids=self.mode.example_ids)
        held = [one for strategy in strategies.values() for one in strategy.sets()]
        for one in held:
            one.require_within(*self.shape)
        for one in () if self.allow_overlap else (*held, reference):
            one.require_unseen(example_ids)
        return strategies

    def _require_trace_of(self, trace: Trace, example: RetrievalExample | None = None) -> None:
        """Refuse the trace of another model, or of another prompt."""
        shape = tuple(next(iter(trace.scores.values())).shape[1:])
        names = [(trace.provenance.get("model") or {}).get("name"), model_info(self.model)["name"]]
        if shape != self.shape or names[0] != names[1]:
            raise InputError(
                f"the trace is of {names[0]!r} with {shape} layers and heads, the ablator's model "
                f"is {names[1]!r} with {self.shape}; trace with the same model"
            )
        if example is not None and not trace.token_ids.equal(example.token_ids):
            raise InputError(f"the trace is not of example {example.id!r}: its prompt is another")

    def _clean_trace(
        self,
        example: RetrievalExample,
        strategies: Mapping[str, StepHeads],
        max_new_tokens: int,
        engine: str,
        prefix: Any,
    ) -> Trace:
        scores: list[StepScore] = [CopyPaste(), Reasoning()]
        known = {score.observes for score in scores}
        for strategy in strategies.values():
            if strategy.score.observes not in known:
                scores.append(strategy.score)
                known.add(strategy.score.observes)
        tracer = RetrievalTracer(self.model, scores, hidden_at=(), n_top=1)
        return tracer.trace(example, max_new_tokens, engine, prefix=prefix, progress=False)

    def _batch_size(self, engine: str, wanted: SupportsIndex | None, n: int) -> int:
        if wanted is not None and wanted.__index__() < 1:
            raise InputError(f"batch_size must be at least 1; got {wanted.__index__()}")
        config = self.model.original_model.config
        alone = engine != "fast" or not uses_only_full_attention(config)
        if alone or is_longrope(self.model):
            return 1
        return n if wanted is None else min(wanted.__index__(), n)


def _unheard(layer: int, pattern: Any) -> None:
    """A listener for passes that nobody listens to."""


def _runs_twice(strategy: StepHeads, keep_kv: str) -> bool:
    masks_nothing = isinstance(strategy, Fixed) and not strategy.heads
    return strategy.reads_step or (keep_kv == "clean" and not masks_nothing)


def _check_choices(scope: str, keep_kv: str, strategies: Mapping[str, StepHeads]) -> None:
    if scope not in ("query", "all"):
        raise InputError(f"scope is 'query' or 'all', not {scope!r}")
    if keep_kv not in ("ablated", "clean"):
        raise InputError(f"keep_kv is 'ablated' or 'clean', not {keep_kv!r}")
    if scope == "all":
        if keep_kv == "clean":
            raise InputError("scope='all' masks every key and value too; keep_kv='clean' has none")
        for name, strategy in strategies.items():
            if not isinstance(strategy, Fixed):
                raise InputError(
                    f"scope='all' is for fixed sets; {name or type(strategy).__name__!r} chooses "
                    f"its heads at every step"
                )
