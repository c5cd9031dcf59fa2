"""Tracks faces from one frame to the next by the optical flow of their landmarks.

References:
    B. D. Lucas, T. Kanade: An iterative image registration technique with an application to stereo vision, IJCAI 1981.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edge_sphereface.types import Face

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import Float32Array, UInt8Array

_SIDE_PX = 480
"""Longer side of the gray image for optical flow, in pixels."""
_WINDOW = (15, 15)
_LEVELS = 3
_RETURN_PX = 1.0
"""Largest distance between a point and its position after tracking forward and back, in pixels."""
_MIN_POINTS = 3
_MAX_SCALE = 1.3
"""Largest plausible change of size between two frames."""
_PATCH = 24
"""Side of the image of a face that is compared between two frames, in pixels."""
_ALIKE = 0.7
"""Minimum correlation of a face with itself one frame later; below, another face or object is in its place."""


class LandmarkFlow:
    """Tracks landmarks by optical flow. It keeps one small gray image of the frame before."""

    def __init__(self) -> None:
        self._before: Any = None
        self._shape = (0, 0)
        self._ratio = 1.0

    def look(self, image: UInt8Array) -> None:
        """Use a frame as the start of the next step."""
        self._before = self._gray(image)

    def follow(self, image: UInt8Array, faces: Sequence[Face]) -> list[Face | None]:
        """Track faces from the frame before to this one, which becomes the frame before.

        A face is lost when it is hidden, has left, or turns too fast to be tracked back to its position, and when it
        looks different now: after a cut, points of another face in the same place can match.
        """
        before, gray = self._before, self._gray(image)
        self._before = gray
        if not faces or before is None or before.shape != gray.shape:
            return [None] * len(faces)
        points = (np.concatenate([face.landmarks for face in faces]) * self._ratio).astype(np.float32)[:, None]
        there, status = _flow(before, gray, points)
        back, returned = _flow(gray, before, there)
        good = (status[:, 0] == 1) & (returned[:, 0] == 1)
        good &= np.linalg.norm(back - points, axis=2)[:, 0] <= _RETURN_PX
        height, width = gray.shape
        good &= ((there[:, 0] >= 0) & (there[:, 0] < (width, height))).all(axis=1)
        moved = there[:, 0] / self._ratio
        found = [_moved(face, moved[5 * i : 5 * i + 5], good[5 * i : 5 * i + 5]) for i, face in enumerate(faces)]
        return [
            new if new is not None and self._alike(before, face, gray, new) else None
            for face, new in zip(faces, found, strict=True)
        ]

    def _alike(self, before: Any, face: Face, after: Any, moved: Face) -> bool:
        old, new = _patch(before, face.box * self._ratio), _patch(after, moved.box * self._ratio)
        lengths = float(np.linalg.norm(old) * np.linalg.norm(new))
        return lengths == 0.0 or float(np.sum(old * new)) / lengths >= _ALIKE

    def _gray(self, image: UInt8Array) -> Any:
        import cv2

        if image.shape[:2] != self._shape:  # the size of frames changed
            self._shape = (image.shape[0], image.shape[1])
            self._ratio = min(_SIDE_PX / max(self._shape), 1.0)
        size = (max(round(self._shape[1] * self._ratio), 1), max(round(self._shape[0] * self._ratio), 1))
        small = image if self._ratio == 1.0 else cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)


def _flow(before: Any, after: Any, points: Any) -> tuple[Any, Any]:
    """Points (N, 1, 2) in the other image, and (N, 1) whether they were found."""
    import cv2

    there, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, cast("Any", None), winSize=_WINDOW, maxLevel=_LEVELS
    )
    return there, status


def _patch(gray: Any, box: Float32Array) -> Float32Array:
    """The content of a box, as a small square image of mean zero."""
    import cv2

    size = np.maximum(box[2:] - box[:2], 1.0) / _PATCH
    to_picture = np.array([[size[0], 0, box[0]], [0, size[1], box[1]]], dtype=np.float64)
    patch: Float32Array = cv2.warpAffine(
        gray,
        to_picture,
        (_PATCH, _PATCH),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float32)
    patch -= patch.mean()
    return patch


def _moved(face: Face, landmarks: Float32Array, good: np.ndarray[Any, Any]) -> Face | None:
    """The face, shifted and scaled as its reliable points are."""
    if int(good.sum()) < _MIN_POINTS:
        return None
    old, new = face.landmarks[good].astype(np.float64), landmarks[good].astype(np.float64)
    old_middle, new_middle = old.mean(axis=0), new.mean(axis=0)
    spread = float(np.linalg.norm(old - old_middle))
    scale = float(np.linalg.norm(new - new_middle)) / spread if spread > 0 else 1.0
    if not 1 / _MAX_SCALE <= scale <= _MAX_SCALE:
        return None
    moved = (face.landmarks - old_middle) * scale + new_middle
    moved[good] = new
    corners = (face.box.reshape(2, 2) - old_middle) * scale + new_middle
    return Face(box=corners.reshape(4).astype(np.float32), landmarks=moved.astype(np.float32), score=face.score)
