"""Model for the benchmarks: the one named by EDGE_SPHEREFACE_MODEL, or an untrained SphereFace-20 of full width."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest

from edge_sphereface.cli.arguments import MODEL_VARIABLE
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.certificate import golden_crops
from export.convert import ConversionOptions, convert
from export.quantization.activation_statistics import histograms
from export.quantization.kernels import KERNELS
from export.quantization.qdq import quantize_graph
from export.quantization.ranges import min_max
from export.rewrite import decompose_prelu
from export.untrained import write_untrained


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the ONNX file."""
    chosen = os.environ.get(MODEL_VARIABLE)
    if chosen:
        return Path(chosen)
    folder = tmp_path_factory.mktemp("model")
    write_untrained(folder / "untrained.ckpt")
    options = ConversionOptions(reference="numpy", input_layout="image")
    return convert(folder / "untrained.ckpt", folder / "untrained.onnx", options).model


@pytest.fixture(scope="session", params=["rewritten", "int8"])
def derived(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faster forms of the model, made without the search, which does not affect the latency."""
    made = decompose_prelu(onnx.load(model))
    if request.param == "int8":
        spec = Embedder(model, provider="cpu").spec
        ranges = {name: min_max(row) for name, row in histograms(made, golden_crops(spec), spec).items()}
        made = quantize_graph(made, spec, ranges, kernels=KERNELS["portable"])
    path = tmp_path_factory.mktemp("derived") / f"{request.param}.onnx"
    onnx.save(made, path)
    return path
