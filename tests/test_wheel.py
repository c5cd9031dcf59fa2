"""The built wheel: the runtime alone, and it runs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = {".py", ".typed", ".html", ".css", ".js", ".toml", ".service", ".svg", ".json"}
"""Suffixes of the files in the wheel."""
pytestmark = pytest.mark.checkout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(build, check=True)
    (path,) = folder.glob("*.whl")
    return path


def test_holds_the_runtime_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"edge_sphereface", wheel.name.split("-py3")[0] + ".dist-info"}
    assert {
        "edge_sphereface/py.typed",
        "edge_sphereface/web/page/page.js",
        "edge_sphereface/cli/service/watch.toml",
    } <= set(names)
    entries = zipfile.ZipFile(wheel).infolist()
    inside = [Path(entry.filename) for entry in entries if entry.filename.startswith("edge_sphereface/")]
    assert {path.suffix for path in inside} == CODE, "no model, no picture"
    assert max(entry.file_size for entry in entries) < 60_000
    assert sum(entry.file_size for entry in entries) < 2_150_000


def test_says_what_it_needs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = archive.read(name).decode()
    needs = [line.split(" ", 1)[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert [need for need in needs if "extra ==" not in need] == ["numpy>=1.26", "opencv-python-headless>=4.8.1"]
    for extra in ("cpu", "gpu", "openvino", "cann", "ncnn", "mtcnn"):
        assert f"Provides-Extra: {extra}" in metadata
    assert "License-Expression: Apache-2.0" in metadata


def test_runs_as_built(wheel, small_model):
    """From the wheel itself and not from the checkout."""
    script = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); import edge_sphereface; "
        f"assert {wheel.name!r} in edge_sphereface.__file__; "
        f"from edge_sphereface.cli.__main__ import main; sys.exit(main(['verify-model', {str(small_model)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "parity         PASSED" in done.stdout
