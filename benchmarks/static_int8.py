"""Today's habit: onnxruntime's ``quantize_static`` on the plain export, as its tutorials show it.

It is a peer, not this project's quantization: it proves nothing about itself, which is why it is measured here.
"""

from __future__ import annotations

import json
import tempfile
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


def quantize(model: Path, output: Path, photos: Path, *, count: int = 200) -> None:
    """Quantize a float file with layout ``nchw``: QDQ, per channel, 8-bit weights, min-max over faces.

    Args:
        model: float ONNX file.
        output: quantized ONNX file; it says of itself that it came about this way.
        photos: folder of photographs for the calibration.
        count: crops.

    Raises:
        ModelFormatError: the model takes crops, or is quantized already.
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
