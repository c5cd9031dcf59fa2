"""OpenCV alone, as in the demos of OpenCV Zoo: FaceDetectorYN, and the network in OpenCV's DNN module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import Peer, opencv_dnn
from benchmarks.pipeline.contenders.plain import Detected, PlainWay

if TYPE_CHECKING:
    from benchmarks.pipeline.contenders.contender import Setup
    from edge_sphereface.types import UInt8Array

PEER = Peer(
    name="opencv_zoo",
    title="OpenCV: FaceDetectorYN and DNN",
    settings="OpenCV's defaults, threads set: scores from 0.9 on, photographs in full size; our float network",
)


class Contender(PlainWay):
    """See :class:`benchmarks.pipeline.contenders.Contender`."""

    def __init__(self, setup: Setup) -> None:
        import cv2

        network = opencv_dnn.Contender(Path(setup.model), setup.of_network())
        self._detector = cv2.FaceDetectorYN.create(setup.yunet, "", (320, 320))
        self.version = network.version
        super().__init__(self._detect, network, setup)

    def _detect(self, image: UInt8Array) -> Detected:
        self._detector.setInputSize(image.shape[1::-1])
        rows = self._detector.detect(image)[1]
        if rows is None:
            return Detected([], [])
        return Detected([row[2] * row[3] for row in rows], [row[4:14].reshape(5, 2) for row in rows])
