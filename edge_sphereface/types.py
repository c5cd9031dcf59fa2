"""Records that pass between detection, alignment and embedding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from edge_sphereface.json_output import json_object, rounded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    BoolArray: TypeAlias = NDArray[np.bool_]
    UInt8Array: TypeAlias = NDArray[np.uint8]
    Float32Array: TypeAlias = NDArray[np.float32]
    Float64Array: TypeAlias = NDArray[np.float64]
    Int64Array: TypeAlias = NDArray[np.int64]

LANDMARK_NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""Order of the five landmarks. Left and right are those of the *picture*, as in MTCNN."""

JsonObject: TypeAlias = dict[str, Any]
Box: TypeAlias = tuple[float, float, float, float]
Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Landmarks:
    """The five landmarks of a face, each x and y in pixels of the image.

    Left and right are as seen in the picture, as MTCNN names them.

    Attributes:
        left_eye: center of the eye on the left of the picture.
        right_eye: center of the eye on the right of the picture.
        nose: tip of the nose.
        left_mouth: corner of the mouth on the left of the picture.
        right_mouth: corner of the mouth on the right of the picture.
    """

    left_eye: Point = field(metadata=rounded(2))
    right_eye: Point = field(metadata=rounded(2))
    nose: Point = field(metadata=rounded(2))
    left_mouth: Point = field(metadata=rounded(2))
    right_mouth: Point = field(metadata=rounded(2))


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedFace:
    """A detected face for the output of a command, rounded to a hundredth of a pixel.

    Attributes:
        box: left, top, right, bottom in pixels of the image. It may extend beyond the image.
        landmarks: eyes, nose and corners of the mouth, in pixels of the image.
        score: confidence of the detector, 0 to 1. Scores of different detectors are not comparable.
    """

    box: Box = field(metadata=rounded(2))
    landmarks: Landmarks
    score: float = field(metadata=rounded(4))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """A detected face.

    Attributes:
        box: (4,) float32: left, top, right, bottom in pixels of the image. It may extend beyond the image.
        landmarks: (5, 2) float32: x and y in pixels of the image, in the order of ``LANDMARK_NAMES``.
        score: confidence of the detector, 0 to 1. Scores of different detectors are not comparable.
    """

    box: Float32Array
    landmarks: Float32Array
    score: float

    @property
    def area(self) -> float:
        """Area of the box, in square pixels."""
        left, top, right, bottom = (float(value) for value in self.box)
        return max(right - left, 0.0) * max(bottom - top, 0.0)

    def report(self) -> DetectedFace:
        """This face for the output of a command."""
        left, top, right, bottom = (float(value) for value in self.box)
        points = ((float(x), float(y)) for x, y in self.landmarks)
        return DetectedFace(
            box=(left, top, right, bottom),
            landmarks=Landmarks(**dict(zip(LANDMARK_NAMES, points, strict=True))),
            score=self.score,
        )

    def as_json(self) -> JsonObject:
        """This face as plain JSON values, rounded to a hundredth of a pixel."""
        return json_object(self.report())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedFace:
    """A detected face with its crop and its embedding.

    Functions that take an embedding, such as ``verify`` and ``Gallery.identify``, take an embedded face as well: numpy
    converts it to its embedding. Neither crop nor embedding appears in its ``repr``, which a log may hold.

    Attributes:
        face: the detection.
        crop: (H, W, 3) uint8 BGR, the aligned crop.
        embedding: (D,) float32 of unit length. It is biometric data: protect it like a password.
    """

    face: Face
    crop: UInt8Array = field(repr=False)
    embedding: Float32Array = field(repr=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The embedding, for numpy."""
        import numpy as np

        return np.array(self.embedding, dtype=dtype, copy=True if copy else None)
