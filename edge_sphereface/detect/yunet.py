"""YuNet through OpenCV.

References:
    W. Wu, H. Peng, S. Yu: YuNet: A tiny millisecond-level face detector, Machine Intelligence Research 20, 2023.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.cache import cache_folder
from edge_sphereface.download import PinnedFile
from edge_sphereface.errors import ModelFormatError, ModelNotFoundError
from edge_sphereface.image import check_image
from edge_sphereface.types import Face

if TYPE_CHECKING:
    import os

    from edge_sphereface.types import Float32Array, UInt8Array

YUNET = PinnedFile(
    name="face_detection_yunet_2023mar.onnx",
    url=(
        "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx"
    ),
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    max_bytes=1 << 20,
    license="MIT (ShiqiYu/libfacedetection)",
)

_NMS_THRESHOLD = 0.3
_TOP_K = 5000


def cached_model() -> Path:
    """Where ``edge-sphereface fetch-detector`` puts the model."""
    return cache_folder() / "detectors" / YUNET.name


class YuNet:
    """YuNet face detector. Safe to use from several threads, which take turns.

    Args:
        model: its ONNX file.
        score_threshold: detections below it are dropped.
        max_side: larger images are shrunk to this many pixels on their longer side before detection; landmarks are given
            in pixels of the image as it came. Faces under about 10 pixels in the shrunk image are lost.

    Raises:
        ModelNotFoundError: there is no such file.
        ModelFormatError: OpenCV cannot load it.
    """

    name = "yunet"

    def __init__(self, model: str | os.PathLike[str], *, score_threshold: float = 0.7, max_side: int = 1024) -> None:
        import cv2

        path = Path(model)
        if not path.is_file():
            raise ModelNotFoundError(
                f"There is no YuNet model at {path}.",
                hint="run `edge-sphereface fetch-detector`, or give the file with --detector-model",
            )
        self.max_side = max_side
        self._lock = threading.Lock()
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score_threshold, _NMS_THRESHOLD, _TOP_K)
        except cv2.error as error:
            raise ModelFormatError(
                f"OpenCV cannot load {path} as a YuNet model: {error.err}.", hint="run `edge-sphereface fetch-detector`"
            ) from error

    def detect(self, image: UInt8Array) -> list[Face]:
        """Every face of an image, the most certain first (see :class:`Detector`)."""
        import cv2

        height, width = check_image(image).shape[:2]
        ratio = max(height, width) / self.max_side
        if ratio > 1:
            size = max(round(width / ratio), 1), max(round(height / ratio), 1)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        scale = np.array([width / image.shape[1], height / image.shape[0]], dtype=np.float32)
        with self._lock:
            self._net.setInputSize((image.shape[1], image.shape[0]))
            _, rows = self._net.detect(image)
        if rows is None:
            return []
        faces = [_face(row, scale) for row in rows.astype(np.float32)]
        return sorted(faces, key=lambda face: -face.score)


def _face(row: Float32Array, scale: Float32Array) -> Face:
    """A row is left, top, width, height, five landmarks, score."""
    corner, size = row[0:2], row[2:4]
    return Face(
        box=np.concatenate([corner * scale, (corner + size) * scale]),
        landmarks=row[4:14].reshape(5, 2) * scale,
        score=float(min(row[14], 1.0)),
    )
