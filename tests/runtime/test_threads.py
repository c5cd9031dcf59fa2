"""`--threads` bounds the whole command: model, detector, alignment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_sphereface.cpu import usable_cpus

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").is_file(), reason="needs /proc/PID/task/TID/schedstat")

BUSY_NS = 2_000_000
PROGRAM = """
import json, os, sys
from pathlib import Path
from edge_sphereface.cli.__main__ import main

def busy():
    times = {}
    for task in Path("/proc/self/task").iterdir():
        times[task.name] = int((task / "schedstat").read_text().split()[0])
    return times

code = main(sys.argv[1:])
sys.stderr.write("\\n" + json.dumps([code, busy()]))
"""


def busy_threads(*words):
    """Threads of a command that worked for more than two milliseconds."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)], capture_output=True, text=True, check=True, env=variables
    )
    code, times = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return sum(time > BUSY_NS for time in times.values())


@pytest.fixture(params=["yunet", "mtcnn"])
def detector(request, shared):
    if request.param == "mtcnn":
        return ["--detector", "mtcnn"]
    return ["--detector-model", shared("models/face_detection_yunet_2023mar.onnx")]


@pytest.mark.integration
def test_one_thread_is_one_thread(small_model, photo, detector):
    words = ["embed", "--model", small_model, *detector, photo, photo]
    assert busy_threads(*words, "--threads", 1) == 1
    if usable_cpus() > 1:
        assert busy_threads(*words, "--threads", 2) > 1, "the test can fail"
