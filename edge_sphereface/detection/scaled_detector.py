"""Detection in downscaled frames or parts of them, which bounds the cost of a detection."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.detection.detector import TwoStepDetector
from edge_sphereface.detection.scaling import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.inference.session import ProviderReport
    from edge_sphereface.types import Face, UInt8Array


class Region(NamedTuple):
    """A part of an image, in whole pixels; right and bottom are excluded."""

    left: int
    top: int
    right: int
    bottom: int


class ScaledDetector:
    """Detects faces in downscaled frames, and returns them in pixels of the original frame.

    Args:
        detector: the face detector.

    Attributes:
        plans_for_sizes: whether parts of an image take longer than the whole, because each new size needs a plan.
    """

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        report: ProviderReport | None = getattr(detector, "provider", None)
        self.plans_for_sizes = report is not None and report.plans_for_shapes
        self._detector = detector
        self._steps = detector if isinstance(detector, TwoStepDetector) else None

    def find(self, image: UInt8Array, side: int, region: Region | None = None) -> list[Face]:
        """Detect every face of an image or of a part of it, highest score first.

        Args:
            image: (H, W, 3) uint8 BGR.
            side: length of the longer side of the whole image after downscaling, in pixels. A smaller image is not
                scaled.
            region: the part, in pixels of the downscaled image; None for the whole image.
        """
        import cv2

        height, width = image.shape[:2]
        small_height, small_width = scaled_size(height, width, side)
        look = self._detector.detect if self._steps is None else self._steps.find
        if region is None and (height, width) == (small_height, small_width):
            return look(image)
        scale = np.array([width / small_width, height / small_height], dtype=np.float32)
        left, top, right, bottom = region or Region(0, 0, small_width, small_height)
        x, y = round(left * float(scale[0])), round(top * float(scale[1]))
        part = image[y : round(bottom * float(scale[1])), x : round(right * float(scale[0]))]
        if scale.max() > 1:
            # INTER_AREA costs more than the detector gains from it, except for an exact halving, where it is a mean
            way = cv2.INTER_AREA if scale.max() >= 2 else cv2.INTER_LINEAR
            part = np.asarray(cv2.resize(part, (right - left, bottom - top), interpolation=way), dtype=np.uint8)
        return [_shifted(scaled(face, scale), x, y) for face in look(part)]

    def improve(self, image: UInt8Array, faces: Sequence[Face]) -> list[Face]:
        """Return the same faces with the best landmarks that the detector provides."""
        return list(faces) if self._steps is None else self._steps.improve(image, faces)


def scaled_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of an image after downscaling its longer side to at most ``side`` pixels."""
    ratio = min(side / max(height, width), 1.0)
    return max(round(height * ratio), 1), max(round(width * ratio), 1)


def _shifted(face: Face, x: int, y: int) -> Face:
    shift = np.array([x, y], dtype=np.float32)
    return replace(face, box=face.box + np.tile(shift, 2), landmarks=face.landmarks + shift)
