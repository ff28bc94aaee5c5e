"""Trace retrieval heads: the scores of every head at every greedy decode step.

1. Prefill the prompt but its last token, without an n x n pattern.
2. Decode greedily; at each step read one attention row a head, keep what the scores observe and the
   most attended positions, and drop the row.
3. When the response is over, turn what was kept into scores (arXiv 2602.11162, Eqs. 1 and 2).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jaxtyping import Int
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.models import attention_layers, eos_token_ids, hook_names
from retrieval_lens.progress import Advance, progress_bar
from retrieval_lens.scores import CopyPaste, Reasoning, StepScore, check_scores
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing.assembly import StepLog, assemble
from retrieval_lens.tracing.decoding import greedy_decode
from retrieval_lens.tracing.engine import choose_engine, open_decoder
from retrieval_lens.tracing.kv_cache import uses_only_full_attention
from retrieval_lens.tracing.limits import check_context, is_longrope
from retrieval_lens.tracing.listening import as_positions, patterns_of, scores_from_patterns
from retrieval_lens.tracing.pass_recorder import PassRecorder
from retrieval_lens.tracing.recorder import RowRecorder
from retrieval_lens.tracing.trace import Trace
from retrieval_lens.types import PositionScores, TokenIds

Engine = str  # "auto", "fast" or "hooks"


class RetrievalTracer:
    """Traces prompts on one model.

    Args:
        model: A `TransformerBridge`, from `load_model` or booted by hand.
        scores: Step scores, each with a name of its own; copy-paste and reasoning by default.
        hidden_at: Hook names whose last-token state is kept at each step; the first is
            `trace.hidden`.
        n_top: How many of the most attended positions are kept of each row.
        include_eos: Whether the step that predicts the end of the sequence counts.

    Raises:
        InputError: Something else than step scores, two scores of one name, or no score.

    Examples:
        ```python
        tracer = rl.RetrievalTracer(model)
        trace = tracer.trace(rl.needle_example(model.tokenizer, n_tokens=200))
        trace.scores["copy_paste"].shape  # [step, layer, head]
        ```
    """

    def __init__(
        self,
        model: Any,
        scores: Sequence[Any] | None = None,
        *,
        hidden_at: Sequence[str] = (hook_names.FINAL_NORM_OUT,),
        n_top: int = 8,
        include_eos: bool = True,
    ):
        self.model: Any = model
        self.scores: tuple[StepScore, ...] = check_scores(
            (CopyPaste(), Reasoning()) if scores is None else scores
        )
        if n_top < 0:
            raise InputError(f"n_top must not be negative; got {n_top}")
        self.hidden_at: tuple[str, ...] = tuple(hidden_at)
        self.n_top: int = n_top
        self.include_eos: bool = include_eos

    def trace(
        self,
        example: RetrievalExample,
        max_new_tokens: int = 64,
        engine: Engine = "auto",
        *,
        hidden_at: Sequence[str] | None = None,
        prefix: Any = None,
        progress: bool = True,
    ) -> Trace:
        """Trace one example.

        Args:
            example: Prompt and evidence.
            max_new_tokens: At most so many decode steps; a response that needs more is marked
                `truncated`.
            engine: `"fast"` runs the plain modules, `"hooks"` the bridge; `"auto"` takes the fast
                one where it is proven equal on this model and no hook of yours is on the bridge.
            hidden_at: Hook names whose state is kept; by default those of the tracer.
            prefix: From `prefill_prefix`; what the prompt shares with it is not computed again.
            progress: Show a progress bar when it takes more than two seconds.

        Raises:
            ContextLengthError: Prompt and response do not fit the model's context.
            NumericalError: NaN in the attention.
            InputError: `engine="fast"` where it cannot be used, with the reason.
        """
        names = self.hidden_at if hidden_at is None else tuple(hidden_at)
        check_context(self.model, example, max_new_tokens)
        what = f"tracing {len(example.token_ids)} prompt tokens"
        with progress_bar(what, max_new_tokens, progress) as advance:
            return self._trace([example], max_new_tokens, engine, names, prefix, advance)[0]

    def trace_many(
        self,
        examples: Sequence[RetrievalExample],
        batch_size: int = 8,
        max_new_tokens: int = 64,
        engine: Engine = "auto",
        *,
        hidden_at: Sequence[str] | None = None,
        prefix: Any = None,
        progress: bool = True,
    ) -> list[Trace]:
        """Trace several examples, `batch_size` at a time, in the order given.

        Examples of similar length are decoded together. Models with sliding-window layers, and the
        hook engine, take one at a time whatever `batch_size` is.

        Raises:
            InputError: `batch_size` below 1, or as in `trace`.
            ContextLengthError: An example does not fit; nothing is run before all are known to.
            NumericalError: NaN in the attention.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1; got {batch_size}")
        for example in examples:
            check_context(self.model, example, max_new_tokens)
        order = sorted(range(len(examples)), key=lambda i: len(examples[i].token_ids))
        names = self.hidden_at if hidden_at is None else tuple(hidden_at)
        size = batch_size if self._can_batch(engine, names) else 1
        traces: dict[int, Trace] = {}
        with progress_bar("tracing", len(examples), progress) as advance:
            for start in range(0, len(order), size):
                part = order[start : start + size]
                done = self._trace(
                    [examples[i] for i in part], max_new_tokens, engine, names, prefix
                )
                traces |= dict(zip(part, done, strict=True))
                advance(len(part))
        return [traces[i] for i in range(len(examples))]

    def _can_batch(self, engine: Engine, hidden_at: Sequence[str]) -> bool:
        config = self.model.original_model.config
        chosen, _ = choose_engine(self.model, engine, hidden_at)
        return chosen == "fast" and uses_only_full_attention(config) and not is_longrope(self.model)

    def _trace(
        self,
        examples: Sequence[RetrievalExample],
        max_new_tokens: int,
        engine: Engine,
        hidden_at: Sequence[str],
        prefix: Any,
        advance: Advance | None = None,
    ) -> list[Trace]:
        chosen, why = choose_engine(self.model, engine, hidden_at)
        layers, stop_ids = attention_layers(self.model), eos_token_ids(self.model)
        recorder = RowRecorder(self.scores, layers, [e.evidence for e in examples], self.n_top)
        logs = [StepLog() for _ in examples]
        prompts = [example.token_ids for example in examples]
        with open_decoder(self.model, chosen, recorder.listen, hidden_at, prefix) as decoder:
            for step in greedy_decode(decoder, recorder, prompts, max_new_tokens, stop_ids):
                for row, index in enumerate(step.rows):
                    logs[index].add(step, row)
                if advance is not None:
                    advance()
        conventions = {
            "engine": chosen,
            "engine_reason": why,
            "max_new_tokens": max_new_tokens,
            "stop_ids": list(stop_ids),
            "include_eos": self.include_eos,
            "n_top": self.n_top,
        }
        return [
            assemble(self.model, example, log, self.scores, conventions)
            for example, log in zip(examples, logs, strict=True)
        ]

    def scores_from_cache(
        self,
        cache: Any,
        token_ids: TokenIds,
        evidence: Any,
        predictions: Sequence[int] | Int[Tensor, " _"] | None = None,
        prompt_length: int | None = None,
    ) -> dict[str, PositionScores]:
        """Scores `{name: [pos, layer, head]}` of every query position of a `run_with_cache`.

        Args:
            cache: An `ActivationCache` or a dictionary; holds `blocks.L.attn.hook_pattern` of every
                layer, with or without a batch dimension of 1.
            token_ids: `[pos]`, the tokens that were run.
            evidence: `[evidence]`, positions of the evidence, a tensor or any sequence of integers.
            predictions: `[pos]`, y_t at each position. None: the token that follows in `token_ids`;
                the copy-paste score of the last row is then NaN.
            prompt_length: Where generated text begins, for `CopyPaste(match="position")`; None
                takes everything before as the text so far.

        Raises:
            InputError: A layer's pattern is missing or does not fit `token_ids`.
            EvidenceError: Evidence empty or outside `token_ids`.
            NumericalError: NaN in a pattern.
        """
        return scores_from_patterns(
            self.scores,
            patterns_of(cache, attention_layers(self.model)),
            token_ids,
            as_positions(evidence),
            predictions,
            prompt_length,
        )

    @contextmanager
    def record(self, evidence: Any, prompt_length: int | None = None) -> Iterator[PassRecorder]:
        """Score forward passes or `generate` of the bridge while they run, one prompt at a time.

        Patterns are read as they are when this block is entered: hooks that you add inside it and
        that edit `hook_pattern` come later and are not seen; add them before.

        Args:
            evidence: `[evidence]`, positions of the evidence in the sequence.
            prompt_length: Where generated text begins, for `CopyPaste(match="position")`; None
                takes the first pass as the prompt, as `generate` has it.

        Yields:
            A recorder; after the passes `recorder.scores` is `{name: [pos, layer, head]}` over all
            query positions of the sequence, `recorder.token_ids` its tokens. A pass without a cache
            begins a new sequence.

        Examples:
            ```python
            with tracer.record(example.evidence) as recorder:
                model.generate(example.token_ids[None], max_new_tokens=8)
            recorder.scores["reasoning"]
            ```
        """
        sliding = not uses_only_full_attention(self.model.original_model.config)
        layers = attention_layers(self.model)
        recorder = PassRecorder(self.scores, layers, evidence, prompt_length, sliding)
        with self.model.hooks(fwd_hooks=recorder.hooks()):
            yield recorder
