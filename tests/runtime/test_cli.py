"""The commands, as people and as machines call them."""

import argparse
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.cli.arguments import open_named_detector
from edge_sphereface.model.certificate import certificate_path


def one_json(text):
    """Stdout holds exactly one JSON object and nothing else."""
    value = json.loads(text)
    assert isinstance(value, dict)
    assert text.count("\n") == 1
    return value


@pytest.fixture
def empty_photo(tmp_path):
    path = tmp_path / "empty.png"
    cv2.imwrite(str(path), np.zeros((100, 150, 3), np.uint8))
    return path


def test_info(cli, small_model):
    code, out, _ = cli("info", "--model", small_model)
    assert code == 0
    assert "SphereFace-20" in out
    assert "CPUExecutionProvider" in out
    assert cli("info", small_model, "--model", small_model)[0] == 2
    code, out, err = cli("info", small_model, "--json", "--threads", "1")
    assert (code, err) == (0, "")
    report = one_json(out)
    assert report["provider"]["threads"] == 1
    assert report["detector"]["name"] == "mtcnn"
    assert report["detector"]["reason"].endswith("no other detector is here")


def test_the_model_may_come_from_the_environment(cli, small_model, monkeypatch):
    code, out, _ = cli("info", "--json")
    assert (code, one_json(out)["error"]["code"]) == (2, "usage")
    assert "edge-sphereface fetch-model" in one_json(out)["error"]["hint"]
    monkeypatch.setenv("EDGE_SPHEREFACE_MODEL", str(small_model))
    assert cli("info")[0] == 0


def test_a_command_of_another_program_opens_a_detector():
    """`python -m export quantize --provider` names what judges a model, and has no other option of a session."""
    named = {"detector": "mtcnn", "detector_model": None, "detector_provider": None, "provider": "cuda"}
    assert open_named_detector(argparse.Namespace(**named)).name == "mtcnn"


def test_detect(cli, photo, empty_photo):
    code, out, _ = cli("detect", photo, "--json")
    (image,) = one_json(out)["images"]
    assert code == 0
    assert (image["height"], image["width"], len(image["faces"])) == (512, 512, 1)
    assert set(image["faces"][0]) == {"box", "landmarks", "score"}
    code, out, _ = cli("detect", photo, empty_photo)
    assert code == 1
    assert "1 face (" in out
    assert "0 faces (" in out


def test_align_writes_private_crops(cli, photo, empty_photo, tmp_path):
    code, out, _ = cli("align", photo, "-o", tmp_path / "crops", "--json")
    (crop,) = one_json(out)["crops"]
    assert code == 0
    assert cv2.imread(crop["crop"]).shape == (112, 96, 3)
    assert os.stat(crop["crop"]).st_mode & 0o777 == 0o600
    code, out, err = cli("align", empty_photo, "-o", tmp_path / "none")
    assert (code, out) == (1, "")
    assert "No face was found" in err
    assert os.listdir(tmp_path / "none") == []


def test_align_keeps_photographs_of_one_name_apart(cli, photo, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / photo.name
    other.write_bytes(photo.read_bytes())
    cli("align", photo, other, "-o", tmp_path / "crops")
    assert sorted(os.listdir(tmp_path / "crops")) == ["astronaut-2.0.png", "astronaut.0.png"]


def test_embed_to_json_and_to_a_private_file(cli, photo, small_model, tmp_path):
    code, out, _ = cli("embed", "--model", small_model, photo, "--json")
    (face,) = one_json(out)["faces"]
    assert code == 0
    assert np.linalg.norm(face["embedding"]) == pytest.approx(1, abs=1e-5)
    target = tmp_path / "faces.npz"
    code, out, _ = cli("embed", "--model", small_model, photo, photo, "-o", target)
    assert code == 0
    assert target.stat().st_mode & 0o777 == 0o600
    with np.load(target, allow_pickle=False) as saved:
        assert saved["embeddings"].shape == (2, 32)
        assert list(saved["images"]) == [str(photo)] * 2
        np.testing.assert_allclose(saved["embeddings"][0], face["embedding"], atol=1e-6)


def test_people_see_no_embedding_unasked(cli, photo, small_model):
    _, out, err = cli("embed", "--model", small_model, photo)
    assert "--json" in out
    assert len(out) + len(err) < 400


def test_embed_without_a_face(cli, empty_photo, small_model, tmp_path):
    code, _, err = cli("embed", "--model", small_model, empty_photo, "-o", tmp_path / "x.npz")
    assert code == 1
    assert "No face" in err
    assert not (tmp_path / "x.npz").exists()


def test_verify(cli, photo, small_model):
    code, out, _ = cli("verify", "--model", small_model, photo, photo, "--json")
    answer = one_json(out)
    assert code == 0
    assert answer["same"] is True
    assert answer["similarity"] == pytest.approx(1, abs=1e-5)
    assert (answer["threshold"], answer["threshold_source"]) == (0.5, "test")
    code, out, _ = cli("verify", "--model", small_model, photo, photo, "--threshold", "-0.5")
    assert "SAME PERSON: similarity 1.0000 reaches the threshold -0.500 (command line)" in out


def test_verify_without_a_face_is_a_sentence_and_exit_code_1(cli, photo, empty_photo, small_model):
    code, out, err = cli("verify", "--model", small_model, photo, empty_photo)
    assert (code, out) == (1, "")
    assert f"error: {empty_photo}: No face was found in an image of 150 x 100 pixels by mtcnn." in err
    assert "Traceback" not in err


def test_verify_tells_people_apart(cli, trained_model, orl):
    """Genuine and impostor photographs of the ORL faces with the trained network of the project."""
    pair = lambda a, b: cli("verify", "--model", trained_model, orl / a, orl / b, "--threshold", 0.45, "--json")  # noqa: E731
    first, second = ("01/1.png", "01/3.png"), ("02/1.png", "02/2.png")
    assert [one_json(pair(*two)[1])["same"] for two in (first, second)] == [True, True]
    assert [one_json(pair(a, b)[1])["same"] for a, b in zip(first, second, strict=True)] == [False, False]


def test_verify_model(cli, small_model, tmp_path):
    code, out, _ = cli("verify-model", small_model)
    assert code == 0
    assert "parity         PASSED" in out
    assert cli("verify-model", small_model, "--min-cosine", "1.1")[0] == 2
    content = json.loads(small_model.with_suffix(".parity.json").read_text())
    content["golden"]["embeddings"][0][0] += 1
    (tmp_path / "other.json").write_text(json.dumps(content))
    words = "--certificate", tmp_path / "other.json", "--max-abs-error", "1e-3"
    code, out, _ = cli("verify-model", small_model, "--json", *words)
    report = one_json(out)
    assert code == 1
    assert report["passed"] is False
    assert report["parity"]["bounds"] == {"max_abs_error": 1e-3, "min_cosine": 0.99999}
    code, out, _ = cli("verify-model", small_model, "--json", "--certificate", tmp_path / "no")
    assert (code, one_json(out)["error"]["code"]) == (2, "certificate"), "1 says that the check failed"
    assert "copy it beside the model" in one_json(out)["error"]["hint"]


def test_verify_model_with_photos(cli, small_model, photo, tmp_path):
    image = cv2.imread(str(photo))
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), image)
    code, out, _ = cli("verify-model", small_model, "--photos", tmp_path)
    assert code == 1, "an untrained model takes the same photograph for the same person, whatever the name"
    assert "separation     FAILED on 3 photographs of 2 people" in out
    assert "red and blue swapped" in out


def test_fetch_detector_from_a_file(cli, shared, tmp_path):
    model = shared("models/face_detection_yunet_2023mar.onnx")
    code, out, _ = cli("fetch-detector", "--from", model, "--json")
    assert code == 0
    assert Path(one_json(out)["path"]).read_bytes() == model.read_bytes()
    (tmp_path / "other").write_bytes(b"x")
    code, out, _ = cli("fetch-detector", "--from", tmp_path / "other", "--json")
    assert (code, one_json(out)["error"]["code"]) == (1, "checksum")


def test_fetch_detector_offline(cli, monkeypatch):
    monkeypatch.setenv("EDGE_SPHEREFACE_OFFLINE", "1")
    code, out, _ = cli("fetch-detector", "--json")
    error = one_json(out)["error"]
    assert (code, error["code"]) == (1, "offline")
    assert "--from FILE" in error["hint"]


def test_doctor(cli, small_model):
    code, out, err = cli("doctor", "--model", small_model, "--json")
    report = one_json(out)
    assert (code, report["fit"], err) == (0, True, "")
    assert {"check", "status", "message", "action", "remedy", "file"} == set(report["findings"][0])
    code, out, _ = cli("doctor", "--model", "/no/such.onnx")
    assert code == 1
    assert "FAIL  model" in out


def test_doctor_checks_the_model_of_the_environment(cli, small_model, monkeypatch):
    monkeypatch.setenv("EDGE_SPHEREFACE_MODEL", str(small_model))
    assert small_model.name in cli("doctor")[1]
    monkeypatch.setenv("EDGE_SPHEREFACE_MODEL", "/no/such.onnx")
    assert "FAIL  model" in cli("doctor")[1]
    assert cli("doctor", "--model", small_model)[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (("info", "--model", "/no/such.onnx"), 1, "model-not-found"),
        (("detect", "/no/such.jpg"), 1, "image"),
        (("detect",), 2, "usage"),
        (("nonsense",), 2, "usage"),
        ((), 2, "usage"),
        (("verify", "a", "b", "--threshold", "30"), 2, "usage"),
        (("info", "--threads", "0"), 2, "usage"),
        (("detect", "x", "--detector", "mtcnn", "--detector-model", "y"), 2, "usage"),
        (("detect", "x", "--detector-model", "/no/such.onnx"), 1, "model-not-found"),
    ],
)
def test_errors_are_one_object_and_one_exit_code(cli, words, code, kind):
    got, out, err = cli(*words, "--json")
    error = one_json(out)["error"]
    assert (got, error["code"], err) == (code, kind, "")
    assert set(error) == {"code", "message", "hint"}
    assert error["message"]
    got, out, err = cli(*words)
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_more_threads_than_can_be_started(cli, small_model):
    code, _, err = cli("info", "--model", small_model, "--threads", "2147483647")
    assert code == 2
    assert "--threads: expected an integer from 1 to 1024" in err


def test_a_provider_that_is_not_there(cli, small_model):
    code, out, _ = cli("info", "--model", small_model, "--provider", "tpu", "--json")
    assert (code, one_json(out)["error"]["code"]) == (1, "provider")


def test_every_command_has_help_with_an_example(capsys):
    commands = build_parser().commands.choices
    assert set(commands) == {
        "info", "detect", "align", "embed", "verify", "liveness", "enroll", "identify", "ignore", "gallery",
        "calibrate-liveness", "calibrate-threshold", "embed-folder", "verify-model", "tune", "report-device",
        "check-outputs", "doctor", "fetch-detector", "fetch-model",
        "watch", "serve", "tokens", "service", "completion", "help", "remove", "expire", "audit", "strangers",
    }  # fmt: skip
    below = commands["gallery"].commands.choices
    assert set(below) == {"list", "remove", "export", "import", "rebuild", "check", "report", "new-key"}
    of_audit = commands["audit"].commands.choices
    assert set(of_audit) == {"check", "show"}
    of_strangers = commands["strangers"].commands.choices
    assert set(of_strangers) == {"list", "show", "name", "ignore", "forget"}
    for command in (*commands.values(), *below.values(), *of_audit.values(), *of_strangers.values()):
        assert "example" in command.epilog
        assert "--json" in command.format_help() or command is commands["help"]


def test_the_certificate_is_found_beside_the_model(small_model):
    assert certificate_path(small_model).name == "image.parity.json"
