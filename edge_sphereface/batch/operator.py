"""The batch operator, which maps paths to rows, locally and on every worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_sphereface.batch.names import find
from edge_sphereface.batch.tables import Photograph, photographs_table
from edge_sphereface.errors import CropError, ImageError, LandmarksError
from edge_sphereface.inference.session import SessionConfig

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.pipeline import FacePipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConfig:
    """Configuration of the operator, which is sent to every worker, so that all workers compute the same rows.

    Attributes:
        folder: folder of the photographs, under a path that is valid on every worker.
        model: path of the ONNX file, valid on every worker.
        flip: average the embeddings of each crop and its mirror image.
        detector: ``auto``, ``yunet`` or ``mtcnn``.
        detector_model: path of YuNet's file; None for the one in the worker's cache.
        detector_provider: execution provider of the detector; None for the model's.
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
        session = self.session.on(self.detector_provider)
        detector = open_detector(self.detector, model=self.detector_model, session=session)
        return FacePipeline(embedder, detector)


class PhotographOperator:
    """Embeds every face of photographs, one photograph at a time, so that results do not depend on the batch.

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

    def __call__(self, paths: Any) -> Any:
        """Map a table with the column ``path`` to rows of photographs."""
        size = self._pipeline.embedder.spec.embedding_size
        return photographs_table([self._embed(path) for path in paths.column("path").to_pylist()], size)

    def _embed(self, path: str) -> Photograph:
        from edge_sphereface.image import load_image

        try:
            return Photograph(path, None, self._pipeline.process(load_image(find(self._folder, path))))
        except (ImageError, CropError, LandmarksError) as error:
            return Photograph(path, error.message, ())
