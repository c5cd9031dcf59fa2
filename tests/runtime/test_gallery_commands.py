"""enroll, identify, gallery, calibrate-threshold as people and machines call them."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_sphereface.audit import read_entries
from edge_sphereface.gallery import open_gallery
from edge_sphereface.inference.embedder import Embedder


@pytest.fixture
def place(tmp_path):
    return tmp_path / "people.db"


@pytest.fixture
def two_faces(photo, tmp_path):
    """Two people in one photograph: the same one twice, the right one smaller."""
    image = cv2.imread(str(photo))
    small = cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    both = np.zeros((512, 512 + small.shape[1], 3), np.uint8)
    both[:, :512], both[: small.shape[0], 512:] = image, small
    path = tmp_path / "both.png"
    cv2.imwrite(str(path), both)
    return path


@pytest.fixture
def run(cli, small_model):
    """A command with the narrow model; gives exit code, JSON, stderr."""

    def run(*words):
        models = ("--model", small_model) if words[0] != "gallery" else ()
        code, out, err = cli(*words, *models, "--json")
        return code, json.loads(out), err

    return run


def test_from_a_photograph_to_a_name(run, cli, photo, place, small_model):
    code, result, _ = run("enroll", "--gallery", place, "Ann Lee", photo, photo, "--meta", "role=staff", "--keep-crops")
    assert (code, result["identities"]) == (0, 1)
    assert result["enrolled"][0] | {"own_similarity": 0} == {
        "name": "Ann Lee", "added": 2, "embeddings": 2, "own_similarity": 0, "lookalikes": [],
    }  # fmt: skip
    code, result, _ = run("identify", "--gallery", place, photo)
    (face,) = result["images"][0]["faces"]
    assert (code, face["name"], face["outcome"], face["threshold"]) == (0, "Ann Lee", "identified", 0.5)
    code, result, _ = run("gallery", "list", "--gallery", place)
    assert (result["identities"][0]["name"], result["identities"][0]["crops"]) == ("Ann Lee", 2)
    assert result["identities"][0]["metadata"] == {"role": "staff"}
    code, out, _ = cli("gallery", "list", "--gallery", place)
    assert "Ann Lee    2 embeddings  since" in out
    assert "role=staff" in out
    assert "threshold 0.500 (the model's: test)" in out
    assert (
        cli("identify", "--gallery", place, "--model", small_model, photo)[1].count("Ann Lee (nearest: Ann Lee 1.000")
        == 1
    )


def test_an_ignored_person_is_recognized_and_not_named(run, cli, photo, place, small_model, tmp_path):
    code, result, _ = run("enroll", "--gallery", place, "Postman", photo, "--ignored", "--audit", tmp_path / "a.jsonl")
    code, result, _ = run("identify", "--gallery", place, photo)
    (face,) = result["images"][0]["faces"]
    assert (code, face["name"], face["outcome"]) == (0, None, "ignored")
    assert face["candidates"][0] == {
        "name": "Postman",
        "similarity": face["candidates"][0]["similarity"],
        "ignored": True,
    }
    drawn = tmp_path / "drawn.png"
    out = cli("identify", "--gallery", place, "--model", small_model, photo, "--draw", drawn)[1]
    assert "ignored (nearest: Postman (ignored) 1.000" in out
    assert "  ignored" in cli("gallery", "list", "--gallery", place)[1]
    audit = ("--audit", tmp_path / "a.jsonl")
    code, out, _ = cli("ignore", "--gallery", place, "Postman", "--undo", "--json", *audit)
    assert (code, [one["ignored"] for one in json.loads(out)["people"]]) == (0, [False])
    assert run("identify", "--gallery", place, photo)[1]["images"][0]["faces"][0]["name"] == "Postman"
    assert cli("ignore", "--gallery", place, "Postman", *audit)[:2] == (0, "ignored: Postman\n")
    assert run("gallery", "list", "--gallery", place)[1]["identities"][0]["ignored"]
    again = cli("ignore", "--gallery", place, "Postman", "Postman", *audit)[1]
    assert again == "ignored already, nothing changed: Postman\n"
    code, _, err = cli("ignore", "--gallery", place, "Postman", "Zoe")
    assert code == 1
    assert "nobody named 'Zoe'" in err
    assert err.endswith(f": edge-sphereface gallery list --gallery {place}\n")
    entries = list(read_entries(tmp_path / "a.jsonl"))
    assert [(entry.action, entry.detail) for entry in entries] == [
        ("enroll", {"embeddings": "1", "ignored": "yes"}), ("unignore", {}), ("ignore", {}),
    ]  # fmt: skip
    assert len({entry.subject for entry in entries}) == 1


def test_two_names_for_one_face_are_a_warning(run, photo, place):
    run("enroll", "--gallery", place, "Ann", photo)
    code, result, err = run("enroll", "--gallery", place, "Anna", photo)
    assert code == 0
    assert result["enrolled"][0]["lookalikes"][0]["name"] == "Ann"
    assert "warning: 'Anna' resembles 'Ann' (similarity 1.000" in err


def test_several_faces_are_an_error_unless_the_largest_is_asked_for(run, two_faces, place):
    code, result, _ = run("enroll", "--gallery", place, "Ann", two_faces)
    assert (code, result["error"]["code"]) == (1, "several-faces")
    assert "Expected one face, got 2" in result["error"]["message"]
    assert "--largest" in result["error"]["hint"]
    assert not place.exists()
    assert run("enroll", "--gallery", place, "Ann", two_faces, "--largest")[0] == 0
    code, result, _ = run("identify", "--gallery", place, two_faces)
    assert len(result["images"][0]["faces"]) == 2


def test_strict_enrollment_names_each_reason_and_enrolls_nobody(run, two_faces, photo, place, tmp_path):
    empty = tmp_path / "empty.png"
    cv2.imwrite(str(empty), np.zeros((100, 100, 3), np.uint8))
    code, result, _ = run("enroll", "--strict", "--gallery", place, "Ann", photo, two_faces, empty)
    assert (code, result["error"]["code"]) == (1, "photograph")
    assert f"{two_faces}: several faces (expected one face, got 2)" in result["error"]["message"]
    assert result["error"]["hint"].endswith("select the largest face: --largest")
    assert f"{empty}: no face" in result["error"]["message"]
    assert not place.exists()


def test_the_report_of_a_gallery(run, cli, photo, place, tmp_path):
    """Those who can be compared first; the page is for its owner alone."""
    run("enroll", "--gallery", place, "Ann", photo, "--keep-crops")
    _, result, _ = run("enroll", "--gallery", place, "--detector", "mtcnn", "Bob", photo, photo)
    (bob,) = result["people"]
    assert (bob["redundant"], bob["harmful"], bob["nearest"]["name"]) == ([2], [1, 2], "Ann")
    page = tmp_path / "people.html"
    code, result, _ = run("gallery", "report", "--gallery", place, "--detector", "mtcnn", "--html", page)
    assert (code, [person["name"] for person in result["people"]]) == (0, ["Bob", "Ann"])
    assert len(result["people"][1]["missing_poses"]) == 4, "the crop shows one of five"
    assert result["people"][0]["missing_poses"] == bob["missing_poses"], "from the crop, both times"
    assert page.stat().st_mode & 0o777 == 0o600
    assert page.read_text().count("data:image/jpeg;base64,") == 3
    _, out, _ = cli("gallery", "report", "--gallery", place, "--detector", "mtcnn", "Ann")
    assert "Ann: 1 photograph\n" in out
    assert "1 of 2 identities" in out
    assert run("gallery", "report", "--gallery", place, "Zed")[1]["error"]["code"] == "identity-not-found"


@pytest.mark.slow
def test_a_folder_of_people(run, cli, photo, two_faces, place, tmp_path, small_model):
    for name in ("people/Ann/1.png", "people/Ann/2.png", "people/Боб/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / name)
    shutil.copy(two_faces, tmp_path / "people/Ann/3.png")
    (tmp_path / "people/Zed").mkdir()
    (tmp_path / "people/Zed/1.png").write_bytes(b"x")
    code, result, _ = run("enroll", "--gallery", place, "--people", tmp_path / "people")
    assert (code, result["identities"]) == (0, 2)
    assert [(item["name"], item["added"]) for item in result["enrolled"]] == [("Ann", 2), ("Боб", 1)]
    assert sorted(item["path"].rpartition("people/")[2] for item in result["skipped"]) == ["Ann/3.png", "Zed/1.png"]
    _, out, _ = cli("enroll", "--gallery", place, "--model", small_model, "--people", tmp_path / "people")
    assert [line.count(str(tmp_path)) for line in out.splitlines() if line.startswith("skipped")] == [1, 1]
    (tmp_path / "none").mkdir()
    assert run("enroll", "--gallery", place, "--people", tmp_path / "none")[1]["error"]["code"] == "image"


def test_a_command_that_fails_makes_no_gallery(run, photo, place, tmp_path):
    """Nobody is bound to the model of a command that enrolled nobody."""
    run("enroll", "--gallery", tmp_path / "whole.db", "Ann", photo)
    run("gallery", "export", "--gallery", tmp_path / "whole.db", "-o", tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(lines[:-1]))
    (tmp_path / "none").mkdir()
    for name in ("faceless/Ann/1.png", "backwards/A\u202eB/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "faceless/Ann/1.png").write_bytes(b"x")
    for words, code in (
        (("gallery", "import", tmp_path / "cut.jsonl"), "gallery-format"),
        (("enroll", "--people", tmp_path / "none"), "image"),
        (("enroll", "--people", tmp_path / "faceless"), "no-face"),
        (("enroll", "--people", tmp_path / "backwards"), "identity"),
        (("enroll", "Ann", photo, "--meta", f"x={'y' * 40_000}"), "identity"),
    ):
        assert run(*words, "--gallery", place)[1]["error"]["code"] == code
        assert not list(tmp_path.glob(f"{place.name}*"))


def test_crops_that_a_gallery_does_not_keep_are_told(run, photo, place, tmp_path):
    assert "--keep-crops" not in run("enroll", "--gallery", place, "Ann", photo)[2]
    assert "--keep-crops has no effect" in run("enroll", "--gallery", place, "Ann", photo, "--keep-crops")[2]
    run("gallery", "export", "--gallery", place, "-o", tmp_path / "x.jsonl")
    words = ("gallery", "import", "--gallery", place, tmp_path / "x.jsonl", "--existing", "add", "--keep-crops")
    assert "--keep-crops has no effect" in run(*words)[2]


def test_an_import_says_what_was_new(run, cli, photo, place, tmp_path):
    run("enroll", "--gallery", place, "Ann", photo, photo)
    run("enroll", "--gallery", place, "Bob", photo)
    run("gallery", "export", "--gallery", place, "-o", tmp_path / "x.jsonl")
    run("gallery", "remove", "--gallery", place, "Bob")
    _, out, _ = cli("gallery", "import", "--gallery", place, tmp_path / "x.jsonl", "--existing", "add")
    assert f"1 new identity and 3 embeddings added to {place}, 0 identities skipped; it holds 2" in out


@pytest.mark.slow
def test_remove_export_import_check(run, photo, place, tmp_path):
    run("enroll", "--gallery", place, "Ann", photo)
    run("enroll", "--gallery", place, "Bob", photo)
    assert run("gallery", "export", "--gallery", place, "-o", tmp_path / "x.jsonl")[1]["identities"] == 2
    assert run("gallery", "remove", "--gallery", place, "Ann")[1] == {
        "removed": ["Ann"],
        "embeddings": 1,
        "identities": 1,
    }
    assert run("gallery", "remove", "--gallery", place, "Ann")[1]["error"]["code"] == "identity-not-found"
    assert run("gallery", "import", "--gallery", place, tmp_path / "x.jsonl")[1]["error"]["code"] == "identity"
    _, result, _ = run("gallery", "import", "--gallery", place, tmp_path / "x.jsonl", "--existing", "skip")
    assert (result["added"], result["skipped"], result["identities"]) == (1, 1, 2)
    assert run("gallery", "check", "--gallery", place)[1]["problems"] == []
    with closing(sqlite3.connect(place, isolation_level=None)) as database:
        database.execute("UPDATE identities SET template = (SELECT embedding FROM embeddings) WHERE id = 1")
        database.execute("UPDATE embeddings SET embedding = zeroblob(128) WHERE id = 1")
        database.execute("UPDATE embeddings SET embedding = ? WHERE id = 2", (np.eye(32, dtype="<f4")[3].tobytes(),))
    assert run("gallery", "check", "--gallery", place)[0] == 1


@pytest.mark.parametrize("named", ["itself", "link", "another"])
def test_no_output_replaces_a_gallery(run, photo, place, tmp_path, named):
    run("enroll", "--gallery", place, "Ann", photo)
    output = place
    if named != "itself":
        output = tmp_path / named
        shutil.copy(place, output) if named == "another" else output.symlink_to(place)
    before = output.read_bytes()
    code, result, _ = run("gallery", "export", "--gallery", place, "-o", output)
    assert (code, result["error"]["code"]) == ((1, "output") if named == "another" else (2, "usage"))
    assert "lost" in result["error"]["message"]
    assert run("embed", photo, "-o", output)[0] == 1
    assert output.read_bytes() == before


def test_no_output_replaces_a_photograph(run, photo, tmp_path):
    copy = tmp_path / "photo.png"
    shutil.copy(photo, copy)
    code, result, _ = run("embed", copy, "-o", copy)
    assert (code, result["error"]["code"]) == (2, "usage")
    assert copy.read_bytes() == photo.read_bytes()


def test_an_encrypted_gallery(run, photo, place, tmp_path, monkeypatch):
    key = tmp_path / "key"
    assert run("gallery", "new-key", key)[0] == 0
    assert run("enroll", "--gallery", place, "--key-file", key, "Ann", photo)[0] == 0
    assert run("identify", "--gallery", place, photo)[1]["error"]["code"] == "gallery-key"
    _, _, err = run("gallery", "export", "--gallery", place, "--key-file", key, "-o", tmp_path / "x.jsonl")
    assert "is encrypted, and" in err
    monkeypatch.setenv("EDGE_SPHEREFACE_GALLERY_KEY", key.read_text())
    monkeypatch.setenv("EDGE_SPHEREFACE_GALLERY", str(place))
    assert run("identify", photo)[1]["images"][0]["faces"][0]["name"] == "Ann"
    assert run("gallery", "list")[1]["encrypted"] is True


@pytest.mark.slow
def test_rebuild(run, photo, place, small_models, cli):
    run("enroll", "--gallery", place, "Ann", photo, "--keep-crops")
    code, out, _ = cli("gallery", "rebuild", "--gallery", place, "--model", small_models["nchw"], "--flip", "--json")
    assert (code, json.loads(out)["embeddings"]) == (0, 1)
    code, out, _ = cli("identify", "--gallery", place, "--model", small_models["nchw"], "--flip", photo, "--json")
    assert json.loads(out)["images"][0]["faces"][0]["name"] == "Ann"
    assert run("identify", "--gallery", place, photo)[1]["error"]["code"] == "fingerprint"
    assert run("enroll", "--gallery", place, "Bob", "missing.jpg")[1]["error"]["code"] == "fingerprint"  # said first


def test_rebuild_for_a_model_of_another_fit(run, photo, place, small_model, make_onnx, cli):
    """A detector is needed for it alone, and stderr says what was done."""
    run("enroll", "--gallery", place, "Ann", photo, "--keep-crops")
    template = Embedder(small_model).spec.landmark_template
    other = make_onnx(changes={"landmark_template": template, "alignment_fit": "umeyama"})
    words = ("gallery", "rebuild", "--gallery", place, "--json", "--model")
    code, out, _ = cli(*words, other, "--detector", "yunet")
    assert (code, json.loads(out)["error"]["code"]) == (1, "model-not-found")
    assert cli(*words, small_model, "--detector", "yunet")[0] == 0
    code, out, err = cli(*words, other, "--detector", "mtcnn")
    assert (code, json.loads(out)["embeddings"]) == (0, 1)
    assert "cut by the fit cp2tform and are now scaled for umeyama, by landmarks that mtcnn found" in err
    with open_gallery(place) as gallery:
        assert gallery.fingerprint == Embedder(other).fingerprint


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (("enroll", "Ann", "x.jpg"), 2, "usage"),
        (("enroll", "--gallery", "x.db", "Ann"), 2, "usage"),
        (("enroll", "--gallery", "x.db", "Ann", "x.jpg", "--people", "y"), 2, "usage"),
        (("enroll", "--gallery", "x.db", "Ann", "/no/such.jpg"), 1, "image"),
        (("enroll", "--gallery", "/no/such/x.db", "Ann", "PHOTO"), 1, "output"),
        (("enroll", "--gallery", "x.db", "\n", "PHOTO"), 1, "identity"),
        (("enroll", "--gallery", "x.db", "Ann", "EMPTY"), 1, "no-face"),
        (("identify", "--gallery", "/no/such.db", "x.jpg"), 1, "gallery-not-found"),
        (("identify", "--gallery", "x.db", "x.jpg", "--margin", "3"), 2, "usage"),
        (("gallery", "list"), 2, "usage"),
        (("gallery",), 2, "usage"),
        (("gallery", "list", "--gallery", "PHOTO"), 1, "gallery-format"),
        (("gallery", "import", "--gallery", "x.db", "/no/such.jsonl"), 1, "gallery"),
        (("calibrate-threshold", "/no/such"), 1, "image"),
        (("calibrate-threshold", ".", "--far", "2"), 2, "usage"),
    ],
)
def test_errors_are_one_object(run, photo, tmp_path, monkeypatch, words, code, kind):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("empty.png", np.zeros((100, 100, 3), np.uint8))
    named = {"PHOTO": photo, "EMPTY": "empty.png"}
    got, result, err = run(*(named.get(word, word) for word in words))
    assert (got, result["error"]["code"]) == (code, kind)
    assert "Traceback" not in err
    assert not (tmp_path / "x.db").exists()


def test_calibrate_refuses_few_photographs(run, photo, tmp_path):
    (tmp_path / "people/ann").mkdir(parents=True)
    shutil.copy(photo, tmp_path / "people/ann/1.png")
    code, result, _ = run("calibrate-threshold", tmp_path / "people")
    assert (code, result["error"]["code"]) == (1, "threshold")
    assert "1 people" in result["error"]["message"]


@pytest.mark.slow
def test_calibrate_writes_into_the_gallery(run, cli, place, photo, tmp_path, monkeypatch, small_model):
    """Forty people that a stand-in for photographs gives; the closest pair is the one that was enrolled twice."""
    from edge_sphereface.evaluation.labeled_photos import EmbeddedPhotos

    rows = np.random.default_rng(0).standard_normal((400, 32)).astype(np.float32)
    rows += 4 * np.repeat(rows[::10], 10, axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    people = EmbeddedPhotos(rows, [f"p{number // 10}" for number in range(400)], [("bad.jpg", "unreadable")])
    monkeypatch.setattr("edge_sphereface.evaluation.labeled_photos.embed_labeled_photos", lambda *_, **__: people)
    run("enroll", "--gallery", place, "Ann", photo)
    run("enroll", "--gallery", place, "Anna", photo)
    words = ("calibrate-threshold", "--gallery", place, "--far", "0.01", tmp_path)
    code, result, _ = run(*words)
    assert code == 0
    found = result["calibration"]
    assert found["low"] <= found["threshold"] <= found["high"]
    assert found["measured_far"] <= 0.01
    assert result["closest"]["names"] == ["Ann", "Anna"]
    assert result["closest"]["confused"] is True
    assert result["strangers"]["photographs"] == 400
    assert result["strangers"]["people"] == 40
    assert 0 <= result["strangers"]["false_alarm_rate"] <= 1
    _, out, _ = cli(*words, "--model", small_model)
    assert "WHICH REACHES THE THRESHOLD" in out
    (record,) = run("gallery", "list", "--gallery", place)[1]["thresholds"]
    assert (record["value"], record["far"], record["precision"]) == (found["threshold"], 0.01, "float32")
    assert run("identify", "--gallery", place, photo)[1]["images"][0]["faces"][0]["threshold"] == found["threshold"]


def test_a_threshold_that_nobody_calibrated_is_told_in_one_line(run, place, photo):
    for words in (("enroll", "--gallery", place, "Ann", photo), ("identify", "--gallery", place, photo, photo)):
        code, _, err = run(*words)
        assert code == 0
        assert err.count("was not calibrated for this gallery: edge-sphereface calibrate-threshold --gallery") == 1
        assert "needs 78 people; with fewer, give a --threshold to start from" in err
    assert "calibrate" not in run("identify", "--gallery", place, photo, "--threshold", "0.5")[2]


@pytest.mark.slow
def test_watch_wants_a_threshold_for_tracks(run, cli, place, photo, tmp_path, small_model):
    """Its start says so for a model's threshold and for one of photographs, and is silent after --tracks."""
    run("enroll", "--gallery", place, "Ann", photo)
    for number in range(4):
        (tmp_path / f"strangers/{number}").mkdir(parents=True)
        for frame in range(3):
            shutil.copy(photo, tmp_path / f"strangers/{number}/{frame}.png")

    def watch():
        words = ("watch", tmp_path / "strangers/0", "--fast", "--gallery", place, "--model", small_model, "--json")
        return cli(*words)[2]

    def keep(**changes):
        with open_gallery(place) as gallery:
            gallery.set_threshold(replace(gallery.threshold, **changes))

    assert "calibrate-threshold --gallery" in watch()
    keep(far=0.001)
    assert "was calibrated on photographs" in watch()
    words = ("calibrate-threshold", "--gallery", place, "--folder-fps", "8", "--tracks", tmp_path / "strangers")
    code, result, _ = run(*words)
    assert (code, result["error"]["code"]) == (1, "threshold")
    assert "at least 300 tracks of strangers; got 4 in 4 sequences" in result["error"]["message"]
    code, result, _ = run(*words, "--far", "0.8")
    assert code == 0
    assert result["track_calibration"]["tracks"] == result["track_calibration"]["sequences"] == 4
    (record,) = run("gallery", "list", "--gallery", place)[1]["thresholds"]
    assert (record["value"], record["far"], record["tracks"]) == (result["track_calibration"]["threshold"], 0.8, True)
    assert "warning" not in watch()


def test_calibration_takes_photographs_or_tracks(run, tmp_path, place, photo):
    for words in ((), (tmp_path, "--tracks", tmp_path)):
        code, result, _ = run("calibrate-threshold", *words)
        assert (code, result["error"]["code"]) == (2, "usage")
    run("enroll", "--gallery", place, "Ann", photo)
    (tmp_path / "empty").mkdir()
    code, result, _ = run("calibrate-threshold", "--gallery", place, "--tracks", tmp_path / "empty")
    assert (code, result["error"]["code"]) == (1, "source")


def test_photographs_of_different_people_given_as_one_are_a_warning(cli, trained_model, orl, tmp_path):
    """Within one call, too; they are enrolled all the same, for they may be right."""
    words = ["enroll", "--gallery", tmp_path / "people.db", "--model", trained_model]
    code, _, err = cli(*words, "Ann", orl / "01" / "1.png", orl / "01" / "2.png")
    assert (code, "resembles none of the others" in err) == (0, False)
    words[2] = tmp_path / "others.db"
    code, _, err = cli(*words, "Bob", orl / "11" / "1.png", orl / "11" / "2.png", orl / "05" / "1.png")
    assert code == 0
    assert f"{orl / '05' / '1.png'} of 'Bob' resembles none of the others" in err


def test_a_photograph_of_somebody_else_who_is_enrolled_is_named(cli, trained_model, orl, tmp_path):
    """Not as two names for one face, which the person has not."""
    words = ["enroll", "--gallery", tmp_path / "people.db", "--model", trained_model]
    assert cli(*words, "Dad", *(orl / "01" / f"{number}.png" for number in (1, 2, 3)))[0] == 0
    wrong = orl / "01" / "4.png"
    code, out, err = cli(*words, "Mom", orl / "11" / "1.png", wrong)
    assert code == 0
    assert f"{wrong} of 'Mom' looks like 'Dad'" in err
    assert "two names for one face" not in err
    assert "resembles none of the others" not in err, "that is said already"
    assert f"{wrong}: it looks like Dad" in out
