"""OpenCV's DNN module, which is available on every device that runs this project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contenders.contender import Peer

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contenders.contender import Setup
    from edge_sphereface.types import Float32Array

PEER = Peer(
    name="opencv_dnn",
    title="OpenCV DNN",
    settings="cv2.dnn on the CPU, threads set, Winograd on (OpenCV's default)",
)


class Contender:
    """See :class:`benchmarks.contenders.Contender`."""

    def __init__(self, model: Path, setup: Setup) -> None:
        import cv2

        cv2.setNumThreads(setup.threads)
        self._net = cv2.dnn.readNetFromONNX(str(model))
        self.version = f"OpenCV {cv2.__version__}"

    def prepare(self, crops: np.ndarray[Any, Any], batch: Float32Array) -> Any:  # noqa: ARG002
        """Convert the input to floats, as in the original."""
        return batch

    def run(self, prepared: Any) -> Float32Array:
        """Run one inference."""
        self._net.setInput(prepared)
        return np.array(self._net.forward(), dtype=np.float32)
