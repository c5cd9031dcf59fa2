"""Finds better landmarks of faces that a detector has found."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np

from edge_sphereface.detection.mtcnn import OUTPUT_NETWORK, OUTPUT_SIZE, Network, cut_squares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edge_sphereface.inference.session import SessionConfig
    from edge_sphereface.types import Face, Float32Array, UInt8Array

_VIEWS = np.array([[0.8], [1.0]], dtype=np.float32)
"""Each face is viewed in these squares around the middle of its box, as shares of the longer side; the landmarks are
averaged. A third view, of 0.9, made no difference that LFW's 6,000 pairs show (+0.17 points without it, 95 % confidence
-0.08 to +0.43) and takes half as long again."""
_TRAINED_SHIFT = np.array([0.0077, 0.0066], dtype=np.float32)
"""SphereFace's landmarks of training lie left of O-Net's and above them by these shares (x, y) of the longer side of
the box, because they are whole pixels, rounded down. Mean over LFW's 10,249 photographs: 0.94 and 0.81 pixels."""
_MIN_SCORE = 0.7
"""Views of a lower score show no face. Source: the published MTCNN's third threshold."""
_BATCH = 64
_SHRUNK_SIDE = 4 * OUTPUT_SIZE
"""Large faces are shrunk once, by a whole factor and to this many pixels or more, before their views are cut: shrinking
each view from the photograph takes longer than the network."""
_MOST_SIDES = 1.5
"""Faces of more than this many longer sides of their image are not refined."""
VIEW_PX = 320
_LOOK_SHARES = (0.65, 0.85)
"""Closer looks view a face twice at ``VIEW_PX``; its box takes these shares of the view."""


class LandmarkRefiner(Protocol):
    """Interface of what finds better landmarks of detected faces."""

    def improve(self, found: Sequence[tuple[UInt8Array, Face]]) -> list[Face]:
        """Refine faces.

        Args:
            found: faces, each with its image (H, W, 3) uint8 BGR.

        Returns:
            The faces in the same order. A face that the refiner does not see is unchanged.
        """
        ...


class OutputNetwork:
    """Refines landmarks by MTCNN's third network, O-Net, which reads 48 x 48 pixels of each face.

    SphereFace was trained with crops that were aligned by its landmarks. They are moved to where those of training lie,
    which is less than a hundredth of the face. Safe to use from several threads.

    Args:
        session: options of the onnxruntime session.

    Raises:
        ModelNotFoundError: the extra ``mtcnn`` is not installed.
    """

    def __init__(self, session: SessionConfig) -> None:
        self._network = Network(OUTPUT_NETWORK, session)

    def improve(self, found: Sequence[tuple[UInt8Array, Face]]) -> list[Face]:
        """Refine faces (see :class:`LandmarkRefiner`)."""
        visible = [index for index, (image, face) in enumerate(found) if _is_visible(face, image)]
        improved = [face for _, face in found]
        for index, face in zip(visible, self._improve([found[index] for index in visible]), strict=True):
            improved[index] = face
        return improved

    def _improve(self, found: Sequence[tuple[UInt8Array, Face]]) -> list[Face]:
        if not found:
            return []
        cut = [_views(image, _squares(face)) for image, face in found]
        corners = np.concatenate([squares for squares, _ in cut])
        points, scores = self._look(np.concatenate([views for _, views in cut]))
        size = (corners[:, 2:] - corners[:, :2])[:, None]
        landmarks = (corners[:, None, :2] + size * points).reshape(len(found), len(_VIEWS), 5, 2)
        seen = scores.reshape(len(found), len(_VIEWS)) > _MIN_SCORE
        return [
            _moved(face, of_face[is_seen].mean(axis=0)) if is_seen.any() else face
            for (_, face), of_face, is_seen in zip(found, landmarks, seen, strict=True)
        ]

    def _look(self, views: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Landmarks (N, 5, 2) in fractions of the view, and scores (N,), of views (N, 48, 48, 3)."""
        results = [self._network(views[start : start + _BATCH]) for start in range(0, len(views), _BATCH)]
        points, scores = (np.concatenate([result[output] for result in results]) for output in (1, 2))
        return points.reshape(-1, 2, 5).transpose(0, 2, 1), scores[:, 1]


def _moved(face: Face, landmarks: Float32Array) -> Face:
    """The face with O-Net's landmarks, moved to where those of training lie."""
    return replace(face, landmarks=landmarks - _side(face) * _TRAINED_SHIFT)


class CloserLooks:
    """Refines landmarks by detecting each face again in enlarged views.

    Args:
        detect: detects in images of ``VIEW_PX`` x ``VIEW_PX`` pixels; gives rows (N, 15) for each, as YuNet's: after
            four numbers five landmarks (x, y).
    """

    def __init__(self, detect: Callable[[Sequence[UInt8Array]], Iterable[Float32Array]]) -> None:
        self._detect = detect

    def improve(self, found: Sequence[tuple[UInt8Array, Face]]) -> list[Face]:
        """Refine faces (see :class:`LandmarkRefiner`)."""
        views = [(image, _View.of(face, share)) for image, face in found for share in _LOOK_SHARES]
        rows = self._detect([view.cut(image) for image, view in views])
        looks = iter([view.landmarks(each) for (_, view), each in zip(views, rows, strict=True)])
        return [_averaged(face, list(islice(looks, len(_LOOK_SHARES)))) for _, face in found]


class _View(NamedTuple):
    """An enlarged view of a face: a square of the image around the middle of the face's box."""

    face: Face
    scale: float
    corner: Float32Array

    @classmethod
    def of(cls, face: Face, share: float) -> _View:
        """View that the face's box fills to ``share``."""
        side = max(_side(face), 1.0) / share
        corner = ((face.box[:2] + face.box[2:]) / 2 - side / 2).astype(np.float32)
        return cls(face, VIEW_PX / side, corner)

    def cut(self, image: UInt8Array) -> UInt8Array:
        """Cut the view out of its image."""
        import cv2

        x, y = self.corner * -self.scale
        transform = np.array([[self.scale, 0.0, x], [0.0, self.scale, y]])
        return cast("UInt8Array", cv2.warpAffine(image, transform, (VIEW_PX, VIEW_PX)))

    def landmarks(self, rows: Float32Array) -> Float32Array | None:
        """Landmarks (5, 2), in pixels of the image, of the detection nearest to the face; None if there is none."""
        if not len(rows):
            return None
        landmarks = (rows[:, 4:14].reshape(-1, 5, 2) / self.scale + self.corner).astype(np.float32)
        shifts = np.linalg.norm(landmarks.mean(axis=1) - self.face.landmarks.mean(axis=0), axis=1)
        nearest = int(shifts.argmin())
        # a farther one is another face
        return None if shifts[nearest] > VIEW_PX / self.scale / 4 else landmarks[nearest]


def _averaged(face: Face, looks: Sequence[Float32Array | None]) -> Face:
    """The face with the mean of the landmarks that were found, if any."""
    found = [landmarks for landmarks in looks if landmarks is not None]
    return replace(face, landmarks=np.mean(found, axis=0, dtype=np.float32)) if found else face


def _is_visible(face: Face, image: UInt8Array) -> bool:
    """Whether a box is near the image and not much larger: the memory for its view grows with it."""
    side, most = _side(face), max(image.shape)
    return bool(side <= _MOST_SIDES * most and np.abs(face.box).max() <= 2 * most)


def _side(face: Face) -> float:
    """Longer side of a face's box in pixels."""
    return float((face.box[2:] - face.box[:2]).max())


def _squares(face: Face) -> Float32Array:
    """The squares (V, 4) of the views of a face, in whole pixels around the middle of its box."""
    sides = np.maximum(np.round(_side(face) * _VIEWS), 1)
    corners = np.round((face.box[:2] + face.box[2:]) / 2 - sides / 2)
    squares: Float32Array = np.concatenate([corners, corners + sides], axis=1)
    return squares


def _views(image: UInt8Array, squares: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Cut the views of a face out of its image.

    Args:
        image: (H, W, 3) uint8 BGR.
        squares: (V, 4): left, top, right, bottom of the views in whole pixels.

    Returns:
        The squares (V, 4) that were cut, in pixels of the image: those of a shrunk face end at its pixels. The views
        (V, ``OUTPUT_SIZE``, ``OUTPUT_SIZE``, 3).
    """
    import cv2

    left, top = (max(int(corner), 0) for corner in squares[:, :2].min(axis=0))
    right, bottom = squares[:, 2:].max(axis=0).astype(int).tolist()
    side = int((squares[:, 2] - squares[:, 0]).max())
    region, factor = image[top : max(bottom, 0), left : max(right, 0)], 1
    while side // (2 * factor) >= _SHRUNK_SIDE and min(region.shape[:2]) > 1:
        height, width = (length // 2 for length in region.shape[:2])
        # halves are what OpenCV averages fastest
        region = cast(
            "UInt8Array", cv2.resize(region[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
        )
        factor *= 2
    if factor == 1:
        return squares, cut_squares(image, squares, OUTPUT_SIZE)
    corner = np.array([left, top, left, top], dtype=np.float32)
    within: Float32Array = np.round((squares - corner) / np.float32(factor))
    return within * np.float32(factor) + corner, cut_squares(region, within, OUTPUT_SIZE)
