"""The batch operator, which maps paths to rows, locally and on every worker."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Semaphore
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_sphereface.batch.names import find
from edge_sphereface.batch.tables import Photograph, photographs_table
from edge_sphereface.batch.versions import NO_VERSION, version_of
from edge_sphereface.cpu import usable_cpus
from edge_sphereface.errors import CropError, ImageError, LandmarksError
from edge_sphereface.image import ImageFile
from edge_sphereface.inference.session import SessionConfig
from edge_sphereface.types import EmbeddedFace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from edge_sphereface.batch.versions import FileVersion
    from edge_sphereface.detection.in_file import FacesInFile
    from edge_sphereface.pipeline import FacePipeline
    from edge_sphereface.types import Face, UInt8Array

_MAX_WORKERS = 8
"""Largest number of threads that decode photographs, and of those that detect faces in them."""
_DECODED_AHEAD = 1
"""Full photographs in memory beyond the number of these threads, so that one is decoded while another is searched."""
_BATCHES_AHEAD = 1
"""Batches of photographs that are read while one is embedded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConfig:
    """Configuration of the operator, which is sent to every worker, so that all workers compute the same rows.

    Attributes:
        folder: folder of the photographs, under a path that is valid on every worker.
        model: path of the ONNX file, valid on every worker.
        flip: average the embeddings of each crop and its mirror image.
        detector: ``auto``, ``yunet`` or ``mtcnn``.
        detector_model: path of YuNet's file; None for the one in the worker's cache.
        detector_provider: execution provider of the detector; None for the model's, or CUDA if that is TensorRT.
        session: session options.
    """

    folder: Path
    model: Path
    flip: bool = False
    detector: str = "auto"
    detector_model: Path | None = None
    detector_provider: str | None = None
    session: SessionConfig = field(default_factory=SessionConfig)

    def open(self) -> FacePipeline:
        """Open model and detector.

        Raises:
            ImageError: the folder does not exist on this machine.
            ModelNotFoundError: the model or the detector does not exist on this machine.
        """
        from edge_sphereface.detection import open_detector
        from edge_sphereface.inference.embedder import Embedder
        from edge_sphereface.pipeline import FacePipeline

        if not self.folder.is_dir():
            raise ImageError(
                f"Expected a folder of photographs at {self.folder}, and there is none on this machine.",
                hint="on a cluster every worker must see it under the same path, such as a network file system",
            )
        embedder = Embedder(self.model, flip=self.flip, session=self.session)
        # Photographs share the processors: threads within a detection would only wait for each other
        session = replace(self.session.for_detector(self.detector_provider), threads=1)
        detector = open_detector(self.detector, model=self.detector_model, session=session)
        return FacePipeline(embedder, detector)


class PhotographOperator:
    """Embeds every face of photographs: some threads decode, some detect and align, another embeds the crops.

    Args:
        config: configuration of the operator.
        opencv_threads: threads of OpenCV in the whole process, for a process with no other work; None for no change.
    """

    def __init__(self, config: OperatorConfig, *, opencv_threads: int | None = None) -> None:
        import cv2

        if opencv_threads is not None:
            cv2.setNumThreads(opencv_threads)
        self._folder = config.folder
        self._pipeline = config.open()
        self._workers = min(config.session.threads or usable_cpus(), _MAX_WORKERS)

    def __call__(self, paths: Any) -> Any:
        """Map a table with the column ``path`` to rows of photographs."""
        return next(self.run([paths.column("path").to_pylist()]))

    def run(self, batches: Iterable[Sequence[str]]) -> Iterator[Any]:
        """Iterate over the tables of batches of paths. The crops of a batch are embedded while the next one is read."""
        decoders = ThreadPoolExecutor(self._workers, thread_name_prefix="decode")
        finders = ThreadPoolExecutor(self._workers, thread_name_prefix="detect")
        room = Semaphore(self._workers + _DECODED_AHEAD)
        waiting: deque[list[Future[_CroppedPhotograph]]] = deque()
        try:
            for batch in batches:
                decoded = [decoders.submit(self._decode, path, room) for path in batch]
                waiting.append([finders.submit(self._crop, photograph, room) for photograph in decoded])
                if len(waiting) > _BATCHES_AHEAD:
                    yield self._embed([future.result() for future in waiting.popleft()])
            while waiting:
                yield self._embed([future.result() for future in waiting.popleft()])
        finally:
            for pool in (decoders, finders):
                pool.shutdown(wait=False, cancel_futures=True)
            room.release(self._workers)  # those that wait for room would wait for photographs that nobody searches
            for pool in (decoders, finders):
                pool.shutdown()

    def _decode(self, path: str, room: Semaphore) -> _DecodedPhotograph:
        room.acquire()
        file = find(self._folder, path)
        version = version_of(file)  # before it is read, so that a later change is noticed
        try:
            return _DecodedPhotograph(path, version, self._pipeline.decode_file(ImageFile.read(file)))
        except ImageError as error:
            return _DecodedPhotograph(path, version, error)

    def _crop(self, decoded: Future[_DecodedPhotograph], room: Semaphore) -> _CroppedPhotograph:
        try:
            path, version, photograph = decoded.result()
            try:
                if isinstance(photograph, ImageError):
                    raise photograph
                faces, crops = self._pipeline.crop_decoded(photograph)
            except (ImageError, CropError, LandmarksError) as error:
                # What the system refused to read may be readable without a change of the file
                seen = NO_VERSION if isinstance(error.__cause__, OSError) else version
                return _CroppedPhotograph(path, seen, error.message, [], None)
            return _CroppedPhotograph(path, version, None, faces, crops)
        finally:
            room.release()

    def _embed(self, photographs: Sequence[_CroppedPhotograph]) -> Any:
        embedder = self._pipeline.embedder
        stacks = [photograph.crops for photograph in photographs if photograph.crops is not None]
        embeddings = iter(embedder.embed(np.concatenate(stacks)) if stacks else ())
        rows = []
        for path, version, error, faces, crops in photographs:
            embedded = [
                EmbeddedFace(face=face, crop=crop, embedding=next(embeddings))
                for face, crop in zip(faces, () if crops is None else crops, strict=True)
            ]
            rows.append(Photograph(path, version, error, embedded))
        return photographs_table(rows, embedder.spec.embedding_size)


class _DecodedPhotograph(NamedTuple):
    """A photograph that is not searched for faces yet.

    Attributes:
        path: path below the folder.
        version: size and time of modification of the file.
        photograph: the photograph, or why it could not be read.
    """

    path: str
    version: FileVersion
    photograph: FacesInFile | ImageError


class _CroppedPhotograph(NamedTuple):
    """A photograph whose faces are not embedded yet.

    Attributes:
        path: path below the folder.
        version: size and time of modification of the file.
        error: why the photograph could not be read; None if it was read.
        faces: faces of the photograph.
        crops: (N, H, W, 3) uint8 BGR, their crops; None if the photograph could not be read.
    """

    path: str
    version: FileVersion
    error: str | None
    faces: Sequence[Face]
    crops: UInt8Array | None
