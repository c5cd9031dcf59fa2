"""Nothing leaves the machine: onnxruntime's telemetry is off wherever this project loads it.

Each command runs in a network namespace without a route and with a fresh home folder. The control, a bare
``import onnxruntime``, shows in the same place what the telemetry writes and looks up.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from edge_sphereface.inference import telemetry

SCRIPT = Path(__file__).with_name("offline_namespace.py")
UNSHARE = ["unshare", "--map-root-user", "--net", "--mount"]
HOST = "mobile.events.data.microsoft.com"
CONTROL = "import onnxruntime"
OURS = "from edge_sphereface import open_detector; open_detector('mtcnn')"
UNTIL_EOF = "import sys; sys.stdin.read()"


@pytest.fixture(scope="module")
def namespaces():
    """Skips where the kernel or the user gives no namespace, or where nothing would be sent."""
    if shutil.which(UNSHARE[0]) is None:
        pytest.skip("needs unshare (util-linux)")
    tried = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs network and mount namespaces: {tried.stderr.decode().strip()}")
    if tuple(map(int, version("onnxruntime").split(".")[:2])) < (1, 29):
        pytest.skip("this onnxruntime has no telemetry on Linux")


def start(home, *command):
    home.mkdir()
    words = [*UNSHARE, sys.executable, str(SCRIPT), str(home), *command]
    # The checkout's folder may be the working directory or not: as for this process
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)


def python(home, *lines):
    return start(home, sys.executable, "-c", "\n".join(lines))


def ended(process):
    """Look-ups, files and exit code of a command whose standard input has ended."""
    output, _ = process.communicate(timeout=120)
    told = [json.loads(line) for line in output.splitlines()]
    return [line["lookup"] for line in told if "lookup" in line], told[-1]["files"], told[-1]["exit_code"]


@pytest.fixture(scope="module")
def running(namespaces, tmp_path_factory):
    """The control and ours, which run beside the tests until the last of them waits for the control's look-up."""
    folder = tmp_path_factory.mktemp("running")
    return python(folder / "control", CONTROL, UNTIL_EOF), python(folder / "ours", OURS, UNTIL_EOF)


@pytest.mark.usefixtures("running")
def test_a_bare_import_writes_an_identifier(namespaces, tmp_path):
    """The control of the next test: it can fail."""
    _, files, code = ended(python(tmp_path / "home", CONTROL))
    assert code == 0
    assert any("onnxruntime" in name and "deviceid" in name for name in files), files


@pytest.mark.parametrize(
    "words",
    [
        ["-c", OURS],
        ["-c", "import edge_sphereface; import onnxruntime"],
        ["-m", "edge_sphereface", "doctor"],
        ["-m", "export", "verify", "{model}"],
        ["-c", "from export.quantization.float16 import to_float16; import onnx; to_float16(onnx.load('{model}'))"],
        ["-c", "import benchmarks.contenders.onnxruntime_plain as p; p.import_onnxruntime()"],
        ["benchmarks/emulation/worker.py", "{model}", "{batch}", "{home}-output.npy", "1"],
    ],
    ids=["detector", "application", "doctor", "export", "float16", "contender", "emulation"],
)
def test_this_project_writes_nothing(namespaces, tmp_path, small_models, words):
    import numpy as np

    model, home, batch = small_models["nchw"], tmp_path / "home", tmp_path / "batch.npy"
    np.save(batch, np.zeros((1, 3, 112, 96), np.float32))
    words = [word.format(model=model, batch=batch, home=home) for word in words]
    lookups, files, code = ended(start(home, sys.executable, *words))
    assert code in (0, 1, 2)
    assert lookups == []
    assert files == []


def test_the_variable_cannot_be_taken_back(monkeypatch):
    monkeypatch.setenv(telemetry.VARIABLE, "0")
    telemetry.import_onnxruntime()
    assert os.environ[telemetry.VARIABLE] == "1"


@pytest.mark.parametrize(
    ("before", "variable", "expected"),
    [("", "", False), ("import onnxruntime", "", True), ("import onnxruntime", "1", False), ("", "0", False)],
)
def test_an_application_that_was_first(before, variable, expected):
    """What cannot be undone is known, and said by `doctor`."""
    code = (
        f"{before}\nfrom edge_sphereface.inference.telemetry import LOADED_BEFORE\nassert LOADED_BEFORE is {expected}"
    )
    # A stand-in for the library: nothing is sent, and no time is lost
    stand_in = "import sys, types; sys.modules['onnxruntime'] = types.ModuleType('onnxruntime')" if before else ""
    variables = {**os.environ, telemetry.VARIABLE: variable}
    subprocess.run([sys.executable, "-c", f"{stand_in}\n{code}"], check=True, env=variables)


@pytest.mark.slow
def test_nothing_is_looked_up(running):
    """As long as the control takes to look up the collector, and a second more."""
    control, ours = running
    assert json.loads(control.stdout.readline()) == {"lookup": HOST}
    time.sleep(1)
    lookups, files, code = ended(ours)
    assert (lookups, files, code) == ([], [], 0)
    assert ended(control)[1] != []
