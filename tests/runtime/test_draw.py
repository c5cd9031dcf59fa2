"""`--draw` of detect, identify and verify: pictures with boxes and names, private, and never in an input's place."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.cli.__main__ import main
from edge_sphereface.cli.arguments import distinct_stems
from edge_sphereface.image import load_image
from edge_sphereface.stream.outputs.frames.drawing import FaceLabel, draw_labels


@pytest.fixture(scope="module")
def gallery(trained_model, orl, tmp_path_factory):
    path = tmp_path_factory.mktemp("gallery") / "people.db"
    words = ["enroll", "--gallery", path, "--model", trained_model, "Ann", orl / "01" / "1.png", orl / "01" / "2.png"]
    assert main(list(map(str, words))) == 0
    return path


@pytest.fixture
def identify(trained_model, gallery, capsys):
    def run(*words):
        code = main([str(word) for word in ("identify", "--gallery", gallery, "--model", trained_model, *words)])
        return code, capsys.readouterr()

    return run


def test_identify_draws_a_photograph(identify, orl, tmp_path, require_schema):
    """The picture has the photograph's size, differs from it where the box is, and only its owner may read it."""
    source, target = orl / "01" / "3.png", tmp_path / "out.png"
    code, shown = identify(source, "--draw", target, "--json")
    report = json.loads(shown.out)
    require_schema("identify", report)
    (image,) = report["images"]
    assert (code, image["faces"][0]["name"], image["drawn"]) == (0, "Ann", str(target))
    before, after = load_image(source), load_image(target)
    assert before.shape == after.shape
    left, top, _right, bottom = (round(edge) for edge in image["faces"][0]["box"])
    assert tuple(after[(top + bottom) // 2, left]) != tuple(before[(top + bottom) // 2, left])
    assert np.array_equal(after[bottom + 8 :], before[bottom + 8 :])
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_several_photographs_go_into_a_folder(identify, orl, tmp_path):
    code, shown = identify(orl / "01" / "3.png", orl / "02" / "3.png", "--draw", tmp_path / "new")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["3-2.jpg", "3.jpg"]
    assert f"drawn: {tmp_path / 'new' / '3-2.jpg'}" in shown.out
    assert "box " in shown.out


def test_a_file_cannot_hold_two_photographs(identify, orl, tmp_path):
    code, shown = identify(orl / "01" / "3.png", orl / "02" / "3.png", "--draw", tmp_path / "one.jpg")
    assert code == 2
    assert "can hold one photograph, and 2 were named" in shown.err
    assert list(tmp_path.iterdir()) == []


def test_a_photograph_is_not_replaced(identify, photo):
    before = photo.read_bytes()
    code, shown = identify(photo, "--draw", photo)
    assert (code, photo.read_bytes()) == (2, before)
    assert "would be lost" in shown.err


def test_detect_draws_a_photograph(photo, orl, tmp_path, capsys, require_schema):
    target = tmp_path / "out.png"
    assert main(["detect", str(photo), "--draw", str(target), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    require_schema("detect", report)
    assert report["images"][0]["drawn"] == str(target)
    left, top, _right, bottom = (round(edge) for edge in report["images"][0]["faces"][0]["box"])
    assert tuple(load_image(target)[(top + bottom) // 2, left]) != tuple(load_image(photo)[(top + bottom) // 2, left])
    assert main(["detect", str(photo), str(orl / "01" / "1.png"), "--draw", str(target)]) == 2
    assert main(["detect", str(photo), str(orl / "01" / "1.png"), "--draw", str(tmp_path / "new")]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["1.jpg", "astronaut.jpg"]


def test_verify_draws_both_photographs(trained_model, orl, photo, tmp_path, capsys):
    """Side by side, at the height of the lower one."""
    words = ["verify", "--model", trained_model, orl / "01" / "1.png", photo, "--draw", tmp_path / "both.jpg"]
    assert main(list(map(str, words))) == 0
    shown = capsys.readouterr().out
    assert shown.count("box ") == 2
    assert f"drawn: {tmp_path / 'both.jpg'}" in shown
    first, second = load_image(orl / "01" / "1.png"), load_image(photo)
    height = min(first.shape[0], second.shape[0])
    width = sum(round(image.shape[1] * height / image.shape[0]) for image in (first, second))
    assert load_image(tmp_path / "both.jpg").shape == (height, width, 3)


def test_a_photograph_in_the_folder_of_pictures_is_not_replaced(identify, photo, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    code, shown = identify(tmp_path / "photo.jpg", "--draw", tmp_path)
    assert (code, (tmp_path / "photo.jpg").read_bytes()) == (2, photo.read_bytes())
    assert "would be lost" in shown.err


def test_photographs_of_one_name_get_names_of_their_own(tmp_path):
    names = ["a/x.jpg", "b/x.jpg", "x-2.jpg", "c/X.png"]
    assert list(distinct_stems(map(Path, names))) == ["x", "x-2", "x-2-2", "X-3"]


@pytest.mark.parametrize("command", ["identify", "verify"])
def test_a_picture_of_another_kind_is_refused(command, photo, capsys, tmp_path):
    photographs = [photo] if command == "identify" else [photo, photo]
    words = [command, *photographs, "--model", "m.onnx", "--draw", tmp_path / "x.webp"]
    if command == "identify":
        words += ["--gallery", "none.db"]
    assert main(list(map(str, words))) in (1, 2)
    assert list(tmp_path.iterdir()) == []


def test_labels_stay_inside_the_image():
    """Filled, above all boxes, also where a face reaches out of the image."""
    image = np.zeros((120, 200, 3), np.uint8)
    labels = [FaceLabel(np.float32([-30, -10, 60, 50]), "Ann 0.61", "identified")]
    drawn = draw_labels(image, labels)
    filled = (drawn == (80, 190, 60)).all(axis=2)
    assert filled[:16, :40].mean() > 0.5
