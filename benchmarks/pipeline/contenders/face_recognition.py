"""face_recognition, with dlib's wheel dlib-bin in place of dlib, which must be compiled."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contenders.contender import Peer
from benchmarks.pipeline.contenders.contender import Faces

if TYPE_CHECKING:
    from benchmarks.pipeline.contenders.contender import Setup
    from edge_sphereface.types import Float32Array

PEER = Peer(
    name="face_recognition",
    title="face_recognition (dlib)",
    # face_recognition_models imports pkg_resources, which setuptools has until 81
    requirements=("numpy", "pillow", "click", "setuptools<81", "dlib-bin"),
    without_dependencies=("face_recognition", "face_recognition_models"),
    settings="its defaults and its own network: HOG detector, one upsampling; `embed` includes landmarks and alignment",
)


class Contender:
    """See :class:`benchmarks.pipeline.contenders.Contender`."""

    def __init__(self, setup: Setup) -> None:  # noqa: ARG002 -- it has no settings of threads
        import dlib
        import face_recognition

        self._package = face_recognition
        self._names: list[str] = []
        self._known: list[Float32Array] = []
        options = f"AVX {dlib.USE_AVX_INSTRUCTIONS}, BLAS {dlib.DLIB_USE_BLAS}"
        self.version = f"face_recognition {version('face_recognition')}, dlib {dlib.__version__} ({options})"
        self.stages = {"decode": face_recognition.load_image_file, "detect": self._detect, "embed": self._embed}

    def _detect(self, image: Any) -> Any:
        return image, self._package.face_locations(image)

    def _embed(self, found: Any) -> Faces:
        image, places = found
        areas = [(bottom - top) * (right - left) for top, right, bottom, left in places]
        rows = self._package.face_encodings(image, places)
        return Faces(np.array(areas, np.float32), np.array(rows, np.float32).reshape(len(places), -1))

    def enroll(self, name: str, embedding: Float32Array) -> None:
        """Enroll a person."""
        self._names.append(name)
        self._known.append(embedding)

    def search(self, embeddings: Float32Array) -> list[str]:
        """Return the most similar person of each embedding."""
        return [self._names[int(self._package.face_distance(self._known, row).argmin())] for row in embeddings]
