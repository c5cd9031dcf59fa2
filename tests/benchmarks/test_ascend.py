"""The native path: probed, run on the CPU, imported, and never mixed with what others published."""

import json
from dataclasses import replace
from importlib.util import find_spec

import cv2
import numpy as np
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.accuracy import evaluate
from benchmarks.ascend import comparison, imported, ledger, picture, probe, published
from benchmarks.ascend.formats.recording import ImportedError, Stated
from benchmarks.ascend.native import NativeRow
from benchmarks.ascend.row import FULL_WIDTH, LedgerRow, PartialLatency
from benchmarks.environment import TimedEnvironment
from edge_sphereface.cli.runner import run
from edge_sphereface.image import save_image
from edge_sphereface.inference.session import ProviderReport
from edge_sphereface.json_output import json_object, json_text


def test_absence_is_one_sentence(tmp_path):
    absent = probe.probe(tmp_path, {})
    assert not absent.has_npu
    assert absent.sentence().count(".") == 1
    assert "npu-smi, /dev/davinci*, ASCEND_HOME_PATH" in absent.sentence()
    assert json_object(absent)["has_npu"] is False


def test_presence(tmp_path, monkeypatch):
    (tmp_path / "dev").mkdir()
    for name in ("davinci0", "davinci1", "davinci_manager"):
        (tmp_path / "dev" / name).touch()
    (tmp_path / "mindspore.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = probe.probe(tmp_path, {"ASCEND_HOME_PATH": "/usr/local/Ascend"})
    assert found.has_npu
    assert found.devices == ("/dev/davinci0", "/dev/davinci1")
    assert "/usr/local/Ascend" in found.sentence()


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(ImportedError, match="There is no recorded run"):
        imported.read(tmp_path / "missing", Stated(source="x"))


def test_json_of_another_machine(tmp_path):
    path = tmp_path / "x.json"
    native = [
        {"path": "MindSpore", "device": "Ascend", "latency": {"median_ms": 1.5}, "samples_ms": [1.5]},
        {"path": "MINDIR", "error": "none"},
    ]
    path.write_text(json.dumps({"environment": {"cpu": "Kunpeng 920"}, "native": native}))
    (row,) = imported.read(path, Stated(source="a friend"))
    assert (row.device, row.machine) == ("Ascend", "Kunpeng 920")
    assert json_object(row)["latency"] == {"median_ms": 1.5}


def test_every_published_figure_has_its_source():
    for row in published.ROWS:
        assert row.source
        assert row.accuracy is not None or row.latency is not None or row.faces_per_second is not None
        if row.network != FULL_WIDTH or row.milliseconds() is not None:
            assert row.doubts, "what is comparable about another network, or the times of others, is said"


def test_throughput_of_others_is_never_a_latency():
    rates = [row for row in published.ROWS if row.faces_per_second is not None]
    assert [row.faces_per_second for row in rates] == [787.709, 2864.96, 566.0]
    assert all(row.milliseconds() is None for row in rates)


def accuracy_row(*, landmarks, share):
    """A model that is right in this share of pairs."""
    same = np.arange(200) % 2 == 0
    figures = evaluate.judge(evaluate.Scores(np.where(same, 0.5, 0.0), same, 0, {}))
    return evaluate.AccuracyRow(
        label="m",
        model="m.onnx",
        precision="float32",
        landmarks=landmarks,
        flip=False,
        provider=ProviderReport(requested="cpu", active=(), nodes=None, threads=1, onnxruntime="1.20.0"),
        figures=replace(figures, accuracy=share),
    )


def environment_of(cpu):
    return {
        "time": "2026-11-27T00:00:00+00:00", "cpu": cpu, "processor": "x86_64", "cpu_flags": [], "usable_cpus": 2,
        "governor": None, "memory_mib": 1000, "system": "x", "versions": {},
    }  # fmt: skip


def test_origins_never_share_a_column(case_row):
    edge = [case_row(4.0, label="m", model="m.onnx"), case_row(9.0, batch=4), case_row(error="x")]
    accuracy = [accuracy_row(landmarks="given", share=0.95), accuracy_row(landmarks="yunet", share=0.5)]
    native = NativeRow(path="MindSpore", device="CPU", precision="float32", error="x")
    rows = ledger.collect(ledger.of_edge(edge, accuracy), [native])
    msame = PartialLatency(mean_ms=2.66)
    rows.append(LedgerRow(path="msame", latency=msame, origin="imported", source="our lab"))
    assert [row.origin for row in rows[:2]] == ["measured here", "measured here"]
    assert {row.origin for row in rows[2:-1]} == {"published"}
    head, *body = ledger.text(rows).splitlines()
    lines = [line for line in body[: body.index("What to know before believing a figure:")] if line.startswith("  ")]
    ends = [head.index(name) + len(name) for name in ("measured here", "imported", "published")]
    ordered = [row for members in ledger.grouped(rows).values() for row in members]
    for row, line in zip(ordered, lines, strict=True):
        column = ["measured here", "imported", "published"].index(row.origin)
        filled = [
            line[: ends[i]].rstrip() == line[: ends[i]] and not line[ends[i] - 2 : ends[i]].isspace() for i in range(3)
        ]
        assert filled.index(True) == column
        assert filled.count(True) == 1
    assert any("4.00 ms, 250/s, LFW 95.00%" in line for line in lines)
    assert any("not measured" in line for line in lines)


def test_a_table_is_as_wide_as_its_content():
    row = LedgerRow(path="trtexec", latency=PartialLatency(mean_ms=2.0), origin="imported", source="lab")
    assert ledger.text([row]).splitlines() == [
        "path       imported  outputs      source",
        "",
        "network not stated",
        "  trtexec   2.00 ms  not checked  lab",
    ]


def test_networks_have_a_group_each(case_row):
    """Half width and full width are never rows of one group; what others ran is last."""
    full = comparison.Network(name="SphereFace-20, full width", weights="untrained")
    half = {"path": "native: MindSpore", "device": "CPU", "origin": "measured here", "source": "this machine"}
    place = environment_of("EPYC")
    rows = comparison.gather(
        [{"environment": place, "native": [], "ledger": [half]}],
        [{"environment": place, "rows": [json_object(case_row(4.0))]}],
        here=machine("EPYC"),
        network=comparison.Network(name="SphereFace-20, half width"),
        edge_network=full,
    )
    groups = ledger.grouped(rows)
    *names, last = groups
    assert names == ["SphereFace-20, full width", "SphereFace-20, half width"]
    assert "other networks" in last
    (native,) = groups["SphereFace-20, half width"]
    assert native.device == "CPU, MindSpore's default threads"
    assert rows[0].weights == "untrained"
    assert {row.network for row in groups[last]} == {"SFace", "ResNet-18", "ArcFace IR-SE100"}


def test_control_characters_of_a_file_never_reach_the_terminal(tmp_path):
    row = LedgerRow(path="a\x1b[2Jb", device="c\rd", origin="imported", source="e\nf", doubts=("g\x07h",))
    shown = ledger.text([row])
    assert all(line.isprintable() for line in shown.splitlines())
    assert r"a\x1b[2Jb [c\rd]" in shown
    path = tmp_path / "x\x1b[2J.log"
    path.write_text("nothing")
    with pytest.raises(ImportedError) as raised:
        imported.read(path, Stated(source="x"))
    assert str(raised.value).isprintable()


@pytest.fixture
def rows(case_row):
    """A row of each origin, with and without a latency."""
    measured = ledger.of_edge([case_row(4.0)], [])
    rate = LedgerRow(path="r", faces_per_second=500.0, origin="imported", source="lab")
    return [*measured, replace(rate, latency=PartialLatency(mean_ms=2.0)), rate, *published.ROWS]


@pytest.mark.slow
def test_the_picture_keeps_the_origins_apart(rows):
    """Each origin's color is in the picture exactly if a row has that origin."""

    def has_color(chosen):
        image = cv2.imdecode(np.frombuffer(picture.draw(chosen), np.uint8), cv2.IMREAD_COLOR)
        colors = np.array([(178, 114, 0), (0, 94, 213)])
        return [cv2.countNonZero(cv2.inRange(image, color - 7, color + 7)) > 40 for color in colors]

    assert has_color(rows) == [True, True]
    assert has_color([row for row in rows if row.origin != "imported"]) == [True, False]
    assert has_color(published.ROWS) == [False, False]
    assert picture.draw([]).startswith(b"\x89PNG")
    assert picture.draw([replace(rows[0], path=r"costs 5 $\frac{ and $")]), "no formula"


def test_rows_of_several_results_are_gathered(case_row):
    place = environment_of("EPYC")
    older = {"path": "native: MindSpore", "precision": "float32", "min_cosine": 0.5, "max_abs_error": 1.0}
    older |= {"latency": {"median_ms": 9.0}, "origin": "measured here", "source": "this machine"}
    lab = {"path": "msame", "origin": "imported", "source": "lab", "proof": "proven", "machine": "Kunpeng"}
    lab |= {"check": {"name": "check.json", "sha256": "a" * 64}}
    others = {"path": "x", "origin": "published", "source": "of an earlier version"}
    found = comparison.gather(
        [{"environment": place, "native": [], "ledger": [older, lab, others]}],
        [{"environment": place, "rows": [json_object(case_row(4.0)), json_object(case_row(error="x"))]}],
        here=machine("EPYC"),
    )
    edge, native, msame = found[:3]
    assert (edge.path, edge.batch, edge.proof, edge.machine) == ("edge: x", 1, "proven", "EPYC, 2 processors")
    assert (native.batch, native.proof, native.machine) == (1, "failed", "EPYC, 2 processors")
    assert (msame.batch, msame.proof, msame.machine) == (None, "proven", "Kunpeng")
    assert found[3:] == list(published.ROWS)


def machine(cpu):
    return TimedEnvironment.from_values(environment_of(cpu)).environment


@pytest.mark.parametrize(
    ("recorded", "extra", "origin"),
    [
        ("EPYC", {"native": []}, "measured here"),
        ("EPYC", {"measurements": []}, "measured here"),  # a report
        ("EPYC", {}, "imported"),  # a file of `ascend import`, edited
        ("Cortex-A76", {"native": []}, "imported"),
    ],
)
def test_only_what_ran_on_this_machine_is_measured_here(case_row, recorded, extra, origin):
    """What a file says of itself is not enough."""
    row = {"path": "edge: x", "latency": {"mean_ms": 0.01}, "origin": "measured here", "source": "this machine"}
    row |= {"proof": "proven", "batch": 1}
    place = environment_of(recorded)
    edge = {"environment": place, "rows": [json_object(case_row(4.0))]}
    timed, native = comparison.gather([{"environment": place, "ledger": [row], **extra}], [edge], here=machine("EPYC"))[
        :2
    ]
    assert native.origin == origin
    assert (native.proof == "proven") == (native.source == "this machine") == (origin == "measured here")
    assert timed.origin == ("measured here" if recorded == "EPYC" else "imported")
    assert (timed.source == "this machine") == (recorded == "EPYC")


def test_a_file_proves_nothing_without_a_check():
    row = {"path": "msame", "origin": "imported", "source": "lab", "proof": "proven"}
    result = {"environment": environment_of("EPYC"), "ledger": [row]}
    (found, *_) = comparison.gather([result], [], here=machine("EPYC"))
    assert found.proof == "not checked"
    assert "names no check" in found.doubts[0]


def test_a_run_is_imported_once_and_has_a_source(tmp_path, capsys):
    """A copy under another name is the same run; two rows of it would look like two runs that agree."""
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    for log in logs:
        log.write_text("Inference average time : 2.71 ms\nInference average time without first time: 2.66 ms\n")
    words = ["ascend", "import", *map(str, logs)]
    assert run(build_parser(), [*words, "--source", "lab"]) == 2
    assert "b.log holds the same run as a file before it" in capsys.readouterr().err
    assert run(build_parser(), [*words[:3], "--source", " "]) == 2
    assert "Expected the source of the runs" in capsys.readouterr().err


@pytest.mark.slow
def test_compare_writes_table_picture_and_data(tmp_path, capsys):
    log = tmp_path / "msame.log"
    log.write_text("Inference average time : 2.71 ms\nInference average time without first time: 2.66 ms\n")
    words = ["--source", "lab", "--batch", "2", "--device", "Ascend 310", "-o", str(tmp_path / "i.json")]
    assert run(build_parser(), ["ascend", "import", str(log), *words]) == 0
    words = [str(tmp_path / "i.json"), "-o", str(tmp_path / "l"), "--remark", "A note."]
    assert run(build_parser(), ["ascend", "compare", *words]) == 0
    assert {path.name for path in (tmp_path / "l").iterdir()} == {"ledger.json", "ledger.md", "ledger.png"}
    page = (tmp_path / "l" / "ledger.md").read_text()
    for wanted in ("A note.", "msame without the first call [Ascend 310, batch 2]", "2.66 ms", "![Latency by origin]"):
        assert wanted in page
    kept = json.loads((tmp_path / "l" / "ledger.json").read_text())["ledger"]
    assert len(kept) == 1 + len(published.ROWS)
    assert len(kept[0]["file"]["sha256"]) == 64
    capsys.readouterr()


@pytest.mark.slow
def test_commands_without_an_npu(tmp_path, capsys):
    log = tmp_path / "eval.log"
    log.write_text("LFWACC=0.9923 std=0.0050 thd=0.3050\n")
    assert run(build_parser(), ["ascend", "import", str(log), "--source", "lab", "-o", str(tmp_path / "i.json")]) == 0
    assert "LFW 99.23%" in capsys.readouterr().out
    assert run(build_parser(), ["ascend", "run", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["native"] == []
    assert all(row["origin"] == "published" for row in result["ledger"])


def test_mindspore_lite_is_driven_as_its_interface_asks(tmp_path):
    """MindSpore Lite is in no registry that tests reach: a stand-in with its interface runs every line."""
    from benchmarks.ascend import native

    calls = []

    class Context:
        target = None

    class Tensor:
        data = None

        def set_data_from_numpy(self, data):
            self.data = data

        def get_data_to_numpy(self):
            return self.data * 2

    class Model:
        def build_from_file(self, path, kind, context):
            calls.append((path, kind, context.target))
            self.tensor = Tensor()

        def get_inputs(self):
            return [self.tensor]

        def predict(self, inputs):
            return inputs

    lite = type("lite", (), {"Context": Context, "Model": Model, "ModelType": type("T", (), {"MINDIR": "mindir"})})
    forward = native._lite(lite, tmp_path / "x.mindir", "Ascend")
    np.testing.assert_array_equal(forward(np.ones((1, 3), np.float32)), [[2, 2, 2]])
    assert calls == [(str(tmp_path / "x.mindir"), "mindir", ["ascend"])]


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.skipif(find_spec("mindspore") is None, reason="needs MindSpore: make test installs it")
def test_the_native_path_runs_on_the_cpu(small_checkpoint, astronaut, tmp_path, require_schema):
    """Every line that would run on Ascend, labeled CPU; its accuracy is that of two pairs, twenty times."""
    names = ["ann/ann_0001", "ann/ann_0002", "bob/bob_0001", "cat/cat_0001"]
    for number, name in enumerate(names):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(tmp_path / "images" / f"{name}.jpg", astronaut[: 512 - number])
    landmarks = "204 101 247 103 224 128 202 140 245 142"
    (tmp_path / "lfw_landmark.txt").write_text("".join(f"{name}.jpg {landmarks}\n" for name in names))
    (tmp_path / "pairs.txt").write_text("10\t2\n" + 20 * "ann\t1\t2\nbob\t1\tcat\t1\n")
    words = ["ascend", "run", "--checkpoint", small_checkpoint, "--lfw", tmp_path, "--rounds", "3"]
    arguments = build_parser().parse_args([str(word) for word in words])
    result = arguments.run(arguments).result
    require_schema("benchmarks ascend run", json.loads(json_text(result)))
    rows = result.native
    assert [(row.device, row.precision) for row in rows] == [
        ("CPU", "float16"), ("CPU", "float16"), ("CPU", "float32"), ("CPU", "float32")
    ]  # fmt: skip
    assert [row.path for row in rows[:2]] == ["MindSpore", "MINDIR by MindSpore"]
    assert {row.network for row in rows} == {"SphereFace-20, other widths"}
    assert [row.judged and row.judged.pairs for row in rows] == [40, None, None, None]
    assert all(row.figures.agreement.min_cosine > 0.999 for row in rows)
    assert rows[2].figures.agreement.max_abs_error < 1e-5
    assert all(len(row.figures.samples_ms) == 3 for row in rows)


@pytest.mark.mindspore
@pytest.mark.skipif(find_spec("mindspore") is None, reason="needs MindSpore: make test installs it")
def test_a_device_that_fails_is_a_row_with_the_reason(small_checkpoint, monkeypatch):
    from benchmarks.ascend import native

    def fails(*_, **__):
        raise RuntimeError("no such device")

    monkeypatch.setattr(native, "MindsporeReference", fails)
    rows = native.run(small_checkpoint, "Ascend", np.zeros((1, 3, 112, 96), np.float32), rounds=2)
    assert [(row.path, row.precision) for row in rows] == [("MindSpore", "float16"), ("MindSpore", "float32")]
    assert rows[0].error == "RuntimeError: no such device"
    assert "not measured" in ledger.text(ledger.collect([], rows))


def test_watts_are_energy_over_the_time_it_was_read_over(monkeypatch):
    """Warm-up uses energy too: it must not be divided by the samples' time alone."""
    from benchmarks.ascend import native

    energy, clock = iter([100.0, 130.0]), iter([0.0, 10.0])
    monkeypatch.setattr(native.environment, "energy_j", lambda: next(energy))
    monkeypatch.setattr(native, "measure_interleaved", lambda *_, **__: {"run": np.full(4, 1000.0)})
    monkeypatch.setattr(native.time, "perf_counter", lambda: next(clock))
    row = native._measure(lambda batch: batch[:, 0, 0], np.ones((1, 3, 2, 2), np.float32), np.ones((1, 2)), 4)
    assert row.power.watts == 3.0
