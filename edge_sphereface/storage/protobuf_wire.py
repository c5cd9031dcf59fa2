"""Reads and writes protobuf's wire format as far as checkpoints and ONNX files need it.

Reading makes no copies and checks every length.

References:
    https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_KEY = (1 << 32) - 1


class WireError(ValueError):
    """The bytes are not in protobuf's wire format."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: number of the field.
        kind: wire type.
        value: value of a varint or fixed-size field.
        start: offset of the content of a BYTES field.
        end: offset after the content.
    """

    number: int
    kind: int
    value: int
    start: int
    end: int


def read_fields(data: bytes | mmap, start: int, end: int) -> Iterator[Field]:
    """Iterate over the fields of the message in ``data[start:end]``.

    Raises:
        WireError: a field is truncated, has an unknown wire type, or its length exceeds the data.
    """
    while start < end:
        key, start = read_varint(data, start, end)
        if key > _MAX_KEY:  # other readers drop the higher bits and read another field
            raise WireError(f"the key before byte {start} is too large")
        number, kind = key >> 3, key & 7
        if kind == BYTES:
            length, start = read_varint(data, start, end)
            if length > end - start:
                raise WireError(f"a length of {length} bytes is announced at byte {start}, and {end - start} are left")
            yield Field(number, kind, 0, start, start + length)
            start += length
        elif kind == VARINT:
            value, start = read_varint(data, start, end)
            yield Field(number, kind, value, start, start)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
            if size > end - start:
                raise WireError(f"the file ends inside a number at byte {start}")
            yield Field(number, kind, int.from_bytes(data[start : start + size], "little"), start, start + size)
            start += size
        else:
            raise WireError(f"byte {start - 1} announces a field of unknown kind {kind}")


def read_varint(data: bytes | mmap, start: int, end: int) -> tuple[int, int]:
    """Read a varint; returns its value and the offset after it."""
    if start < end and data[start] < 0x80:  # the most frequent case
        return data[start], start + 1
    value = 0
    for position in range(start, min(end, start + _MAX_VARINT_BYTES)):
        byte = data[position]
        value |= (byte & 0x7F) << (7 * (position - start))
        if byte < 0x80:  # a set high bit means that another byte follows
            return value, position + 1
    raise WireError(f"the number at byte {start} has no end")


def varint_field(number: int, value: int) -> bytes:
    """Write a field that holds an integer from 0."""
    return _varint(number << 3 | VARINT) + _varint(value)


def bytes_field(number: int, content: bytes | str) -> bytes:
    """Write a field that holds bytes, a text or a message."""
    encoded = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | BYTES) + _varint(len(encoded)) + encoded


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
