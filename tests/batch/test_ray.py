"""Ray Data runs the same operator: its rows are those of this process, one by one.

pytest tests/batch/test_ray.py
"""

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from edge_sphereface.batch import embed_folder
from edge_sphereface.batch.engines import RayEngine
from edge_sphereface.errors import ProviderError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, which are many
    pytest.mark.timeout(180),
]


@pytest.fixture(autouse=True)
def workers_see_the_checkout(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


@pytest.mark.slow
def test_local_and_ray_results_are_equal_row_by_row(config, folder, tmp_path):
    embed_folder(config, tmp_path / "here.parquet")
    seen = []
    result = embed_folder(
        config, tmp_path / "ray.parquet", engine=RayEngine(workers=2, batch=3), progress=lambda *done: seen.append(done)
    )
    here, ray = pq.read_table(tmp_path / "here.parquet"), pq.read_table(tmp_path / "ray.parquet")
    assert here.num_rows == 7
    assert here.equals(ray, check_metadata=True)
    assert (tmp_path / "here.unreadable.csv").read_text() == (tmp_path / "ray.unreadable.csv").read_text()
    assert seen[-1] == (10, 10)
    assert len(seen) >= 4, "batches come one by one"
    assert result.unreadable == 3
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0", "Ray reports nothing to its makers"


@pytest.mark.slow
def test_what_goes_wrong_on_a_worker_is_our_error(config, tmp_path, monkeypatch):
    """A worker that does not see the folder says so, and no photograph is taken for unreadable.

    The cluster comes up at the second attempt.
    """
    ray = pytest.importorskip("ray")
    works = ray._private.services.get_node

    def not_in_time(*_args):
        monkeypatch.setattr(ray._private.services, "get_node", works)
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 -- what Ray raises

    monkeypatch.setattr(ray._private.services, "get_node", not_in_time)
    engine = RayEngine(workers=1)
    with pytest.raises(ProviderError, match="A Ray worker failed: ImageError: .* none on this machine"):
        list(engine.run(replace(config, folder=tmp_path / "elsewhere"), ["a.png"]))


@pytest.mark.slow
def test_a_cluster_that_does_not_start_in_time_is_tried_again_and_leaves_no_process(config, monkeypatch):
    """As Ray says it: a bare exception, while what it started runs on."""
    ray = pytest.importorskip("ray")
    started = []

    def not_in_time(*_args):
        while not {"gcs_server", "raylet"} <= set(children().values()):
            time.sleep(0.1)
        started.append(children())
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 -- what Ray raises

    monkeypatch.setattr(ray._private.services, "get_node", not_in_time)
    said = "Cannot reach or start a Ray cluster: The current node timed out .* use the local engine"
    with pytest.raises(ProviderError, match=said):
        list(RayEngine(workers=1, starts=2).run(config, ["a.png"]))
    assert len(started) == 2
    assert not children().keys() & {process for names in started for process in names}


def children():
    """Numbers and names of the processes that this one started."""
    listed = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    return dict(line.split(None, 1) for line in listed)


def test_a_cluster_that_is_not_there(config):
    with pytest.raises(ProviderError, match=r"Cannot reach .*check the address"):
        list(RayEngine(workers=1, address="127.0.0.1:1").run(config, ["a.png"]))
