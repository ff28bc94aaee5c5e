"""Answers the questions of a grid on one model.

1. The whole context is prefilled, which all strategies that retrieve share; this is timed apart.
2. Every variant answers on the same reader. The time of an answer is without that prefill, which
   whoever looks at the whole context needs once (full context has its own in its time). What a
   reader still has of the answer before is not computed again, so times depend on the order of the
   strategies a little.
"""

from time import perf_counter
from typing import Any

from retrieval_lens.errors import ContextLengthError, InvalidExampleError
from retrieval_lens.experiments.cells import Cell
from retrieval_lens.experiments.conditions import Variant
from retrieval_lens.experiments.opening import opened_model, prompt_of
from retrieval_lens.experiments.rag_grid import RagGrid
from retrieval_lens.rag.answering import require_answerable
from retrieval_lens.rag.pipeline import run
from retrieval_lens.rag.reader import ModelReader
from retrieval_lens.rag.settings import Settings
from retrieval_lens.rag.strategies.base import Strategy, hidden_at_of
from retrieval_lens.tasks import RetrievalExample


class RagWorker:
    """One model, and the cells that it is given.

    Args:
        grid: What is run.
        name: Which of the grid's models.
        model: The same as a loaded bridge; None loads it.
    """

    model: Any
    label: dict[str, Any]

    def __init__(self, grid: RagGrid, name: str, model: Any = None):
        self.grid: RagGrid = grid
        self.name: str = name
        self.model, self.label = opened_model(grid, name, model)
        self.strategies: dict[Variant, Strategy] = grid.made(name)
        self.settings: Settings = grid.loop_settings()

    def __call__(self, cell: Cell, inputs: dict[str, Any]) -> dict[str, Any]:
        """The result of a cell, as JSON types.

        Args:
            cell: Which.
            inputs: Nothing.

        Returns:
            With `invalid`, why the question cannot be used, and nothing run where that is so.
        """
        del inputs
        try:
            example = self.grid.example(self.model.tokenizer, dict(cell.place))
            answers = self._answers(example)
        except (InvalidExampleError, ContextLengthError) as error:
            return {"model": self.label, "invalid": str(error)}
        return {"model": self.label, **prompt_of(self.grid, example), **answers}

    def _answers(self, example: RetrievalExample) -> dict[str, Any]:
        every = list(self.strategies.values())
        require_answerable(self.model, example, every, self.settings, self.grid.seed)
        answers = {}
        with ModelReader(self.model, example, hidden_at_of(every)) as reader:
            start = perf_counter()
            if any(strategy.retrieves for strategy in every):
                reader.look(())
            prefill = perf_counter() - start
            for variant, strategy in self.strategies.items():
                start = perf_counter()
                answer = run(reader, example, strategy, self.settings, self.grid.seed_of(variant))
                seconds = perf_counter() - start
                answers[variant.label] = {"seconds": seconds, "answer": answer.as_json()}
        return {"prefill_seconds": prefill, "answers": answers}
