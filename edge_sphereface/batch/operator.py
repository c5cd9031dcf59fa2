"""The batch operator: paths in, rows out; the same code locally and on every worker."""

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
    """What a worker needs to make the same rows as any other; it travels to other machines.

    Attributes:
        folder: of the photographs; every worker must see it under this path.
        model: ONNX file; likewise.
        flip: average with the mirrored crop.
        detector: ``auto``, ``yunet``, ``mtcnn``.
        detector_model: YuNet's file; None for the one in the worker's cache.
        session: provider, threads and options.
    """

    folder: Path
    model: Path
    flip: bool = False
    detector: str = "auto"
    detector_model: Path | None = None
    session: SessionConfig = field(default_factory=SessionConfig)

    def open(self) -> FacePipeline:
        """Model and detector.

        Raises:
            ImageError: this machine does not see the folder.
            ModelNotFoundError: nor the model, or the detector.
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
        detector = open_detector(self.detector, model=self.detector_model, threads=self.session.threads)
        return FacePipeline(embedder, detector)


class PhotographOperator:
    """Embeds every face of photographs, one photograph after another, so that no result depends on its neighbors.

    Args:
        config: what to open, once.
        opencv_threads: of OpenCV in the whole process; None leaves them as they are. For a process that does nothing
            else.
    """

    def __init__(self, config: OperatorConfig, *, opencv_threads: int | None = None) -> None:
        import cv2

        if opencv_threads is not None:
            cv2.setNumThreads(opencv_threads)
        self._folder = config.folder
        self._pipeline = config.open()

    def __call__(self, paths: Any) -> Any:
        """Rows of photographs for a table with the column ``path``."""
        size = self._pipeline.embedder.spec.embedding_size
        return photographs_table([self._embed(path) for path in paths.column("path").to_pylist()], size)

    def _embed(self, path: str) -> Photograph:
        from edge_sphereface.image import load_image

        try:
            return Photograph(path, None, self._pipeline.process(load_image(find(self._folder, path))))
        except (ImageError, CropError, LandmarksError) as error:
            return Photograph(path, error.message, ())
