"""Quantized models."""

import onnx
import pytest

from benchmarks.quantization import derived
from edge_sphereface.evaluation.latency import Plan
from export.quantization.quantize import QuantizationOptions, quantize


def int8_file(model, crops, target, folder):
    """The model quantized for a target, as a file."""
    options = QuantizationOptions(policy=derived.NO_BOUNDS, target=target, plan=Plan(rounds=5, per_round=1))
    path = folder / f"{target}.onnx"
    onnx.save(quantize(model, crops, options).model, path)
    return path


@pytest.fixture(scope="session")
def portable_int8(shallow_models, crop_folder, tmp_path_factory):
    """The shallow model quantized for any processor."""
    return int8_file(shallow_models["image"], crop_folder, "portable", tmp_path_factory.mktemp("portable"))


@pytest.fixture(scope="session")
def vnni_int8(shallow_models, crop_folder, tmp_path_factory):
    """The shallow model quantized for x86 processors with VNNI."""
    return int8_file(shallow_models["image"], crop_folder, "x86-vnni", tmp_path_factory.mktemp("vnni"))
