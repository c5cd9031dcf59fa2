"""Aligned crops as PNG bytes, as a gallery stores them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.errors import CropError, ImageError
from edge_sphereface.image import decode_image

if TYPE_CHECKING:
    from edge_sphereface.types import UInt8Array

_PNG = b"\x89PNG\r\n\x1a\n"
CROP_BYTES = 1 << 20
"""Largest size of a crop's PNG file in bytes; a crop of 112 x 96 pixels has 32 KB uncompressed."""


def check_crop(crop: bytes | None) -> None:
    """Require a crop to be a PNG file of at most ``CROP_BYTES``, or None.

    Raises:
        CropError: it is neither.
    """
    if crop is not None and not (isinstance(crop, bytes) and crop.startswith(_PNG) and len(crop) <= CROP_BYTES):
        raise CropError(
            "Expected crops to keep as PNG files.", hint="edge_sphereface.gallery.crops.encode_crop makes them"
        )


def encode_crop(crop: UInt8Array) -> bytes:
    """Encode a crop (H, W, 3) uint8 BGR as a PNG file, which is lossless."""
    import cv2

    _, data = cv2.imencode(".png", crop)
    return data.tobytes()


def decode_crop(data: bytes, shape: tuple[int, int, int]) -> UInt8Array:
    """Decode the PNG file of a crop to (H, W, 3) uint8 BGR.

    Raises:
        CropError: the data is not a PNG file of that shape.
    """
    try:
        crop = decode_image(data, "the crop", max_pixels=shape[0] * shape[1]) if len(data) <= CROP_BYTES else None
    except ImageError:
        crop = None
    if crop is None or crop.shape != shape:
        raise CropError(f"Expected a stored crop as a PNG file of shape {shape}, got something else.")
    return crop
