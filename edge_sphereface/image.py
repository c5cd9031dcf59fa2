"""Reads and checks images. In memory, an image is a (H, W, 3) uint8 BGR array."""

from __future__ import annotations

import os
import warnings
from collections import deque
from typing import TYPE_CHECKING, cast

import numpy as np

from edge_sphereface.errors import ImageError, OutputError
from edge_sphereface.image_header import read_header, refused_format
from edge_sphereface.storage.files import PRIVATE, atomic_write
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.types import UInt8Array

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""File suffixes that identify photographs in a folder."""

_FILE = RegularFile(what="photograph", limit=256 << 20, error=ImageError)
MAX_PIXELS = 1 << 27
"""Larger images are not decoded. An image of this size takes 400 MB, and 800 MB while it is decoded.

The limit of a progressive JPEG file is half of this: its decoder keeps up to 6 more bytes for each pixel.
"""
_FORMATS = "JPEG, PNG, BMP, GIF, TIFF, WebP, PBM, PGM, PPM or PAM"
_MAX_SCANS = 100
"""Largest number of scans of a JPEG file. Each scan costs a pass over all pixels; cameras write about ten."""

_HINTS = {
    2: "grayscale: convert it with cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)",
    4: "with alpha: convert it with cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)",
}


def check_image(image: object) -> UInt8Array:
    """Return ``image`` if it is (H, W, 3) uint8 with at least one pixel.

    Raises:
        ImageError: the array has another shape or type; the hint says how to convert it.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"Expected an image as a numpy array (H, W, 3) uint8 BGR, got {type(image).__name__}.",
            hint="read it with edge_sphereface.load_image; cv2.imread returns None for a file it cannot read",
        )
    got = f"got shape {image.shape} {image.dtype}"
    expected = "Expected an image (H, W, 3) uint8 BGR"
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise ImageError(f"{expected}, {got}.", hint=_HINTS[2])
    if image.ndim == 3 and image.shape[2] == 4:
        raise ImageError(f"{expected}, {got}.", hint=_HINTS[4])
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"{expected}, {got}.", hint="one image at a time, channels last")
    if image.dtype == np.uint16:
        raise ImageError(f"{expected}, {got}.", hint="convert 16 bits to 8 with (image >> 8).astype('uint8')")
    if image.dtype != np.uint8:
        raise ImageError(f"{expected}, {got}.", hint="values from 0 to 255 as uint8")
    if image.size == 0:
        raise ImageError(f"{expected} with at least one pixel, {got}.", hint="the camera or the slice returned nothing")
    return image


def load_image(path: str | os.PathLike[str]) -> UInt8Array:
    """Read a photograph from a file and rotate it upright according to its EXIF orientation.

    Grayscale, 16-bit and transparent images are converted to 8-bit BGR.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the file does not exist, the image is too large, or OpenCV cannot decode it.
    """
    return decode_image(_FILE.read(path), str(path))


def decode_image(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode a photograph and rotate it upright according to its EXIF orientation.

    Args:
        data: content of a JPEG, PNG, BMP, GIF, TIFF, WebP, PBM, PGM, PPM or PAM file.
        name: name of the file, for messages.
        max_pixels: largest number of pixels; half as many for a progressive JPEG file. The header is checked before
            memory is allocated.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the file has another format, the image is too large, or OpenCV cannot decode it.
    """
    header = read_header(data)
    if header is None:
        refused = refused_format(data)
        if refused is not None:
            raise ImageError(
                f"Cannot decode {name}: {refused} files are not accepted.", hint=f"convert it to {_FORMATS}"
            )
        what = "it is damaged, or no image of an accepted format" if data else "it is empty"
        raise ImageError(f"Cannot decode {name}: {what}.", hint=f"give a {_FORMATS} file")
    if header.scans > 1:  # the decoder keeps the coefficients of all pixels
        max_pixels //= 2
    if header.pixels > max_pixels or header.scans > _MAX_SCANS:
        much = f"{header.pixels} pixels" if header.pixels > max_pixels else f"{header.scans} scans"
        raise ImageError(
            f"Cannot decode {name}: the {header.kind} file announces {much}, expected at most "
            f"{max_pixels} pixels and {_MAX_SCANS} scans.",
            hint="scale it down first; a face needs only about 100 pixels",
        )
    # A second limit, in case a decoder reads the header differently; OpenCV reads this variable when it is loaded
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"Cannot decode {name}: {error.err}.", hint="convert it to JPEG or PNG") from error
    if image is None:
        raise ImageError(f"Cannot decode {name}: the {header.kind} file is damaged.", hint="convert it to JPEG or PNG")
    return cast("UInt8Array", image)


def save_image(path: str | os.PathLike[str], image: UInt8Array) -> None:
    """Write an image to a file that only its owner can read, because it shows a face.

    Args:
        path: JPEG if it ends in ``.jpg`` or ``.jpeg``, else PNG.
        image: (H, W, 3) uint8 BGR.

    Raises:
        OutputError: the file cannot be written; no partial file remains.
    """
    import cv2

    suffix = ".jpg" if os.fspath(path).lower().endswith((".jpg", ".jpeg")) else ".png"
    done, data = cv2.imencode(suffix, image)
    if not done:
        raise OutputError(f"OpenCV could not encode an image of shape {image.shape} as {suffix}.")
    with atomic_write(path, mode=PRIVATE) as output:
        output.write(data.tobytes())


def find_images(folder: Path) -> list[Path]:
    """List the photographs below ``folder``, identified by their suffixes and sorted by path.

    Symbolic links to folders are followed. A folder that can be reached twice is searched once, under its own path if
    that path is below ``folder``.

    Raises:
        ImageError: ``folder`` is not a folder.
    """
    if not folder.is_dir():
        raise ImageError(f"Expected a folder of photographs, got {folder}.", hint="check the path")
    return sorted(
        path
        for place in _folders(folder)
        for path in place.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )


def _folders(folder: Path) -> list[Path]:
    """A folder and all folders below it, each once; symbolic links may form cycles."""
    found: dict[tuple[int, int], Path] = {}
    real: deque[Path] = deque([folder])
    links: deque[Path] = deque()
    while real or links:
        place = real.popleft() if real else links.popleft()
        status = place.stat()
        if (status.st_dev, status.st_ino) in found:
            continue
        try:
            below = sorted(path for path in place.iterdir() if path.is_dir())
        except OSError as error:
            warnings.warn(f"The folder {place} is skipped: {error.strerror or error}.", stacklevel=4)
            continue
        found[status.st_dev, status.st_ino] = place
        real += (path for path in below if not path.is_symlink())
        links += (path for path in below if path.is_symlink())
    return list(found.values())
