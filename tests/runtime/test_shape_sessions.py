"""Providers that plan for one shape get a session for each, and batches of few sizes."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edge_sphereface.errors import ProviderError
from edge_sphereface.inference import session as sessions
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import CPU, CUDA, TENSORRT, SessionConfig, provider_options
from edge_sphereface.inference.shape_sessions import ShapeSessions
from export.faces import face_crops


class Session:
    """Doubles its input, and remembers the shapes."""

    def __init__(self):
        self.shapes = []

    def run(self, outputs, feeds):
        (batch,) = feeds.values()
        self.shapes.append(batch.shape)
        return [batch * 2, batch.sum(axis=tuple(range(1, batch.ndim)))]

    def get_providers(self):
        return ["one"]


@pytest.fixture
def opened():
    return [Session()]


@pytest.fixture
def model(opened):
    def make():
        opened.append(Session())
        return opened[-1]

    return ShapeSessions(opened[0], make, (16, 4, 1))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 16, 39])
def test_a_batch_of_any_size_runs_in_parts_of_few_sizes(model, opened, count):
    batch = np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)
    doubled, sums = model.run(None, {"x": batch})
    np.testing.assert_array_equal(doubled, batch * 2)
    np.testing.assert_array_equal(sums, batch.sum(axis=(1, 2)))
    assert {shape[0] for session in opened for shape in session.shapes} <= {0, 1, 4, 16}
    assert all(len(set(session.shapes)) <= 1 for session in opened), "each session sees one shape"


def test_the_sessions_used_last_are_kept(model, opened):
    def look(width):
        model.run(None, {"x": np.zeros((1, width), np.float32)})
        return len(opened)

    assert [look(width) for width in (1, 2, 1, 2)] == [1, 2, 2, 2]
    assert look(16) == look(1) == 3
    assert [look(width) for width in range(20, 67)][-1] == 50
    assert look(1) == 50, "of 48, the one used before"
    assert look(2) == 51, "given up"
    assert model.get_providers() == ["one"]


def test_a_known_shape_does_not_wait_while_another_is_opened(opened):
    opening, go_on = threading.Event(), threading.Event()

    def make():
        opening.set()
        assert go_on.wait(10)
        return Session()

    model = ShapeSessions(opened[0], make, (1,))
    model.run(None, {"x": np.zeros((1, 2), np.float32)})
    other = threading.Thread(target=model.run, args=(None, {"x": np.zeros((1, 3), np.float32)}))
    other.start()
    assert opening.wait(10)
    model.run(None, {"x": np.zeros((1, 2), np.float32)})
    assert not go_on.is_set()
    go_on.set()
    other.join(10)
    assert not hasattr(copy.copy(model), "none")


def test_from_several_threads(model, opened):
    def run(number):
        return model.run(None, {"x": np.full((number % 5 + 1, 2), number, np.float32)})[0][0, 0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(200))) == [2 * number for number in range(200)]
    assert len(opened) == 2, "parts of 1 and 4"


@pytest.mark.parametrize("layout", ["nchw", "image"])
def test_a_model_gives_the_same_in_parts(small_models, layout, monkeypatch):
    """As on CUDA; the provider itself is only on machines with a GPU."""
    expected = Embedder(small_models[layout], provider="cpu")
    crops = face_crops(expected.spec, 7)
    monkeypatch.setattr(sessions, "_PARTS", {CPU: (4, 1)})
    in_parts = Embedder(expected.path, provider="cpu")
    np.testing.assert_allclose(in_parts.embed(crops), expected.embed(crops), atol=1e-6)
    assert in_parts.provider.plans_for_shapes
    assert in_parts.info().spec == expected.spec


def test_a_model_that_was_replaced_is_not_mixed_with_the_one_before(small_models, tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "_PARTS", {CPU: (4, 1)})
    model = tmp_path / "model.onnx"
    model.write_bytes(small_models["image"].read_bytes())
    embedder = Embedder(model, provider="cpu")
    crops = face_crops(embedder.spec, 4)
    embedder.embed(crops[:1])
    model.unlink()
    model.write_bytes(small_models["image"].read_bytes())
    embedder.embed(crops[:1])
    with pytest.raises(ProviderError, match="was replaced or removed while it was in use"):
        embedder.embed(crops)


def test_cuda_computes_float32_in_full():
    """The certificate does not hold in TensorFloat-32, onnxruntime's default."""
    assert provider_options(CUDA, SessionConfig()) == {"use_tf32": "0"}
    assert provider_options(CUDA, SessionConfig(provider_options={"use_tf32": "1"})) == {"use_tf32": "1"}
    assert "use_tf32" not in provider_options(TENSORRT, SessionConfig())
    assert provider_options(CPU, SessionConfig()) == {}
