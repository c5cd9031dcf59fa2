"""Cut crops of faces with their surroundings, as the liveness networks were trained on.

Source: minivision-ai/Silent-Face-Anti-Spoofing, src/generate_patches.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge_sphereface.types import Float32Array, UInt8Array

MIN_FACE_PX = 32
"""Faces with a shorter side are not checked: enlarged, all of them look like a picture of a picture."""


def is_checkable(image: UInt8Array, box: Float32Array) -> bool:
    """Whether a box (left, top, right, bottom) in pixels is large enough, and its center lies in the image."""
    height, width = image.shape[:2]
    left, top, right, bottom = (float(value) for value in box)
    inside = 0 <= (left + right) / 2 < width and 0 <= (top + bottom) / 2 < height
    return inside and min(right - left, bottom - top) >= MIN_FACE_PX


def crop_around(image: UInt8Array, box: Float32Array, *, scale: float, side: int) -> UInt8Array:
    """Cut the surroundings of a face and resize them.

    The crop has the proportions of the box. It is moved into the image where it would pass its edge, and made smaller
    where the image is too small for it.

    Args:
        image: (H, W, 3) uint8 BGR.
        box: left, top, right, bottom of the face in pixels; see :func:`is_checkable`.
        scale: size of the crop as a multiple of the box.
        side: height and width of the result in pixels.

    Returns:
        (side, side, 3) uint8 BGR.
    """
    import cv2

    height, width = image.shape[:2]
    left, top, right, bottom = (float(value) for value in box)
    scale = min(scale, (height - 1) / (bottom - top), (width - 1) / (right - left))
    columns, rows = (right - left) * scale, (bottom - top) * scale
    first_column = min(max((left + right - columns) / 2, 0.0), width - columns)
    first_row = min(max((top + bottom - rows) / 2, 0.0), height - rows)
    # The original's end is exclusive, after it was rounded down.
    part = image[int(first_row) : int(first_row + rows), int(first_column) : int(first_column + columns)]
    return np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
