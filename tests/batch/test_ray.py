"""Ray Data runs the same operator: its rows are those of this process, one by one.

pytest tests/batch/test_ray.py
"""

import os
import re
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
    pytest.mark.timeout(300),
]


@pytest.fixture(autouse=True)
def workers_see_the_checkout(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


class TooLate:
    """In place of what Ray asks for its node: some starts end as Ray ends one that takes too long.

    That is a bare exception, while what was started runs on.
    """

    def __init__(self, monkeypatch, *, times):
        self._services = pytest.importorskip("ray")._private.services
        self._works, self._times, self.started = self._services.get_node, times, []
        monkeypatch.setattr(self._services, "get_node", self)

    def __call__(self, *words, **options):
        if len(self.started) == self._times:
            return self._works(*words, **options)
        while not {"gcs_server", "raylet"} <= set(children().values()):
            time.sleep(0.1)
        self.started.append(children())
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 -- what Ray raises

    def left(self):
        """Processes that run on."""
        return children().keys() & {process for names in self.started for process in names}


@pytest.mark.slow
def test_local_and_ray_results_are_equal_row_by_row(config, folder, tmp_path, monkeypatch):
    """The cluster comes up at the second attempt. What goes wrong on a worker of it is our error, and ends no cluster.

    A worker that does not see the folder says so, and no photograph is taken for unreadable.
    """
    too_late = TooLate(monkeypatch, times=1)
    embed_folder(config, tmp_path / "here.parquet")
    seen, said = [], []

    def progress(done, total):
        seen.append((done, total))
        if done == total:  # the cluster is still up, and to start another one takes as long as all the rest
            with pytest.raises(ProviderError) as failed:
                list(RayEngine(workers=1).run(replace(config, folder=tmp_path / "elsewhere"), ["a.png"]))
            said.append((str(failed.value), too_late.left()))

    result = embed_folder(config, tmp_path / "ray.parquet", engine=RayEngine(workers=2, batch=3), progress=progress)
    here, there = pq.read_table(tmp_path / "here.parquet"), pq.read_table(tmp_path / "ray.parquet")
    assert here.num_rows == 7
    assert here.equals(there, check_metadata=True)
    assert (tmp_path / "here.unreadable.csv").read_text() == (tmp_path / "ray.unreadable.csv").read_text()
    assert seen[-1] == (10, 10)
    assert len(seen) >= 4, "batches come one by one"
    assert result.unreadable == 3
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0", "Ray reports nothing to its makers"
    ((reason, left),) = said
    assert re.search("A Ray worker failed: ImageError: .* none on this machine", reason)
    assert not left, "of the first attempt"
    assert len(too_late.started) == 1


@pytest.mark.slow
def test_a_cluster_that_does_not_start_in_time_leaves_no_process(config, monkeypatch):
    too_late = TooLate(monkeypatch, times=1)
    said = "Cannot reach or start a Ray cluster: The current node timed out .* use the local engine"
    with pytest.raises(ProviderError, match=said):
        list(RayEngine(workers=1, starts=1).run(config, ["a.png"]))
    assert len(too_late.started) == 1
    assert not too_late.left()


def children():
    """Numbers and names of the processes that this one started."""
    listed = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    return dict(line.split(None, 1) for line in listed)


def test_a_cluster_that_is_not_there(config):
    with pytest.raises(ProviderError, match=r"Cannot reach .*check the address"):
        list(RayEngine(workers=1, address="127.0.0.1:1").run(config, ["a.png"]))
