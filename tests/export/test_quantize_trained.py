"""The promise of the command `quantize`, on trained weights."""

import json
import warnings

import pytest

from edge_sphereface.inference.embedder import Embedder


@pytest.mark.slow
def test_on_trained_weights(half_width_model, shared, tmp_path, export_cli):
    """The promise in a fraction of the time: 50 crops for the calibration, 200 pairs, 11 rounds, the strict policy."""
    head, *lines = shared("lfw/pairs.txt").read_text().splitlines()
    (tmp_path / "pairs.txt").write_text("\n".join([head, *lines[200:400]]))  # half of them of one person each
    lfw = shared("lfw")
    marks = lfw / "lfw_landmark.txt"
    output = tmp_path / "m.int8.onnx"
    words = ["quantize", half_width_model, "--calibration", lfw / "images", "--count", 50, "-o", output, "--rounds", 11]
    pairs = ["--pairs", tmp_path / "pairs.txt", "--images", lfw / "images", "--landmarks", marks]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, shown, _ = export_cli(*words, *pairs, "--json")
    result = json.loads(shown)
    assert code == 0, result["proof"]["missed"]
    assert result["calibration"]["doubts"] == []
    proof = result["proof"]
    assert proof["cosine"]["mean"] >= 0.998
    assert proof["pairs"]["count"] + proof["pairs"]["left_out"] == 200
    assert proof["pairs"]["left_out"] > 0, "the calibration took some of these photographs"
    accuracy = next(judgment for judgment in proof["judgments"] if "accuracy" in judgment["what"])
    assert "too few: 2000 are needed" in accuracy["why_not"]
    certificate = json.loads((tmp_path / "m.int8.parity.json").read_text())
    assert any("accuracy" in sentence and "not judged" in sentence for sentence in certificate["quality"])
    assert abs(proof["threshold"] - Embedder(half_width_model).spec.threshold) < 0.02
    assert result["bytes"] / result["float_bytes"] <= 0.26
