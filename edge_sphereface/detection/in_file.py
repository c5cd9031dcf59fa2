"""Detection in photographs in files, which are decoded at a reduced scale if the detector would shrink them anyway."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from edge_sphereface.alignment import LANDMARK_TEMPLATE, similarity_transform, stack_landmarks
from edge_sphereface.detection.detector import Detector, TwoStepDetector
from edge_sphereface.types import Face

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.alignment import AlignmentFit, Points
    from edge_sphereface.image import ImageFile
    from edge_sphereface.types import Float64Array, UInt8Array

_ENOUGH = 0.95
"""A photograph may be decoded at this share of the size at which the detector reads it. Photographs of 12 megapixels,
4,000 or 4,032 pixels wide, then come to a quarter for 1,024 pixels, which takes a third less time than a half."""


@runtime_checkable
class BoundedDetector(Detector, Protocol):
    """Interface of a detector that shrinks larger images.

    Attributes:
        max_side: longer side of the largest image that is not downscaled before detection, in pixels.
    """

    max_side: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FacesInFile:
    """Faces in a decoded photograph, which may be smaller than the one in the file.

    Attributes:
        file: the file.
        reduction: reduction of the decoded photograph: 1, 2, 4 or 8.
        image: (H, W, 3) uint8 BGR, the decoded photograph.
        faces: faces in pixels of ``image``, highest score first.
    """

    file: ImageFile
    reduction: int
    image: UInt8Array
    faces: tuple[Face, ...]

    def of(self, faces: Sequence[Face]) -> FacesInFile:
        """The same photograph with some of its faces, in pixels of ``image``."""
        return replace(self, faces=tuple(faces))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the full photograph in pixels."""
        width, height = (round(float(side)) for side in self.image.shape[1::-1] * self.file.steps(self.image))
        return width, height

    def in_full(self) -> list[Face]:
        """The faces in pixels of the full photograph."""
        return _scaled(self.faces, self.file.steps(self.image))

    def sharp(self, template: Points = LANDMARK_TEMPLATE, *, fit: AlignmentFit = "cp2tform") -> FacesInFile:
        """Decode the photograph again, larger, if a crop would have more pixels than its face has here.

        Args:
            template: five (x, y) in pixels of the crop.
            fit: kind of fit of the alignment.

        Returns:
            The same faces, in pixels of the image to cut them out of.

        Raises:
            ImageError: OpenCV cannot decode the file in full.
            LandmarksError: a face has degenerate landmarks.
        """
        if self.reduction == 1 or not self.faces:
            return self
        transforms = similarity_transform(stack_landmarks([face.landmarks for face in self.faces]), template, fit=fit)
        pixels_per_crop_pixel = 1 / float(np.hypot(transforms[:, 0, 0], transforms[:, 1, 0]).max())
        reduction = next((factor for factor in (8, 4, 2) if factor <= self.reduction * pixels_per_crop_pixel), 1)
        if reduction >= self.reduction:
            return self
        image = self.file.decode(reduction)
        faces = _scaled(self.faces, self.file.steps(self.image) / self.file.steps(image))
        return replace(self, reduction=reduction, image=image, faces=tuple(faces))

    def detected(self, detector: Detector) -> FacesInFile:
        """The same photograph with every face, without refinement of the landmarks."""
        steps = _two_steps(detector)
        return self.of(detector.detect(self.image) if steps is None else steps.find(self.image))

    def improved(self, detector: Detector) -> FacesInFile:
        """The faces with refined landmarks, if this detector refines them."""
        steps = _two_steps(detector)
        return self if steps is None else self.of(steps.improve(self.image, self.faces))


def find_in_file(detector: Detector, file: ImageFile) -> FacesInFile:
    """Detect every face of a photograph in a file, without refinement of the landmarks.

    Raises:
        ImageError: OpenCV cannot decode the file.
    """
    return decode_for(detector, file).detected(detector)


def decode_for(detector: Detector, file: ImageFile) -> FacesInFile:
    """Decode a photograph at about the scale at which this detector reads it; its faces are not yet detected.

    Raises:
        ImageError: OpenCV cannot decode the file.
    """
    reduction = file.reduction(math.ceil(_ENOUGH * detector.max_side)) if isinstance(detector, BoundedDetector) else 1
    return FacesInFile(file=file, reduction=reduction, image=file.decode(reduction), faces=())


def _two_steps(detector: Detector) -> TwoStepDetector | None:
    refines = isinstance(detector, TwoStepDetector) and getattr(detector, "refine", True)
    return detector if refines else None  # type: ignore[return-value] # mypy does not follow the name


def _scaled(faces: Sequence[Face], steps: Float64Array) -> list[Face]:
    """Faces in an image whose pixels are ``steps`` times smaller. Centers of pixels have whole coordinates."""
    if (steps == 1).all():
        return [*faces]
    return [
        Face(
            box=((face.box.reshape(2, 2) + 0.5) * steps - 0.5).ravel().astype(np.float32),
            landmarks=((face.landmarks + 0.5) * steps - 0.5).astype(np.float32),
            score=face.score,
        )
        for face in faces
    ]
