"""Faces are live, spoof or not checked, and crops are those of the networks' training."""

import json

import cv2
import numpy as np
import onnxruntime
import pytest

from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.errors import ModelFormatError, ModelNotFoundError
from edge_sphereface.liveness import LivenessChecker
from edge_sphereface.liveness.crop import crop_around, is_checkable
from edge_sphereface.types import Face


def face(left, top, right, bottom):
    box = np.array([left, top, right, bottom], dtype=np.float32)
    return Face(box=box, landmarks=np.zeros((5, 2), dtype=np.float32), score=1.0)


def image(width=320, height=240):
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def original_box(box, width, height, scale):
    """The crop as the publisher describes it: shrunk to the image, then moved into it, then rounded down."""
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    scale = min((height - 1) / high, (width - 1) / wide, scale)
    x, y = left + wide / 2 - wide * scale / 2, top + high / 2 - high * scale / 2
    x, y = x - min(x, 0), y - min(y, 0)
    x, y = x - max(x + wide * scale - width, 0), y - max(y + high * scale - height, 0)
    return int(x), int(y), int(x + wide * scale), int(y + high * scale)


@pytest.mark.parametrize(
    "box", [(120, 80, 180, 150), (2, 3, 60, 70), (260, 170, 318, 238), (10, 10, 300, 230), (-20, -10, 60, 70)]
)
@pytest.mark.parametrize("scale", [2.7, 4.0])
def test_crops_are_those_of_the_publisher(box, scale):
    picture = image()
    left, top, right, bottom = original_box(box, 320, 240, scale)
    expected = cv2.resize(picture[top:bottom, left:right], (80, 80))
    assert np.array_equal(crop_around(picture, np.array(box, np.float32), scale=scale, side=80), expected)


def test_faces_are_checked_in_one_batch_and_small_ones_not_at_all(model):
    picture = image()
    faces = [face(10, 10, 90, 110), face(200, 50, 220, 75), face(150, 60, 230, 170), face(-300, 0, -200, 90)]
    results = LivenessChecker([model], threshold=0.5, threads=1).check(picture, faces)
    assert [result.state == "not_checked" for result in results] == [False, True, False, True]
    assert "32 pixels" in results[1].reason
    assert results[1].score is None
    session = onnxruntime.InferenceSession(model)
    for result, found in zip(results, faces, strict=True):
        if result.score is not None:
            crop = crop_around(picture, found.box, scale=2.7, side=80)[None]
            expected = float(session.run(None, {"crops": crop})[0][0, 1])
            assert result.score == pytest.approx(expected, abs=1e-5)
            assert result.state == ("live" if expected >= 0.5 else "spoof")


def test_the_threshold_decides_and_no_face_needs_no_inference(model):
    picture, faces = image(), [face(10, 10, 90, 110)]
    score = LivenessChecker([model, model], threads=1).check(picture, faces)[0].score
    states = {
        threshold: LivenessChecker([model], threshold=threshold, threads=1).check(picture, faces)[0].state
        for threshold in (score - 0.01, score + 0.01)
    }
    assert list(states.values()) == ["live", "spoof"]
    assert LivenessChecker([model], threads=1).check(picture, []) == []


@pytest.mark.parametrize("box", [(0, 0, 31, 90), (400, 0, 500, 90), (0, 230, 90, 330)])
def test_what_cannot_be_cropped_is_not_checked(box):
    assert not is_checkable(image(), np.array(box, np.float32))


def test_models_that_are_none(tmp_path, small_model, model):
    with pytest.raises(ModelNotFoundError):
        LivenessChecker([tmp_path / "missing.onnx"])
    with pytest.raises(ModelFormatError, match="no liveness model") as refused:
        LivenessChecker([small_model])
    assert refused.value.remedy == "convert-liveness"
    with pytest.raises(ValueError, match="at least one"):
        LivenessChecker([])
    with pytest.raises(ValueError, match="0 to 1"):
        LivenessChecker([model], threshold=1.5)


def test_the_command(printed, model, photo, tmp_path):
    empty = tmp_path / "empty.png"
    cv2.imwrite(str(empty), np.zeros((64, 64, 3), np.uint8))
    found = printed(build_parser, "liveness", "liveness", "--liveness", model, "--liveness-threshold", "0", photo)
    assert [face["liveness"]["state"] for face in found["images"][0]["faces"]] == ["live"]
    found = printed(build_parser, "liveness", "liveness", "--liveness", model, photo, empty)
    assert found["images"][1]["faces"] == []


def test_missing_models_are_an_error_and_no_pass(cli, photo, tmp_path):
    code, out, _ = cli("liveness", "--liveness", tmp_path / "no.onnx", "--json", photo)
    assert code == 2
    assert json.loads(out)["error"]["code"] == "model-not-found"


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_files_that_are_no_model_are_told_how_a_liveness_model_is_made(cli, photo, tmp_path, content):
    """And not how a recognition model is made."""
    model = tmp_path / "minifasnet.onnx"
    if content is not None:
        model.write_bytes(content)
    _, out, _ = cli("liveness", "--liveness", model, "--json", photo)
    hint = json.loads(out)["error"]["hint"]
    assert "python -m export liveness" in hint
    assert "fetch-model" not in hint
    assert "export convert" not in hint


def test_only_a_check_tells_a_file_that_is_no_liveness_model_from_its_own_answer(cli, photo, small_model):
    """Its exit code 1 says that a face is not live."""
    for code, *words in (
        (2, "liveness", "--liveness", small_model, photo),
        (1, "calibrate-liveness", small_model, "--live", photo, "--attack", photo),
        (1, "serve", small_model, "--liveness", small_model),
    ):
        found, out, _ = cli(*words, "--json")
        assert (found, json.loads(out)["error"]["code"]) == (code, "model-format")


def test_watch_refuses_models_without_a_gallery_and_models_that_are_none(cli, small_model, people, tmp_path):
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "1.png"), np.zeros((48, 64, 3), np.uint8))
    watch = ("watch", tmp_path / "frames", "--liveness", small_model, "--json")
    code, out, _ = cli(*watch)
    assert code == 2
    assert "gallery" in json.loads(out)["error"]["message"]
    code, out, _ = cli(*watch, "--gallery", people, "--model", small_model)
    assert code == 1
    assert json.loads(out)["error"]["code"] == "model-format"
