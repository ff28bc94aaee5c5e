"""A worker without a model: its results depend on grid, cell and inputs alone.

`python -m tests.experiments.fake_worker FOLDER SECONDS` runs a grid of it, `SECONDS` a cell.
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from retrieval_lens.experiments import NeedleGrid
from retrieval_lens.experiments.ablation_grid import DETECT, OWN
from retrieval_lens.experiments.cells import Cell
from retrieval_lens.experiments.executors import LocalExecutor
from retrieval_lens.experiments.runner import run_with

SHAPE = (4, 10)
MODEL = {"name": "fake", "revision": None, "dtype": "float32"}
GRID = NeedleGrid(
    models="fake",
    n_tokens=(100, 200),
    depths=(0.0, 0.5),
    seeds=(0, 1, 2),
    detection_seeds=(9,),
    conditions=("none", "dynamic", "dynamic_k", "static_by_count", "static", "random"),
    k=(0, 2),
    random_draws=2,
    static_k=5,
)


@dataclass
class FakeWorker:
    """Draws every number from the cell; the heads of a matched condition are its count."""

    grid: NeedleGrid
    seconds: float = 0.0

    def __call__(self, cell: Cell, inputs: dict[str, Any]) -> dict[str, Any]:
        time.sleep(self.seconds)
        known: dict[str, Any] = {
            "example_id": (name := "-".join(str(value) for _, value in cell.place)),
            "prompt": name,
            "shape": list(SHAPE),
            "model": MODEL | {"name": cell.model},
        }
        random, n_heads = Random(cell.key), SHAPE[0] * SHAPE[1]
        if cell.stage == DETECT:
            sums = [random.randrange(5) / 2 for _ in range(n_heads)]
            return {**known, "sums": sums, "n_steps": 4, "score": {}}
        if cell.stage == OWN:
            active = [sorted(random.sample(range(n_heads), t)) for t in range(5)]
            known["clean"] = {"tokens": [1, 2, 3, 4, 5], "active": active}
        runs, effects = {}, {}
        for variant in self.grid.stage_variants(cell.stage):
            runs[variant.label] = self._run(random, n_heads, inputs)
            effects[variant.label] = _effects(random)
        n_rows = dict.fromkeys(self.grid.measures, len(runs))
        found = {"count": inputs["count"], "n_rows": n_rows, "runs": runs, "effects": effects}
        return {**known, **found}

    def _run(self, random: Random, n_heads: int, inputs: dict[str, Any]) -> dict[str, Any]:
        sizes = [random.randrange(6) for _ in range(4)]
        if inputs["count"]:
            sizes = [inputs["count"]["generate"]] * 4
        first = [layer * SHAPE[1] + head for layer, head in inputs["ranking"]["heads"]][:2]
        return {
            "tokens": [random.randrange(100) for _ in range(4)],
            "text": f"static {first}",
            "metrics": {name: float(random.randrange(2)) for name in self.grid.metrics},
            "outcome": "partial",
            "masked": [sorted(random.sample(range(n_heads), size)) for size in sizes],
            "compensated": [first[:size] for size in sizes],
        }


def _effects(random: Random) -> dict[str, Any]:
    return {
        "step": [0, 1, 2],
        "n_heads": [random.randrange(6) for _ in range(3)],
        "delta_log_prob": [random.random() for _ in range(3)],
        "kl": [random.random() for _ in range(3)],
        "is_retrieval": [False, True, True],
    }


def run_fake(out: Path, worker: Any = None, grid: NeedleGrid = GRID, **options: Any) -> Any:
    """Run the grid in this process."""
    make = partial(FakeWorker, grid) if worker is None else lambda: worker
    return run_with(lambda model: LocalExecutor(make), grid, out, progress=False, **options)


if __name__ == "__main__":
    sys.stdout.write("up\n")
    sys.stdout.flush()
    run_fake(Path(sys.argv[1]), FakeWorker(GRID, float(sys.argv[2])))
