"""Aligned crops as PNG bytes, as a gallery stores them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.errors import CropError, ImageError
from edge_sphereface.image import decode_image

if TYPE_CHECKING:
    from edge_sphereface.types import UInt8Array

_PNG = b"\x89PNG\r\n\x1a\n"
CROP_BYTES = 1 << 20
"""A crop's PNG file is never larger: 112 x 96 pixels are 32 KB uncompressed."""


def check_crop(crop: bytes | None) -> None:
    """What is to be kept must be a PNG file of a crop's size, or nothing.

    Raises:
        CropError: it is something else.
    """
    if crop is not None and not (isinstance(crop, bytes) and crop.startswith(_PNG) and len(crop) <= CROP_BYTES):
        raise CropError(
            "Expected crops to keep as PNG files.", hint="edge_sphereface.gallery.crops.encode_crop makes them"
        )


def encode_crop(crop: UInt8Array) -> bytes:
    """A crop as a PNG file, which loses nothing."""
    import cv2

    _, data = cv2.imencode(".png", crop)
    return data.tobytes()


def decode_crop(data: bytes, shape: tuple[int, int, int]) -> UInt8Array:
    """(H, W, 3) uint8 BGR.

    Raises:
        CropError: no PNG file of that size.
    """
    try:
        crop = decode_image(data, "the crop", max_pixels=shape[0] * shape[1]) if len(data) <= CROP_BYTES else None
    except ImageError:
        crop = None
    if crop is None or crop.shape != shape:
        raise CropError(f"Expected a kept crop as a PNG file of shape {shape}, got another one.")
    return crop
