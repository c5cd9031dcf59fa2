"""Index the members of a zip archive that are stored without compression, as PyTorch writes them.

References:
    PKWARE, APPNOTE.TXT, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from edge_sphereface.storage.bounded_json import shown

if TYPE_CHECKING:
    from mmap import mmap

MAX_MEMBERS = 10_000
"""Limit of the members of an archive. A network with its optimizer has fewer than 2,000."""

_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_MEMBER = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_LONGEST_COMMENT = 1 << 16
_UNKNOWN_32 = 0xFFFFFFFF
_EXTRA_64 = 1


class ZipError(ValueError):
    """An archive is damaged, or not of the kind that PyTorch writes."""


def index_zip(data: bytes | mmap) -> dict[str, tuple[int, int]]:
    """Return start and end of the content of each member, by its name.

    Raises:
        ZipError: the archive is damaged, or a member is compressed or encrypted.
    """
    start, end = _directory(data)
    members: dict[str, tuple[int, int]] = {}
    position = start
    while position < end:
        if len(members) == MAX_MEMBERS:
            raise ZipError(f"it has more than {MAX_MEMBERS} members")
        fields = _unpack(_MEMBER, data, position, b"PK\x01\x02", end)
        flags, method, size, stored = fields[3], fields[4], fields[9], fields[8]
        name_length, extra_length, comment_length, header = fields[10], fields[11], fields[12], fields[16]
        name_start = position + _MEMBER.size
        extra_start = name_start + name_length
        position = extra_start + extra_length + comment_length
        if position > end:
            raise ZipError("a member's description is truncated")
        name = _name(bytes(data[name_start:extra_start]))
        size, stored, header = _wide(bytes(data[extra_start : extra_start + extra_length]), size, stored, header)
        if method or flags & 1 or size != stored:
            raise ZipError(f"its member {shown(name)} is compressed or encrypted")
        if name in members:
            raise ZipError(f"it has two members {shown(name)}")
        members[name] = _content(data, name, header, size)
    return members


def _directory(data: bytes | mmap) -> tuple[int, int]:
    """Start and end of the central directory."""
    found = data.rfind(b"PK\x05\x06", max(0, len(data) - _END.size - _LONGEST_COMMENT))
    if found < 0:
        raise ZipError("its directory at the end is missing")
    fields = _unpack(_END, data, found, b"PK\x05\x06", len(data))
    size, start, end = fields[5], fields[6], found
    locator = found - _LOCATOR_64.size
    if locator >= 0 and data[locator : locator + 4] == b"PK\x06\x07":
        end = _unpack(_LOCATOR_64, data, locator, b"PK\x06\x07", len(data))[2]
        fields = _unpack(_END_64, data, end, b"PK\x06\x06", len(data))
        size, start = fields[8], fields[9]
    if size > end or start != end - size:
        raise ZipError("its directory does not lie where its end says")
    return start, end


def _content(data: bytes | mmap, name: str, header: int, size: int) -> tuple[int, int]:
    fields = _unpack(_LOCAL, data, header, b"PK\x03\x04", len(data))
    start = header + _LOCAL.size + fields[9] + fields[10]
    if size > len(data) - start:
        raise ZipError(f"its member {shown(name)} of {size} bytes ends after the file")
    return start, start + size


def _wide(extra: bytes, size: int, stored: int, header: int) -> tuple[int, int, int]:
    """Replace the sizes and the offset that do not fit into 32 bits by those of the extra field."""
    values = [size, stored, header]
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == _EXTRA_64:
            wide = extra[position + 4 : position + 4 + length]
            for index, value in enumerate(values):
                if value == _UNKNOWN_32 and len(wide) >= 8:
                    values[index], wide = int.from_bytes(wide[:8], "little"), wide[8:]
        position += 4 + length
    return values[0], values[1], values[2]


def _name(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ZipError("a member's name is not UTF-8") from error


def _unpack(layout: struct.Struct, data: bytes | mmap, start: int, signature: bytes, end: int) -> tuple[int, ...]:
    if start + layout.size > end or data[start : start + 4] != signature:
        raise ZipError(f"there is no record {signature!r} at byte {start}")
    return layout.unpack_from(data, start)
