"""Crops as a gallery keeps them, and how another model embeds them anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import CropError, FingerprintError, GalleryError, ImageError
from edge_sphereface.image import decode_image

if TYPE_CHECKING:
    from edge_sphereface.embed import Embedder
    from edge_sphereface.gallery.gallery import Gallery, Progress
    from edge_sphereface.types import Float32Array, UInt8Array

_PNG = b"\x89PNG\r\n\x1a\n"
CROP_BYTES = 1 << 20
"""A crop's PNG file is never larger: 112 x 96 pixels are 32 KB uncompressed."""

_OF_CROPS = ("crop_height", "crop_width", "landmark_template", "alignment_fit")
"""What a model and the kept crops must have in common."""


def embed_crops(gallery: Gallery, embedder: Embedder, *, progress: Progress | None = None) -> dict[str, Float32Array]:
    """Embeddings of every identity's crops, by name.

    Raises:
        GalleryError: somebody's crop was not kept.
        FingerprintError: the model aligns faces in another way than the kept crops are.
        CropError: a kept crop is damaged.
    """
    there, here = gallery.fingerprint, embedder.fingerprint
    differing = [field for field in _OF_CROPS if getattr(there, field) != getattr(here, field)]
    if differing == ["alignment_fit"]:
        raise FingerprintError(
            f"The crops kept in {gallery.location} are aligned by another fit ({there.alignment_fit}) than "
            f"{embedder.path.name} takes ({here.alignment_fit}).",
            hint="enroll from photographs again, or convert the model with "
            f"`python -m export convert --alignment-fit {there.alignment_fit}`",
        )
    if differing:
        raise FingerprintError(
            f"The crops kept in {gallery.location} are aligned in another way than {embedder.path.name} takes them.",
            hint="enroll from photographs again",
        )
    lacking = [identity for identity in gallery.identities() if identity.crops < identity.embeddings]
    if lacking:
        names = ", ".join(repr(identity.name) for identity in lacking[:5])
        raise GalleryError(
            f"Crops of {len(lacking)} of {len(gallery)} identities in {gallery.location} were not kept: {names}"
            f"{', …' if len(lacking) > 5 else ''}.",
            hint="remove and enroll them again from photographs, into a gallery made with --keep-crops",
        )
    made: dict[str, Float32Array] = {}
    total = len(gallery)
    for portrait in gallery.portraits():
        crops = [decode_crop(crop, embedder.spec.crop_shape) for crop in portrait.crops if crop is not None]
        made[portrait.name] = embedder.embed(np.stack(crops))
        if progress is not None:
            progress(len(made), total)
    return made


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
