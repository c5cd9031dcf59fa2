"""The report: one machine, every section, plots that are pictures."""

import json
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import environment, report
from benchmarks.__main__ import build_parser
from benchmarks.accuracy import evaluate
from benchmarks.ascend import ledger
from benchmarks.case_row import CaseRow, Measurement
from benchmarks.result_file import load_result
from edge_sphereface.cli.runner import run
from edge_sphereface.json_output import json_object, json_value

ROOT = Path(__file__).parents[2]


@pytest.fixture
def result():
    random = np.random.default_rng(0)
    samples = random.normal(10, 0.3, 50)
    row = {
        "label": "float",
        "contender": "edge",
        "settings": "defaults",
        "model": "float.onnx",
        "precision": "float32",
        "threads": 1,
        "batch": 1,
        "provider": "cpu",
        "version": "1",
        "load_ms": 100.0,
        "first_ms": 12.0,
        "peak_rss_mib": 200.0,
        "latency": {"samples": 50, "min_ms": 9.0, "median_ms": 10.0, "p95_ms": 11.0, "p99_ms": 12.0},
        "median_ms_per_face": 10.0,
        "max_abs_error": 0.0,
        "min_cosine": 1.0,
        "correct": True,
        "samples_ms": samples.tolist(),
    }
    peer = {**row, "label": "OpenVINO: float", "contender": "openvino"}
    figures = {part.name for part in fields(Measurement)}
    missing = {name: value for name, value in row.items() if name not in figures}
    missing |= {"label": "ncnn", "contender": "ncnn", "error": "no wheel"}
    same = np.arange(200) % 2 == 0
    scores = evaluate.Scores(np.where(same, 0.5, 0.0) + random.normal(0, 0.2, 200), same, 0, {})
    return {
        "environment": {
            "time": "2026-01-01",
            "cpu": "some CPU",
            "processor": "x86_64",
            "cpu_flags": [],
            "usable_cpus": 2,
            "governor": None,
            "memory_mib": 1000,
            "system": "x",
            "versions": {"a": "1"},
        },
        "rows": [row, peer, missing],
        "stages": [],
        "accuracy": [
            {
                "label": "float",
                "model": "float.onnx",
                "precision": "float32",
                "landmarks": "given",
                "flip": False,
                "provider": {"requested": "cpu", "active": [], "nodes": None, "threads": 1, "onnxruntime": "1"},
                **json_object(evaluate.judge(scores)),
            }
        ],
        "ledger": json_value(ledger.collect(ledger.of_edge([CaseRow.from_values(row)], []), [])),
        "presence": "No Ascend NPU can be used here.",
        "throttled": True,
    }


@pytest.mark.slow
def test_everything_is_written(result, tmp_path):
    written = report.write(report.merge([result]), tmp_path / "r", title="Title", remark="A note.")
    assert {path.name for path in written} == {
        "best-of-each.png", "latency.png", "accuracy-over-latency.png", "roc.png", "report.json", "report.md"
    }  # fmt: skip
    for path in written:
        if path.suffix == ".png":
            picture = cv2.imread(str(path))
            assert min(picture.shape[:2]) > 150
            assert picture.std() > 5, "it is not blank"
    text = (tmp_path / "r" / "report.md").read_text()
    for words in (
        "# Title",
        "slowed down by heat",
        "not measured: no wheel",
        "OpenVINO (1): defaults",
        "published",
        "roc.png",
    ):
        assert words in text


def test_results_of_two_machines_are_not_mixed(result):
    other = {**result, "environment": {**result["environment"], "cpu": "another"}}
    with pytest.raises(ValueError, match="different machines"):
        report.merge([result, other])
    assert len(report.merge([result, result])["rows"]) == 6


def test_two_generations_of_one_name_are_two_machines(result):
    """The name AMD EPYC stands for several processors; results without a generation fit either."""
    places = [{**result["environment"], "generation": {"model": number}} for number in ("1", "17")]
    results = [{**result, "environment": place} for place in places]
    with pytest.raises(ValueError, match="different machines"):
        report.merge(results)
    assert report.merge([result, results[0]])


def whole(result, **more):
    """What a command records whole: rows and targets."""
    missed = {"figure": "tuned over plain", "measured": 0.9, "sense": "<", "bound": 0.8, "verdict": "MISSED"}
    rows = [{**row, "form": "plain"} for row in result["rows"][:2]]
    rows.append({**rows[0], "label": "INT8", "precision": "int8", "contender": "edge_tuned"})
    return {"environment": result["environment"], "rows": rows, "targets": [{**missed, "why_not": ""}], **more}


@pytest.mark.parametrize("is_here", [True, False])
def test_what_another_machine_measured_is_imported(result, is_here, tmp_path, capsys):
    """A board's result calls itself measured here; on a workstation that is not so. A report can be reported again."""
    place = json_object(environment.describe())
    if not is_here:
        place |= {"cpu": "Cortex-A76"}
    ours = {"environment": place, "native": [], "ledger": result["ledger"], "presence": result["presence"]}
    path, again = tmp_path / "ascend.json", tmp_path / "r" / "report.json"
    path.write_text(json.dumps(ours))
    for source in (path, again):
        assert run(build_parser(), ["report", str(source), "-o", str(tmp_path / "r")]) == 0
        rows = json.loads(again.read_text())["ledger"]
        assert rows[0]["origin"] == ("measured here" if is_here else "imported")
        assert ("is not what a run on this machine wrote" in str(rows[0]["doubts"])) != is_here
        assert len(rows) == len(result["ledger"])
    capsys.readouterr()


def test_tuning_quantization_and_proofs_have_sections(result):
    tuning = whole(result, product={}, exactness=[], gflop=1.0)
    attempt = {"what": "a poisoned calibration", "exit_code": 1, "reason": "mean cosine", "refused": True}
    quantization = whole(result, gate=[attempt], rewritten_cosine={"crops": 1, "min": 1.0})
    proof = {
        "passed": False,
        "missed": ["mean cosine to float: 0.99 < 0.997  MISSED"],
        "crops": 100,
        "cosine": {"mean": 0.99, "p1": 0.98, "min": 0.97},
        "pairs": {
            "count": 6000,
            "accuracy_points_lost": {"points": 0.08, "most": 0.25},
            "tar_points_lost": {"points": -0.2, "most": 0.5},
        },
        "latency_ratios": {"the float model": {"ratio": 0.33, "low": 0.3, "high": 0.36}},
    }
    network = {"architecture": "SphereFace-20", "widths": [32, 64, 128, 256]}
    quantized = {"spec": network, "bytes": 25, "float_bytes": 100, "proof": proof}
    results = [result, tuning, quantization, {"environment": result["environment"], "report": quantized}]
    assert all(report.is_shown(one) for one in results)
    merged = report.merge(results)
    assert len(merged["rows"]) == 3, "rows of tuning and quantization have sections of their own"
    text = report.markdown(merged, title="x")
    sections = [line for line in text.splitlines() if line.startswith("## ")]
    assert sections[0] == "## Fastest form of each runtime"
    assert sections[-3:] == ["## Tuning", "## Quantization", "## Proofs of quantized models"]
    assert "INT8, tuned session" in text.split("## Latency")[0], "the run with our INT8 leads"
    assert "MISSED" in text
    assert "gate, a poisoned calibration: exit code 1" in text
    assert "SphereFace-20, 32/64/128/256       REFUSED   0.25" in text
    assert "0.08 (≤ 0.25)" in text
    assert report.merge([merged]) == merged, "a report can be made again from its own data"


def test_a_result_without_a_section_is_refused(result, tmp_path, capsys):
    path = tmp_path / "sessions.json"
    path.write_text(json.dumps({"environment": result["environment"], "sessions": []}))
    assert run(build_parser(), ["report", str(path), "-o", str(tmp_path / "r")]) == 2
    assert "sessions.json has no section that a report shows" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("rows", [{}, ["x"], [{"label": "x"}]])
def test_sections_that_are_not_rows_are_refused(result, rows, tmp_path, capsys):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**result, "rows": rows}))
    assert run(build_parser(), ["report", str(path), "-o", str(tmp_path / "r")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "change",
    [
        {"targets": None},
        {"targets": [{"figure": [[]], "measured": None, "sense": "<", "bound": 1.0}]},
        {"targets": [{"figure": "x", "measured": 1.0, "sense": "=", "bound": 1.0}]},
        {"gate": [[]]},
    ],
)
def test_targets_and_attempts_that_are_none_are_refused(result, change, tmp_path, capsys):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**whole(result, gate=[], rewritten_cosine={}), **change}))
    assert run(build_parser(), ["report", str(path), "-o", str(tmp_path / "r")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.slow
def test_the_recorded_results_remain_readable():
    for folder in sorted((ROOT / "benchmarks" / "results").iterdir()):
        results = [load_result(path) for path in folder.glob("*.json")]
        shown = [one for one in results if report.is_shown(one)]
        if shown:
            merged = report.merge(shown)
            assert report.best_of(merged).entries or not merged["rows"]


def test_rows_of_a_busy_machine_are_named(result):
    load = {"other_processors": 1.25, "average": 2.5, "processors": 2}
    work = {"before": {**load, "other_processors": 0.0}, "during": load, "busy": True}
    busy = {
        "environment": {**result["environment"], "other_work": work},
        "rows": [{**result["rows"][0], "label": "tuned"}],
    }
    text = report.markdown(report.merge([result, busy]), title="x")
    assert "Measured on a busy machine (other programs kept up to 1.25 of 2 processors busy): tuned." in text
    assert "**busy**, other programs' share of the processor time: 0% before, 62% during the measurement" in text
    assert "2 processors busy): All rows." in report.markdown(report.merge([busy]), title="x")
    assert "busy machine" not in report.markdown(report.merge([result]), title="x")


@pytest.mark.slow
def test_a_result_of_accuracy_alone(result, tmp_path):
    alone = {"environment": result["environment"], "accuracy": result["accuracy"]}
    names = {path.name for path in report.write(report.merge([alone]), tmp_path, title="x", remark="")}
    assert names == {"roc.png", "report.json", "report.md"}
