"""On an NVIDIA GPU: every node runs there, and the results are those of the CPU. Skipped without one."""

import cv2
import numpy as np
import onnx
import pytest

from edge_sphereface.detection.landmarks import OutputNetwork
from edge_sphereface.detection.mtcnn import Mtcnn
from edge_sphereface.detection.yunet import YUNET, YuNet
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import SessionConfig
from edge_sphereface.inference.telemetry import import_onnxruntime
from export.convert import ConversionOptions, convert
from export.faces import face_crops
from export.pretrained import PRETRAINED
from export.quantization.float16 import to_float16

CUDA = "CUDAExecutionProvider"
ON_CPU, ON_GPU = SessionConfig(provider="cpu"), SessionConfig(provider="cuda")
SIZES = [(320, 320), (479, 641), (700, 1023)]
"""Height, width."""

if CUDA not in import_onnxruntime().get_available_providers():
    pytest.skip("needs onnxruntime-gpu and an NVIDIA GPU", allow_module_level=True)


def assert_on_gpu(report):
    assert report.active[0] == CUDA
    assert report.nodes is None or set(report.nodes) == {CUDA}


def assert_same_faces(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=0.1)
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=0.1)


@pytest.fixture(scope="module", params=["nchw", "image"])
def model(request, tmp_path_factory):
    """A trained network of quarter width, with its certificate."""
    path = tmp_path_factory.mktemp("cuda") / f"{request.param}.onnx"
    convert(PRETRAINED, path, ConversionOptions(input_layout=request.param, reference="numpy", threshold=0.24))
    return path


@pytest.mark.parametrize("batch", [1, 7])
def test_embeddings_are_those_of_the_cpu(model, batch):
    """Exactly as far as the certificate asks of any provider, although the GPU has faster, less exact products."""
    embedder, expected = Embedder(model, session=ON_GPU), Embedder(model, session=ON_CPU)
    crops = face_crops(embedder.spec, batch)
    assert_on_gpu(embedder.provider)
    assert np.abs(embedder.embed(crops) - expected.embed(crops)).max() < 1e-5


def test_the_certificate_holds(model, cli):
    code, out, err = cli("verify-model", model, "--provider", "cuda", "--json")
    assert code == 0, out + err


def test_in_half_precision(model, tmp_path):
    half = tmp_path / "half.onnx"
    onnx.save(to_float16(onnx.load(model)), half)
    embedder, expected = Embedder(half, session=ON_GPU), Embedder(model, session=ON_CPU)
    crops = face_crops(embedder.spec, 7)
    assert_on_gpu(embedder.provider)
    assert (embedder.embed(crops) * expected.embed(crops)).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_yunet_finds_the_same(shared, astronaut, height, width):
    image = cv2.resize(astronaut, (width, height), interpolation=cv2.INTER_AREA)
    file = shared(f"models/{YUNET.name}")
    assert_same_faces(YuNet(file, session=ON_GPU).detect(image), YuNet(file, session=ON_CPU).detect(image))


def test_mtcnn_finds_the_same(astronaut):
    assert_same_faces(Mtcnn(session=ON_GPU).detect(astronaut), Mtcnn(session=ON_CPU).detect(astronaut))


def test_landmarks_are_the_same(astronaut):
    faces = Mtcnn(session=ON_CPU).detect(astronaut)
    pairs = [(astronaut, face) for face in faces]
    assert_same_faces(OutputNetwork(ON_GPU).improve(pairs), OutputNetwork(ON_CPU).improve(pairs))
