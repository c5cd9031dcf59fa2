"""Reads the dimensions of an image from its header, before a decoder allocates memory for them.

References:
    ITU-T T.81 (JPEG), annex B; W3C PNG, 11.2.2; TIFF 6.0, section 2; BigTIFF (libtiff); RFC 9649 (WebP); GIF89a,
    section 18; Netpbm's pbm(5), pgm(5), ppm(5), pam(5).
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Start-of-frame markers of JPEG. The markers of Huffman tables and two others lie between them."""
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
"""JPEG markers that end the data of a scan, which excludes stuffed bytes, restarts and fill bytes."""
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_MAX_SEGMENTS = 4096
_MAX_ENTRIES = 1024
_TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 258, 277, 322, 323
_SAMPLE_BITS, _SAMPLES_PER_PIXEL = 8, 4
"""Bits per sample and samples per pixel. A TIFF or PAM pixel with more counts as several pixels."""


_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM = re.compile(rb"P[1-6]" + _GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,10})")
_PAM_FIELD = re.compile(rb"(WIDTH|HEIGHT|DEPTH)\s+(\d{1,10})")
_MAX_TEXT = 1 << 16
"""Largest size of a text header with its comments, in bytes."""

_REFUSED = (
    (re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  "), "JPEG 2000"),
    (re.compile(rb".{4}ftyp(?:avif|avis)", re.DOTALL), "AVIF"),
    (re.compile(rb".{4}ftyp(?:heic|heix|mif1|msf1)", re.DOTALL), "HEIF"),
    (re.compile(rb"#\?R(?:ADIANCE|GBE)"), "Radiance HDR"),
    (re.compile(rb"\x59\xa6\x6a\x95"), "Sun raster"),
    (re.compile(rb"\x76\x2f\x31\x01"), "OpenEXR"),
    (re.compile(rb"P[Ff]\s"), "PFM"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL"),
)


class ImageHeader(NamedTuple):
    """Header of an image file.

    Attributes:
        kind: file format, such as ``JPEG``.
        pixels: number of pixels that a decoder allocates memory for.
        scans: passes over the pixels: 1, or more in JPEG files. With several scans, a decoder keeps all coefficients
            in memory.
        width: width of the stored image in pixels, before it is rotated upright; 0 if a decoder cannot reduce files of
            this format.
        height: its height in pixels; 0 as for ``width``.
    """

    kind: str
    pixels: int
    scans: int = 1
    width: int = 0
    height: int = 0


def read_header(data: bytes) -> ImageHeader | None:
    """Read the header of a JPEG, PNG, BMP, GIF, TIFF, WebP or PNM file.

    Args:
        data: content of the whole file.

    Returns:
        The header; None if it is damaged or the file has another format.
    """
    reader = next((reader for start, reader in _READERS.items() if data.startswith(start)), None)
    try:
        return None if reader is None else reader(data)
    except (struct.error, IndexError, OverflowError):  # the file ends inside its header
        return None


def refused_format(data: bytes) -> str | None:
    """Name of the file's image format if it is known but not accepted; None for any other file."""
    return next((name for start, name in _REFUSED if start.match(data)), None)


def _sized(kind: str, width: int, height: int) -> ImageHeader | None:
    return ImageHeader(kind, abs(width * height)) if width and height else None


def _jpeg(data: bytes) -> ImageHeader | None:
    """Read up to the end of the first image. Phones append further images and films, which hold arbitrary bytes."""
    header, scans, position = None, 0, 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        marker = _END_OF_IMAGE if found is None else found[0][1]
        if found is None or marker == _END_OF_IMAGE:
            return header and header._replace(scans=scans)
        position = found.end()
        if header is None and marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            if not width or not height:
                return None
            header = ImageHeader("JPEG", width * height, width=width, height=height)
        scans += marker == _START_OF_SCAN
        position += int.from_bytes(data[position : position + 2], "big")
    return None


def _png(data: bytes) -> ImageHeader | None:
    return _sized("PNG", *struct.unpack_from(">II", data, 16)) if data[12:16] == b"IHDR" else None


def _gif(data: bytes) -> ImageHeader | None:
    return _sized("GIF", *struct.unpack_from("<HH", data, 6))


def _bmp(data: bytes) -> ImageHeader | None:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:  # OS/2 1.x
        return _sized("BMP", *struct.unpack_from("<HH", data, 18))
    return _sized("BMP", *struct.unpack_from("<ii", data, 18))  # a negative height: rows from the top


def _tiff(data: bytes) -> ImageHeader | None:
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    # Number of entries, and in each the number of values and the values or their place
    count_of, number = ("Q", "Q") if big else ("H", "I")
    width = struct.calcsize(number)
    (directory,) = struct.unpack_from(f"{order}{number}", data, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}{count_of}", data, directory)
    found: dict[int, int] = {}
    for entry in range(min(count, _MAX_ENTRIES)):
        start = directory + struct.calcsize(count_of) + (4 + 2 * width) * entry
        tag, kind, values = struct.unpack_from(f"{order}HH{number}", data, start)
        if kind in _TIFF_TYPES and values:
            letter = _TIFF_TYPES[kind]
            fits = values * struct.calcsize(letter) <= width
            inside = start + 4 + width
            at = inside if fits else struct.unpack_from(f"{order}{number}", data, inside)[0]
            found[tag] = max(found.get(tag, 0), struct.unpack_from(f"{order}{letter}", data, at)[0])
    if not found.get(_WIDTH) or not found.get(_HEIGHT):
        return None
    area = max(found[_WIDTH] * found[_HEIGHT], found.get(_TILE_WIDTH, 0) * found.get(_TILE_HEIGHT, 0))
    depth = -(-found.get(_BITS, 1) // _SAMPLE_BITS) * -(-found.get(_SAMPLES, 1) // _SAMPLES_PER_PIXEL)
    return ImageHeader("TIFF", area * depth)


def _webp(data: bytes) -> ImageHeader | None:
    chunk = data[12:16] if data[8:12] == b"WEBP" else b""
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return _sized("WebP", width & 0x3FFF, height & 0x3FFF)
    if chunk == b"VP8L" and data[20] == 0x2F:
        (sizes,) = struct.unpack_from("<I", data, 21)
        return _sized("WebP", (sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1)
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
        return _sized("WebP", width, height) if len(data) >= 30 else None
    return None


def _pnm(data: bytes) -> ImageHeader | None:
    found = _PNM.match(data, 0, _MAX_TEXT)
    return _sized("PNM", int(found[1]), int(found[2])) if found else None


def _pam(data: bytes) -> ImageHeader | None:
    end = data.find(b"ENDHDR", 0, _MAX_TEXT)
    found: dict[bytes, int] = {}
    for field, value in _PAM_FIELD.findall(data[: max(end, 0)]):
        found[field] = max(found.get(field, 0), int(value))
    depth = -(-found.get(b"DEPTH", 1) // _SAMPLES_PER_PIXEL)
    return _sized("PAM", found.get(b"WIDTH", 0) * depth, found.get(b"HEIGHT", 0))


_READERS = {
    b"\xff\xd8": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"BM": _bmp,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"II+\0": _tiff,
    b"MM\0+": _tiff,
    b"RIFF": _webp,
    **{b"P%d" % number: _pnm for number in range(1, 7)},
    b"P7": _pam,
}
"""Header reader for each file signature."""
