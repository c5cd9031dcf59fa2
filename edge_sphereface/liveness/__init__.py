"""Tells a live face from a picture of one, as far as a small network can: no protection against fraud.

``spec`` is the contract between an ONNX file and the runtime, ``crop`` cuts the crops that the network was trained on,
and ``checker`` decides between live, spoof and not checked.
"""

from edge_sphereface.liveness.checker import LivenessChecker
from edge_sphereface.liveness.result import Liveness, LivenessState
from edge_sphereface.liveness.spec import LivenessSpec

__all__ = ["Liveness", "LivenessChecker", "LivenessSpec", "LivenessState"]
