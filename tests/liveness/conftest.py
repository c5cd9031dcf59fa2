from pathlib import Path

import pytest

from export.liveness.convert import convert
from tests.liveness.networks import brightness_model, parameters, write_safetensors


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A small MiniFASNet with random weights and gates."""
    return write_safetensors(tmp_path_factory.mktemp("liveness") / "small.safetensors", parameters(gated=True))


@pytest.fixture(scope="session")
def model(weights) -> Path:
    """It, converted."""
    return convert(weights, weights.with_name("small.onnx"), crop_scale=2.7).model


@pytest.fixture
def bright(tmp_path) -> Path:
    """A model whose probability of live is the mean brightness of the crop, from 0 to 1."""
    return brightness_model(tmp_path / "bright.onnx")
