"""Reads and checks images. In memory, an image is a (H, W, 3) uint8 BGR array."""

from __future__ import annotations

import os
import stat
import warnings
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from edge_sphereface.errors import ImageError, OutputError
from edge_sphereface.image_header import read_header, refused_format
from edge_sphereface.storage.files import PRIVATE, atomic_write
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.image_header import ImageHeader
    from edge_sphereface.types import Float64Array, UInt8Array

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
_NAMED = 3
"""Links that a warning names."""

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


class ImageFile:
    """A photograph in a file. It is decoded on demand, at the scale that its use needs.

    Args:
        data: content of a JPEG, PNG, BMP, GIF, TIFF, WebP, PBM, PGM, PPM or PAM file.
        name: name of the file, for messages.
        max_pixels: largest number of pixels; half as many for a progressive JPEG file. The header is checked before
            memory is allocated.

    Raises:
        ImageError: the file has another format, or the image is too large.
    """

    def __init__(self, data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> None:
        self._data = data
        self._name = name
        self._header = _accepted_header(data, name, max_pixels)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ImageFile:
        """Read a file.

        Raises:
            ImageError: the file does not exist, has another format, or the image is too large.
        """
        return cls(_FILE.read(path), str(path))

    def reduction(self, side: int) -> int:
        """Largest reduction at which the longer side of the image keeps ``side`` pixels.

        Returns:
            8, 4, 2, or 1 for the full image; always 1 for formats whose decoders read every pixel.
        """
        longer = max(self._header.width, self._header.height)
        return next((factor for factor in (8, 4, 2) if longer >= factor * side), 1)

    def steps(self, image: UInt8Array) -> Float64Array:
        """Size of a pixel of a decoded image in pixels of the full photograph.

        A reduced image may extend beyond the photograph by a fraction of a pixel, which is distributed evenly.

        Args:
            image: (H, W, 3), as :meth:`decode` returned it.

        Returns:
            (2,) float64, horizontally and vertically; 1 for a full image.
        """
        height, width = image.shape[:2]
        full = self._header.width or width, self._header.height or height
        turned = (width > height) != (full[0] > full[1])
        return np.array(full[::-1] if turned else full) / (width, height)

    def decode(self, reduction: int = 1) -> UInt8Array:
        """Decode the photograph and rotate it upright according to its EXIF orientation.

        Grayscale, 16-bit and transparent images are converted to 8-bit BGR.

        Args:
            reduction: 1, 2, 4 or 8: pixels of the photograph per pixel of the result, horizontally and vertically. A
                JPEG decoder computes only these pixels.

        Returns:
            (H, W, 3) uint8 BGR.

        Raises:
            ImageError: OpenCV cannot decode the file.
        """
        # A second limit, in case a decoder reads the header differently; OpenCV reads this variable when it is loaded
        os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
        import cv2

        flags = {
            1: cv2.IMREAD_COLOR,
            2: cv2.IMREAD_REDUCED_COLOR_2,
            4: cv2.IMREAD_REDUCED_COLOR_4,
            8: cv2.IMREAD_REDUCED_COLOR_8,
        }
        hint = "convert it to JPEG or PNG"
        try:
            image = cv2.imdecode(np.frombuffer(self._data, np.uint8), flags[reduction])
        except cv2.error as error:
            raise ImageError(f"Cannot decode {self._name}: {error.err}.", hint=hint) from error
        if image is None:
            raise ImageError(f"Cannot decode {self._name}: the {self._header.kind} file is damaged.", hint=hint)
        return cast("UInt8Array", image)


def load_image(path: str | os.PathLike[str]) -> UInt8Array:
    """Read a photograph from a file and rotate it upright according to its EXIF orientation.

    Grayscale, 16-bit and transparent images are converted to 8-bit BGR.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the file does not exist, the image is too large, or OpenCV cannot decode it.
    """
    return ImageFile.read(path).decode()


def decode_image(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode a photograph in full, like :meth:`ImageFile.decode`; the arguments are those of :class:`ImageFile`.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the file has another format, the image is too large, or OpenCV cannot decode it.
    """
    return ImageFile(data, name, max_pixels=max_pixels).decode()


def _accepted_header(data: bytes, name: str, max_pixels: int) -> ImageHeader:
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
    return header


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


class FoundImages(NamedTuple):
    """Photographs below a folder.

    Attributes:
        photographs: their paths, sorted.
        unknown: subfolders that could not be searched, and links that lead nowhere, such as to a disk that is not
            mounted. What is below them is unknown.
    """

    photographs: list[Path]
    unknown: list[Path]


def find_images(folder: Path) -> list[Path]:
    """List the photographs below ``folder``, identified by their suffixes and sorted by path.

    Symbolic links to folders are followed. A folder that can be reached twice is searched once, under its own path if
    that path is below ``folder``.

    Raises:
        ImageError: ``folder`` is not a folder.
    """
    return search_images(folder).photographs


def search_images(folder: Path) -> FoundImages:
    """Find what :func:`find_images` lists, and where it could not look.

    Raises:
        ImageError: ``folder`` is not a folder.
    """
    if not folder.is_dir():
        raise ImageError(f"Expected a folder of photographs, got {folder}.", hint="check the path")
    photographs: list[Path] = []
    closed: list[Path] = []
    dangling: list[Path] = []
    searched: set[tuple[int, int]] = set()  # symbolic links may form cycles
    real: deque[Path] = deque([folder])
    links: deque[Path] = deque()
    while real or links:
        place = real.popleft() if real else links.popleft()
        try:
            status = place.stat()
            if (status.st_dev, status.st_ino) in searched:
                continue
            modes = {path: _mode(path) for path in sorted(place.iterdir())}
        except OSError as error:
            warnings.warn(f"The folder {place} is skipped: {error.strerror or error}.", stacklevel=3)
            closed.append(place)
            continue
        searched.add((status.st_dev, status.st_ino))
        for path, mode in modes.items():
            if mode is None:
                dangling.append(path)
            elif stat.S_ISDIR(mode):
                (links if path.is_symlink() else real).append(path)
            elif stat.S_ISREG(mode) and path.suffix.lower() in IMAGE_SUFFIXES:
                photographs.append(path)
    if dangling:
        more = len(dangling) - _NAMED
        named = ", ".join(map(str, dangling[:_NAMED])) + (f" and {more} more" if more > 0 else "")
        warnings.warn(f"Links that lead nowhere are skipped: {named}.", stacklevel=3)
    return FoundImages(sorted(photographs), closed + dangling)


def _mode(path: Path) -> int | None:
    """Mode of what a path leads to: None for a link that leads nowhere, 0 for a file that was deleted meanwhile."""
    try:
        return path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            return None
        if isinstance(error, FileNotFoundError):
            return 0
        raise
