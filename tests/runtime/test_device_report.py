"""A board is measured in steps, keeps what it measured, and tells nothing about its owner."""

import getpass
import hashlib
import json
import os
import shutil
import socket
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import onnx
import pytest

from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.device import DevicePlan, DeviceReport, measure_device
from edge_sphereface.device.sustained import sustain
from edge_sphereface.device.wording import message_of
from edge_sphereface.doctor import Finding
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.evaluation.condition import DeviceCondition, read_condition
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.spec import METADATA_KEY
from edge_sphereface.model.tuning import Tuning

SERIAL = "10000000f00dcafe"
BOARD = "Raspberry Pi 5 Model B Rev 1.0"
CPUINFO = f"""processor	: 0
Features	: fp asimd asimddp
CPU implementer	: 0x41
CPU part	: 0xd0b

Hardware	: BCM2835
Serial		: {SERIAL}
Model		: {BOARD}
"""

TUNING = Tuning(
    stages=("4x4", "direct"), weight_growth=2.0, processor=BOARD, threads=1, pinned_threads=False, memory_arena=True,
    batch=1, onnxruntime=import_onnxruntime().__version__, samples=100, plain_ms=9.0, tuned_ms=7.5,
)  # fmt: skip
"""Of such a board as the one below, which need not be measured again."""


def with_spec(source, target, **changes):
    """A copy of a model with changes of its specification, without a certificate."""
    model = onnx.load(source)
    onnx.helper.set_model_props(model, {METADATA_KEY: replace(Embedder(source).spec, **changes).to_json()})
    onnx.save(model, target)
    return target


@pytest.fixture
def folder(small_model, quantization_record, tmp_path):
    """A folder of a float form with its certificate, and of one that says that it is INT8."""
    place = tmp_path / "forms of anna"
    place.mkdir()
    shutil.copy(small_model, place / "net.onnx")
    shutil.copy(certificate_path(small_model), certificate_path(place / "net.onnx"))
    with_spec(small_model, place / "net.int8.onnx", precision="int8", quantization=quantization_record)
    return place


@pytest.fixture
def tuned(folder):
    """A form that was tuned on such a board."""
    return with_spec(folder / "net.onnx", folder / "net.fast.onnx", tuning=TUNING)


@pytest.fixture
def board(tmp_path):
    """The files of a Raspberry Pi that is getting hot."""
    files = {
        "proc/cpuinfo": CPUINFO,
        "proc/meminfo": "MemTotal:        8245248 kB\n",
        "proc/device-tree/model": f"{BOARD}\0",
        "proc/device-tree/serial-number": f"{SERIAL}\0",
        "sys/class/net/eth0/address": "d8:3a:dd:12:34:56\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "61000\n",
    }
    for name, text in files.items():
        (tmp_path / "board" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "board" / name).write_text(text)
    return tmp_path / "board"


def form_of(model):
    """Name of a form in the report: that of its precision and of the content of the file."""
    return f"{Embedder(model).spec.precision} ({hashlib.sha256(model.read_bytes()).hexdigest()[:8]})"


class Board:
    """Programs of a board, which throttles from its third answer on, and a clock of half a second a look."""

    def __init__(self, *, interrupted_at=None):
        self.answers, self.now, self._interrupted_at = 0, 0.0, interrupted_at

    def run(self, command):
        if command[0] != "vcgencmd":
            return None
        self.answers += 1
        hot = self.answers > 6
        if command[1] == "measure_clock":
            return f"frequency(0)={1500000000 if hot else 2400000000}\n"
        return f"throttled=0x{'20002' if hot else '0'}\n"

    def clock(self):
        if self.now == self._interrupted_at:
            raise KeyboardInterrupt
        self.now += 0.5
        return self.now


def private_words(*more):
    """What no report may hold; short names are part of many words."""
    addresses = [path.read_text().strip() for path in Path("/sys/class/net").glob("*/address")]
    names = [name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 4]
    return {*filter(None, addresses), *names, str(Path.home()), os.environ["EDGE_SPHEREFACE_HOME"], *more}


@pytest.mark.slow
def test_the_command_measures_every_part(printed, folder, photo, tmp_path):
    output = tmp_path / "device.json"
    shown = printed(
        build_parser, "report-device", "report-device", folder, "-o", output, "--quick",
        "--minutes", "0.02", "--threads", "1", "--photo", photo,
    )  # fmt: skip
    text = output.read_text(encoding="utf-8")
    report = DeviceReport.from_json(text)
    assert report.as_json() == shown
    assert (report.complete, report.stopped, report.quick) == (True, "", True)
    int8, plain = (form_of(folder / name) for name in ("net.int8.onnx", "net.onnx"))
    assert [(model.form, model.certified) for model in report.models] == [(int8, None), (plain, True)]
    assert all(model.provider.active == ("CPUExecutionProvider",) for model in report.models)
    assert report.tuning.source == "measured"
    assert {row.form for row in report.tuning.rows} == {int8, plain}
    compared = report.int8_over_float
    assert (compared.int8.form, compared.float32.form, compared.rounds) == (int8, plain, 20)
    assert compared.low < compared.ratio < compared.high
    (detector,) = report.detectors
    assert (detector.name, detector.is_auto, detector.image, detector.faces) == ("mtcnn", True, "photograph", 1)
    assert report.sustained.windows[-1].end_s >= 1.2
    assert report.sustained.slowdown > 0
    assert [one.part for one in report.missing] == ["detector yunet"]
    assert report.load is not None
    assert {one.check for one in report.findings} >= {"python", "onnxruntime", "memory", "detectors"}
    for word in private_words(str(tmp_path), "anna", "net.", photo.name):
        assert word not in text, word


@pytest.mark.slow
def test_a_board_that_gets_hot(board, tuned):
    """The board and the sustained run are in the report; its serial number is not. Its recorded tuning is taken."""
    pi, kept = Board(), []
    plan = DevicePlan(models=(tuned,), minutes=0.2, quick=True, provider="cpu", threads=(1,))
    report = measure_device(plan, keep=kept.append, root=board, run=pi.run, clock=pi.clock)
    assert report.environment.cpu == BOARD
    assert (report.environment.memory_mib, report.environment.governor) == (8052, "ondemand")
    assert report.environment.generation["CPU_part"] == "0xd0b"
    best = report.tuning.best
    assert (report.tuning.source, best.form, best.median_ms, best.memory_arena) == (
        "recorded",
        form_of(tuned),
        7.5,
        True,
    )
    run = report.sustained
    assert run.hottest_c == 61
    assert (run.before.clock_mhz, run.windows[-1].condition.clock_mhz) == (2400, 1500)
    assert run.throttled == ("frequency capped now", "frequency capped since boot")
    assert [one.part for one in report.missing] == ["INT8 over float", "detector yunet"]
    assert report.missing[1].reason == "there is no model file"
    assert [one.complete for one in kept] == [False] * (5 + len(run.windows)) + [True]
    assert len(kept[4].sustained.windows) == 1, "a board may fail under load"
    assert kept[0].stopped == "unfinished"
    for word in private_words(SERIAL, "d8:3a:dd:12:34:56", str(board), str(tuned.parent), tuned.name):
        assert word not in report.to_json(), word


def test_an_interruption_keeps_what_was_measured(board, tuned):
    pi, kept = Board(interrupted_at=5.0), []
    plan = DevicePlan(models=(tuned,), minutes=1, quick=True, provider="cpu", threads=(1,))
    with pytest.raises(KeyboardInterrupt):
        measure_device(plan, keep=kept.append, root=board, run=pi.run, clock=pi.clock)
    report = kept[-1]
    assert (report.complete, report.stopped) == (False, "interrupted")
    assert report.tuning is not None
    assert 1 < len(report.sustained.windows) < 10


def change_certificate(model):
    content = json.loads(certificate_path(model).read_text())
    content["golden"]["embeddings"][0][0] += 1
    certificate_path(model).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "reason", "detail"),
    [
        (change_certificate, "its certificate is not met here: cosine", ""),
        (lambda model: model.unlink(), "there is no model file", "There is no model file"),
        (
            lambda model: model.write_bytes(b"x"),
            "the file is not a model that this version reads",
            "net.onnx is not an ONNX file: the number at byte 1 has no end.",
        ),
    ],
)
def test_a_model_that_fails_its_verification_stops_the_measurement(cli, folder, tmp_path, damage, reason, detail):
    """The report says why in words of its own; the message, which names files, is for this terminal."""
    damage(folder / "net.onnx")
    code, out, err = cli("report-device", folder / "net.onnx", folder / "net.int8.onnx", "-o", tmp_path / "device.json")
    assert code == 1
    assert f"model      {folder / 'net.onnx'}: " in out
    assert reason in out
    assert detail in err
    report = DeviceReport.from_json((tmp_path / "device.json").read_bytes())
    assert not report.complete
    assert f": {reason}" in report.stopped
    assert [model.passed for model in report.models] == [False]
    assert report.tuning is report.sustained is None
    for word in private_words(str(folder), "anna", "net."):
        assert word not in report.to_json(), word


def test_folders_and_names_of_files_do_not_reach_the_report(board, small_model, tmp_path, monkeypatch):
    """Spaces, umlauts and names inside of words, which no search for paths and names finds."""
    cache = tmp_path / "Olaf Müller" / "USB Stick"
    cache.mkdir(parents=True)
    monkeypatch.setenv("EDGE_SPHEREFACE_HOME", str(cache))
    model = cache / "sf_olaf.mueller_vm.onnx"
    shutil.copy(small_model, model)
    told = []
    plan = DevicePlan(models=(model, cache / "OLAF.onnx"), minutes=0, quick=True, provider="cpu", threads=(1,))
    report = measure_device(plan, explain=told.append, root=board, run=Board().run)
    assert (report.models[0].form, report.models[1].form) == (form_of(model), "model 2")
    assert report.stopped == "model 2: there is no model file"
    assert "OLAF.onnx" in " ".join(told)
    assert next(one.message for one in report.findings if one.check == "cache") == (
        "the folder is temporary, or cannot be used"
    )
    shown = json.dumps(report.as_json(), ensure_ascii=False).lower()
    for word in ("olaf", "müller", "mueller", "usb", ".onnx", str(tmp_path).lower()):
        assert word not in shown, word


def test_models_of_two_networks_are_not_compared(folder):
    other = with_spec(folder / "net.onnx", folder / "other.onnx", source_sha256="0" * 64)
    report = measure_device(DevicePlan(models=(folder / "net.onnx", other), provider="cpu"))
    assert report.stopped == "the models come from different checkpoints"
    assert str(folder) not in report.to_json()


@pytest.mark.slow
def test_a_tuning_of_another_board_is_not_taken(board, folder):
    tuned = with_spec(folder / "net.onnx", folder / "net.tuned.onnx", tuning=replace(TUNING, processor="another board"))
    plan = DevicePlan(models=(tuned,), minutes=0, quick=True, provider="cpu", threads=(1,))
    report = measure_device(plan, root=board, run=Board().run)
    assert report.tuning.source == "measured"
    assert "sustained run" in [one.part for one in report.missing]


def test_wrong_usage(cli, folder, tmp_path):
    output = tmp_path / "device.json"
    (tmp_path / "empty").mkdir()
    cases = (
        ((tmp_path / "empty", "-o", output), "There is no model in"),
        ((folder, "-o", tmp_path / "none" / "x.json"), "There is no folder"),
        ((folder, "-o", folder / "net.parity.json"), "is an input of this command"),
        ((folder, "-o", output, "--minutes", "-1"), "--minutes"),
        ((folder,), "-o"),
    )
    for words, reason in cases:
        code, _, errors = cli("report-device", *words)
        assert code == 2
        assert reason in errors
    assert not output.exists()


def test_a_sustained_run_is_cut_into_parts():
    """The time between parts, in which the condition is read, belongs to none."""
    ticks = iter([0.0, 1.0, 2.0, 2.5, 3.5, 9.0])
    condition = read_condition(Path("/nowhere"), lambda _: None)
    parts = list(sustain(lambda: None, 9, condition=lambda: condition, clock=lambda: next(ticks, 10.0)))
    assert [(part.end_s, part.inferences) for part in parts] == [(1.0, 1), (2.5, 1), (9.0, 1)]
    assert [part.rate for part in parts] == pytest.approx([1, 2, 1 / 5.5])
    assert parts[1].median_ms == 500


def test_parts_are_long_enough_for_a_rate():
    """Half a second at least, whatever the duration of the run."""
    now = iter(number / 100 for number in range(1000))
    condition = DeviceCondition(
        temperature_c=None, hottest_zone=None, clock_mhz=None, gpu_clock_mhz=None, throttled=None
    )
    parts = list(sustain(lambda: None, 2, condition=lambda: condition, clock=lambda: next(now)))
    assert all(after.end_s - before.end_s >= 0.5 for before, after in pairwise(parts[:-1]))
    assert all(part.rate == pytest.approx(100) for part in parts)


@pytest.mark.parametrize(
    ("finding", "message"),
    [
        (Finding(check="memory", status="warn", message="256 MiB of main memory"), "256 MiB of main memory"),
        (Finding(check="memory", status="ok", message="8052 MiB of main memory"), ""),
        (Finding(check="detectors", status="fail", message="/home/x/y.onnx"), "the file of YuNet is damaged"),
        (Finding(check="onnxruntime", status="fail", message="/home/x/y.so"), "it cannot be imported"),
        (Finding(check="a new check", status="fail", message="/home/x/y"), ""),
    ],
)
def test_findings_are_told_without_paths(finding, message):
    assert message_of(finding, imports_onnxruntime=False) == message


def test_a_report_of_another_kind_is_refused():
    for text in ('{"kind": "x"}', "{}", "[]"):
        with pytest.raises(EdgeSphereFaceError):
            DeviceReport.from_json(text)


def test_the_time_left_counts_the_later_steps():
    """Comparing two forms and timing two detectors take what as many cases of the tuning take."""
    plan = DevicePlan(models=tuple(map(Path, "abcd")), minutes=5)
    assert plan.later_s("tuning", 80.0) == 300 + 40
    assert plan.later_s("INT8 over float", 20.0) == 300 + 20
    assert plan.later_s("detectors", 20.0) == 300
