"""Detects, aligns and embeds: from an image to the embeddings of its faces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from edge_sphereface.alignment import align_for, alignable, stack_landmarks
from edge_sphereface.detection.detector import detect_batch
from edge_sphereface.detection.in_file import decode_for
from edge_sphereface.errors import NoFaceError, SeveralFacesError
from edge_sphereface.image import ImageFile
from edge_sphereface.types import EmbeddedFace

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.detection.in_file import FacesInFile
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.inference.session import SessionConfig
    from edge_sphereface.types import Face, UInt8Array

Selection: TypeAlias = Literal["largest", "center", "only"]
"""Which face of a photograph to use; ``only`` refuses a photograph with several faces."""


class FacePipeline:
    """Detects, aligns and embeds the faces of images.

    Args:
        embedder: the embedding model.
        detector: the face detector.
    """

    def __init__(self, embedder: Embedder, detector: Detector) -> None:
        self.embedder = embedder
        self.detector = detector

    def __repr__(self) -> str:
        return f"<FacePipeline of {self.embedder!r} with detector {self.detector.name!r}>"

    def process(self, image: UInt8Array) -> list[EmbeddedFace]:
        """Detect and embed every face of an image.

        A detection whose landmarks cannot be aligned (:func:`~edge_sphereface.alignment.alignable`) is left out, so
        that the other faces of the image are still returned.

        Args:
            image: (H, W, 3) uint8 BGR.

        Returns:
            The faces, highest score first; an empty list if there is none.

        Raises:
            ImageError: the image has another shape or type.
            CropError: the image is already an aligned crop.
        """
        return self._embed(image, self._detect(image))

    def process_batch(self, images: Sequence[UInt8Array]) -> list[list[EmbeddedFace]]:
        """Detect and embed every face of several images, like :meth:`process`, with shared batches for the model.

        Args:
            images: images (H, W, 3) uint8 BGR, which may differ in size.

        Returns:
            One list of faces for each image.

        Raises:
            ImageError: an image has another shape or type.
            CropError: an image is already an aligned crop.
        """
        faces = [self._usable(found) for found in detect_batch(self.detector, images)]
        crops = [self._align(image, found) for image, found in zip(images, faces, strict=True) if found]
        embeddings = iter(self.embedder.embed(np.concatenate(crops))) if crops else iter(())
        aligned = iter(crops)
        return [
            [
                EmbeddedFace(face=face, crop=crop, embedding=next(embeddings))
                for face, crop in zip(found, next(aligned), strict=True)
            ]
            if found
            else []
            for found in faces
        ]

    def process_one(self, image: UInt8Array, *, select: Selection = "largest") -> EmbeddedFace:
        """Embed one face of a photograph of a person; the other faces are not embedded.

        Args:
            image: (H, W, 3) uint8 BGR.
            select: which face to use if there are several.

        Raises:
            NoFaceError: the photograph shows no face.
            SeveralFacesError: the photograph shows several faces, and ``select`` is ``only``.
        """
        faces = self._detect(image)
        if not faces:
            raise self._no_face(image.shape[1], image.shape[0])
        return self._embed(image, [select_face(faces, image, select)])[0]

    def process_file(self, path: str | os.PathLike[str]) -> list[EmbeddedFace]:
        """Detect and embed every face of a photograph in a file, like :meth:`process`.

        A JPEG file that the detector would shrink to about half its size or less is decoded at a half, a quarter or an
        eighth of it, which takes less time and memory. It is decoded again, larger, if a face has fewer pixels than its
        crop.

        Returns:
            The faces in pixels of the full photograph, highest score first; an empty list if there is none.

        Raises:
            ImageError: the file cannot be read or decoded.
            CropError: the image is already an aligned crop.
        """
        return self.embed_file(ImageFile.read(path))

    def process_one_file(self, path: str | os.PathLike[str], *, select: Selection = "largest") -> EmbeddedFace:
        """Embed one face of a photograph in a file, like :meth:`process_one`, decoded like :meth:`process_file`.

        Raises:
            ImageError: the file cannot be read or decoded.
            NoFaceError: the photograph shows no face.
            SeveralFacesError: the photograph shows several faces, and ``select`` is ``only``.
        """
        return self.embed_file(ImageFile.read(path), select=select)[0]

    def embed_file(self, file: ImageFile, *, select: Selection | None = None) -> list[EmbeddedFace]:
        """Detect and embed the faces of a photograph in memory; the arguments are those of :meth:`crop_file`.

        Raises:
            EdgeSphereFaceError: as :meth:`crop_file` does.
        """
        faces, crops = self.crop_file(file, select=select)
        return self._embedded(faces, crops)

    def crop_file(self, file: ImageFile, *, select: Selection | None = None) -> tuple[list[Face], UInt8Array]:
        """Detect and align the faces of a photograph in a file, decoded like :meth:`process_file`.

        The same as :meth:`decode_file` and :meth:`crop_decoded`, which two threads can do at the same time.

        Args:
            file: the file.
            select: which face to use if there are several; None for all.

        Returns:
            The faces in pixels of the full photograph, highest score first, and their crops (N, H, W, 3) uint8 BGR.

        Raises:
            ImageError: the file cannot be decoded.
            CropError: the image is already an aligned crop.
            NoFaceError: the photograph shows no face, and ``select`` is given.
            SeveralFacesError: the photograph shows several faces, and ``select`` is ``only``.
        """
        return self.crop_decoded(self.decode_file(file), select=select)

    def decode_file(self, file: ImageFile) -> FacesInFile:
        """Decode a photograph at about the scale at which the detector reads it; its faces are not yet detected.

        Raises:
            ImageError: the file cannot be decoded.
        """
        return decode_for(self.detector, file)

    def crop_decoded(
        self, photograph: FacesInFile, *, select: Selection | None = None
    ) -> tuple[list[Face], UInt8Array]:
        """Detect and align the faces of a photograph of :meth:`decode_file`; see :meth:`crop_file`."""
        found = photograph.detected(self.detector)
        faces = self._usable(found.faces)
        if select is not None:
            if not faces:
                raise self._no_face(*found.size)
            faces = [select_face(faces, found.image, select)]
        spec = self.embedder.spec
        sharp = found.of(faces).sharp(spec.landmark_template, fit=spec.alignment_fit).improved(self.detector)
        usable = sharp.of(self._usable(sharp.faces))
        if select is not None and not usable.faces:
            raise self._no_face(*found.size)
        return usable.in_full(), self._align(usable.image, usable.faces)

    def _no_face(self, width: int, height: int) -> NoFaceError:
        return NoFaceError(
            f"No face was found in an image of {width} x {height} pixels by {self.detector.name}.",
            hint="the face must be upright, at least about 40 pixels high and not hidden",
        )

    def _detect(self, image: UInt8Array) -> list[Face]:
        return self._usable(self.detector.detect(image))

    def _usable(self, faces: Sequence[Face]) -> list[Face]:
        """The faces whose landmarks can be aligned."""
        usable = alignable(stack_landmarks([face.landmarks for face in faces]), self.embedder.spec.landmark_template)
        return [face for face, is_usable in zip(faces, usable, strict=True) if is_usable]

    def _align(self, image: UInt8Array, faces: Sequence[Face]) -> UInt8Array:
        return align_for(self.embedder.spec, image, stack_landmarks([face.landmarks for face in faces]))

    def _embed(self, image: UInt8Array, faces: Sequence[Face]) -> list[EmbeddedFace]:
        return self._embedded(faces, self._align(image, faces))

    def _embedded(self, faces: Sequence[Face], crops: UInt8Array) -> list[EmbeddedFace]:
        embeddings = self.embedder.embed(crops)
        return [
            EmbeddedFace(face=face, crop=crop, embedding=embedding)
            for face, crop, embedding in zip(faces, crops, embeddings, strict=True)
        ]


def load_pipeline(
    model: str | os.PathLike[str],
    *,
    detector: str = "auto",
    detector_model: str | os.PathLike[str] | None = None,
    detector_provider: str | None = None,
    provider: str | None = None,
    threads: int | None = None,
    session: SessionConfig | None = None,
) -> FacePipeline:
    """Open a model and a detector as one pipeline.

    Args:
        model: path of an ONNX file made by ``python -m export convert``.
        detector: ``auto``, ``yunet`` or ``mtcnn``, as :func:`~edge_sphereface.open_detector` takes it.
        detector_model: path of YuNet's ONNX file, instead of the one in the cache.
        detector_provider: execution provider of the detector; None for the embedder's, or CUDA if that is TensorRT.
        provider: execution provider of the embedder, as :class:`~edge_sphereface.Embedder` takes it.
        threads: threads of one inference, of the embedder and the detector; None for as many as this process may use.
        session: options of the onnxruntime sessions.

    Raises:
        EdgeSphereFaceError: as :class:`~edge_sphereface.Embedder` and :func:`~edge_sphereface.open_detector` do.
    """
    from edge_sphereface.detection import open_detector
    from edge_sphereface.inference.embedder import Embedder

    embedder = Embedder(model, provider=provider, threads=threads, session=session)
    config = embedder.config.for_detector(detector_provider)
    return FacePipeline(embedder, open_detector(detector, model=detector_model, session=config))


def select_face(faces: Sequence[Face], image: UInt8Array, select: Selection) -> Face:
    """Select the largest face, the face nearest the center of the image, or the only face.

    Raises:
        SeveralFacesError: there are several faces, and ``select`` is ``only``.
    """
    if select == "only" and len(faces) > 1:
        raise SeveralFacesError(
            f"Expected one face, got {len(faces)}.",
            hint="crop the photograph, or select the largest face",
            remedy="select-largest",
        )
    if select in ("largest", "only"):
        return max(faces, key=lambda face: face.area)
    middle = np.array([image.shape[1], image.shape[0]], dtype=np.float32) / 2
    return min(faces, key=lambda face: float(np.linalg.norm(face.landmarks.mean(axis=0) - middle)))
