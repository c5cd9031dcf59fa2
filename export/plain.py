"""The plain float model: the source of every rewrite and quantization."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.ncnn_file import is_ncnn_file
from export.layers import EMBEDDING, layers_of

if TYPE_CHECKING:
    from pathlib import Path


def open_float(path: Path, provider: str) -> tuple[Embedder, onnx.ModelProto]:
    """Open a float model that ``python -m export convert`` made, or one that was rewritten from it.

    Raises:
        ModelFormatError: it is quantized, has no metadata of this project, or no embedding layer of its graphs.
    """
    embedder = Embedder(path, provider=provider)
    if embedder.spec.precision != "float32":
        raise ModelFormatError(
            f"Expected a float32 model, but {path} has the precision {embedder.spec.precision}.",
            hint="use the float model that it was made from",
        )
    if is_ncnn_file(path):
        raise ModelFormatError(
            f"Expected an ONNX model, but {path} is rewritten (ncnn).", hint="use the ONNX model that it was made from"
        )
    model = onnx.load(path)
    if EMBEDDING not in {node.name for node in model.graph.node if node.op_type == "Gemm"}:
        raise ModelFormatError(
            f"Expected the graph that `python -m export` makes, but {path} has no layer {EMBEDDING}.",
            hint="convert the checkpoint again",
        )
    return embedder, model


def open_plain(path: Path, provider: str) -> tuple[Embedder, onnx.ModelProto]:
    """Open a float model that ``python -m export convert`` made.

    Raises:
        ModelFormatError: it is quantized or rewritten, has no metadata of this project, or a different graph.
    """
    embedder, model = open_float(path, provider)
    if embedder.spec.rewrites:
        raise ModelFormatError(
            f"Expected the plain float model, but {path} is rewritten ({', '.join(embedder.spec.rewrites)}).",
            hint="use the file that `python -m export convert` made",
        )
    layers = layers_of(model)
    weighted = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    if set(weighted) != set(layers):
        raise ModelFormatError(
            f"Expected the graph that `python -m export convert` makes, but {path} has weighted layers "
            f"{', '.join(weighted[:5]) or 'of other kinds'}.",
            hint="convert the checkpoint again",
        )
    return embedder, model
