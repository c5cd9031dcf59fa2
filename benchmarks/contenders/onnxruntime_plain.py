"""The plain float model on onnxruntime with its default settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from benchmarks.contenders.contender import Peer
from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.model.spec import LAYOUT_IMAGE, ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from benchmarks.contenders.contender import Setup
    from edge_sphereface.types import Float32Array

PEER = Peer(
    name="onnxruntime_plain",
    title="onnxruntime",
    settings="onnxruntime's defaults (arena, spinning), threads set",
    takes_quantized=True,
    takes_crops=True,
)


class Contender:
    """See :class:`benchmarks.contenders.Contender`."""

    def __init__(self, model: Path, setup: Setup) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setup.threads
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        spec = ModelSpec.from_metadata(self._session.get_modelmeta().custom_metadata_map)
        self._takes_crops = spec.input_layout == LAYOUT_IMAGE
        self.version = f"onnxruntime {onnxruntime.__version__}"

    def prepare(self, crops: np.ndarray[Any, Any], batch: Float32Array) -> Any:
        """Convert the input to crops or floats, as the model requires."""
        return crops if self._takes_crops else batch

    def run(self, prepared: Any) -> Float32Array:
        """Run one inference."""
        return cast("Float32Array", self._session.run(None, {self._input: prepared})[0])
