"""Runs the cells of a grid on one model.

1. The prompt's clean trace. What prompts share with the start of another one (`shared_start`) is
   prefilled once, and they copy it.
2. Stage `detect`: the sum of every head's score over the steps.
3. Other stages: all conditions of the prompt as one batch, and their single-step effects.

Heads are written as layer x heads-a-layer + head.
"""

import math
from contextlib import suppress
from typing import Any

from torch import Tensor

from retrieval_lens.ablation import Ablator
from retrieval_lens.errors import InvalidExampleError
from retrieval_lens.experiments.ablation_grid import DETECT, OWN, AblationGrid
from retrieval_lens.experiments.cells import Cell
from retrieval_lens.experiments.conditions import SCORES, Known, condition
from retrieval_lens.experiments.grid import Place
from retrieval_lens.experiments.memory import with_enough_memory
from retrieval_lens.experiments.opening import opened_model, prompt_of
from retrieval_lens.heads import HeadSet
from retrieval_lens.scores import CopyPaste, Reasoning, StepScore
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing import RetrievalTracer, Trace, prefill_prefix

N_PREFIXES = 2  # kept: the last few


class GridWorker:
    """One model, and the cells that it is given.

    Args:
        grid: What is run.
        name: Which of the grid's models.
        model: The same as a loaded bridge; None loads it.
    """

    def __init__(self, grid: AblationGrid, name: str, model: Any = None):
        self.grid: AblationGrid = grid
        self.name: str = name
        self.model: Any
        self.label: dict[str, Any]
        self.model, self.label = opened_model(grid, name, model)
        self.score: StepScore = SCORES[grid.score]()
        scores = [CopyPaste(), Reasoning()]
        self.tracer: RetrievalTracer = RetrievalTracer(self.model, scores, hidden_at=(), n_top=1)
        self._prefixes: dict[Any, Any] = {}
        reference = self._reference() if grid.mode == "mean" else None
        self.ablator: Ablator = Ablator(self.model, mode=grid.mode, reference=reference)

    def __call__(self, cell: Cell, inputs: dict[str, Any]) -> dict[str, Any]:
        """The result of a cell, as JSON types.

        Args:
            cell: Which.
            inputs: `ranking`, all heads by detection score (a `HeadSet` as JSON; None for stage
                `detect`), and `count` of heads for each measure (None but for stage `matched`).

        Returns:
            With `invalid`, why the prompt cannot be used, and nothing measured where that is so.
        """
        place = dict(cell.place)
        shape = {"shape": list(self.ablator.shape), "model": self.label}
        try:
            example = self.grid.example(self.model.tokenizer, place)
        except InvalidExampleError as error:
            return {**shape, "invalid": str(error)}
        prefix = self._prefix(place)
        known = {
            **shape,
            **prompt_of(self.grid, example),
        }
        trace = None
        if cell.stage in (DETECT, OWN) or "step_effect" in self.grid.measures:
            limit = self.grid.max_new_tokens
            trace = self.tracer.trace(example, limit, prefix=prefix, progress=False)
        if cell.stage == DETECT:
            assert trace is not None
            return {**known, **self._sums(trace)}
        if cell.stage == OWN:
            assert trace is not None
            known |= self._clean(trace)
        return {**known, **self._conditions(cell, inputs, example, trace, prefix)}

    def _prefix(self, place: Place) -> Any:
        shared = self.grid.shared_start(place)
        if shared is None:
            return None
        key = tuple(shared.items())
        if key not in self._prefixes:
            while len(self._prefixes) >= N_PREFIXES:
                del self._prefixes[next(iter(self._prefixes))]
            start = self.grid.example(self.model.tokenizer, shared).token_ids
            self._prefixes[key] = prefill_prefix(self.model, start)
        return self._prefixes[key]

    def _reference(self) -> list[Trace]:
        """Clean traces for mean ablation: the replicates of the first place of each kind."""
        found = []
        for place in self.grid.reference_places():
            with suppress(InvalidExampleError):
                example = self.grid.example(self.model.tokenizer, place)
                found.append(self.tracer.trace(example, self.grid.max_new_tokens, progress=False))
        return found

    def _sums(self, trace: Trace) -> dict[str, Any]:
        sums = trace.score(self.grid.score).double().sum(0).flatten().tolist()
        return {"sums": sums, "n_steps": trace.n_steps, "score": self.score.parameters()}

    def _clean(self, trace: Trace) -> dict[str, Any]:
        clean = {"tokens": trace.tokens.tolist(), "text": trace.text, "metrics": trace.metrics}
        active = trace.active(self.grid.score)
        levels = {"chance": trace.chance[self.grid.score].double().mean().item()}
        levels["lift"] = trace.lift(self.grid.score)[active].double().mean().item()
        clean |= {name: _number(value) for name, value in levels.items()}
        return {"clean": {**clean, "active": _flat(active)}}

    def _conditions(
        self,
        cell: Cell,
        inputs: dict[str, Any],
        example: RetrievalExample,
        trace: Trace | None,
        prefix: Any,
    ) -> dict[str, Any]:
        grid, ranking = self.grid, HeadSet.from_json(inputs["ranking"])
        found: dict[str, Any] = {"count": inputs["count"], "n_rows": {}}
        for measure in grid.measures:
            count = (inputs["count"] or {}).get(measure, 0)
            heads = {
                v.label: condition(v.condition).make(
                    Known(
                        ranking,
                        grid.static_k,
                        self.score,
                        self.ablator.shape,
                        v.k or 0,
                        v.draw or 0,
                        count,
                    )
                )
                for v in grid.stage_variants(cell.stage)
            }
            if measure == "generate":
                runs, n_rows = self._generate(example, heads, trace, prefix)
                found["runs"] = {name: _run_as_json(run) for name, run in runs.items()}
            else:
                assert trace is not None
                found["effects"], n_rows = self._effects(trace, heads, prefix)
            found["n_rows"][measure] = n_rows
        return found

    def _generate(
        self, example: RetrievalExample, heads: dict[str, Any], trace: Trace | None, prefix: Any
    ) -> tuple[dict[str, Any], int]:
        def run(n_rows: int) -> dict[str, Any]:
            return self.ablator.generate_many(
                example,
                heads,
                self.grid.max_new_tokens,
                scope=self.grid.scope,
                keep_kv=self.grid.keep_kv,
                trace=trace,
                prefix=prefix,
                batch_size=n_rows,
                progress=False,
            )

        return with_enough_memory(run, self.grid.batch_size or len(heads))

    def _effects(
        self, trace: Trace, heads: dict[str, Any], prefix: Any
    ) -> tuple[dict[str, Any], int]:
        def run(n_rows: int) -> Any:
            return self.ablator.step_effects(
                trace,
                heads,
                prefix=prefix,
                batch_size=n_rows,
                score=self.score,
                progress=False,
            )

        frame, n_rows = with_enough_memory(run, self.grid.batch_size or len(heads))
        effects = {
            str(name): {c: part[c].tolist() for c in frame.columns if c != "condition"}
            for name, part in frame.groupby("condition", sort=False)
        }
        return effects, n_rows


def _run_as_json(run: Any) -> dict[str, Any]:
    compensated = run.active_masked & ~run.active
    return {
        "tokens": run.tokens.tolist(),
        "text": run.text,
        "metrics": {name: _number(value) for name, value in run.metrics.items()},
        "outcome": run.outcome,
        "masked": _flat(run.mask),
        "compensated": _flat(compensated) if bool(run.scored.any()) else None,
    }


def _flat(steps: Tensor) -> list[list[int]]:
    """The heads of each step of `[step, layer, head]`, as flat indices."""
    return [step.flatten().nonzero().flatten().tolist() for step in steps]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
