"""The latency benchmark: every case is there, each with its correctness and its environment."""

import json

import pytest

from benchmarks import environment, latency
from benchmarks.__main__ import build_parser
from edge_sphereface.cli.contract import run


def test_rows(small_models):
    models = [small_models["nchw"], small_models["image"]]
    seen = []
    rows = latency.measure(models, threads=[1], batches=[1, 2], rounds=4, progress=lambda *counts: seen.append(counts))
    assert [(row["model"], row["batch"]) for row in rows] == [(str(m), b) for b in (1, 2) for m in models]
    for row in rows:
        assert len(row["samples_ms"]) == row["latency"]["samples"] == 4
        assert row["min_cosine_to_first"] == pytest.approx(1)
        assert row["provider"]["active"] == ["CPUExecutionProvider"]
        assert row["latency"]["min_ms"] > 0
    assert seen == [(1, 2), (2, 2)]


def test_command(small_model, tmp_path, capsys):
    words = ["latency", str(small_model), "--rounds", "3", "--threads", "1", "--batches", "1"]
    assert run(build_parser(), [*words, "-o", str(tmp_path / "x.json")]) == 0
    out = capsys.readouterr().out
    assert "image.onnx" in out
    assert "3 samples each" in out
    saved = json.loads((tmp_path / "x.json").read_text())
    assert run(build_parser(), [*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == saved.keys() == {"environment", "rows"}


def test_environment(tmp_path):
    governor = tmp_path / environment._GOVERNOR
    governor.parent.mkdir(parents=True)
    governor.write_text("ondemand\n")
    facts = environment.describe(tmp_path)
    assert facts["governor"] == "ondemand"
    assert {"edge_sphereface", "numpy", "onnxruntime", "python"} <= set(facts["versions"])
    assert environment.describe(tmp_path / "none")["governor"] is None
