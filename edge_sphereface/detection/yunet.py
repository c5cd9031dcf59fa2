"""YuNet face detection on onnxruntime, equal to OpenCV's ``FaceDetectorYN``.

References:
    W. Wu, H. Peng, S. Yu: YuNet: A tiny millisecond-level face detector, Machine Intelligence Research 20, 2023.
    OpenCV's modules/objdetect/src/face_detect.cpp, for the decoding.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sphereface.detection import mtcnn
from edge_sphereface.detection.landmarks import CloserLooks, OutputNetwork
from edge_sphereface.detection.scaling import scaled, shrunk
from edge_sphereface.detection.yunet_graph import CHANNELS, INPUT, OUTPUT, STRIDES, dynamic_network
from edge_sphereface.errors import ModelFormatError, ModelNotFoundError, ProviderError
from edge_sphereface.image import check_image
from edge_sphereface.inference.onnx_graph import OnnxGraphError
from edge_sphereface.inference.session import MemoryModel, SessionConfig, open_session
from edge_sphereface.model.external_data import refuse_external_data
from edge_sphereface.storage.cache import cache_folder
from edge_sphereface.storage.download import PinnedFile
from edge_sphereface.storage.regular_file import RegularFile
from edge_sphereface.types import Face

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from edge_sphereface.detection.landmarks import LandmarkRefiner
    from edge_sphereface.inference.session import ProviderReport
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
# Source: OpenCV's face_detect.cpp (padding) and the arguments of its sample (overlap, number of candidates).
_DIVISOR = 32
_NMS_THRESHOLD = 0.3
_TOP_K = 5000
_MIN_FACE_PX = 10
_LOGIT_SLACK = 1e-3
"""A margin for rounding, by which candidates are chosen before their scores are computed."""
_SPIN_US = 50
"""On an idle machine, no longer spinning is faster; on a busy one, longer spinning takes more time than none."""
_BATCH_PX = 1 << 20
"""Images are detected together up to this many pixels, which bounds the memory of a batch."""


def cached_model() -> Path:
    """Path of the YuNet model in the cache, where ``edge-sphereface fetch-detector`` stores it."""
    return cache_folder() / "detectors" / YUNET.name


class YuNet:
    """YuNet face detector. Safe to use from several threads.

    Args:
        model: path of its ONNX file.
        score_threshold: detections of a lower score are dropped.
        max_side: larger images are downscaled to this many pixels on their longer side before detection; landmarks are
            in pixels of the original image. Faces smaller than about 10 pixels after downscaling are missed.
        refine: find better landmarks in a second step, because YuNet's own are coarse: by MTCNN's third network where
            the extra ``mtcnn`` is installed (:class:`OutputNetwork`), else by closer looks (:class:`CloserLooks`). On
            LFW's 6,000 pairs, the test checkpoint (half width) verified 92.07 % without refinement, 95.62 % with the
            network, 95.28 % with closer looks, and 95.48 % with the landmarks published with LFW.
        session: options of the onnxruntime session. The session keeps its memory between images, whatever these
            options say, and binds no threads, because the embedder's threads are bound to the same processors. Its
            threads spin briefly between operators, not between images.

    Raises:
        ModelNotFoundError: the file does not exist.
        ModelFormatError: the file is not a YuNet model.
        ProviderError: the execution provider is absent, or does not run the model.
    """

    name = "yunet"

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        score_threshold: float = 0.7,
        max_side: int = 1024,
        refine: bool = True,
        session: SessionConfig | None = None,
    ) -> None:
        self.score_threshold = score_threshold
        self.max_side = max_side
        self.refine = refine
        # Kept memory saves a fifth of the time and half of the peak: freed memory goes back to the system each time.
        # Waking a thread for each of YuNet's short operators would take up to a quarter of the time on two threads.
        # Images of many sizes would need a block for each: 12 MiB more of a stream, and not faster.
        config = replace(
            session or SessionConfig(),
            memory_arena=True,
            memory_pattern=False,
            pinned_threads=False,
            spin_us=_SPIN_US,
        )
        self._session, self.provider = _open(Path(model), config)
        self._refiner: LandmarkRefiner = OutputNetwork(config) if mtcnn.is_installed() else CloserLooks(self._run)

    def detect(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image, highest score first (see :class:`Detector`)."""
        faces = self.find(image)
        return self.improve(image, faces) if self.refine else faces

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[list[Face]]:
        """Detect every face of several images (see :class:`BatchDetector`). Images of one size share an inference."""
        found = self._find_batch(images)
        if not self.refine:
            return found
        pairs = [(image, face) for image, faces in zip(images, found, strict=True) for face in faces]
        improved = iter(self._refiner.improve(pairs))
        return [list(islice(improved, len(faces))) for faces in found]

    def find(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image without refinement, with coarse landmarks."""
        return self._find_batch([image])[0]

    def improve(self, image: UInt8Array, faces: Sequence[Face]) -> list[Face]:
        """Refine the landmarks of faces of an image (see :class:`TwoStepDetector`)."""
        return self._refiner.improve([(image, face) for face in faces])

    def _find_batch(self, images: Sequence[UInt8Array]) -> list[list[Face]]:
        small = [shrunk(check_image(image), self.max_side) for image in images]
        groups: dict[tuple[int, int], list[int]] = {}
        for number, (image, _) in enumerate(small):
            if min(image.shape[:2]) >= _MIN_FACE_PX:  # narrower strips show false faces
                groups.setdefault(_padded_size(image), []).append(number)
        found: list[list[Face]] = [[] for _ in images]
        for group in groups.values():
            for number, rows in zip(group, self._run([small[number][0] for number in group]), strict=True):
                found[number] = [scaled(_face(row), small[number][1]) for row in rows]
        return found

    def _run(self, images: Sequence[UInt8Array]) -> Iterator[Float32Array]:
        """Run the network on images that are padded to one size.

        Yields:
            For each image rows (N, 15), highest score first: left, top, width, height, landmarks (x, y), score.
        """
        if not images:
            return
        height, width = _padded_size(images[0])
        count = max(_BATCH_PX // (height * width), 1)
        for start in range(0, len(images), count):
            batch = _planes(images[start : start + count], height, width)
            try:
                (values,) = self._session.run((OUTPUT,), {INPUT: batch})
            except Exception as error:
                # onnxruntime's exceptions share no base class of their own.
                raise ProviderError(
                    f"{self.provider.active[0]} failed on {len(batch)} images of {width} x {height} pixels: {error}",
                    hint="the device may be out of memory: detect in smaller images",
                ) from error
            for cells in values.reshape(len(batch), CHANNELS, -1):
                yield _decode(cells, (height, width), self.score_threshold)


def _open(path: Path, config: SessionConfig) -> tuple[Any, ProviderReport]:
    """Open a session on the dynamic form of a YuNet file."""
    content = _FILE.read(path)
    try:
        if not YUNET.matches(path):
            refuse_external_data(path)
        return open_session(MemoryModel(name=path.name, content=dynamic_network(content)), config)
    except OnnxGraphError as error:
        raise _FILE.refusal(f"{path} is not a YuNet model: {error}.") from error
    except ModelFormatError as error:
        raise _FILE.refusal(f"{path} is not a valid YuNet model: {error.message}") from error


def _padded_size(image: UInt8Array) -> tuple[int, int]:
    height, width = (-(-size // _DIVISOR) * _DIVISOR for size in image.shape[:2])
    return height, width


def _planes(images: Sequence[UInt8Array], height: int, width: int) -> UInt8Array:
    """Stack the planes of images (N, 3, H, W), with black below and right of each image."""
    import cv2

    padded = any(image.shape[:2] != (height, width) for image in images)
    batch = (np.zeros if padded else np.empty)((len(images), 3, height, width), dtype=np.uint8)
    for planes, image in zip(batch, images, strict=True):
        # several times as fast as a transposition, by numpy or in the graph
        cv2.split(image, [plane[: image.shape[0], : image.shape[1]] for plane in planes])
    return batch


def _decode(values: Float32Array, size: tuple[int, int], score_threshold: float) -> Float32Array:
    """Decode the outputs of one image.

    Args:
        values: (``CHANNELS``, cells): the channels of ``BRANCHES`` of the cells of each stride, row by row.
        size: height and width of the image in pixels, multiples of the strides.
        score_threshold: detections need a higher score.

    Returns:
        (N, 15) float32, highest score first: left, top, width, height, five landmarks (x, y) in pixels, score.
    """
    import cv2

    candidates = _candidates(values, size, score_threshold)
    if not len(candidates):
        return candidates
    boxes = np.trunc(candidates[:, :4]).tolist()  # OpenCV compares whole pixels
    kept = cv2.dnn.NMSBoxes(boxes, candidates[:, 14].tolist(), score_threshold, _NMS_THRESHOLD, top_k=_TOP_K)
    return candidates[np.asarray(kept, dtype=np.intp)]


def _candidates(values: Float32Array, size: tuple[int, int], score_threshold: float) -> Float32Array:
    """Detections (N, 15) that may have a score above the threshold, overlaps included."""
    # The score is the geometric mean of two probabilities: each must exceed the square of the threshold.
    least = score_threshold**2
    bound = math.log(least / (1 - least)) - _LOGIT_SLACK if 0 < least < 1 else -math.inf
    cells = np.flatnonzero(values[1] > bound)
    cells = cells[values[0, cells] > bound]
    if not cells.size:  # the case in most images of a camera
        return np.empty((0, 15), dtype=np.float32)
    values = values[:, cells].T
    grid, stride = (of_cells[cells] for of_cells in _grid(size))
    decoded = np.empty((len(cells), 15), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        decoded[:, 2:4] = np.exp(values[:, 4:6]) * stride
        decoded[:, :2] = (grid + values[:, 2:4]) * stride - decoded[:, 2:4] / 2
        decoded[:, 4:14] = (values[:, 6:] + np.tile(grid, 5)) * stride
        decoded[:, 14] = np.sqrt((1 / (1 + np.exp(-values[:, :2]))).prod(axis=1))
    return decoded[np.isfinite(decoded).all(axis=1)]


@lru_cache(maxsize=2)  # a camera has one size, and this would take a quarter of the time of decoding
def _grid(size: tuple[int, int]) -> tuple[Float32Array, Float32Array]:
    """Column and row (cells, 2) of the cells of all strides, and the strides (cells, 1)."""
    height, width = size
    grids = [np.indices((height // stride, width // stride)).reshape(2, -1)[::-1].T for stride in STRIDES]
    strides = np.repeat(STRIDES, [len(grid) for grid in grids])
    return np.concatenate(grids).astype(np.float32), strides[:, None].astype(np.float32)


def _face(row: Float32Array) -> Face:
    corner, size = row[:2], row[2:4]
    box, landmarks = np.concatenate([corner, corner + size]), row[4:14].reshape(5, 2)
    return Face(box=box, landmarks=landmarks, score=float(min(row[14], 1.0)))
