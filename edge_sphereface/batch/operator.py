"""The batch operator, which maps paths to rows, locally and on every worker."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
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
    from edge_sphereface.pipeline import FacePipeline
    from edge_sphereface.types import Face, UInt8Array

_MAX_WORKERS = 8
"""Largest number of threads that decode photographs. Each holds at most one full photograph in memory."""
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
    """Embeds every face of photographs: several threads decode, detect and align while another embeds the crops.

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
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="photographs")
        reading: deque[list[Future[_CroppedPhotograph]]] = deque()
        try:
            for batch in batches:
                reading.append([pool.submit(self._crop, path) for path in batch])
                if len(reading) > _BATCHES_AHEAD:
                    yield self._embed([future.result() for future in reading.popleft()])
            while reading:
                yield self._embed([future.result() for future in reading.popleft()])
        finally:
            pool.shutdown(cancel_futures=True)

    def _crop(self, path: str) -> _CroppedPhotograph:
        file = find(self._folder, path)
        version = version_of(file)  # before it is read, so that a later change is noticed
        try:
            faces, crops = self._pipeline.crop_file(ImageFile.read(file))
        except (ImageError, CropError, LandmarksError) as error:
            # What the system refused to read may be readable without a change of the file
            seen = NO_VERSION if isinstance(error.__cause__, OSError) else version
            return _CroppedPhotograph(path, seen, error.message, [], None)
        return _CroppedPhotograph(path, version, None, faces, crops)

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
