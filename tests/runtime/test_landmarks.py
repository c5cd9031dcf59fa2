"""Landmarks are found again, and better: by MTCNN's third network, or by closer looks."""

import tracemalloc
from importlib.resources import files
from importlib.util import find_spec, module_from_spec

import cv2
import numpy as np
import onnx
import pytest

from edge_sphereface.detection.landmarks import VIEW_PX, CloserLooks, OutputNetwork
from edge_sphereface.detection.mtcnn import WEIGHTS_PACKAGE, Mtcnn, Network
from edge_sphereface.detection.mtcnn_graph import without_prelu
from edge_sphereface.detection.yunet import YUNET, YuNet
from edge_sphereface.errors import ProviderError
from edge_sphereface.evaluation.pairs import read_landmarks
from edge_sphereface.image import load_image
from edge_sphereface.inference.session import MemoryModel, SessionConfig, open_session
from edge_sphereface.types import Face

ONE_THREAD = SessionConfig(provider="cpu", threads=1)


@pytest.fixture
def yunet(shared):
    return YuNet(shared(f"models/{YUNET.name}"), session=ONE_THREAD)


@pytest.fixture
def closer_looks(shared):
    """Closer looks by OpenCV's YuNet."""
    detector = cv2.FaceDetectorYN.create(str(shared(f"models/{YUNET.name}")), "", (VIEW_PX, VIEW_PX), 0.7)

    def detect(views):
        for view in views:
            found = detector.detect(view)[1]
            yield np.empty((0, 15), np.float32) if found is None else found

    return CloserLooks(detect)


@pytest.fixture(params=["output network", "closer looks"])
def refiner(request):
    return OutputNetwork(ONE_THREAD) if request.param == "output network" else request.getfixturevalue("closer_looks")


@pytest.mark.slow
def test_they_come_nearer_to_those_of_training(refiner, yunet, shared):
    """The landmarks that come with LFW are those that SphereFace was trained with."""
    given = read_landmarks(shared("lfw/lfw_landmark.txt"))
    coarse, refined = [], []
    for path in sorted(shared("lfw/images").glob("Ab*/*_0001.jpg")):
        expected, image = given[f"{path.parent.name}/{path.name}"], load_image(path)
        face = min(yunet.find(image), key=lambda face: np.abs(face.landmarks.mean(axis=0) - 125).max())
        for found, errors in ((face, coarse), (refiner.improve([(image, face)])[0], refined)):
            errors.append(np.linalg.norm(found.landmarks - expected, axis=1).mean())
    assert len(refined) > 10
    assert np.mean(refined) < (1.8 if isinstance(refiner, OutputNetwork) else 3.5) < np.mean(coarse)


def test_of_a_large_photograph(refiner, yunet, astronaut):
    large = cv2.resize(astronaut, (2048, 2048))
    (small_face,), (face,) = yunet.find(astronaut), yunet.find(large)
    (small,), (refined,) = refiner.improve([(astronaut, small_face)]), refiner.improve([(large, face)])
    np.testing.assert_allclose(refined.landmarks / 4, small.landmarks, atol=2.5)
    assert refined.landmarks.dtype == np.float32


@pytest.mark.parametrize("rows", [slice(None), slice(40, None)], ids=["inside", "over the border"])
def test_large_faces_are_shrunk_before_their_views_are_cut(yunet, astronaut, rows):
    """Each pixel of the photograph is repeated 8 x 8 times, so that halves show the same."""
    image, output_network = np.ascontiguousarray(astronaut[rows]), OutputNetwork(ONE_THREAD)
    (face,) = yunet.find(image)
    large = np.repeat(np.repeat(image, 8, axis=0), 8, axis=1)
    large_face = Face(box=face.box * 8, landmarks=face.landmarks * 8, score=face.score)
    (small,), (refined,) = output_network.improve([(image, face)]), output_network.improve([(large, large_face)])
    np.testing.assert_allclose(refined.landmarks / 8, small.landmarks, atol=0.6)


@pytest.mark.slow
def test_many_faces_keep_their_order(refiner, yunet, astronaut):
    crowd = np.tile(astronaut[20:220, 120:320], (3, 4, 1))
    faces = [(crowd, face) for face in yunet.find(crowd)] + [(astronaut, face) for face in yunet.find(astronaut)]
    assert len(faces) == 13
    for (image, face), together in zip(faces, refiner.improve(faces), strict=True):
        (alone,) = refiner.improve([(image, face)])
        np.testing.assert_allclose(together.landmarks, alone.landmarks, atol=0.01)
        np.testing.assert_array_equal(together.box, face.box)
        assert together.score == face.score
    assert refiner.improve([]) == []


@pytest.mark.parametrize("box", [(400, 10, 500, 110), (-900, -900, -800, -800), (0, 0, 0, 0)])
def test_a_box_without_a_face_is_unchanged(refiner, box):
    face = Face(box=np.array(box, np.float32), landmarks=np.zeros((5, 2), np.float32), score=0.9)
    (same,) = refiner.improve([(np.full((300, 600, 3), 90, np.uint8), face)])
    np.testing.assert_array_equal(same.landmarks, face.landmarks)


def test_a_huge_box_takes_no_memory(refiner, astronaut):
    face = Face(box=np.array([-1e9, -1e9, 1e9, 1e9], np.float32), landmarks=np.zeros((5, 2), np.float32), score=0.9)
    tracemalloc.start()
    (same,) = refiner.improve([(astronaut, face)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    np.testing.assert_array_equal(same.landmarks, face.landmarks)


def test_yunet_takes_the_landmarks_of_mtcnn(yunet, astronaut):
    (ours,), (theirs,), (coarse,) = yunet.detect(astronaut), Mtcnn().detect(astronaut), yunet.find(astronaut)
    distance = [np.linalg.norm(face.landmarks - theirs.landmarks, axis=1).mean() for face in (ours, coarse)]
    assert distance[0] < 1.5 < distance[1]
    (refined,) = yunet.improve(astronaut, [coarse])
    np.testing.assert_array_equal(refined.landmarks, ours.landmarks)


def test_mtcnn_shrinks_large_images(astronaut):
    large = cv2.resize(astronaut, (3000, 3000))
    (face,), (small,) = Mtcnn(max_side=512).detect(large), Mtcnn().detect(astronaut)
    np.testing.assert_allclose(face.landmarks / (3000 / 512), small.landmarks, atol=2)
    np.testing.assert_allclose(face.box / (3000 / 512), small.box, atol=6)


def test_a_face_at_the_corner_is_cut_with_black(astronaut):
    """Views reach over the border of the image."""
    image = np.ascontiguousarray(astronaut[70:400, 175:500])
    (whole,), (cut,) = Mtcnn().detect(astronaut), Mtcnn().detect(image)
    np.testing.assert_allclose(cut.landmarks + [175, 70], whole.landmarks, atol=4)


@pytest.mark.parametrize("name", ["pnet.onnx", "rnet.onnx", "onet.onnx"])
def test_networks_without_prelu_are_equal(name):
    content = files(module_from_spec(find_spec(WEIGHTS_PACKAGE))).joinpath(name).read_bytes()
    rewritten = without_prelu(content)
    operators = [node.op_type for node in onnx.load_from_string(rewritten).graph.node]
    assert "PRelu" not in operators
    before, after = (open_session(MemoryModel(name=name, content=c), ONE_THREAD)[0] for c in (content, rewritten))
    side = 48 if name == "onet.onnx" else 24
    images = np.random.default_rng(0).standard_normal((3, side, side, 3)).astype(np.float32)
    results = [session.run(None, {session.get_inputs()[0].name: images}) for session in (before, after)]
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)
    assert without_prelu(rewritten) == rewritten


def test_a_provider_that_fails_is_named():
    network = Network("onet.onnx", ONE_THREAD)
    with pytest.raises(ProviderError, match=r"CPUExecutionProvider failed in onet\.onnx on an input of \(1, 7, 7, 3\)"):
        network(np.zeros((1, 7, 7, 3), np.float32))
