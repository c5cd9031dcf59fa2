"""``export kit`` and ``check-outputs`` on the command line, and with other runtimes than onnxruntime."""

import hashlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from benchmarks.contenders.contender import Peer, Setup, find_peer
from benchmarks.peer_environments import FOLDER, PeerUnavailableError, environment_of
from benchmarks.peer_process import PeerProcess
from benchmarks.worker import Ready, Request
from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.errors import FingerprintError, KitError, ModelFormatError, OutputError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.kit.comparison import CheckOptions, check_outputs
from edge_sphereface.kit.golden import open_kit
from edge_sphereface.kit.outputs import read_outputs
from edge_sphereface.model.spec import METADATA_KEY
from export.commands import build_parser as build_export
from export.kit.commands import ended_in_order
from export.kit.crops import seeded_crops
from export.kit.make import KitOptions, make_kit
from export.pretrained import PRETRAINED
from export.quantization.float16 import to_float16
from tests.kit.records import result


def test_the_kit_holds_what_it_says(kit):
    listed = {file.path: file for file in kit.manifest.files}
    found = {path.relative_to(kit.folder).as_posix() for path in kit.folder.rglob("*") if path.is_file()}
    assert found == {*listed, "manifest.json"}
    for path, file in listed.items():
        content = (kit.folder / path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)


def test_crops_are_the_same_in_every_layout(kit, crops):
    planes = np.load(kit.folder / "crops/float32.npy")
    np.testing.assert_array_equal(planes, (crops.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 128)
    for number, crop in enumerate(kit.manifest.crops):
        assert (kit.folder / crop.uint8).read_bytes() == crops[number].tobytes()
        assert (kit.folder / crop.float32).read_bytes() == planes[number].astype("<f4").tobytes()


def test_every_form_gives_the_expected_outputs(kit, crops, outputs):
    layouts = {form.name: (form.layout, form.batch) for form in kit.manifest.forms}
    assert layouts == {"float32-b1": ("nchw", 1), "float32-image": ("image", None)}
    for form in kit.manifest.forms:
        embedder = Embedder(kit.folder / form.file, provider="cpu", threads=1, batch_size=form.batch or 16)
        check = check_outputs(kit, embedder.forward(crops), CheckOptions(form=form.name))
        assert check.passed, check
    embeddings = np.load(kit.folder / "expected/embeddings.npy")
    np.testing.assert_allclose(embeddings, outputs / np.linalg.norm(outputs, axis=1, keepdims=True), rtol=1e-6)
    assert (kit.manifest.reference.name, kit.manifest.reference.source) == ("numpy", "checkpoint")


def test_names_of_people_stay_at_home(kit):
    assert {crop.person for crop in kit.manifest.crops} == {None, "person 1", "person 2", "person 3"}
    assert "Name" not in (kit.folder / "manifest.json").read_text()


def test_a_kit_is_the_same_each_time(small_models, small_checkpoint, tmp_path):
    made = []
    for name in ("a", "b"):
        spec = Embedder(small_models["nchw"]).spec
        options = KitOptions(checkpoint=small_checkpoint, float_forms=("float32-b1",))
        (tmp_path / name).mkdir()
        made.append(make_kit([small_models["nchw"]], tmp_path / name / "kit", seeded_crops(spec), options, tar=True))
    assert made[0].manifest_sha256 == made[1].manifest_sha256
    assert made[0].tar.read_bytes() == made[1].tar.read_bytes()
    with tarfile.open(made[0].tar) as archive:
        assert archive.getnames()[:2] == ["kit", "kit/README.txt"]
        assert all(entry.mtime == 0 and entry.uname == "" for entry in archive.getmembers())


def test_photographs_make_a_private_kit(small_models, tmp_path):
    spec = Embedder(small_models["nchw"]).spec
    options = KitOptions(float_forms=("float32-b1",), is_private=True)
    made = make_kit([small_models["nchw"]], tmp_path / "kit", seeded_crops(spec), options, tar=True)
    assert {path.stat().st_mode & 0o077 for path in [made.folder, *made.folder.rglob("*"), made.tar]} == {0}
    with tarfile.open(made.tar) as archive:
        assert {(entry.isdir(), entry.mode & 0o077) for entry in archive.getmembers()} == {(True, 0), (False, 0)}
    assert made.manifest.reference.name == "onnxruntime"


def test_models_that_are_no_forms_of_the_first(small_models, shallow_models, tmp_path):
    plain = small_models["nchw"]
    crops = seeded_crops(Embedder(plain).spec)
    options = KitOptions(float_forms=("float32-b1",))
    with pytest.raises(ModelFormatError, match="reduced precision, but .* has the precision float32"):
        make_kit([plain, small_models["image"]], tmp_path / "kit", crops, options)
    with pytest.raises(ModelFormatError, match="kits hold ONNX models only"):
        make_kit([plain, tmp_path / "half.ncnn"], tmp_path / "kit", crops, options)
    half = tmp_path / "half.onnx"
    model = to_float16(onnx.load(shallow_models["nchw"]))
    spec = replace(Embedder(shallow_models["nchw"]).spec, precision="float16")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, half)
    with pytest.raises(FingerprintError, match="another kind"):
        make_kit([plain, half], tmp_path / "kit", crops, options)
    with pytest.raises(ModelFormatError, match="second form float16"):
        make_kit([shallow_models["nchw"], half, half], tmp_path / "kit", crops, options)
    made = make_kit([shallow_models["nchw"], half], tmp_path / "kit", crops, options)
    assert [form.name for form in made.manifest.forms] == ["float32-b1", "float16"]
    kit = open_kit(made.folder)
    rows = Embedder(half, provider="cpu", threads=1).forward(np.load(made.folder / "crops/uint8.npy"))
    assert check_outputs(kit, rows, CheckOptions(form="float16")).passed
    assert check_outputs(kit, rows, CheckOptions(precision="float16")).passed
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_existing_folder_is_left_alone(small_models, tmp_path):
    spec = Embedder(small_models["nchw"]).spec
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit/mine.txt").write_text("x")
    with pytest.raises(OutputError, match="exists; a kit goes into a new folder"):
        make_kit([small_models["nchw"]], tmp_path / "kit", seeded_crops(spec), KitOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]


@pytest.mark.parametrize("kind", ["archive", "link", "dangling", "nameless", "parent"])
def test_what_is_in_the_way_of_a_kit_is_said_before_anything_is_computed(small_models, tmp_path, kind):
    crops = seeded_crops(Embedder(small_models["nchw"]).spec)
    place = {"nameless": Path(), "parent": tmp_path / ".."}.get(kind, tmp_path / "kit")
    if kind == "archive":
        (tmp_path / "kit.tar").write_text("mine")
    if kind in ("link", "dangling"):
        (tmp_path / "other").mkdir()
        place.symlink_to(tmp_path / ("other" if kind == "link" else "missing"))
    notes = []
    with pytest.raises(OutputError):
        make_kit([small_models["nchw"]], place, crops, KitOptions(), tar=True, note=notes.append)
    assert notes == []
    assert kind != "archive" or (tmp_path / "kit.tar").read_text() == "mine"


def test_sigterm_leaves_nothing_behind(small_models, tmp_path):
    """What is half made may hold the faces of people."""
    crops = seeded_crops(Embedder(small_models["nchw"]).spec)
    before = signal.getsignal(signal.SIGTERM)  # libraries of other tests have their own

    def end(_):
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), ended_in_order():
        make_kit([small_models["nchw"]], tmp_path / "kit", crops, KitOptions(), note=end)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_commands(printed, cli, trained_model, crops, tmp_path):
    place = tmp_path / "kit"
    made = printed(build_export, "export kit", "kit", trained_model, "-o", place, "--tar", "--form", "float32-b1")
    assert made["manifest_sha256"] == hashlib.sha256((place / "manifest.json").read_bytes()).hexdigest()
    assert made["crops"] == 4
    shutil.copy(place / "expected/outputs.npy", tmp_path / "o.npy")
    check = printed(build_parser, "check-outputs", "check-outputs", place, tmp_path / "o.npy")
    assert (check["passed"], check["mistake"]) == (True, None)
    code, out, _ = cli("check-outputs", place, place / "expected/mistakes/00-red-blue-swapped.npy")
    assert code == 1
    assert re.search(r"outputs +FAILED: 4 crops, form float32-b1, bounds of float32", out)
    assert re.search(r"mistake +red-blue-swapped: red and blue are swapped", out)
    code, out, err = cli("check-outputs", place, tmp_path / "o.npy", "--pairs")
    assert (code, out) == (2, "")
    assert "not labeled with people" in err
    for words in ((place, tmp_path / "missing.npy"), (tmp_path / "o.npy", place), (f"{place}.tar", tmp_path / "o.npy")):
        assert cli("check-outputs", *words)[0] == 2, "1 says that the outputs are wrong"
    assert "unpack the kit's archive, and name its folder before the outputs" in cli("check-outputs", *words)[2]


def test_outputs_that_pass_only_in_half_precision(kit, outputs, cli, tmp_path):
    noise = np.random.RandomState(0).standard_normal(outputs.shape).astype(np.float32)
    np.save(tmp_path / "o.npy", outputs * (1 + np.float32(1e-3) * noise))
    code, out, _ = cli("check-outputs", kit.folder, tmp_path / "o.npy")
    assert code == 1
    assert "the bounds of float16 are kept: does the device compute in float16?" in out
    assert cli("check-outputs", kit.folder, tmp_path / "o.npy", "--precision", "float16")[0] == 0


def write_result(kit, place, values, **changes):
    np.save(place / "outputs.npy", values)
    digest = hashlib.sha256((place / "outputs.npy").read_bytes()).hexdigest()
    record = result(**{"manifest_sha256": kit.manifest_sha256, "outputs_sha256": digest, **changes})
    (place / "result.json").write_text(record.to_json())
    return place / "result.json"


def test_a_result_of_the_kit(kit, outputs, printed, cli, tmp_path):
    path = write_result(kit, tmp_path, outputs.astype(np.float16), precision="float16")
    check = printed(build_parser, "check-outputs", "check-outputs", kit.folder, path, "--pairs")
    assert check["passed"]
    assert check["precision"] == "float16"
    assert check["result_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert check["pairs"]["measured"]["genuine_pairs"] == 3
    assert cli("check-outputs", kit.folder, path, "--form", "float32-image")[0] == 2
    np.save(tmp_path / "outputs.npy", outputs)
    assert "is not the file that" in cli("check-outputs", kit.folder, path)[2]
    path = write_result(kit, tmp_path, outputs, manifest_sha256="1" * 64)
    assert "result of another kit" in cli("check-outputs", kit.folder, path)[2]
    path.write_text('[{"name": "embedding", "dimensions": "1x512", "values": [' + "1.5, " * 20000 + "1.5]}]")
    code, _, said = cli("check-outputs", kit.folder, path)
    assert (code, "got a list" in said, ".npy, .bin, .txt, .csv or .jsonl" in said) == (2, True, True)


def test_a_damaged_kit(kit, outputs, tmp_path):
    place = tmp_path / "kit"
    shutil.copytree(kit.folder, place)
    np.save(place / "expected/outputs.npy", outputs + 1)
    with pytest.raises(KitError, match="is not the file that the kit was made with"):
        check_outputs(open_kit(place), outputs)
    (place / "expected/outputs.npy").unlink()
    with pytest.raises(KitError, match="There is no file of the kit"):
        check_outputs(open_kit(place), outputs)
    with (place / "expected/outputs.npy").open("wb") as stream:
        stream.truncate(1 << 40)  # a sparse file, which a forged manifest may allow
    lists = tuple(
        replace(one, bytes=1 << 40) if one.path == "expected/outputs.npy" else one for one in kit.manifest.files
    )
    with pytest.raises(KitError, match="has at most"):
        replace(kit, folder=place, manifest=replace(kit.manifest, files=lists)).outputs()
    zeros = tmp_path / "zeros.npy"
    np.save(zeros, np.zeros_like(outputs))
    shutil.copy(zeros, place / "expected/outputs.npy")
    entry = {"bytes": zeros.stat().st_size, "sha256": hashlib.sha256(zeros.read_bytes()).hexdigest()}
    lists = tuple(replace(one, **entry) if one.path == "expected/outputs.npy" else one for one in lists)
    with pytest.raises(KitError, match="got zeros for at least one crop"):
        replace(kit, folder=place, manifest=replace(kit.manifest, files=lists)).outputs()
    (place / "manifest.json").unlink()
    with pytest.raises(KitError, match="There is no kit manifest"):
        open_kit(place)


def test_the_program_runs_the_kit_and_is_believed(kit, cli, tmp_path):
    words = [sys.executable, kit.folder / "run.py", "--runtime", "onnxruntime", "--rounds", "2", "-o", tmp_path / "out"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    code, out, _ = cli("check-outputs", kit.folder, tmp_path / "out" / "result.json")
    assert code == 0, out
    (tmp_path / "out" / "outputs.npy").write_bytes(b"x")
    assert cli("check-outputs", kit.folder, tmp_path / "out" / "result.json")[0] == 2


def test_a_program_says_what_is_missing(kit, tmp_path):
    program = [sys.executable, "-S", "-I", kit.folder / "targets/rknn/convert.py", "rk3588"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is missing: pip install" in done.stderr


@pytest.mark.parametrize("name", ["ascend/convert.sh", "ascend/convert-lite.sh", "tensorrt/run.sh", "hailo/convert.sh"])
def test_scripts_say_what_is_missing(kit, name):
    script = [kit.folder / "targets" / name, "float32"]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 1
    assert re.fullmatch(r"\S+ is missing: [^\n]+\n", done.stderr)


def test_scripts_are_filled_in(kit):
    for path in (kit.folder / "targets").rglob("*"):
        if path.is_file():
            assert not re.search(r"@[A-Z0-9_]+@", path.read_text()), path
    aipp = (kit.folder / "targets/ascend/aipp.cfg").read_text()
    assert "src_image_size_w: 96\n" in aipp
    assert "min_chn_0: 127.5\n" in aipp
    assert "var_reci_chn_2: 0.0078125\n" in aipp
    assert '--input_shape="input:1,3,112,96"' in (kit.folder / "targets/ascend/convert.sh").read_text()


def test_scripts_are_sound(kit):
    program = shutil.which("shellcheck") or shutil.which("shellcheck", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("shellcheck is not installed; the dependency group workflows has it")
    scripts = sorted((kit.folder / "targets").rglob("*.sh"))
    done = subprocess.run([program, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_opencv_is_proven(kit):
    """A runtime that shares nothing with onnxruntime; it takes the form of a fixed batch."""
    network = cv2.dnn.readNetFromONNX(str(kit.folder / "forms/float32-b1.onnx"))
    rows = []
    for crop in np.load(kit.folder / "crops/float32.npy"):
        network.setInput(crop[None])
        rows.append(network.forward()[0].copy())
    assert check_outputs(kit, np.stack(rows)).passed


def test_opencv_fed_as_its_samples_do_is_named(kit, crops):
    """``blobFromImage`` with ``swapRB``, which samples set, and a scale of 1 / 255."""
    network = cv2.dnn.readNetFromONNX(str(kit.folder / "forms/float32-b1.onnx"))
    found = {}
    for swap, scale, mean in ((True, 1 / 128, 127.5), (False, 1 / 255, 0), (False, 1 / 128, 0)):
        rows = []
        for crop in crops:
            network.setInput(cv2.dnn.blobFromImage(crop, scale, (96, 112), (mean,) * 3, swapRB=swap))
            rows.append(network.forward()[0].copy())
        found[swap, round(1 / scale), mean] = check_outputs(kit, np.stack(rows)).mistake.name
    assert list(found.values()) == ["red-blue-swapped", "zero-to-one", "scale-only"]


@pytest.mark.mindspore
def test_mindspore_is_proven(kit):
    from benchmarks.contenders.mindspore_cpu import Contender

    contender = Contender(PRETRAINED, Setup(threads=1, batch=1, height=112, width=96, folder=kit.folder))
    rows = [contender.run(crop[None])[0] for crop in np.load(kit.folder / "crops/float32.npy")]
    check = check_outputs(kit, np.stack(rows))
    assert check.passed, check


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("name", ["ncnn", "openvino"])
def test_other_runtimes_are_proven(kit, tmp_path, name):
    """Each in its own environment, which is installed if need be."""
    request = Request(
        contender=name, model=str(kit.folder / "forms/float32-b1.onnx"), threads=1, batch=1, provider="cpu",
        folder=str(tmp_path), crops=str(kit.folder / "crops/uint8.npy"), floats=str(kit.folder / "crops/float32.npy"),
        output=str(tmp_path / "outputs.npy"),
    )  # fmt: skip
    try:
        process = PeerProcess(find_peer(name), "benchmarks.worker", request, threads=1)
    except PeerUnavailableError as error:
        pytest.skip(str(error))
    answer = process.read(Ready)
    process.close()
    assert isinstance(answer, Ready), answer
    check = check_outputs(kit, read_outputs([tmp_path / "outputs.npy"], count=kit.shape[0], size=kit.shape[1]))
    assert check.passed, check


OPENVINO = Peer(
    name="onnxruntime_openvino", title="onnxruntime-openvino", requirements=("onnxruntime-openvino",), settings=""
)


@pytest.mark.integration
@pytest.mark.skipif(not (FOLDER / OPENVINO.name / "bin/python").exists(), reason=f"needs build/peers/{OPENVINO.name}")
@pytest.mark.parametrize("form", ["float32-b1", "float32-image"])
def test_openvinos_provider_is_proven(kit, cli, tmp_path, form):
    """By the kit's program, which refuses to leave nodes to the CPU's provider."""
    words = ["--target", "OpenVINOExecutionProvider", "--provider-option", "device_type=CPU", "--form", form]
    done = subprocess.run(
        [FOLDER / OPENVINO.name / "bin/python", kit.folder / "run.py", *words, "--rounds", "1", "-o", tmp_path / "o"],
        env=environment_of(OPENVINO), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "on OpenVINOExecutionProvider, compared as float32" in done.stdout
    code, out, _ = cli("check-outputs", kit.folder, tmp_path / "o" / "result.json")
    assert code == 0, out
