"""YuNet face detection with OpenCV.

References:
    W. Wu, H. Peng, S. Yu: YuNet: A tiny millisecond-level face detector, Machine Intelligence Research 20, 2023.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sphereface.errors import ModelFormatError, ModelNotFoundError
from edge_sphereface.image import check_image
from edge_sphereface.inference.session import SessionConfig, open_session
from edge_sphereface.storage.cache import cache_folder
from edge_sphereface.storage.download import PinnedFile
from edge_sphereface.storage.regular_file import RegularFile
from edge_sphereface.types import Face

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from edge_sphereface.types import Float32Array, UInt8Array

YUNET = PinnedFile(
    name="face_detection_yunet_2023mar.onnx",
    url=("https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx"),
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    max_bytes=1 << 20,
    license="MIT (ShiqiYu/libfacedetection)",
)

_FILE = RegularFile(
    what="YuNet model",
    limit=16 << 20,
    error=ModelFormatError,
    missing=ModelNotFoundError,
    hint="give the path of a YuNet file, or fetch the model",
    remedy="fetch-detector",
)
_SIZES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_OUTPUTS = {f"{kind}_{stride}": size for kind, size in _SIZES.items() for stride in (8, 16, 32)}
"""Names of the outputs that OpenCV expects of a YuNet model, and the size of their last axis."""
_NMS_THRESHOLD = 0.3
_TOP_K = 5000
_MIN_FACE_PX = 10
_REFINE_PX = 320
_REFINE_SHARES = (0.65, 0.85)
"""Refinement views a face twice more at 320 x 320 pixels; its box takes these shares of the view."""


def cached_model() -> Path:
    """Path of the YuNet model in the cache, where ``edge-sphereface fetch-detector`` stores it."""
    return cache_folder() / "detectors" / YUNET.name


class YuNet:
    """YuNet face detector. Safe to use from several threads, which take turns.

    Args:
        model: path of its ONNX file.
        score_threshold: detections of a lower score are dropped.
        max_side: larger images are downscaled to this many pixels on their longer side before detection; landmarks are
            in pixels of the original image. Faces smaller than about 10 pixels after downscaling are missed.
        refine: detect each face twice more in an enlarged view, and average the landmarks. YuNet's landmarks are
            coarse: on LFW's 6,000 pairs, the test checkpoint (half width) verified 92.07 % without refinement, 95.28 %
            with it, and 95.58 % with the landmarks published with LFW, for 4.3 ms per face (2 threads of an x86-64
            server).

    Raises:
        ModelNotFoundError: the file does not exist.
        ModelFormatError: the file is not a YuNet model, or OpenCV cannot load it.
    """

    name = "yunet"

    def __init__(
        self, model: str | os.PathLike[str], *, score_threshold: float = 0.7, max_side: int = 1024, refine: bool = True
    ) -> None:
        import cv2

        path = Path(model)
        _FILE.require(path)
        if not YUNET.matches(path):
            _require_sound(path)
        self.max_side = max_side
        self.refine = refine
        self._lock = threading.Lock()
        try:
            with _quiet():
                self._net = cv2.FaceDetectorYN.create(
                    str(path), "", (320, 320), score_threshold, _NMS_THRESHOLD, _TOP_K
                )
        except cv2.error as error:
            raise _FILE.refusal(f"OpenCV cannot load {path} as a YuNet model: {error.err}.") from error

    def detect(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image, highest score first (see :class:`Detector`)."""
        faces = self.find(image)
        return [self.improve(image, face) for face in faces] if self.refine else faces

    def find(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image without refinement, with coarse landmarks."""
        import cv2

        height, width = check_image(image).shape[:2]
        if min(height, width) < _MIN_FACE_PX:
            return []  # OpenCV 4.8 finds false faces in such strips
        ratio = max(height, width) / self.max_side
        size = (max(round(width / ratio), 1), max(round(height / ratio), 1)) if ratio > 1 else (width, height)
        small = image if ratio <= 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        scale = np.array([width / size[0], height / size[1]], dtype=np.float32)
        with self._lock:
            faces = [_face(row, scale) for row in self._run(small)]
        return sorted(faces, key=lambda face: -face.score)

    def improve(self, image: UInt8Array, face: Face) -> Face:
        """Refine a face: average its landmarks over enlarged views. The face is unchanged if they show no face."""
        with self._lock:
            looks = [self._look(image, face, share) for share in _REFINE_SHARES]
        found = [landmarks for landmarks in looks if landmarks is not None]
        if not found:
            return face
        return Face(box=face.box, landmarks=np.mean(found, axis=0, dtype=np.float32), score=face.score)

    def _run(self, image: np.ndarray[Any, Any]) -> Float32Array:
        """Run the network; returns rows (N, 15): left, top, width, height, five landmarks (x, y), score."""
        self._net.setInputSize((image.shape[1], image.shape[0]))
        _, rows = self._net.detect(image)
        return np.empty((0, 15), np.float32) if rows is None else rows.astype(np.float32)

    def _look(self, image: UInt8Array, face: Face, share: float) -> Float32Array | None:
        """Landmarks (5, 2), in pixels of the image, from an enlarged view that the face's box fills to ``share``."""
        import cv2

        middle = (face.box[:2] + face.box[2:]) / 2
        side = max(float((face.box[2:] - face.box[:2]).max()), 1.0) / share
        scale, corner = _REFINE_PX / side, middle - side / 2
        transform = np.array([[scale, 0.0, -scale * corner[0]], [0.0, scale, -scale * corner[1]]])
        rows = self._run(cv2.warpAffine(image, transform, (_REFINE_PX, _REFINE_PX)))
        if not len(rows):
            return None
        landmarks = (rows[:, 4:14].reshape(-1, 5, 2) / scale + corner).astype(np.float32)
        shifts = np.linalg.norm(landmarks.mean(axis=1) - face.landmarks.mean(axis=0), axis=1)
        nearest = int(shifts.argmin())
        return None if shifts[nearest] > side / 4 else landmarks[nearest]  # a farther one is another face


def _require_sound(path: Path) -> None:
    """Refuse a damaged model before OpenCV loads it, because some damaged models end the process (SIGFPE).

    Other networks are refused as well: OpenCV would load them and fail on the first photograph.
    """
    try:
        session, _ = open_session(path, SessionConfig(provider="cpu", threads=1))
    except ModelFormatError as error:
        raise _FILE.refusal(f"{path} is not a valid YuNet model: {error.message}") from error
    inputs = [tuple(item.shape) for item in session.get_inputs()]
    outputs = {item.name: tuple(item.shape) for item in session.get_outputs()}
    takes_pictures = len(inputs) == 1 and len(inputs[0]) == 4 and _gives(inputs[0][:2], 3)
    if not takes_pictures or any(not _gives(outputs.get(name), size) for name, size in _OUTPUTS.items()):
        raise _FILE.refusal(
            f"{path} is not a YuNet model: expected an input (1, 3, height, width) and the outputs "
            f"{', '.join(_OUTPUTS)}; got {inputs} and {', '.join(outputs)[:200]}."
        )


def _gives(shape: tuple[object, ...] | None, size: int) -> bool:
    """Whether the last axis of a shape has this size. A dynamic size matches any."""
    return shape is not None and (not shape or not isinstance(shape[-1], int) or shape[-1] == size)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress a warning of OpenCV 5 about a compute target that was not requested."""
    import cv2

    if not hasattr(cv2.utils, "logging"):  # OpenCV 4.8, which does not warn
        yield
        return
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _face(row: Float32Array, scale: Float32Array) -> Face:
    corner, size = row[0:2], row[2:4]
    return Face(
        box=np.concatenate([corner * scale, (corner + size) * scale]),
        landmarks=row[4:14].reshape(5, 2) * scale,
        score=float(min(row[14], 1.0)),
    )
