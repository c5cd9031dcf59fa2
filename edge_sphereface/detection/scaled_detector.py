"""Detection in downscaled frames: bounds the cost of a detection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.detection.detector import TwoStepDetector
from edge_sphereface.types import Face

if TYPE_CHECKING:
    from edge_sphereface.detection import Detector
    from edge_sphereface.types import UInt8Array


class ScaledDetector:
    """Finds faces in shrunk frames; gives them in pixels of the frame as it came.

    Args:
        detector: what finds them.
    """

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        self._detector = detector
        self._steps = detector if isinstance(detector, TwoStepDetector) else None

    def find(self, image: UInt8Array, side: int) -> list[Face]:
        """Every face, the most certain first.

        Args:
            image: (H, W, 3) uint8 BGR.
            side: pixels that the longer side is shrunk to; a smaller image is taken as it is.
        """
        import cv2

        height, width = image.shape[:2]
        ratio = side / max(height, width)
        look = self._detector.detect if self._steps is None else self._steps.find
        if ratio >= 1:
            return look(image)
        size = (max(round(width * ratio), 1), max(round(height * ratio), 1))
        # INTER_AREA costs more than the detector gains from it, but for sizes it halves exactly, where it is a mean
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if ratio <= 0.5 else cv2.INTER_LINEAR)
        scale = np.array([width / size[0], height / size[1]], dtype=np.float32)
        return [
            Face(box=face.box * np.tile(scale, 2), landmarks=face.landmarks * scale, score=face.score)
            for face in look(small)  # type: ignore[arg-type] # OpenCV's types do not keep uint8
        ]

    def improve(self, image: UInt8Array, face: Face) -> Face:
        """A face that will be embedded, with the best landmarks that the detector gives."""
        return face if self._steps is None else self._steps.improve(image, face)
