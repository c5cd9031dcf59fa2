"""Width and height that an image file announces, read from its header before a decoder takes memory for them.

References:
    ITU-T T.81 (JPEG), annex B; W3C PNG, 11.2.2; TIFF 6.0, section 2; RFC 9649 (WebP); GIF89a, section 18.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""JPEG's start-of-frame markers, which lie among the one of Huffman tables and two others."""
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG's markers without a length."""
_SCAN = b"\xff\xda"
_MAX_SEGMENTS = 4096
_MAX_ENTRIES = 1024
_TIFF_TYPES = {3: "H", 4: "I"}
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 258, 277, 322, 323
_SAMPLE_BITS, _SAMPLES_PER_PIXEL = 8, 4
"""A pixel of a TIFF file with more than these counts as several."""


class ImageHeader(NamedTuple):
    """What an image file says of itself.

    Attributes:
        kind: of the file, such as ``JPEG``.
        pixels: that a decoder takes memory for.
        scans: passes over the pixels; one but for JPEG files.
    """

    kind: str
    pixels: int
    scans: int = 1


def read_header(data: bytes) -> ImageHeader | None:
    """The header of a JPEG, PNG, BMP, GIF, TIFF or WebP file; None where it is damaged or of another kind.

    Args:
        data: the whole file.
    """
    reader = next((reader for start, reader in _READERS.items() if data.startswith(start)), None)
    try:
        return None if reader is None else reader(data)
    except (struct.error, IndexError):  # it ends inside its header
        return None


def _sized(kind: str, width: int, height: int) -> ImageHeader | None:
    return ImageHeader(kind, abs(width * height)) if width and height else None


def _jpeg(data: bytes) -> ImageHeader | None:
    position = 2
    for _ in range(_MAX_SEGMENTS):
        position = data.find(b"\xff", position)
        if position < 0:
            return None
        while data[position] == 0xFF:  # fill bytes
            position += 1
        marker = data[position]
        position += 1
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            header = _sized("JPEG", width, height)
            return header and header._replace(scans=data.count(_SCAN, position))
        if marker not in _BARE and marker != 0:
            position += struct.unpack_from(">H", data, position)[0]
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
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    found: dict[int, int] = {}
    for entry in range(min(count, _MAX_ENTRIES)):
        start = directory + 2 + 12 * entry
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, start)
        if kind in _TIFF_TYPES and values:
            letter = _TIFF_TYPES[kind]
            fits = values * struct.calcsize(letter) <= 4
            at = start + 8 if fits else struct.unpack_from(f"{order}I", data, start + 8)[0]
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


_READERS = {
    b"\xff\xd8": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"BM": _bmp,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"RIFF": _webp,
}
"""By how a file begins."""
