"""The same grid on a cluster of two Ray nodes."""

import os
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from retrieval_lens.experiments import GridError, run_grid
from retrieval_lens.experiments.runner import run_with
from tests.experiments.conftest import without_floats
from tests.experiments.fake_worker import GRID, FakeWorker, run_fake
from tests.experiments.test_survival import CELLS, Dies, NoModel, Stops

ray = pytest.importorskip("ray", reason="Ray is not installed (the extra `cluster` brings it)")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address():
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}, connect=False
    )
    cluster.add_node(**node)
    cluster.wait_for_nodes()
    yield cluster.address
    cluster.shutdown()


def on_ray(make_worker, out: Path, address: str, n_workers: int = 2):
    from retrieval_lens.experiments.executors.ray_cluster import RayExecutor

    return run_with(
        lambda model: RayExecutor(make_worker, n_workers, address), GRID, out, progress=False
    )


class OnANode(FakeWorker):
    """Leaves the name of the node that it ran on."""

    def __init__(self, seen: Path):
        super().__init__(GRID, seconds=0.1)
        self.seen = seen

    def __call__(self, cell, inputs):
        (self.seen / ray.get_runtime_context().get_node_id()).touch()
        return super().__call__(cell, inputs)


def test_both_nodes_work_and_the_table_is_that_of_one_process(tmp_path, address):
    (tmp_path / "seen").mkdir()
    on_ray(partial(OnANode, tmp_path / "seen"), tmp_path / "ray", address)
    run_fake(tmp_path / "here")
    assert len(list((tmp_path / "seen").iterdir())) == 2
    tables = [(tmp_path / one / "results.parquet").read_bytes() for one in ("ray", "here")]
    assert tables[0] == tables[1]
    assert not ray.is_initialized(), "the connection was ours, and is closed"


def test_a_ray_worker_killed_in_mid_grid_loses_nothing(tmp_path, address):
    on_ray(partial(Dies, tmp_path / "count", 2), tmp_path / "ray", address)
    run_fake(tmp_path / "here")
    assert (tmp_path / "count").read_text() == "xxx", "died twice, then ran"
    tables = [(tmp_path / one / "results.parquet").read_bytes() for one in ("ray", "here")]
    assert tables[0] == tables[1]


def test_an_error_in_a_ray_worker_names_the_cell(tmp_path, address):
    with pytest.raises(GridError, match=f"{CELLS[7].key} failed: ZeroDivisionError: by"):
        on_ray(partial(Stops, ZeroDivisionError("by zero")), tmp_path, address)


def test_a_cell_that_kills_every_ray_worker_stops_the_grid(tmp_path, address, monkeypatch):
    monkeypatch.setattr("retrieval_lens.experiments.executors.ray_cluster.MOST_RETRIES", 1)
    with pytest.raises(GridError, match=f"cell {CELLS[6].key}: its Ray worker died more than 1"):
        on_ray(partial(Dies, tmp_path / "count", 99), tmp_path / "out", address, n_workers=1)
    assert len((tmp_path / "count").read_text()) == 2


def test_a_ray_worker_that_cannot_start_says_why(tmp_path, address):
    with pytest.raises(GridError, match="could not start .*no such model"):
        on_ray(NoModel, tmp_path, address, n_workers=1)


def test_a_model_on_two_nodes_gives_the_frame_of_one_process(tmp_path, address, random_run):
    grid, here, expected = random_run
    frame = run_grid(grid, tmp_path, executor="ray", workers=2, address=address)
    pd.testing.assert_frame_equal(frame, expected, rtol=0, atol=1e-4)
    assert without_floats(tmp_path) == without_floats(here)
