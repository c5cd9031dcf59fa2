"""The benchmark of the quantization: its table, and the harmful models it makes."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.case_row import FormRow
from benchmarks.emulation.compare import EmulatedRow, Figures
from benchmarks.quantization import gate, measure
from benchmarks.quantization.targets import targets
from benchmarks.runner import Case
from benchmarks.target import Target, text
from edge_sphereface.cli.runner import run
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.spec import ModelSpec
from export.quantization.policy import Judgment


@pytest.fixture
def figures(form_rows):
    """Figures with a peer that is faster, bounds that are missed, and one model that the gate lets pass."""
    judgments = (
        Judgment("mean cosine to float", 0.9985, None, at_least=True, worst=0.998),
        Judgment("1st percentile of it", 0.991, None, at_least=True, worst=0.989),
        Judgment("minimum over the built-in photograph", 0.99, None, at_least=True),
        Judgment("minimum over all crops", 0.95, None, at_least=True),
        Judgment("points of 10-fold accuracy lost", 0.1, None, at_least=False, worst=0.4),
        Judgment("points of TAR lost", 0.1, None, at_least=False, worst=0.4, why_not="10 pairs"),
    )
    return measure.Figures(
        rows=form_rows(plain=10, rewritten=8, int8=4, int8_pinned=4, openvino=5, nncf=3),
        file_ratio=0.25,
        rewritten_cosine=measure.RewrittenCosine(crops=2000, min=0.999999),
        spec=None,
        search=None,
        proof=SimpleNamespace(crops=2000, judgments=judgments),
        gate=(attempt("x", refused=True), attempt("y", refused=False)),
    )


def attempt(what, *, refused):
    return gate.Attempt(what=what, exit_code=1, reason="y", written=False, refused=refused)


def test_the_table_tells_reached_from_missed_from_not_measured(figures):
    verdicts = {line.figure: line.verdict for line in targets(figures, [])}
    assert verdicts["latency, 1 thread: float rewritten over plain"] == "reached"
    assert verdicts["latency, 1 thread: INT8 over plain float"] == "reached"
    assert verdicts["latency, 1 thread: INT8, pinned threads, over OpenVINO on the same file"] == "reached"
    assert verdicts["latency, 1 thread: INT8, pinned threads, over OpenVINO on NNCF's INT8"] == "MISSED"
    crops = "2000 crops not in the calibration"
    assert verdicts[f"INT8: 1st percentile of it, {crops}, lower end of the 95 % interval"] == "MISSED"
    assert verdicts[f"INT8: minimum over all crops, {crops}"] == "reached"
    assert verdicts["INT8: points of 10-fold accuracy lost, upper end of the 95 % interval"] == "reached"
    assert verdicts["INT8: points of TAR lost, upper end of the 95 % interval"] == "not measured"
    assert verdicts["gate: x, refused"] == "reached"
    assert verdicts["gate: y, refused"] == "MISSED"
    assert verdicts["portable INT8 on other processors"] == "not measured"
    page = text(targets(figures, []))
    assert "1.3333" in page
    assert "python -m benchmarks emulate" in page


def test_a_peer_that_cannot_be_had_is_not_a_reached_target(figures, case_row):
    failed = FormRow(form="nncf", row=case_row(error="no network"))
    lines = targets(replace(figures, rows=(*figures.rows[:-1], failed)), [])
    line = next(line for line in lines if "NNCF" in line.figure)
    assert (line.verdict, line.why_not) == ("not measured", "no network")


def test_emulated_rows_count_only_for_the_portable_model(figures):
    agreement = Figures(identical=0.85, cosine_min=0.9999, to_float_mean=0.99, to_float_min=0.98)
    row = EmulatedRow(
        model="x.onnx",
        weight_bits=7,
        variant="as it is",
        processor="A72",
        crops=40,
        median_ms=None,
        figures=agreement,
    )
    rows = [row, replace(row, weight_bits=8), replace(row, processor="this machine", median_ms=1.2)]
    found = [line for line in targets(figures, rows) if "emulated" in line.figure]
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


@pytest.mark.slow
def test_harmful_models_are_what_they_should_be(portable_int8, tmp_path, crops):
    good = Embedder(portable_int8, provider="cpu")
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


@pytest.mark.slow
def test_the_gate_is_tried_through_the_command_line(paired_models, portable_int8, crop_folder):
    """One attempt that is refused, and one that passes and so is reported as not refused."""
    words = ["verify", portable_int8, "--float", paired_models["image"], "--photos", crop_folder, "--rounds", 5]
    refused, passed = (
        gate._attempt("x", [str(word) for word in (*words, "--policy", policy)])
        for policy in ("latency=none,mean=1", "mean=0,p1=0,known=0,min=0,latency=none")
    )
    assert refused.refused
    assert refused.exit_code == 1
    assert "mean cosine" in refused.reason
    assert not passed.refused
    assert passed.exit_code == 0


@pytest.mark.slow
def test_the_command(shallowest_models, crop_folder, tmp_path, capsys, monkeypatch, require_schema):
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
    monkeypatch.setattr(measure.gate, "attempts", lambda *_: [attempt("x", refused=True)])
    output = tmp_path / "q.json"
    words = ["quantization", shallowest_models["nchw"], "--calibration", crop_folder, "--rounds", "5", "--threads", "1"]
    code = run(build_parser(), [str(word) for word in (*words, "--folder", tmp_path / "made", "-o", output)])
    page = capsys.readouterr().out
    assert code in (0, 1)  # a narrow network need not reach the figures
    assert "INT8 over plain float" in page
    result = json.loads(output.read_text())
    require_schema("benchmarks quantization", result)
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
    assert list(result) == [
        "environment",
        "rows",
        "file_ratio",
        "rewritten_cosine",
        "spec",
        "search",
        "proof",
        "gate",
        "emulated",
        "targets",
    ]
    assert result["rows"][0].keys() >= {"form", "label", "median_ms_per_face"}
    assert list(result["targets"][0]) == ["figure", "measured", "sense", "bound", "verdict", "why_not"]
    assert result["targets"][0]["figure"] == "latency, 1 thread: float rewritten over plain"


def fields(case):
    return {name: getattr(case, name) for name in Case.__dataclass_fields__}
