"""Crops to calibrate with, and quantized models."""

import onnx
import pytest

from benchmarks.quantization import derived
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from export.faces import face_crops
from export.quantization.crops import vivid
from export.quantization.quantize import QuantizationOptions, quantize


@pytest.fixture(scope="session")
def folder(small_models, tmp_path_factory):
    """Crops to calibrate with."""
    faces = face_crops(Embedder(small_models["nchw"]).spec, 20)
    made = tmp_path_factory.mktemp("crops")
    for number, crop in enumerate([*faces, *vivid(faces)]):
        save_image(made / f"{number}.png", crop)
    return made


@pytest.fixture(scope="session")
def int8(small_models, folder, tmp_path_factory):
    """The small model quantized, by target."""
    made = tmp_path_factory.mktemp("int8")
    for target in ("portable", "x86-vnni"):
        options = QuantizationOptions(policy=derived.NO_BOUNDS, target=target)
        onnx.save(quantize(small_models["image"], folder, options).model, made / f"{target}.onnx")
    return made
