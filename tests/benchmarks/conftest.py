"""Quantized models."""

import onnx
import pytest

from benchmarks.quantization import derived
from export.quantization.quantize import QuantizationOptions, quantize


@pytest.fixture(scope="session")
def int8(shallow_models, crop_folder, tmp_path_factory):
    """The shallow model quantized, by target."""
    made = tmp_path_factory.mktemp("int8")
    for target in ("portable", "x86-vnni"):
        options = QuantizationOptions(policy=derived.NO_BOUNDS, target=target)
        onnx.save(quantize(shallow_models["image"], crop_folder, options).model, made / f"{target}.onnx")
    return made
