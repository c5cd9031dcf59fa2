"""Tells a live face from a picture of one, as far as a small network can: no protection against fraud.

``spec`` is the contract between an ONNX file and the runtime, ``crop`` cuts the crops that the network was trained on,
``calibration`` keeps a measured threshold beside the file, and ``checker`` decides between live, spoof and not
checked. ``result`` has what was decided, and imports nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_sphereface.liveness.calibration import LivenessCalibration
    from edge_sphereface.liveness.checker import LivenessChecker
    from edge_sphereface.liveness.result import Liveness, LivenessState
    from edge_sphereface.liveness.spec import LivenessSpec

__all__ = ["Liveness", "LivenessCalibration", "LivenessChecker", "LivenessSpec", "LivenessState"]

_HOME = {
    "Liveness": "result",
    "LivenessCalibration": "calibration",
    "LivenessChecker": "checker",
    "LivenessSpec": "spec",
    "LivenessState": "result",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
