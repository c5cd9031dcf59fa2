"""This project's runtime: the stages of ``FacePipeline.process_file``, and a gallery file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.contenders import Peer
from benchmarks.pipeline.contenders.contender import Faces
from edge_sphereface import __version__
from edge_sphereface.alignment import align_for, alignable, stack_landmarks
from edge_sphereface.detection.in_file import decode_for
from edge_sphereface.gallery import open_gallery
from edge_sphereface.image import ImageFile
from edge_sphereface.pipeline import load_pipeline

if TYPE_CHECKING:
    from benchmarks.pipeline.contenders.contender import Setup
    from edge_sphereface.detection.in_file import FacesInFile
    from edge_sphereface.types import Float32Array, UInt8Array

PEER = Peer(
    name="edge",
    title="edge_sphereface",
    settings="the runtime's defaults on the CPU; the gallery is a file",
    is_ours=True,
)


class Contender:
    """See :class:`benchmarks.pipeline.contenders.Contender`."""

    def __init__(self, setup: Setup) -> None:
        import cv2

        cv2.setNumThreads(setup.threads)
        yunet = setup.yunet if setup.detector == "yunet" else None
        self._pipeline = load_pipeline(
            setup.model, detector=setup.detector, detector_model=yunet, provider="cpu", threads=setup.threads
        )
        self._spec = self._pipeline.embedder.spec
        self._gallery = open_gallery(f"{setup.folder}/people.db", self._pipeline.embedder, create=True)
        self.version = f"edge-sphereface {__version__}, {self._pipeline.embedder.provider}"
        self.stages = {
            "decode": self._decode,
            "detect": self._detect,
            "landmarks": self._landmarks,
            "align": self._align,
            "embed": self._embed,
        }

    def _decode(self, path: str) -> FacesInFile:
        return decode_for(self._pipeline.detector, ImageFile.read(path))

    def _detect(self, photograph: FacesInFile) -> FacesInFile:
        return self._usable(photograph.detected(self._pipeline.detector))

    def _landmarks(self, found: FacesInFile) -> FacesInFile:
        sharp = found.sharp(self._spec.landmark_template, fit=self._spec.alignment_fit)
        return self._usable(sharp.improved(self._pipeline.detector))

    def _align(self, found: FacesInFile) -> tuple[FacesInFile, UInt8Array]:
        return found, align_for(self._spec, found.image, stack_landmarks([face.landmarks for face in found.faces]))

    def _embed(self, aligned: tuple[FacesInFile, UInt8Array]) -> Faces:
        found, crops = aligned
        areas = np.array([face.area for face in found.faces], np.float32)
        return Faces(areas=areas, embeddings=self._pipeline.embedder.embed(crops))

    def _usable(self, found: FacesInFile) -> FacesInFile:
        landmarks = stack_landmarks([face.landmarks for face in found.faces])
        usable = alignable(landmarks, self._spec.landmark_template)
        return found.of([face for face, is_usable in zip(found.faces, usable, strict=True) if is_usable])

    def enroll(self, name: str, embedding: Float32Array) -> None:
        """Enroll a person."""
        self._gallery.enroll(name, embedding)

    def search(self, embeddings: Float32Array) -> list[str]:
        """Return the most similar person of each embedding."""
        return [candidates[0].name for candidates in self._gallery.search(embeddings, top=1)]
