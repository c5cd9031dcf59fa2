"""Draws boxes and names on an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_sphereface.image import check_image
from edge_sphereface.stream.tracking.track import Track
from edge_sphereface.types import Face

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_sphereface.stream.tracking.track import Standing
    from edge_sphereface.types import EmbeddedFace, Float32Array, UInt8Array

_COLORS = {
    "identified": (80, 190, 60),
    "unknown": (60, 140, 245),
    "undecided": (190, 190, 190),
    "ignored": (150, 150, 150),
}
"""BGR."""
_TEXT = (20, 20, 20)
_LINE_PX = 400
"""Lines get one pixel thicker with as many of the image's height."""


def fitted(image: UInt8Array, side: int) -> tuple[UInt8Array, float]:
    """Shrink an image so that its longer side has at most ``side`` pixels, and both sides are even, as videos need it.

    Args:
        image: (H, W, 3) uint8 BGR; it is not changed.
        side: pixels.

    Returns:
        The image and its scale.
    """
    import cv2

    height, width = image.shape[:2]
    scale = min(side / max(height, width), 1.0)
    size = (max(round(width * scale / 2) * 2, 2), max(round(height * scale / 2) * 2, 2))
    if size == (width, height):
        return image, 1.0
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), size[0] / width


def draw_faces(image: UInt8Array, faces: Iterable[Face | EmbeddedFace | Track], *, scale: float = 1.0) -> UInt8Array:
    """A copy of an image with the box of each face, and the name and similarity of each track.

    OpenCV 5 draws names in every script; earlier versions replace characters that are not ASCII by question marks.

    Args:
        image: (H, W, 3) uint8 BGR; it is not changed.
        faces: as a detector, a pipeline or a stream returns them. Boxes may reach over the border of the image.
        scale: pixels of the image for each pixel of the boxes, for an image that was resized after detection.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: not such an image.
    """
    return draw_labels(image, map(_label_of, faces), scale=scale)


class FaceLabel(NamedTuple):
    """A box and what is written above it.

    Attributes:
        box: left, top, right, bottom in pixels.
        caption: text above the box; empty for none.
        standing: of the person; it gives the color.
    """

    box: Float32Array
    caption: str
    standing: Standing


def draw_labels(image: UInt8Array, labels: Iterable[FaceLabel], *, scale: float = 1.0) -> UInt8Array:
    """A copy of an image with boxes and captions; see :func:`draw_faces`."""
    import cv2

    drawn = np.ascontiguousarray(check_image(image)).copy()
    line = 1 + drawn.shape[0] // _LINE_PX
    captions = []
    for label in labels:
        left, top, right, bottom = (round(float(edge) * scale) for edge in label.box)
        color = _COLORS[label.standing]
        cv2.rectangle(drawn, (left, top), (right, bottom), color, line, cv2.LINE_AA)
        if label.caption:
            captions.append((label.caption, (left, top - line), color))
    for caption, place, color in captions:  # above every box
        _write(drawn, caption, place, color)
    return drawn


def _label_of(face: Face | EmbeddedFace | Track) -> FaceLabel:
    if isinstance(face, Track):
        return FaceLabel(face.face.box, _caption(face), face.standing)
    return FaceLabel(face.box if isinstance(face, Face) else face.face.box, "", "undecided")


def _caption(track: Track) -> str:
    if track.standing == "undecided":
        return "..."
    if track.standing == "ignored":
        return "ignored"
    return f"{track.name or 'unknown'} {track.similarity or 0:.2f}"


def _write(image: UInt8Array, text: str, place: tuple[int, int], color: tuple[int, int, int]) -> None:
    """Write text on a filled label whose lower left corner is at ``place``; the label stays inside the image."""
    import cv2

    size = max(image.shape[0] // 32, 11)
    font: Any = getattr(cv2, "FontFace", None)
    if font is None:  # OpenCV 5 draws every script, earlier versions ASCII alone
        text = text.encode("ascii", "replace").decode()
        width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size / 30, 1)[0][0]
    else:
        width = cv2.getTextSize((image.shape[1], image.shape[0]), text, (0, 0), font("uni"), size)[2]
    edge = size // 4 + 1
    left = min(max(place[0], 0), max(image.shape[1] - width - 2 * edge, 0))
    bottom = max(place[1], size + 2 * edge)
    cv2.rectangle(image, (left, bottom - size - 2 * edge), (left + width + 2 * edge, bottom), color, cv2.FILLED)
    start = (left + edge, bottom - edge - size // 8)
    if font is None:
        cv2.putText(image, text, start, cv2.FONT_HERSHEY_SIMPLEX, size / 30, _TEXT, 1, cv2.LINE_AA)
    else:
        cv2.putText(image, text, start, _TEXT, font("uni"), size)
