"""What every worker starts from: a loaded model with its label, and what is noted of a prompt."""

from typing import Any

from retrieval_lens.experiments.grid import Grid
from retrieval_lens.files import digest
from retrieval_lens.models import load_model, model_info, weights_fingerprint
from retrieval_lens.tasks import RetrievalExample


def opened_model(grid: Grid, name: str, model: Any = None) -> tuple[Any, dict[str, Any]]:
    """A model of the grid and its label, by which cells of other weights are told.

    Args:
        grid: What is run.
        name: Which of its models.
        model: The same as a loaded bridge; None loads it.
    """
    if model is None:
        options = {"device": grid.device, "dtype": grid.dtype, "revision": grid.revision_of(name)}
        model = load_model(name, **options, progress=False)
    return model, {**model_info(model), "weights": weights_fingerprint(model)}


def prompt_of(grid: Grid, example: RetrievalExample) -> dict[str, Any]:
    """What a cell's result holds of its prompt."""
    return {
        "example_id": example.id,
        "prompt": digest(example.token_ids.tolist()),
        "n_prompt_tokens": len(example.token_ids),
        "details": {name: example.meta.get(name) for name in grid.details},
    }
