"""The program that a kit takes along: it runs whatever runtime a device has, and compares with numpy alone."""

import ast
import ctypes
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edge_sphereface.inference.embedder import Embedder, preprocess
from edge_sphereface.kit.manifest import (
    PRECISIONS,
    KitCrop,
    KitFile,
    KitForm,
    KitManifest,
    KitReference,
    read_kit_manifest,
)
from edge_sphereface.kit.result import read_kit_result
from edge_sphereface.model.certificate import DEVICE_BOUNDS, device_bounds, golden_crops
from edge_sphereface.model.fingerprint import Fingerprint
from tests.kit import stand_ins

PROGRAM = Path(__file__).parents[2] / "export" / "kit" / "device" / "run.py"
PARTS = ("run.py", "kit.py", "runtimes.py")


@pytest.fixture(scope="module")
def program():
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("kit_run", PROGRAM)
    loaded = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROGRAM.parent)  # as for a program that is started
        spec.loader.exec_module(loaded)
    return loaded


def write_kit(folder, spec, forms, crops, planes, outputs):
    """A kit as its manifest describes it. ``forms`` are name, layout and content of an ONNX file."""
    files = {}

    def write(name, content):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        files[name] = KitFile(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        return name

    def array(name, values):
        stream = io.BytesIO()
        np.save(stream, values)
        return write(name, stream.getvalue())

    embeddings = outputs / np.linalg.norm(outputs, axis=1, keepdims=True)
    expected = array("expected/outputs.npy", outputs)
    manifest = KitManifest(
        made_by="1",
        spec=spec,
        fingerprint=Fingerprint.of(spec).digest,
        forms=tuple(
            KitForm(
                name=name, file=write(f"forms/{name}.onnx", content), precision="float32", layout=layout,
                batch=1 if name.endswith("b1") else None, input_name="input", output_name="embedding",
                outputs=expected, bounds=DEVICE_BOUNDS,
            )
            for name, layout, content in forms
        ),
        crops=tuple(
            KitCrop(
                source="seeded", person=None, uint8=write(f"crops/uint8/{number}.bin", crop.tobytes()),
                float32=write(f"crops/float32/{number}.bin", plane.tobytes()),
            )
            for number, (crop, plane) in enumerate(zip(crops, planes, strict=True))
        ),
        crops_uint8=array("crops/uint8.npy", crops),
        crops_float32=array("crops/float32.npy", planes),
        reference=KitReference(name="test", version="1", source="onnx"),
        outputs=expected,
        embeddings=array("expected/embeddings.npy", embeddings),
        bounds={precision: device_bounds(precision) for precision in PRECISIONS},
        mistakes=(),
        files=tuple(files.values()),
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.to_json())
    for part in PARTS:
        shutil.copy(PROGRAM.with_name(part), folder)
    return folder


@pytest.fixture(scope="module")
def network(small_models):
    return Embedder(small_models["nchw"], provider="cpu", threads=1)


@pytest.fixture
def kit(small_models, network, tmp_path):
    crops = golden_crops(network.spec)
    planes = preprocess(crops, network.spec)
    forms = [(name, layout, small_models[layout].read_bytes()) for name, layout in FORMS]
    return write_kit(tmp_path / "kit", network.spec, forms, crops, planes, network.forward(crops))


FORMS = (("float32-b1", "nchw"), ("float32-image", "image"))


@pytest.fixture
def compute(network):
    """The network, as a device computes it: for uint8 images, or normalized planes."""
    spec = network.spec

    def run(crop):
        if crop.dtype == np.uint8:
            return network.forward(crop)
        pixels = np.rint(crop / np.float32(spec.pixel_scale) + np.float32(spec.pixel_mean))
        return network.forward(pixels.astype(np.uint8).transpose(0, 2, 3, 1))

    return run


def made_model(kit, name, content=b"model"):
    (kit / "out").mkdir(exist_ok=True)
    (kit / "out" / name).write_bytes(content)


def read_result(kit, runtime):
    """The result, as the library reads it, which fits the kit and the outputs."""
    folder = kit / "out" / runtime
    result, _ = read_kit_result(folder / "result.json")
    assert result.manifest_sha256 == read_kit_manifest(kit)[1]
    assert result.outputs_sha256 == hashlib.sha256((folder / "outputs.npy").read_bytes()).hexdigest()
    expected = np.load(kit / "expected/outputs.npy")
    assert np.load(folder / "outputs.npy").shape == expected.shape
    assert set(folder.iterdir()) == {folder / "outputs.npy", folder / "result.json"}
    return result


def test_onnxruntime_for_real(program, kit, capsys):
    words = ["--kit", str(kit), "--runtime", "onnxruntime", "--warm-up", "1"]
    assert program.main([*words, "--rounds", "5"]) == 0
    out = capsys.readouterr().out
    assert "PASSED: cosine at least 1.0" in out
    assert "the time includes: whole call" in out
    assert f"edge-sphereface check-outputs {kit} {kit}/out/onnxruntime/result.json" in out
    result = read_result(kit, "onnxruntime")
    assert (result.runtime, result.device, result.precision) == ("onnxruntime", "CPUExecutionProvider", "float32")
    assert (result.rounds, result.batch, result.form) == (5, 1, "float32-b1")
    assert program.main([*words, "--rounds", "0", "--form", "float32-image"]) == 0
    untimed = read_result(kit, "onnxruntime")
    assert (untimed.rounds, untimed.latency_ms, untimed.form) == (0, None, "float32-image")


@pytest.mark.parametrize("kind", [{}, {"aipp": True}, {"half": True}])
def test_acl(program, kit, compute, network, monkeypatch, capsys, kind):
    """Without AIPP the device takes planes, of float32 or float16; with AIPP pixels."""
    ascend = stand_ins.Ascend(compute, size=network.spec.embedding_size, **kind)
    stand_ins.installed(monkeypatch, [ascend.module()])
    made_model(kit, "net.om")
    assert program.main(["--kit", str(kit), "--rounds", "3", "--warm-up", "2"]) == 0, capsys.readouterr().err
    ascend.require_released()
    assert ascend.calls.count("execute") == 4 + 3 + 2
    result = read_result(kit, "acl")
    assert (result.device, result.precision, result.includes) == ("Ascend310P3", "float16", "compute")


@pytest.mark.parametrize(
    ("make", "model", "runtime"),
    [
        (stand_ins.ais_bench, "net.om", "ais_bench"),
        (stand_ins.mindspore_lite, "net.mindir", "mindspore_lite"),
        (stand_ins.rknnlite, "net.rknn", "rknnlite"),
    ],
)
def test_runtimes_of_the_whole_call(program, kit, compute, monkeypatch, make, model, runtime):
    log = []
    stand_ins.installed(monkeypatch, make(compute, log=log))
    made_model(kit, model)
    assert program.main(["--kit", str(kit), "--rounds", "2", "--warm-up", "0"]) == 0
    assert log == ["load", *["infer"] * 6, *([] if make is stand_ins.mindspore_lite else ["free"])]
    result = read_result(kit, runtime)
    assert (result.precision, result.includes) == ("float16", "whole call")


def test_the_precision_is_read_from_the_name_that_the_kits_scripts_give(program, kit, compute, monkeypatch):
    stand_ins.installed(monkeypatch, stand_ins.rknnlite(compute, log=[]))
    made_model(kit, "int8.rknn")
    assert program.main(["--kit", str(kit), "--rounds", "0"]) == 0
    assert read_result(kit, "rknnlite").precision == "int8"
    stand_ins.installed(monkeypatch, stand_ins.rknnlite(compute, log=[]))
    assert program.main(["--kit", str(kit), "--rounds", "0", "--precision", "float32"]) == 0
    assert read_result(kit, "rknnlite").precision == "float32"


def test_hailo(program, kit, compute, network, monkeypatch):
    log = []
    stand_ins.installed(monkeypatch, stand_ins.hailo_platform(compute, log=log, size=network.spec.embedding_size))
    made_model(kit, "net.hef")
    assert program.main(["--kit", str(kit), "--rounds", "0"]) == 0
    assert log == ["load", *["infer"] * 4, "unconfigured", "free"]
    assert read_result(kit, "hailo_platform").precision == "int8"


@pytest.fixture(scope="module")
def cudart(tmp_path_factory):
    """A library that stands for CUDA's; whoever asks for libcudart.so afterwards gets it."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("needs gcc on Linux")
    path = tmp_path_factory.mktemp("cuda") / "libcudart.so"
    source = Path(__file__).with_name("cudart.c")
    words = ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcudart.so", "-o", str(path), str(source)]
    subprocess.run(words, check=True)
    return ctypes.CDLL(str(path))


def test_tensorrt(program, kit, compute, network, monkeypatch, cudart, capsys):
    log = []
    stand_ins.installed(monkeypatch, stand_ins.tensorrt(compute, log=log, size=network.spec.embedding_size))
    made_model(kit, "net.engine", b"engine")
    assert program.main(["--kit", str(kit), "--rounds", "2", "--warm-up", "1"]) == 0, capsys.readouterr().err
    assert log == ["load", *["infer"] * (4 + 2 + 1)]
    assert cudart.cudaHeld() == 0
    assert read_result(kit, "tensorrt").includes == "compute"
    made_model(kit, "net.engine", b"of another version")
    assert program.main(["--kit", str(kit)]) == 2
    assert "make it on this board" in capsys.readouterr().err


@pytest.mark.mindspore
@pytest.mark.skipif(find_spec("mindspore") is None, reason="needs MindSpore: make test installs it")
def test_mindspore_for_real(program, network, tmp_path):
    """A network of one layer, exported to MindIR by MindSpore itself and run by it from there."""
    import mindspore

    crops = golden_crops(network.spec)
    planes = preprocess(crops, network.spec)
    weights = np.random.default_rng(0).normal(0, 0.01, (network.spec.embedding_size, planes[0].size))
    layer = mindspore.nn.Dense(
        planes[0].size, len(weights), mindspore.Tensor(weights, mindspore.float32), has_bias=False
    )
    cell = mindspore.nn.SequentialCell(mindspore.nn.Flatten(), layer)
    outputs = planes.reshape(len(planes), -1) @ weights.T.astype(np.float32)
    kit = write_kit(tmp_path / "kit", network.spec, [("float32-b1", "nchw", b"")], crops, planes, outputs)
    (kit / "out").mkdir()
    mindspore.export(cell, mindspore.Tensor(planes[:1]), file_name=str(kit / "out" / "net"), file_format="MINDIR")
    assert program.main(["--kit", str(kit), "--runtime", "mindspore", "--rounds", "2", "--warm-up", "1"]) == 0
    assert (read_result(kit, "mindspore").device, read_result(kit, "mindspore").precision) == ("CPU", "float32")


def test_wrong_outputs_fail(program, kit, compute, monkeypatch, capsys):
    log = []
    swapped = lambda crop: compute(np.ascontiguousarray(crop[..., ::-1]))  # noqa: E731 -- red and blue
    stand_ins.installed(monkeypatch, stand_ins.rknnlite(swapped, log=log))
    made_model(kit, "net.rknn")
    assert program.main(["--kit", str(kit), "--rounds", "0"]) == 1
    assert "FAILED: cosine at least" in capsys.readouterr().out
    assert read_result(kit, "rknnlite").rounds == 0


def test_outputs_of_another_tool_are_compared(program, kit, tmp_path, capsys):
    expected = np.load(kit / "expected/outputs.npy")
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    broken = expected.copy()
    broken[1, 2] = np.nan
    for values, code, said in (
        (expected, 0, "PASSED"),
        (expected[:, :, None, None].astype(np.float16), 1, "FAILED: cosine at least"),
        (unit, 0, "length 1, so only directions"),
        (expected[::-1], 1, "FAILED: cosine at least"),
        (broken, 1, "not finite"),
        (expected[:, :5], 1, "expected outputs of shape"),
        (expected[0], 1, "expected outputs of shape"),
        (np.float32(1), 1, "expected outputs of shape"),
        (expected[:0], 1, "expected outputs of shape"),
        (np.arange(5), 2, "expected floating-point numbers"),
    ):
        np.save(tmp_path / "x.npy", values)
        assert program.main(["--kit", str(kit), "--outputs", str(tmp_path / "x.npy")]) == code, said
        shown = capsys.readouterr()
        assert said in shown.out + shown.err
    half = ["--precision", "float16"]
    np.save(tmp_path / "x.npy", expected.astype(np.float16))
    assert program.main(["--kit", str(kit), "--outputs", str(tmp_path / "x.npy"), *half]) == 0
    for content in (b"", b"x", (tmp_path / "x.npy").read_bytes()[:-1]):
        (tmp_path / "x.npy").write_bytes(content)
        assert program.main(["--kit", str(kit), "--outputs", str(tmp_path / "x.npy")]) == 2
        assert "is not a whole array" in capsys.readouterr().err
    os.mkfifo(tmp_path / "pipe.npy")
    assert program.main(["--kit", str(kit), "--outputs", str(tmp_path / "pipe.npy")]) == 2


def test_what_cannot_be_run_is_said(program, kit, compute, monkeypatch, capsys):
    words = ["--kit", str(kit)]
    assert program.main([*words, "--runtime", "rknnlite"]) == 2
    assert "rknnlite is not installed in this Python: pip install rknn-toolkit-lite2" in capsys.readouterr().err
    assert program.main([*words, "--runtime", "onnxruntime", "--target", "TensorrtExecutionProvider"]) == 2
    assert "TensorrtExecutionProvider is not in this onnxruntime" in capsys.readouterr().err
    assert program.main([*words, "--form", "int4"]) == 2
    assert "expected a form of float32-b1, float32-image, got int4" in capsys.readouterr().err
    stand_ins.installed(monkeypatch, stand_ins.rknnlite(compute, log=[], code=-1))
    assert program.main([*words, "--runtime", "rknnlite"]) == 2
    assert "expected one model .rknn in out/, got none" in capsys.readouterr().err
    made_model(kit, "net.rknn")
    assert program.main(words) == 2
    assert "init_runtime failed" in capsys.readouterr().err
    made_model(kit, "other.rknn")
    assert program.main(words) == 2
    assert "got net.rknn, other.rknn: name it with --model" in capsys.readouterr().err
    assert program.main([*words, "--runtime", "rknnlite", "--model", str(kit / "out" / "x.om")]) == 2
    assert "rknnlite takes .rknn, not x.om" in capsys.readouterr().err
    assert program.main(["--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 8
    assert listed[3].split()[:2] == ["rknnlite", "here"]


def test_the_cpu_does_not_stand_in_for_an_accelerator_without_a_model(program, kit, compute, monkeypatch, capsys):
    stand_ins.installed(monkeypatch, stand_ins.rknnlite(compute, log=[]))
    assert program.main(["--kit", str(kit)]) == 2
    said = capsys.readouterr()
    assert "targets/rknn/convert.py makes the model" in said.err
    assert "--runtime onnxruntime computes on the CPU" in said.err
    assert not said.out
    assert program.main(["--kit", str(kit), "--runtime", "onnxruntime", "--rounds", "0"]) == 0


def test_a_provider_that_leaves_nodes_to_the_cpu_is_refused(program, kit, capsys):
    provider = "AzureExecutionProvider"  # it is in onnxruntime's package for CPUs, and takes no node of the network
    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has no {provider}")
    words = ["--kit", str(kit), "--runtime", "onnxruntime", "--target", provider]
    assert program.main(words) == 2
    said = capsys.readouterr()
    assert "fallback to CPU EP has been explicitly disabled" in said.err
    assert "PASSED" not in said.out


def test_an_error_of_a_vendor_is_one_line(program, kit, monkeypatch, capsys):
    def fail(crop):
        raise ValueError("the driver is too old")

    log = []
    stand_ins.installed(monkeypatch, stand_ins.rknnlite(fail, log=log))
    made_model(kit, "net.rknn")
    assert program.main(["--kit", str(kit)]) == 2
    assert capsys.readouterr().err == "error: rknnlite failed: ValueError: the driver is too old\n"
    assert log == ["load", "infer", "free"]
    stand_ins.installed(monkeypatch, stand_ins.rknnlite(lambda _: np.zeros(8), log=[]))
    (kit / "file").touch()
    assert program.main(["--kit", str(kit), "-o", str(kit / "file" / "x")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_damaged_kit_is_not_used(program, kit, capsys):
    content = (kit / "crops/float32.npy").read_bytes()
    (kit / "crops/float32.npy").write_bytes(content[:-1] + b"x")
    assert program.main(["--kit", str(kit), "--runtime", "onnxruntime"]) == 2
    assert "crops/float32.npy is damaged" in capsys.readouterr().err
    manifest = json.loads((kit / "manifest.json").read_text())
    for broken in ({**manifest, "schema_version": 2}, [], {}):
        (kit / "manifest.json").write_text(json.dumps(broken))
        assert program.main(["--kit", str(kit)]) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_a_manifest_that_lacks_something_is_one_error(program, kit, capsys):
    """Code 1 says that outputs are wrong, so that nothing else may end with it."""
    manifest = json.loads((kit / "manifest.json").read_text())
    bounds = {**manifest["bounds"], "float32": {"min_cosine": "high", "max_abs_error": 1}}
    (form, *_) = manifest["forms"]
    for broken in (
        {key: value for key, value in manifest.items() if key != "spec"},
        {**manifest, "spec": []},
        {**manifest, "forms": []},
        {**manifest, "forms": [None]},
        {**manifest, "forms": [{**form, "precision": "int4"}]},
        {**manifest, "files": []},
        {**manifest, "files": [{"path": 1, "sha256": "x"}]},
        {**manifest, "bounds": bounds},
        {**manifest, "bounds": {**bounds, "float32": {"min_cosine": -2, "max_abs_error": float("inf")}}},
        {**manifest, "outputs": None},
    ):
        (kit / "manifest.json").write_text(json.dumps(broken))
        assert program.main(["--kit", str(kit), "--rounds", "0"]) == 2, broken
        assert capsys.readouterr().err.count("\n") == 1
    (kit / "manifest.json").write_text("[" * 100_000)
    assert program.main(["--kit", str(kit)]) == 2


def test_what_is_no_file_is_not_waited_for(program, kit, capsys):
    """A named pipe blocks whoever opens it, until somebody writes."""
    for name in ("crops/float32.npy", "manifest.json"):
        (kit / name).unlink()
        os.mkfifo(kit / name)
        assert program.main(["--kit", str(kit), "--rounds", "0"]) == 2
        assert name in capsys.readouterr().err


def test_files_outside_of_the_kit_are_not_read(program, kit, capsys):
    """Neither by .. nor through a link, also where the manifest has their right SHA-256."""
    manifest = json.loads((kit / "manifest.json").read_text())
    outside = kit.parent / "crops.npy"
    shutil.copy(kit / "crops/float32.npy", outside)
    (kit / "link.npy").symlink_to(outside)
    entry = next(file for file in manifest["files"] if file["path"] == "crops/float32.npy")
    for name in ("../crops.npy", str(outside), "link.npy"):
        changed = {**manifest, "crops_float32": name, "files": [*manifest["files"], {**entry, "path": name}]}
        (kit / "manifest.json").write_text(json.dumps(changed))
        assert program.main(["--kit", str(kit), "--rounds", "0"]) == 2
        assert "is not a file of the kit" in capsys.readouterr().err


def test_files_of_the_kit_are_not_replaced(program, kit, capsys):
    before = (kit / "expected/outputs.npy").read_bytes()
    for folder in ("expected", ".", "new", "README.txt/x"):
        assert program.main(["--kit", str(kit), "--rounds", "0", "-o", str(kit / folder)]) == 2, folder
        assert "is a part of the kit" in capsys.readouterr().err
    assert (kit / "expected/outputs.npy").read_bytes() == before
    (kit.parent / "file").touch()
    assert program.main(["--kit", str(kit), "--rounds", "0", "-o", str(kit.parent / "file")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_outputs_are_for_this_user_alone(program, kit, tmp_path, capsys):
    """A kit may hold faces; the command that is suggested can be pasted, whatever the folder's name."""
    place = tmp_path / "with space" / "o"
    assert program.main(["--kit", str(kit), "--rounds", "0", "-o", str(place)]) == 0
    assert f"'{place}/result.json'" in capsys.readouterr().out
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (place, place.parent)} == {0o700}


def test_a_file_that_another_run_is_writing_stays(program, kit):
    """Under one name for the file that is being written, two runs would mix their bytes."""
    (kit / "out" / "onnxruntime").mkdir(parents=True)
    others = [kit / "out" / "onnxruntime" / f".{name}.part" for name in ("outputs.npy", "result.json")]
    for path in others:
        path.write_bytes(b"half of")
    assert program.main(["--kit", str(kit), "--runtime", "onnxruntime", "--rounds", "0"]) == 0
    assert [path.read_bytes() for path in others] == [b"half of"] * 2


def test_a_folder_that_takes_nothing_is_found_before_the_run(program, kit, monkeypatch, capsys):
    log = []
    stand_ins.installed(monkeypatch, stand_ins.rknnlite(pytest.fail, log=log))
    made_model(kit, "net.rknn")
    for folder in ("/proc/nothing", "/proc"):
        assert program.main(["--kit", str(kit), "--runtime", "rknnlite", "-o", folder]) == 2
        assert "name another folder with -o" in capsys.readouterr().err
    assert log == []


def test_a_model_that_is_none_is_one_error(program, kit, capsys):
    made_model(kit, "bad.onnx")
    words = ["--kit", str(kit), "--runtime", "onnxruntime", "--model", str(kit / "out" / "bad.onnx")]
    assert program.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_interruption_has_a_code_of_its_own(program, kit, monkeypatch, capsys):
    def stop(crop):
        raise KeyboardInterrupt

    log = []
    stand_ins.installed(monkeypatch, stand_ins.rknnlite(stop, log=log))
    made_model(kit, "net.rknn")
    assert program.main(["--kit", str(kit), "--runtime", "rknnlite"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert log[-1] == "free"


def test_options_are_for_a_provider(program, kit, compute, monkeypatch, capsys):
    words = ["--kit", str(kit), "--rounds", "0", "--runtime"]
    assert program.main([*words, "onnxruntime", "--provider-option", "arena_extend_strategy=kSameAsRequested"]) == 0
    stand_ins.installed(monkeypatch, stand_ins.rknnlite(compute, log=[]))
    made_model(kit, "net.rknn")
    assert program.main([*words, "rknnlite", "--provider-option", "a=b"]) == 2
    assert "--provider-option is for onnxruntime, not for rknnlite" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        program.main(["--provider-option", "a"])
    assert "invalid option KEY=VALUE value: 'a'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--rounds", "-5"], ["--warm-up", "-3"], ["--device-id", "-1"]])
def test_numbers_from_0_on_are_taken(program, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main(words)
    assert stopped.value.code == 2
    assert "invalid number from 0 on" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(PROGRAM.parent.rglob("*.py")), ids=lambda path: path.name)
def test_boards_with_python_38_can_read_the_program(path):
    """Later syntax, and classes of the standard library and unions as annotations, end it there on import."""
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    hints = [node.annotation for node in ast.walk(tree) if isinstance(node, (ast.arg, ast.AnnAssign))]
    hints += [node.returns for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    parts = [part for hint in hints if hint is not None for part in ast.walk(hint)]
    assert not any(isinstance(part, ast.BinOp) for part in parts)
    generic = {part.value.id for part in parts if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name)}
    assert not generic & {"dict", "list", "set", "tuple", "type"}


def test_without_numpy_nothing_is_said_to_be_wrong():
    done = subprocess.run([sys.executable, "-I", "-S", str(PROGRAM)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: numpy is missing: pip install numpy\n")
