"""Tracks faces from one frame to the next by the optical flow of their landmarks.

References:
    B. D. Lucas, T. Kanade: An iterative image registration technique with an application to stereo vision, IJCAI 1981.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edge_sphereface.types import Face

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import Float32Array, UInt8Array

_SIDE_PX = 480
"""Longer side of a whole frame at the scale of the gray image for optical flow, in pixels."""
_WINDOW = (15, 15)
_LEVELS = 3
_RETURN_PX = 1.0
"""Largest distance between a point and its position after tracking forward and back, in pixels."""
_MIN_POINTS = 3
_MAX_SCALE = 1.3
"""Largest plausible change of size between two frames."""
_MARGIN = 1.0
"""Width of the surroundings of a face that are kept, in longer sides of its box. At least half of it is kept."""
_WASTE = 2.0
"""The kept part has at most this many times the area that is needed."""
_PATCH = 24
"""Side of the image of a face that is compared between two frames, in pixels."""
_ALIKE = 0.7
"""Minimum correlation of a face with itself one frame later; below, another face or object is in its place."""


class LandmarkFlow:
    """Tracks landmarks by optical flow. It keeps a small gray image of the part of the newest frame with the faces."""

    def __init__(self) -> None:
        self._view: _View | None = None
        self._before: Any = None
        self._is_current = False

    def look(self, image: UInt8Array, faces: Sequence[Face]) -> None:
        """Use a frame as the start of the next step.

        Args:
            image: (H, W, 3) uint8 BGR; after :meth:`follow`, the frame that it was given.
            faces: the faces that will be tracked, where they are in this frame.
        """
        view, self._view = self._view, None
        if not faces:
            return
        if view is not None and self._is_current and view.is_good_for(image.shape[:2], faces):
            self._view = view
        else:
            self._view = _View(image.shape[:2], faces)
            self._before = self._view.gray(image)
        self._is_current = False

    def follow(self, image: UInt8Array, faces: Sequence[Face]) -> list[Face | None]:
        """Track faces from the frame before to this one.

        A face is lost when it is hidden, has left, or turns too fast to be tracked back to its position, and when it
        looks different now: after a cut, points of another face in the same place can match.
        """
        view, before = self._view, self._before
        if not faces or view is None or view.frame != image.shape[:2]:
            return [None] * len(faces)
        gray = self._before = view.gray(image)
        self._is_current = True
        points = view.from_frame(np.concatenate([face.landmarks for face in faces]))
        there, status = _flow(before, gray, points[:, None])
        back, returned = _flow(gray, before, there)
        good = (status[:, 0] == 1) & (returned[:, 0] == 1)
        good &= np.linalg.norm(back[:, 0] - points, axis=1) <= _RETURN_PX
        height, width = gray.shape
        good &= ((there[:, 0] >= 0) & (there[:, 0] < (width, height))).all(axis=1)
        moved = view.to_frame(there[:, 0])
        found = [_moved(face, moved[5 * i : 5 * i + 5], good[5 * i : 5 * i + 5]) for i, face in enumerate(faces)]
        return [
            new if new is not None and _is_alike(before, view.box(face), gray, view.box(new)) else None
            for face, new in zip(faces, found, strict=True)
        ]


class _View:
    """A part of frames, downscaled: the faces and their surroundings.

    Args:
        frame: height and width of the frames.
        faces: the faces.
    """

    def __init__(self, frame: tuple[int, int], faces: Sequence[Face]) -> None:
        self.frame = frame
        self._part = _hull(faces, frame, _MARGIN)
        left, top, right, bottom = self._part
        ratio = min(_SIDE_PX / max(frame), 1.0)
        self._size = max(round((right - left) * ratio), 1), max(round((bottom - top) * ratio), 1)
        self._corner = np.array([left, top], dtype=np.float32)
        self._ratio = (self._size / np.array([right - left, bottom - top])).astype(np.float32)

    def is_good_for(self, frame: tuple[int, int], faces: Sequence[Face]) -> bool:
        """Whether it shows these faces of a frame with enough of their surroundings, and not much else."""
        if frame != self.frame:
            return False
        left, top, right, bottom = self._part
        inner, best = _hull(faces, frame, _MARGIN / 2), _hull(faces, frame, _MARGIN)
        shows_all = left <= inner[0] and top <= inner[1] and right >= inner[2] and bottom >= inner[3]
        return shows_all and _area(self._part) <= _WASTE * _area(best)

    def gray(self, image: UInt8Array) -> Any:
        """The part of a frame, (h, w) uint8."""
        import cv2

        left, top, right, bottom = self._part
        part = image[top:bottom, left:right]
        if self._size != (right - left, bottom - top):
            part = cast("UInt8Array", cv2.resize(part, self._size, interpolation=cv2.INTER_LINEAR))
        return cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)

    def from_frame(self, points: Float32Array) -> Float32Array:
        """Points (N, 2) of the frame, in pixels of the view."""
        return ((points - self._corner) * self._ratio).astype(np.float32, copy=False)

    def box(self, face: Face) -> Float32Array:
        """The box of a face of the frame, (4,) in pixels of the view."""
        return self.from_frame(face.box.reshape(2, 2)).reshape(4)

    def to_frame(self, points: Float32Array) -> Float32Array:
        """Points (N, 2) of the view, in pixels of the frame."""
        return points / self._ratio + self._corner


def _hull(faces: Sequence[Face], frame: tuple[int, int], margin: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the smallest part of a frame with faces and a margin, in longer sides of each."""
    lefts, tops, rights, bottoms = zip(*(_with_margin(face.box, margin) for face in faces), strict=True)
    left, top, right, bottom = min(lefts), min(tops), max(rights), max(bottoms)
    height, width = frame
    x, y = int(min(max(left, 0), width - 1)), int(min(max(top, 0), height - 1))
    return x, y, int(min(max(right, x), width - 1)) + 1, int(min(max(bottom, y), height - 1)) + 1


def _with_margin(box: Float32Array, margin: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = box.tolist()
    around = margin * max(right - left, bottom - top)
    return left - around, top - around, right + around, bottom + around


def _area(part: tuple[int, int, int, int]) -> int:
    left, top, right, bottom = part
    return (right - left) * (bottom - top)


def _flow(before: Any, after: Any, points: Any) -> tuple[Any, Any]:
    """Points (N, 1, 2) in the other image, and (N, 1) whether they were found."""
    import cv2

    there, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, cast("Any", None), winSize=_WINDOW, maxLevel=_LEVELS
    )
    return there, status


def _is_alike(before: Any, old: Float32Array, after: Any, new: Float32Array) -> bool:
    """Whether a box of one gray image shows about the same as a box of another."""
    one, other = _patch(before, old), _patch(after, new)
    lengths = math.sqrt(float(one @ one) * float(other @ other))
    return lengths == 0.0 or float(one @ other) / lengths >= _ALIKE


def _patch(gray: Any, box: Float32Array) -> Float32Array:
    """The content of a box (4,), as a small square image of mean zero, (576,) float32."""
    import cv2

    left, top, right, bottom = box.tolist()
    to_picture = np.array([[max(right - left, 1.0) / _PATCH, 0.0, left], [0.0, max(bottom - top, 1.0) / _PATCH, top]])
    patch = cv2.warpAffine(
        gray,
        to_picture,
        (_PATCH, _PATCH),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    values: Float32Array = patch.astype(np.float32).ravel()
    values -= values.sum() / values.size
    return values


def _moved(face: Face, landmarks: Float32Array, good: np.ndarray[Any, Any]) -> Face | None:
    """The face, shifted and scaled as its reliable points are."""
    count = np.count_nonzero(good)
    if count < _MIN_POINTS:
        return None
    old, new = face.landmarks[good].astype(np.float64), landmarks[good].astype(np.float64)
    old_middle, new_middle = old.sum(axis=0) / count, new.sum(axis=0) / count
    old -= old_middle
    new -= new_middle
    spread = float(np.vdot(old, old))
    scale = math.sqrt(float(np.vdot(new, new)) / spread) if spread > 0 else 1.0
    if not 1 / _MAX_SCALE <= scale <= _MAX_SCALE:
        return None
    moved = ((face.landmarks - old_middle) * scale + new_middle).astype(np.float32)
    moved[good] = landmarks[good]
    corners = (face.box.reshape(2, 2) - old_middle) * scale + new_middle
    return Face(box=corners.reshape(4).astype(np.float32), landmarks=moved, score=face.score)
