"""Draws boxes and names into an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.stream.outputs.frames.frame_output import Sighting
    from edge_sphereface.types import UInt8Array

_COLORS = {"identified": (80, 190, 60), "unknown": (60, 140, 245), "undecided": (190, 190, 190)}
"""BGR."""
_LINE_PX = 400
"""Lines get one pixel thicker with as many of the picture's height."""


def fitted(image: UInt8Array, side: int) -> tuple[UInt8Array, float]:
    """A picture whose longer side is at most ``side`` pixels, even in both directions as videos need it; and its scale.

    Args:
        image: (H, W, 3) uint8 BGR; it is not changed.
        side: pixels.
    """
    import cv2

    height, width = image.shape[:2]
    scale = min(side / max(height, width), 1.0)
    size = (max(round(width * scale / 2) * 2, 2), max(round(height * scale / 2) * 2, 2))
    if size == (width, height):
        return image, 1.0
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), size[0] / width


def draw_faces(picture: UInt8Array, faces: Sequence[Sighting], scale: float) -> None:
    """Draw every face's box and name, in place.

    Args:
        picture: (H, W, 3) uint8 BGR.
        faces: in pixels of the frame.
        scale: pixels of the picture for each of the frame.
    """
    import cv2

    line = 1 + picture.shape[0] // _LINE_PX
    for face in faces:
        color = _COLORS[face.standing]
        left, top, right, bottom = (round(edge * scale) for edge in face.box)
        cv2.rectangle(picture, (left, top), (right, bottom), color, line, cv2.LINE_AA)
        _write(picture, _caption(face), (left, top - 4 * line), color)


def _caption(face: Sighting) -> str:
    if face.standing == "undecided":
        return "..."
    return f"{face.name or 'unknown'} {face.similarity or 0:.2f}"


def _write(picture: UInt8Array, text: str, place: tuple[int, int], color: tuple[int, int, int]) -> None:
    import cv2

    size = max(picture.shape[0] // 32, 11)
    font: Any = getattr(cv2, "FontFace", None)
    if font is not None:  # OpenCV 5 draws every script
        cv2.putText(picture, text, place, color, font("uni"), size)
        return
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, place, cv2.FONT_HERSHEY_SIMPLEX, size / 30, color, 1, cv2.LINE_AA)
