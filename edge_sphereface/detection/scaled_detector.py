"""Detection in downscaled frames, which bounds the cost of a detection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.detection.detector import TwoStepDetector
from edge_sphereface.detection.scaling import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.types import Face, UInt8Array


class ScaledDetector:
    """Detects faces in downscaled frames, and returns them in pixels of the original frame.

    Args:
        detector: the face detector.
    """

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        self._detector = detector
        self._steps = detector if isinstance(detector, TwoStepDetector) else None

    def find(self, image: UInt8Array, side: int) -> list[Face]:
        """Detect every face of an image, highest score first.

        Args:
            image: (H, W, 3) uint8 BGR.
            side: length of the longer side after downscaling, in pixels. A smaller image is not scaled.
        """
        import cv2

        height, width = image.shape[:2]
        ratio = side / max(height, width)
        look = self._detector.detect if self._steps is None else self._steps.find
        if ratio >= 1:
            return look(image)
        size = (max(round(width * ratio), 1), max(round(height * ratio), 1))
        # INTER_AREA costs more than the detector gains from it, except for an exact halving, where it is a mean
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if ratio <= 0.5 else cv2.INTER_LINEAR)
        scale = np.array([width / size[0], height / size[1]], dtype=np.float32)
        return [scaled(face, scale) for face in look(small)]  # type: ignore[arg-type] # OpenCV's types do not keep uint8

    def improve(self, image: UInt8Array, faces: Sequence[Face]) -> list[Face]:
        """Return the same faces with the best landmarks that the detector provides."""
        return list(faces) if self._steps is None else self._steps.improve(image, faces)
