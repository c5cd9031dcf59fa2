"""The latency benchmark: contenders in processes of their own, interleaved, each with its correctness."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import latency, peer_process, runner
from benchmarks.__main__ import build_parser
from benchmarks.case_row import CaseRow
from benchmarks.cases import TAKES_FLOATS, Rival, make_rivals, select_cases
from benchmarks.contenders import find_peer, peer_names
from benchmarks.peer_environments import PeerUnavailableError, python_of
from benchmarks.runner import Case
from benchmarks.static_int8 import PRECISION
from benchmarks.worker import Order, Problem, Ready, Samples
from edge_sphereface.cli.runner import run
from edge_sphereface.evaluation.process_memory import peak_rss_mib
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import json_object
from export.faces import astronaut


@pytest.fixture
def changed(small_models, tmp_path):
    """The small model with one weight that is wrong."""
    import onnx
    from onnx import numpy_helper

    path = tmp_path / "changed.onnx"
    model = onnx.load(small_models["nchw"])
    weight = next(w for w in model.graph.initializer if w.name == "conv2_1.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[::-1].copy(), weight.name))
    onnx.save(model, path)
    return path


@pytest.mark.integration
def test_models_and_peers(small_models):
    seen = []
    rows = latency.measure(
        [small_models["nchw"], small_models["image"]],
        threads=[1],
        batches=[2],
        rounds=7,
        peers=["onnxruntime_plain", "opencv_dnn"],
        progress=lambda *counts: seen.append(counts),
    )
    assert [row.label for row in rows] == ["nchw", "image", "onnxruntime: nchw", "OpenCV DNN: nchw"]
    for row in rows:
        measured = row.measured
        assert len(measured.samples_ms) == measured.latency.samples == 7
        assert measured.correct is True
        assert measured.min_cosine == pytest.approx(1, abs=1e-5)
        assert measured.load_ms > 0
        assert measured.first_ms > 0
        assert 20 < measured.peak_rss_mib < 2000
        assert row.settings
        assert measured.version
    assert [json_object(CaseRow.from_values(json_object(row))) for row in rows] == [json_object(row) for row in rows]
    assert seen[-1] == ("1 thread, batch 2", 7, 7)
    assert "OpenCV DNN: nchw" in latency.text(rows)


@pytest.mark.slow
def test_a_wrong_answer_is_never_a_fast_answer(small_models, changed):
    rows = latency.measure([small_models["nchw"], changed], threads=[1], batches=[1], rounds=3)
    assert [row.measured.correct for row in rows] == [True, False]
    line = next(line for line in latency.text(rows).splitlines() if line.startswith("changed"))
    assert "WRONG" in line


@pytest.mark.slow
def test_a_contender_that_fails_is_a_row_with_the_reason(small_models, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"rubbish")
    crops = np.zeros((1, 112, 96, 3), np.uint8)
    floats = np.zeros((1, 3, 112, 96), np.float32)
    common = {"threads": 1, "batch": 1, "precision": "float32"}
    cases = [
        Case(contender="edge", model=small_models["nchw"], label="good", **common),
        Case(contender="opencv_dnn", model=broken, label="bad", **common),
    ]
    good, bad = runner.measure(cases, crops, floats, rounds=2)
    assert good.measured
    assert bad.measured is None
    assert bad.failure.error
    assert [CaseRow.from_values(json_object(row)).failure for row in (good, bad)] == [None, bad.failure]
    assert "not measured" in latency.text([good, bad])


@pytest.mark.slow
def test_a_peer_is_not_fed_what_it_does_not_take(small_models):
    rows = latency.measure([small_models["image"]], threads=[1], batches=[1], rounds=2, peers=["opencv_dnn", "ncnn"])
    assert rows[0].measured
    assert [row.failure.error for row in rows[1:]] == [TAKES_FLOATS] * 2


def test_every_form_of_ours_meets_every_peer(small_models):
    """Peers run the plain float model and, if they can, quantized ones; a model of another tool is not run as ours."""
    spec = Embedder(small_models["nchw"], provider="cpu").spec
    forms = {
        "plain": {},
        "winograd": {"rewrites": ("winograd",)},
        "half": {"precision": "float16"},
        "int8": {"precision": "int8"},
        "static": {"precision": PRECISION},
    }
    specs = {Path(f"{name}.onnx"): replace(spec, **changes) for name, changes in forms.items()}
    rivals = [
        Rival(contender="openvino", model=Path("nncf.xml"), form="NNCF's INT8", precision="int8", refusal="no network")
    ]
    specs[Path("plain.ncnn")] = replace(spec, rewrites=("ncnn",))
    specs[Path("half.ncnn")] = replace(spec, precision="float16", rewrites=("ncnn",))
    cases = select_cases(specs, peers=["edge_tuned", "mindspore_cpu", "ncnn", "openvino"], rivals=rivals, **AS_MEASURED)
    for_ncnn = [cases.pop(4), cases.pop(4)]
    assert [(case.contender, case.label, case.graph) for case in for_ncnn] == [
        ("edge", name, "ncnn") for name in ("plain.ncnn", "half.ncnn")
    ]
    assert [(case.contender, case.model.stem) for case in cases] == [
        *[("edge", name) for name in ("plain", "winograd", "half", "int8")],
        *[("edge_tuned", name) for name in ("plain", "winograd", "half", "int8")],
        ("ncnn", "plain"),
        *[("openvino", name) for name in ("plain", "half", "int8", "static", "nncf")],
    ]
    assert [case.graph for case in cases[:3]] == ["plain", "winograd", "plain"]
    assert (cases[-1].label, cases[-1].refusal) == ("OpenVINO: NNCF's INT8", "no network")
    with_checkpoint = select_cases(specs, peers=["mindspore_cpu"], checkpoint=Path("x.ckpt"), **AS_MEASURED)
    assert with_checkpoint[-1].model == Path("x.ckpt")


AS_MEASURED = {"threads": 1, "batch": 1}


@pytest.mark.slow
def test_int8_of_other_tools_is_made_for_the_peers_that_run_it(small_models, tmp_path, monkeypatch):
    def missing(*_):
        raise PeerUnavailableError("no network")

    monkeypatch.setattr("benchmarks.quantization.derived.by_nncf", missing)
    save_image(tmp_path / "face.png", astronaut())
    rivals = make_rivals(small_models["nchw"], tmp_path, tmp_path, ["onnxruntime_plain", "openvino"])
    assert [(rival.contender, rival.form, rival.refusal) for rival in rivals] == [
        ("onnxruntime_plain", "quantize_static", ""),
        ("openvino", "quantize_static", ""),
        ("openvino", "NNCF's INT8", "no network"),
    ]
    assert Embedder(rivals[0].model, provider="cpu").spec.precision == PRECISION
    assert make_rivals(small_models["nchw"], tmp_path, tmp_path, ["ncnn"]) == []


def test_todays_int8_takes_a_float_file_alone(small_models, tmp_path, capsys):
    words = ["todays-int8", str(small_models["image"]), "--photos", str(tmp_path), "-o", str(tmp_path / "x.onnx")]
    assert run(build_parser(), [*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "model-format"


@pytest.mark.slow
def test_a_peer_that_cannot_be_installed_is_a_row_with_the_reason(small_models, monkeypatch):
    def unavailable(peer):
        if peer.requirements:
            raise PeerUnavailableError("no network")
        return python_of(peer)

    monkeypatch.setattr(peer_process, "python_of", unavailable)
    rows = latency.measure([small_models["nchw"]], threads=[1], batches=[1], rounds=2, peers=["openvino"])
    assert rows[1].failure.error == "no network"


def test_turns_are_taken(monkeypatch, small_models, tmp_path):
    """A B C A B C, five rounds each, and one uncounted round to warm the caches again."""
    order = []

    class Fake:
        def __init__(self, case, folder, inputs):
            self.name, self.output = case.label, tmp_path / "out.npy"
            np.save(self.output, np.ones((1, 4), np.float32))

        def ready(self):
            return Ready(version="1", load_ms=1.0, first_ms=1.0)

        def measure(self, given):
            order.append((self.name, given.rounds, given.warmup))
            return Samples(samples_ms=(1.0,) * given.rounds, cpu_ms=1.0, peak_rss_mib=None)

        def close(self):
            order.append((self.name, "closed"))

    monkeypatch.setattr(runner, "Worker", Fake)
    common = {"contender": "edge", "model": small_models["nchw"], "threads": 1, "batch": 1, "precision": "float32"}
    rows = runner.measure([Case(label=n, **common) for n in "AB"], np.zeros(1), np.zeros(1), rounds=8)
    assert order == [("A", 5, 5), ("B", 5, 5), ("A", 3, 1), ("B", 3, 1), ("B", "closed"), ("A", "closed")]
    assert [row.measured.latency.samples for row in rows] == [8, 8]


def test_a_process_that_dies_in_the_middle_is_told(monkeypatch, small_models, tmp_path):
    class Dies:
        output = tmp_path / "out.npy"

        def __init__(self, *_):
            np.save(self.output, np.ones((1, 4), np.float32))

        def ready(self):
            return Ready(version="1", load_ms=1.0, first_ms=1.0)

        def measure(self, _order):
            return Problem(error="the process ended with exit code -9")

        def close(self):
            pass

    monkeypatch.setattr(runner, "Worker", Dies)
    case = Case(contender="edge", model=small_models["nchw"], label="A", threads=1, batch=1, precision="float32")
    (row,) = runner.measure([case], np.zeros(1), np.zeros(1), rounds=3)
    assert row.failure.error == "the process ended with exit code -9"


def test_a_process_that_is_killed_is_told(small_models, tmp_path):
    """The real thing: a worker is killed between two turns."""
    from benchmarks.runner import Inputs, Worker

    np.save(tmp_path / "crops.npy", np.zeros((1, 112, 96, 3), np.uint8))
    np.save(tmp_path / "floats.npy", np.zeros((1, 3, 112, 96), np.float32))
    case = Case(contender="edge", model=small_models["nchw"], label="A", threads=1, batch=1, precision="float32")
    inputs = Inputs(crops=tmp_path / "crops.npy", floats=tmp_path / "floats.npy")
    worker = Worker(case, tmp_path, inputs)
    assert worker.ready().load_ms > 0
    assert len(worker.measure(Order(rounds=3, warmup=1)).samples_ms) == 3
    worker._process.kill()
    worker._process.wait()
    assert "exit code" in worker.measure(Order(rounds=3, warmup=1)).error
    worker.close()


def test_every_contender_says_how_it_was_set_up():
    assert set(peer_names()) >= {
        "edge", "onnxruntime_plain", "openvino", "ncnn", "mnn", "opencv_dnn", "mindspore_cpu"
    }  # fmt: skip
    for name in peer_names():
        peer = find_peer(name)
        assert peer.name == name
        assert len(peer.settings) > 20


def test_peers_in_the_projects_environment_need_no_other(tmp_path):
    import sys

    assert python_of(find_peer("opencv_dnn"), tmp_path) == sys.executable
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_environment_that_cannot_be_made(tmp_path, monkeypatch):
    from benchmarks.contenders import Peer

    peer = Peer(name="x", title="X", requirements=("./no-such-package-here",), settings="none")
    with pytest.raises(PeerUnavailableError, match="X cannot be installed"):
        python_of(peer, tmp_path)
    assert not list(tmp_path.glob("x/installed-*"))


def test_peak_memory_is_this_processs_own(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  204800 kB\n")
    assert peak_rss_mib(status) == 200
    assert peak_rss_mib(tmp_path / "missing") > 1


def test_a_video_file_is_read(tmp_path, astronaut):
    import cv2

    from benchmarks import stages

    path = tmp_path / "x.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (512, 512))
    if not writer.isOpened():
        pytest.skip("needs an OpenCV that writes MJPG")
    for frame in stages.moving_frames(astronaut, 5):
        writer.write(frame)
    writer.release()
    frames = stages.read_video(path)
    assert [frame.shape for frame in frames] == [(512, 512, 3)] * 5
    shutil.copy(__file__, tmp_path / "no.avi")
    assert stages.read_video(tmp_path / "no.avi") == []
