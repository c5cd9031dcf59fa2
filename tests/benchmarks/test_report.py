"""The report: one machine, every section, plots that are pictures."""

from dataclasses import fields

import cv2
import numpy as np
import pytest

from benchmarks import report
from benchmarks.accuracy import evaluate
from benchmarks.ascend import comparison_table
from benchmarks.case_row import Measurement


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
        "accuracy": [{"label": "float", "model": "float.onnx", **evaluate.judge(scores)}],
        "ledger": comparison_table.collect([row], [], []),
        "presence": "No Ascend NPU can be used here.",
        "throttled": True,
    }


def test_everything_is_written(result, tmp_path):
    written = report.write(report.merge([result]), tmp_path / "r", title="Title", remark="A note.")
    assert {path.name for path in written} == {
        "latency.png", "accuracy-over-latency.png", "roc.png", "report.json", "report.md"
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


@pytest.mark.slow
def test_rows_of_a_busy_machine_are_named(result, tmp_path):
    load = {"other_processors": 1.25, "average": 2.5, "processors": 2}
    work = {"before": {**load, "other_processors": 0.0}, "during": load, "busy": True}
    busy = {
        "environment": {**result["environment"], "other_work": work},
        "rows": [{**result["rows"][0], "label": "tuned"}],
    }
    report.write(report.merge([result, busy]), tmp_path / "both", title="x")
    text = (tmp_path / "both" / "report.md").read_text()
    assert "Measured on a busy machine (other programs kept up to 1.25 of 2 processors busy): tuned." in text
    report.write(report.merge([busy]), tmp_path / "one", title="x")
    assert "2 processors busy): All rows." in (tmp_path / "one" / "report.md").read_text()
    report.write(report.merge([result]), tmp_path / "none", title="x")
    assert "busy machine" not in (tmp_path / "none" / "report.md").read_text()


def test_a_result_of_accuracy_alone(result, tmp_path):
    alone = {"environment": result["environment"], "accuracy": result["accuracy"]}
    names = {path.name for path in report.write(report.merge([alone]), tmp_path, title="x", remark="")}
    assert names == {"roc.png", "report.json", "report.md"}
