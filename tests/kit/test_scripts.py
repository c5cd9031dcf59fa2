"""The vendors' commands of a kit, run with stand-ins of the vendors' programs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TARGETS = Path(__file__).parents[2] / "export" / "kit" / "device" / "targets"


@pytest.fixture
def place(tmp_path):
    """A kit of one crop, as far as the scripts look."""
    shutil.copytree(TARGETS, tmp_path / "targets")
    for name in ("forms/float32-b1.onnx", "crops/float32/0000.bin", "crops/uint8/0000.bin", "out/tensor-old.om"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    return tmp_path


def program(place, name, *lines):
    """A stand-in of a vendor's program."""
    path = place / "bin" / name
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)


def run(place, script, *words):
    path = f"{place / 'bin'}:/usr/bin:/bin"
    return subprocess.run(
        [place / "targets" / script, *words],
        env={"PATH": path, "PYTHONPATH": str(place / "packages"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def ais_bench(place, code):
    """A package that writes its words and one output, or fails."""
    package = place / "packages" / "ais_bench"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import pathlib, sys\n"
        "print('ran', *sys.argv[1:])\n"
        f"if {code}: sys.exit({code})\n"
        "named = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "folder = pathlib.Path(named['--output'], named['--output_dirname'])\n"
        "folder.mkdir()\n"
        "(folder / '0000_0.bin').write_bytes(b'new')\n"
    )


def test_a_failure_of_ais_bench_is_the_scripts(place):
    old = place / "out/outputs-tensor-old/0000_0.bin"
    ais_bench(place, 0)
    done = run(place, "ascend/run.sh", "out/tensor-old.om")
    assert (done.returncode, old.read_bytes()) == (0, b"new"), done.stderr
    assert "check-outputs . out/outputs-tensor-old --precision float16" in done.stdout
    assert [path.stat().st_mode & 0o077 for path in (old, old.parent)] == [0, 0], "outputs are biometric data"
    ais_bench(place, 3)
    done = run(place, "ascend/run.sh", "out/tensor-old.om")
    assert done.returncode == 3
    assert "check-outputs" not in done.stdout
    assert not old.exists()
    assert (place / "out/ais_bench-tensor-old.log").read_text().startswith("ran --model out/tensor-old.om")


def test_each_model_has_outputs_of_its_own(place):
    ais_bench(place, 0)
    (place / "out/tensor-must_keep_origin_dtype.om").touch()
    (place / "out/aipp-force_fp16.om").touch()
    done = run(place, "ascend/run.sh", "out/tensor-must_keep_origin_dtype.om")
    assert "out/outputs-tensor-must_keep_origin_dtype --precision float32" in done.stdout
    done = run(place, "ascend/run.sh", "out/aipp-force_fp16.om", "uint8")
    assert "--input crops/uint8 " in done.stdout
    assert {path.name for path in (place / "out").glob("outputs-*")} == {
        "outputs-tensor-must_keep_origin_dtype",
        "outputs-aipp-force_fp16",
    }
    done = run(place, "ascend/run.sh", "out/none.om")
    assert (done.returncode, "out/none.om is missing" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("script", "word", "name", "left"),
    [
        ("tensorrt/run.sh", "float16", "trtexec", ["float16.engine"]),
        ("ascend/convert.sh", "Ascend310B4", "atc", ["tensor-force_fp16.om", "aipp-force_fp16.om"]),
        ("ascend/convert-lite.sh", "", "converter_lite", ["lite.mindir"]),
        ("hailo/convert.sh", "hailo8", "hailo", ["sphereface.hef"]),
    ],
)
def test_a_failed_conversion_leaves_no_model_of_an_earlier_one(place, script, word, name, left):
    for model in left:
        (place / "out" / model).touch()
    np.save(place / "crops/uint8.npy", np.zeros((3, 2, 2, 3), np.uint8))
    program(place, name, "exit 5")
    done = run(place, script, word)
    assert done.returncode != 0
    assert "check-outputs" not in done.stdout
    assert [model for model in left if (place / "out" / model).exists()] == []


def test_mindspore_lite_falls_back_where_the_chip_has_no_float32(place):
    program(
        place,
        "converter_lite",
        "grep precision_mode out/lite.ini >> out/asked",
        "grep -q preferred_fp32 out/lite.ini && touch out/lite.mindir",
    )
    done = run(place, "ascend/convert-lite.sh")
    assert (done.returncode, "converted with preferred_fp32" in done.stdout) == (0, True)
    assert (place / "out/asked").read_text() == "precision_mode=enforce_origin\nprecision_mode=preferred_fp32\n"


@pytest.mark.parametrize(("words", "code"), [(["rv1106"], 1), (["RV1103B"], 1), (["rv1106", "--int8"], 0)])
def test_chips_of_int8_alone_get_no_float16_model(place, words, code):
    package = place / "packages" / "rknn"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "api.py").write_text(
        "class RKNN:\n"
        "    def config(self, **_): pass\n"
        "    def load_onnx(self, model): return 0\n"
        "    def build(self, do_quantization, dataset): return 0 if do_quantization else 1\n"
        "    def export_rknn(self, path): open(path, 'w').close(); return 0\n"
        "    def init_runtime(self): return 0\n"
        "    def inference(self, inputs, data_format):\n"
        "        import numpy\n"
        "        return [numpy.zeros((1, 2))]\n"
        "    def release(self): pass\n"
    )
    np.save(place / "crops/uint8.npy", np.zeros((1, 2, 2, 3), np.uint8))
    (place / "manifest.json").write_text(
        '{"spec": {"pixel_scale": 0.5, "pixel_mean": 1}, "crops_uint8": "crops/uint8.npy",'
        ' "forms": [{"batch": 1, "file": "forms/float32-b1.onnx"}]}'
    )
    before = set(place.iterdir())
    done = subprocess.run(
        [sys.executable, place / "targets/rknn/convert.py", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place / "packages")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert ("computes in int8 only: add --int8" in done.stderr) == (code == 1)
    assert (place / "out/int8.rknn").exists() == (code == 0)
    assert set(place.iterdir()) == before
