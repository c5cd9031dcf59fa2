"""Records that pass between detection, alignment and embedding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    BoolArray: TypeAlias = NDArray[np.bool_]
    UInt8Array: TypeAlias = NDArray[np.uint8]
    Float32Array: TypeAlias = NDArray[np.float32]
    Float64Array: TypeAlias = NDArray[np.float64]
    Int64Array: TypeAlias = NDArray[np.int64]

LANDMARK_NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""Order of the five landmarks; left and right as seen in the *picture*, as MTCNN names them."""

JsonObject: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """A detected face.

    Attributes:
        box: (4,) float32, left, top, right, bottom, in pixels of the image; may reach over its border.
        landmarks: (5, 2) float32, x and y in pixels of the image, in the order of ``LANDMARK_NAMES``.
        score: the detector's confidence, 0 to 1; not comparable between detectors.
    """

    box: Float32Array
    landmarks: Float32Array
    score: float

    @property
    def area(self) -> float:
        """Area of the box, in square pixels."""
        left, top, right, bottom = (float(value) for value in self.box)
        return max(right - left, 0.0) * max(bottom - top, 0.0)

    def as_json(self) -> JsonObject:
        """This face as plain numbers, rounded to a hundredth of a pixel."""
        return {
            "box": [round(float(value), 2) for value in self.box],
            "landmarks": {
                name: [round(float(value), 2) for value in point]
                for name, point in zip(LANDMARK_NAMES, self.landmarks, strict=True)
            },
            "score": round(self.score, 4),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedFace:
    """A detected face with its crop and its embedding.

    Functions that take an embedding, such as ``verify`` and ``Gallery.identify``, take an embedded face as well: numpy
    converts it to its embedding. Neither crop nor embedding appears in its ``repr``, which a log may hold.

    Attributes:
        face: where it was found.
        crop: (H, W, 3) uint8 BGR, aligned.
        embedding: (D,) float32 of length one. Biometric data: keep it as you would a password.
    """

    face: Face
    crop: UInt8Array = field(repr=False)
    embedding: Float32Array = field(repr=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The embedding, for numpy."""
        import numpy as np

        return np.array(self.embedding, dtype=dtype, copy=True if copy else None)
