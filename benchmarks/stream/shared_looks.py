"""Share one detector and one embedder among contenders. A shared result is computed once and charged to each."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from edge_sphereface.detection.detector import TwoStepDetector

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import Face, Float32Array, UInt8Array

    Made = TypeVar("Made")


_SAMPLE = 8
"""Images are compared in one of this many pixels in each direction: it takes no time worth measuring."""


class _Once:
    """Results of one frame with their computation times.

    Attributes:
        charged_s: computation time of the reused results in seconds.
    """

    def __init__(self) -> None:
        self.charged_s = 0.0
        self._made: dict[Hashable, tuple[object, float]] = {}

    def forget(self) -> None:
        """Discard the results at the start of a frame."""
        self._made.clear()

    def _once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        if key in self._made:
            result, seconds = self._made[key]
            self.charged_s += seconds
            return cast("Made", result)
        begin = time.perf_counter()
        made = make()
        self._made[key] = (made, time.perf_counter() - begin)
        return made


class SharedDetector(_Once):
    """Two-step detector that caches its results for one frame.

    Args:
        detector: detector to share.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.name = detector.name
        self._detector = detector
        self._steps = detector if isinstance(detector, TwoStepDetector) else None

    def detect(self, image: UInt8Array) -> list[Face]:
        """Detect the faces of a frame."""
        return self._once(("detect", _print(image)), lambda: self._detector.detect(image))

    def find(self, image: UInt8Array) -> list[Face]:
        """Detect the faces of a frame with coarse landmarks."""
        look = self._detector.detect if self._steps is None else self._steps.find
        return self._once(("find", _print(image)), lambda: look(image))

    def improve(self, image: UInt8Array, faces: Sequence[Face]) -> list[Face]:
        """Improve the landmarks of faces. Faces are improved one at a time, so that each result can be shared."""
        steps = self._steps
        if steps is None:
            return list(faces)
        return [
            self._once(("improve", face.landmarks.tobytes()), partial(steps.improve, image, [face]))[0]
            for face in faces
        ]


def _print(image: UInt8Array) -> tuple[tuple[int, ...], bytes]:
    """Return what distinguishes the images of one frame: the frame, downscaled, or a part of it."""
    return image.shape, image[::_SAMPLE, ::_SAMPLE].tobytes()


class SharedEmbedder(_Once):
    """Embedder that caches its results for one frame. It embeds one crop at a time.

    Args:
        embedder: embedder to share.
    """

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.spec, self.fingerprint = embedder.spec, embedder.fingerprint
        self._embedder = embedder

    def embed(self, crops: UInt8Array) -> Float32Array:
        """Embed crops, (N, D) float32, unit rows."""
        return np.stack([self._embed_one(crop) for crop in crops])

    def _embed_one(self, crop: UInt8Array) -> Float32Array:
        return self._once(crop.tobytes(), lambda: self._embedder.embed(crop[None])[0])

    def as_embedder(self) -> Embedder:
        """Return the shared embedder as an :class:`Embedder`, for code that uses only the attributes defined here."""
        return cast("Embedder", self)
