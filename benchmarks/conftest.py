"""A model for the benchmarks: the one in EDGE_SPHEREFACE_MODEL, or an untrained SphereFace-20 of full width."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_sphereface.cli.arguments import MODEL_VARIABLE
from export.convert import ConversionOptions, convert
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
