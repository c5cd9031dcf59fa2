"""Detection as it was before YuNet ran on onnxruntime and O-Net found the landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.detection.landmarks import VIEW_PX, CloserLooks
from edge_sphereface.detection.scaling import scaled, shrunk
from edge_sphereface.types import Face

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge_sphereface.types import Float32Array, UInt8Array

# The arguments of OpenCV's sample; the threshold is that of our YuNet.
_SCORE, _OVERLAP, _CANDIDATES = 0.7, 0.3, 5000


class OpenCvDetector:
    """OpenCV's ``FaceDetectorYN``, which also looks at each face twice more for better landmarks.

    Args:
        model: path of YuNet's ONNX file.
        max_side: larger images are downscaled to this many pixels on their longer side.
    """

    name = "opencv"

    def __init__(self, model: Path, *, max_side: int = 1024) -> None:
        import cv2

        self._max_side = max_side
        self._size = (VIEW_PX, VIEW_PX)
        self._whole, self._views = (
            cv2.FaceDetectorYN.create(str(model), "", self._size, _SCORE, _OVERLAP, _CANDIDATES) for _ in range(2)
        )
        self._looks = CloserLooks(self._look)

    def detect(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image (see :class:`edge_sphereface.detection.Detector`)."""
        return self.improve(image, self.find(image))

    def find(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image, with coarse landmarks."""
        small, factors = shrunk(image, self._max_side)
        size = (small.shape[1], small.shape[0])
        if size != self._size:
            self._whole.setInputSize(size)
            self._size = size
        return [
            scaled(
                Face(
                    box=np.concatenate([row[:2], row[:2] + row[2:4]]),
                    landmarks=row[4:14].reshape(5, 2),
                    score=float(row[14]),
                ),
                factors,
            )
            for row in _rows(self._whole.detect(small)[1])
        ]

    def improve(self, image: UInt8Array, faces: Sequence[Face]) -> list[Face]:
        """Look at each face twice more."""
        return self._looks.improve([(image, face) for face in faces])

    def _look(self, views: Sequence[UInt8Array]) -> Iterator[Float32Array]:
        for view in views:
            yield _rows(self._views.detect(view)[1])


def _rows(found: object) -> Float32Array:
    """Rows (N, 15) of OpenCV's detector, which returns None for none."""
    return np.empty((0, 15), np.float32) if found is None else np.asarray(found, np.float32)
