"""The benchmark of the quantization: its table, the harmful models it makes, and emulated processors."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.emulation import compare, sysroot
from benchmarks.emulation.processors import PROCESSORS
from benchmarks.emulation.sysroot import EmulationError
from benchmarks.quantization import derived, gate, measure
from benchmarks.quantization.targets import Target, targets, text
from benchmarks.runner import Case
from edge_sphereface.cli.contract import run
from edge_sphereface.embed import Embedder
from edge_sphereface.image import save_image
from edge_sphereface.model_spec import ModelSpec
from export.faces import face_crops
from export.quantization.crops import vivid
from export.quantization.quantize import QuantizationOptions, quantize


@pytest.fixture(scope="module")
def folder(small_models, tmp_path_factory):
    """Crops to calibrate with."""
    faces = face_crops(Embedder(small_models["nchw"]).spec, 20)
    made = tmp_path_factory.mktemp("crops")
    for number, crop in enumerate([*faces, *vivid(faces)]):
        save_image(made / f"{number}.png", crop)
    return made


@pytest.fixture(scope="module")
def int8(small_models, folder, tmp_path_factory):
    """The small model quantized, by target."""
    made = tmp_path_factory.mktemp("int8")
    for target in ("portable", "x86-vnni"):
        options = QuantizationOptions(policy=derived.NO_BOUNDS, target=target)
        onnx.save(quantize(small_models["image"], folder, options).model, made / f"{target}.onnx")
    return made


def row(form, threads, median):
    return {"form": form, "threads": threads, "latency": {"median_ms": median}}


def example(**changes):
    rows = [
        row(form, 1, median)
        for form, median in {"plain": 10, "rewritten": 8, "int8": 4, "int8_pinned": 4, "openvino": 5, "nncf": 3}.items()
    ]
    side = {"accuracy": 0.955}
    return {
        "rows": rows,
        "file_ratio": 0.25,
        "rewritten_cosine": {"crops": 2000, "min": 0.999999},
        "proof": {
            "crops": 2000,
            "cosine": {"mean": 0.9985, "p1": 0.994, "min": 0.99},
            "pairs": {"float": side, "reduced": {"accuracy": 0.954}},
        },
        "gate": [{"what": "x", "refused": True}, {"what": "y", "refused": False}],
        "emulated": [],
        **changes,
    }


def test_the_table_tells_reached_from_missed_from_not_measured():
    verdicts = {line.figure: line.verdict for line in targets(example())}
    assert verdicts["latency, 1 thread: float rewritten over plain"] == "reached"
    assert verdicts["latency, 1 thread: INT8 over plain float"] == "reached"
    assert verdicts["latency, 1 thread: INT8, pinned threads, over OpenVINO on the same file"] == "reached"
    assert verdicts["latency, 1 thread: INT8, pinned threads, over OpenVINO on NNCF's INT8"] == "MISSED"
    assert verdicts["INT8: cosine to float, p1, 2000 crops not in the calibration"] == "MISSED"
    assert verdicts["INT8: 10-fold accuracy, change against float, points"] == "reached"
    assert verdicts["gate: x, refused"] == "reached"
    assert verdicts["gate: y, refused"] == "MISSED"
    assert verdicts["portable INT8 on other processors"] == "not measured"
    page = text(targets(example()))
    assert "1.3333" in page
    assert "python -m benchmarks emulate" in page


def test_a_peer_that_cannot_be_had_is_not_a_reached_target():
    rows = [
        row("plain", 1, 10),
        row("rewritten", 1, 8),
        row("int8", 1, 4),
        row("int8_pinned", 1, 4),
        row("openvino", 1, 5),
    ]
    lines = targets(example(rows=[*rows, {"form": "nncf", "threads": 1, "error": "no network"}]))
    line = next(line for line in lines if "NNCF" in line.figure)
    assert (line.verdict, line.why_not) == ("not measured", "no network")


def test_emulated_rows_count_only_for_the_portable_model():
    common = {"variant": "as it is", "crops": 40, "cosine_min": 0.9999, "identical": 0.85, "median_ms": None}
    rows = [
        {**common, "processor": "A72", "weight_bits": 7},
        {**common, "processor": "A72", "weight_bits": 8},
        {**common, "processor": "this machine", "weight_bits": 7, "median_ms": 1.2},
    ]
    found = [line for line in targets(example(emulated=rows)) if "emulated" in line.figure]
    assert [line.verdict for line in found] == ["reached", "MISSED"]


@pytest.mark.parametrize(
    ("measured", "sense", "verdict"),
    [
        (1.0, "<=", "reached"),
        (1.0, "<", "MISSED"),
        (1.0, ">=", "reached"),
        (0.9, ">=", "MISSED"),
        (None, "<", "not measured"),
    ],
)
def test_senses(measured, sense, verdict):
    assert Target(figure="x", measured=measured, bound=1, sense=sense).verdict == verdict


def test_harmful_models_are_what_they_should_be(int8, tmp_path, crops):
    good = Embedder(int8 / "portable.onnx", provider="cpu")
    expected = good.embed(crops)
    slow = Embedder(gate.with_ballast(good.path, tmp_path / "slow.onnx"), provider="cpu")
    assert np.allclose(slow.embed(crops), expected, atol=1e-6), "slow, and right"
    wrong = Embedder(gate.with_wrong_scale(good.path, tmp_path / "wrong.onnx"), provider="cpu")
    assert (wrong.embed(crops) * expected).sum(axis=1).min() < 0.999
    poisoned = gate.poisoned_photographs(tmp_path / "poison", crops)
    import cv2

    image = cv2.imread(str(next(poisoned.iterdir())))
    assert image.shape == crops[0].shape
    assert image.std() < 10


def test_the_gate_is_tried_through_the_command_line(small_models, int8, folder, tmp_path):
    """One attempt that is refused, and one that passes and so is reported as not refused."""
    words = ["verify", int8 / "portable.onnx", "--float", small_models["image"], "--photos", folder, "--policy"]
    refused, passed = (
        gate._attempt("x", [str(word) for word in (*words, policy)])
        for policy in ("latency=none,mean=1", "mean=0,p1=0,min=0,latency=none")
    )
    assert refused["refused"]
    assert refused["exit_code"] == 1
    assert "mean cosine" in refused["reason"]
    assert not passed["refused"]
    assert passed["exit_code"] == 0


def test_the_command(small_models, folder, tmp_path, capsys, monkeypatch):
    """Everything but OpenVINO and the gate's three long attempts, which have tests of their own."""
    monkeypatch.setattr(measure.derived, "by_nncf", lambda plain, *_: plain)
    real = measure.runner.measure

    def without_peers(cases, *words, **options):
        ours = [
            case if case.contender.startswith("edge") else Case(**{**fields(case), "refusal": "not here"})
            for case in cases
        ]
        return real(ours, *words, **options)

    monkeypatch.setattr(measure.runner, "measure", without_peers)
    monkeypatch.setattr(
        measure.gate, "attempts", lambda *_: [{"what": "x", "exit_code": 1, "reason": "y", "refused": True}]
    )
    output = tmp_path / "q.json"
    words = ["quantization", small_models["nchw"], "--calibration", folder, "--rounds", "5", "--threads", "1"]
    code = run(build_parser(), [str(word) for word in (*words, "--folder", tmp_path / "made", "-o", output)])
    page = capsys.readouterr().out
    assert code in (0, 1)  # a narrow network need not reach the figures
    assert "INT8 over plain float" in page
    result = json.loads(output.read_text())
    assert {row["form"] for row in result["rows"]} == {
        "plain",
        "rewritten",
        "int8",
        "int8_pinned",
        "openvino",
        "nncf",
        "habit",
    }
    assert result["rewritten_cosine"]["min"] > 0.99999
    assert result["rewritten_cosine"]["crops"] >= 16
    assert ModelSpec.from_json(json.dumps(result["spec"])).precision == "int8"
    assert len(result["targets"]) == len(targets(result))


def fields(case):
    return {name: getattr(case, name) for name in Case.__dataclass_fields__}


# --- emulation ---------------------------------------------------------------------------------------------------


def test_other_ways_to_avoid_saturation_are_the_same_weights(small_models, int8, crops, monkeypatch):
    """Here the emulator is this machine; rows for each processor and, of 8-bit models, for each variant."""
    seen = []

    def here(processor, model, folder, settings):
        seen.append((processor.qemu, settings))
        return compare._run_here(model, folder, settings)

    monkeypatch.setattr(compare, "_run_emulated", here)
    models = [int8 / "portable.onnx", int8 / "x86-vnni.onnx"]
    rows = compare.compare(models, small_models["image"], crops[:2], processors=["cortex-a72", "haswell"])
    assert len(rows) == 3 * (1 + 3)
    assert {row["variant"] for row in rows if row["weight_bits"] == 8} == {
        "as it is",
        "unsigned weights",
        "session.x64quantprecision=1",
    }
    assert all(row["identical"] == 1 for row in rows)
    assert all(row["cosine_min"] == pytest.approx(1) for row in rows)
    assert all((row["median_ms"] is None) == (row["processor"] != "this machine") for row in rows)
    by_variant = {row["variant"]: row["to_float_min"] for row in rows if row["weight_bits"] == 8}
    assert by_variant["unsigned weights"] == pytest.approx(by_variant["session.x64quantprecision=1"], abs=1e-6)
    assert ("cortex-a72", []) in seen
    assert "Cortex-A72" in compare.text(rows)


def test_a_process_that_dies_is_told(int8, tmp_path, crops):
    (tmp_path / "batch.npy").write_bytes(b"no array")
    with pytest.raises(EmulationError, match="ended with 1"):
        compare._run_here(int8 / "portable.onnx", tmp_path, [])


def test_emulation_needs_debian(tmp_path, monkeypatch):
    monkeypatch.setattr(sysroot.shutil, "which", lambda _: None)
    with pytest.raises(EmulationError, match="apt-get and dpkg"):
        sysroot.emulator("aarch64", tmp_path)
    with pytest.raises(EmulationError, match="Debian"):
        sysroot.arm64_system(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_fails_is_told(tmp_path, monkeypatch):
    answer = SimpleNamespace(returncode=100, stderr="E: no network", stdout="")
    monkeypatch.setattr(sysroot.subprocess, "run", lambda *_, **__: answer)
    with pytest.raises(EmulationError, match="no network"):
        sysroot.emulator("aarch64", tmp_path)


def test_what_was_broken_off_is_not_taken_for_whole(tmp_path, monkeypatch):
    """A root without its last package must not stay in the place of a whole one."""
    seen = []

    def unpack(words, cwd=None):
        seen.append(words[-1])
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(sysroot, "_run", unpack)
    packages = [tmp_path / name for name in ("a.deb", "b.deb")]
    with pytest.raises(KeyboardInterrupt):
        sysroot._unpack(packages, tmp_path / "root")
    assert not (tmp_path / "root").exists()
    sysroot._unpack(packages, tmp_path / "root")
    assert (tmp_path / "root").is_dir()


def test_processors_describe_themselves_as_they_are():
    """Onnxruntime reads /proc/cpuinfo: with `asimddp` on a core without it, it dies of an illegal instruction."""
    assert "asimddp" not in PROCESSORS["cortex-a72"].cpuinfo
    assert "asimddp" in PROCESSORS["cortex-a76"].cpuinfo
    assert PROCESSORS["haswell"].cpuinfo == ""
