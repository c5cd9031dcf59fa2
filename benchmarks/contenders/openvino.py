"""OpenVINO, which reads the ONNX file directly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contenders.contender import FLOAT16, Peer

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contenders.contender import Setup
    from edge_sphereface.types import Float32Array

PEER = Peer(
    name="openvino",
    title="OpenVINO",
    requirements=("numpy",),
    without_dependencies=("openvino>=2025.0",),  # without openvino-telemetry, which reports every import
    settings="LATENCY hint, one stream, f32 precision, fixed batch size, one reused request",
    dynamic_batch=False,
    takes_quantized=True,
    takes_crops=True,
    has_half=True,
)


class Contender:
    """See :class:`benchmarks.contenders.Contender`."""

    def __init__(self, model: Path, setup: Setup) -> None:
        import openvino

        core = openvino.Core()
        network = core.read_model(str(model))
        shape = network.inputs[0].partial_shape
        shape[0] = setup.batch
        network.reshape({network.inputs[0].any_name: shape})
        self._takes_crops = len(shape) == 4 and shape[3].is_static and shape[3].get_length() == 3
        compiled = core.compile_model(
            network,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": setup.threads,
                "INFERENCE_PRECISION_HINT": "f16" if setup.precision == FLOAT16 else "f32",
            },
        )
        self._request = compiled.create_infer_request()
        self._output = compiled.outputs[0]
        self.version = f"OpenVINO {openvino.__version__}"

    def prepare(self, crops: np.ndarray[Any, Any], batch: Float32Array) -> Any:
        """Convert the input to crops or floats, as the model requires."""
        return crops if self._takes_crops else batch

    def run(self, prepared: Any) -> Float32Array:
        """Run one inference."""
        return np.array(self._request.infer([prepared], share_inputs=True)[self._output])
