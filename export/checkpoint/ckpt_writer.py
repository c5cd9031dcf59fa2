"""Write a ``.ckpt`` file in MindSpore's format, for demonstrations and tests."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

from edge_sphereface.storage.files import SHARED, atomic_write
from edge_sphereface.storage.protobuf_wire import BYTES, VARINT
from export.checkpoint.ckpt import CRC_BYTES, CRC_MARK
from export.checkpoint.entry import DTYPES

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    import numpy as np

SLICE_BYTES = 512 << 20
"""Largest slice of a tensor in bytes; larger tensors are split. Source: MindSpore 2.10, SLICE_SIZE (in KiB)."""


def write_ckpt(
    path: str | os.PathLike[str],
    parameters: Mapping[str, np.ndarray[Any, Any]],
    *,
    crc: bool = False,
    slice_bytes: int = SLICE_BYTES,
) -> None:
    """Write parameters as ``mindspore.save_checkpoint`` does. The file is written atomically.

    Args:
        path: path of the file.
        parameters: arrays by name.
        crc: append a checksum (``crc_check=True``).
        slice_bytes: largest slice of a tensor in bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    checksum = 0
    with atomic_write(path, mode=SHARED) as output:
        for name, values in parameters.items():
            for piece in _values(name, values, slice_bytes):
                checksum = binascii.crc32(piece, checksum)
                output.write(piece)
        if crc:
            output.write(CRC_MARK + checksum.to_bytes(CRC_BYTES, "big"))


def _values(name: str, values: np.ndarray[Any, Any], slice_bytes: int) -> Iterator[bytes]:
    dtype = next(key for key, kind in DTYPES.items() if kind == values.dtype)
    head = b"".join(varint(1 << 3 | VARINT) + varint(size) for size in values.shape) + _field(2, dtype.encode())
    content = values.tobytes()
    for start in range(0, max(len(content), 1), slice_bytes):
        tensor = head + _field(3, content[start : start + slice_bytes])
        yield _field(1, _field(1, name.encode()) + _field(2, tensor))


def _field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | BYTES) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """Encode a number of up to 64 bits as Protocol Buffers do."""
    encoded = bytearray()
    while value > 0x7F:  # seven bits a byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
