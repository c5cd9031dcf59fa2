"""Downscales images before detection, and scales what was found back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from edge_sphereface.types import Face, Float32Array, UInt8Array


def shrunk(image: UInt8Array, max_side: int) -> tuple[UInt8Array, Float32Array]:
    """Downscale an image to at most ``max_side`` pixels on its longer side; a smaller image is returned as it is.

    Returns:
        The image, and the factors (x, y) from its pixels to those of the original.
    """
    import cv2

    height, width = image.shape[:2]
    ratio = max(height, width) / max_side
    if ratio <= 1:
        return image, np.ones(2, dtype=np.float32)
    size = (max(round(width / ratio), 1), max(round(height / ratio), 1))
    small = cast("UInt8Array", cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return small, np.array([width / size[0], height / size[1]], dtype=np.float32)


def scaled(face: Face, factors: Float32Array) -> Face:
    """The face in an image that is larger by these factors (x, y)."""
    return replace(face, box=face.box * np.tile(factors, 2), landmarks=face.landmarks * factors)
