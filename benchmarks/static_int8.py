"""Quantize the plain export by onnxruntime's ``quantize_static``, as its tutorials do.

This is a peer for comparison, not the quantization of this project: there is no proof that it preserves accuracy.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.model.spec import LAYOUT_NCHW, METADATA_KEY
from edge_sphereface.storage.files import SHARED, atomic_write
from export.faces import face_crops
from export.parity import normalize_plainly

if TYPE_CHECKING:
    from edge_sphereface.types import UInt8Array

PRECISION = "int8 (quantize_static)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Model:
    """What ``todays-int8`` wrote.

    Attributes:
        model: path of the ONNX file.
        bytes: size of the file.
    """

    model: Path
    bytes: int


def quantize(model: Path, output: Path, photos: Path, *, count: int = 200) -> None:
    """Quantize a float file with layout ``nchw``: QDQ, per channel, 8-bit weights, min-max over faces.

    Args:
        model: path of the float ONNX file.
        output: path of the quantized ONNX file; its metadata records the method.
        photos: folder of photographs for the calibration.
        count: number of crops.

    Raises:
        ModelFormatError: the model has another layout, or is quantized.
    """
    import onnx

    tools = import_onnxruntime("quantization")

    embedder = Embedder(model, provider="cpu")
    if embedder.spec.input_layout != LAYOUT_NCHW or embedder.spec.precision != "float32":
        raise ModelFormatError(
            f"Expected a float32 model with layout {LAYOUT_NCHW!r}, got {embedder.spec.precision} with layout "
            f"{embedder.spec.input_layout!r}.",
            hint="convert the checkpoint with --input-layout nchw",
        )
    crops = face_crops(embedder.spec, count, photos)

    class Reader:
        def __init__(self, crops: UInt8Array) -> None:
            self._batches = iter({"input": normalize_plainly(crop[None], embedder.spec)} for crop in crops)

        def get_next(self) -> Any:
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        tools.quantize_static(
            str(model),
            str(target),
            Reader(crops),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
        )
        quantized = onnx.load(target)
    spec = {**embedder.spec.as_json(), "precision": PRECISION}
    onnx.helper.set_model_props(quantized, {METADATA_KEY: json.dumps(spec, sort_keys=True, ensure_ascii=False)})
    with atomic_write(output, mode=SHARED) as stream:
        stream.write(quantized.SerializeToString())
