"""YuNet on onnxruntime finds what OpenCV's ``FaceDetectorYN`` finds with the same file."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_sphereface.detection.yunet import YUNET, YuNet
from edge_sphereface.detection.yunet_graph import dynamic_network
from edge_sphereface.errors import ModelFormatError, ProviderError
from edge_sphereface.image import load_image
from edge_sphereface.inference.onnx_graph import OnnxGraphError
from edge_sphereface.inference.session import CPU, SessionConfig
from export.orl.faces import read_orl

MOST_PX, MOST_SCORE = 0.1, 1e-4
ODD_SIZES = [(11, 17), (33, 33), (31, 300), (97, 301), (320, 320), (479, 641), (480, 640), (700, 1023)]
"""Height, width."""


@pytest.fixture
def file(shared):
    return shared(f"models/{YUNET.name}")


@pytest.fixture
def yunet(file):
    return YuNet(file, refine=False)


@cache
def opencv_detector(file, threshold):
    return cv2.FaceDetectorYN.create(str(file), "", (320, 320), threshold, 0.3, 5000)


def by_opencv(file, image, threshold=0.7):
    """Rows (N, 15), highest score first."""
    detector = opencv_detector(file, threshold)
    detector.setInputSize(image.shape[1::-1])
    found = detector.detect(image)[1]
    rows = np.empty((0, 15), np.float32) if found is None else found
    return rows[np.argsort(-rows[:, 14], kind="stable")]


def assert_equal(faces, rows):
    assert len(faces) == len(rows)
    for face, row in zip(faces, rows, strict=True):
        box = np.concatenate([row[:2], row[:2] + row[2:4]])
        np.testing.assert_allclose(face.box, box, atol=MOST_PX)
        np.testing.assert_allclose(face.landmarks, row[4:14].reshape(5, 2), atol=MOST_PX)
        assert abs(face.score - row[14]) < MOST_SCORE


@pytest.mark.parametrize(("height", "width"), ODD_SIZES)
def test_a_photograph_of_any_size(file, yunet, astronaut, height, width):
    image = cv2.resize(astronaut, (width, height), interpolation=cv2.INTER_AREA)
    assert_equal(yunet.find(image), by_opencv(file, image))


def test_many_overlapping_faces_of_any_score(file, astronaut):
    crowd = np.tile(astronaut[20:220, 120:320], (3, 4, 1))
    image = cv2.addWeighted(crowd, 0.6, np.roll(crowd, (40, 70), (0, 1)), 0.4, 0)
    counts = set()
    for threshold in (0.02, 0.3, 0.9):
        rows = by_opencv(file, image, threshold)
        assert_equal(YuNet(file, refine=False, score_threshold=threshold).find(image), rows)
        counts.add(len(rows))
    assert len(counts) == 3, "the thresholds divide these faces"


@pytest.mark.slow
def test_photographs_of_people(file, yunet):
    faces = 0
    for photograph in read_orl()[::16]:
        rows = by_opencv(file, photograph.image)
        assert_equal(yunet.find(photograph.image), rows)
        faces += len(rows)
    assert faces >= 25


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "pattern"), [("photos", "[d-i]*.jpg"), ("lfw/images", "Ab*/*_0001.jpg")])
def test_photographs_of_the_shared_data(file, yunet, shared, folder, pattern):
    images = [load_image(path) for path in sorted(shared(folder).glob(pattern))]
    images = [image for image in images if max(image.shape) <= yunet.max_side]
    faces = 0
    for image, found in zip(images, yunet.detect_batch(images), strict=True):
        rows = by_opencv(file, image)
        assert_equal(found, rows)
        faces += len(rows)
    assert faces >= len(images) > 3


def test_a_batch_finds_what_each_image_shows(file, astronaut):
    sizes = [(300, 300), (320, 320), (640, 640), (5, 300), (640, 640), (1500, 2000), (310, 305)]
    images = [cv2.resize(astronaut, size[::-1]) for size in sizes]
    images.insert(2, np.zeros((320, 320, 3), np.uint8))
    yunet = YuNet(file)
    batch = yunet.detect_batch(images)
    assert [len(faces) for faces in batch] == [1, 1, 0, 1, 0, 1, 1, 1]
    for image, faces in zip(images, batch, strict=True):
        for face, alone in zip(faces, yunet.detect(image), strict=True):
            np.testing.assert_allclose(face.box, alone.box, atol=1e-3 * max(image.shape))
            np.testing.assert_allclose(face.landmarks, alone.landmarks, atol=1e-3 * max(image.shape))
    assert yunet.detect_batch([]) == []


def test_several_threads_share_a_detector(file, astronaut):
    yunet = YuNet(file, session=SessionConfig(provider="cpu", threads=1))
    images = [cv2.resize(astronaut, (side, side)) for side in range(200, 300, 10)]
    alone = [yunet.detect(image)[0].landmarks for image in images]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(yunet.detect, images))
    for one, (face,) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(face.landmarks, one)


def test_it_tells_what_it_runs_on(file):
    report = YuNet(file, session=SessionConfig(threads=1)).provider
    assert report.active == (CPU,)
    assert report.threads == 1
    with pytest.raises(ProviderError, match="tpu"):
        YuNet(file, session=SessionConfig(provider="tpu"))


def test_a_failing_provider_is_named(file, tmp_path):
    model = onnx.load(file)
    scales = next(node for node in model.graph.node if node.op_type == "Resize").input[2]
    for weight in model.graph.initializer:
        if weight.name == scales:
            weight.CopyFrom(numpy_helper.from_array(np.array([1, 1, 3, 3], np.float32), scales))
    onnx.save(model, tmp_path / "triple.onnx")
    with pytest.raises(ProviderError, match="CPUExecutionProvider failed on 1 images of 64 x 32 pixels"):
        YuNet(tmp_path / "triple.onnx", session=SessionConfig(provider="cpu")).find(np.zeros((30, 60, 3), np.uint8))


def test_the_rewritten_network_is_sound(file):
    network = onnx.load_from_string(dynamic_network(file.read_bytes()))
    onnx.checker.check_model(network, full_check=True)
    operators = [node.op_type for node in network.graph.node]
    assert operators.count("Conv") == onnx_convolutions(file) - 18, "24 convolutions of branches became 6"
    assert not {"Reshape", "Sigmoid"} & set(operators)


def onnx_convolutions(file):
    return sum(node.op_type == "Conv" for node in onnx.load(file).graph.node)


def without_sigmoid(model):
    node = next(node for node in model.graph.node if node.output[0] == "cls_8")
    node.op_type = "Relu"


def without_an_output(model):
    next(node for node in model.graph.node if node.output[0] == "kps_32").output[0] = "other"


def with_other_weights(model):
    for weight in model.graph.initializer:
        if weight.name == "bbox_head.multi_level_kps.1.conv2.weight":
            weight.CopyFrom(numpy_helper.from_array(np.zeros((5, 1, 3, 3), np.float32), weight.name))


def with_other_features(model):
    node = next(node for node in model.graph.node if node.name == "Conv_60")
    node.input[0] = "246"


def with_two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))


@pytest.mark.parametrize(
    "change", [without_sigmoid, without_an_output, with_other_weights, with_other_features, with_two_inputs]
)
def test_another_graph_is_refused(file, tmp_path, change):
    model = onnx.load(file)
    change(model)
    with pytest.raises(OnnxGraphError, match="expected"):
        dynamic_network(model.SerializeToString())
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ModelFormatError, match=r"other\.onnx is not a YuNet model: expected .*fetch the model"):
        YuNet(tmp_path / "other.onnx")


def test_a_truncated_file_is_refused(file):
    content = file.read_bytes()
    for length in (1, 100, len(content) // 2, len(content) - 1):
        with pytest.raises(OnnxGraphError):
            dynamic_network(content[:length])
