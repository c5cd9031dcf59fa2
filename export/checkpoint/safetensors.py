"""The index of a ``.safetensors`` file as MindSpore 2.x writes it."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

from edge_sphereface.storage.bounded_json import JsonError, parse_json
from export.checkpoint.entry import TensorInfo
from export.errors import CheckpointError

if TYPE_CHECKING:
    from mmap import mmap
    from pathlib import Path

_DTYPES = {
    "BOOL": "Bool",
    "I8": "Int8",
    "I16": "Int16",
    "I32": "Int32",
    "I64": "Int64",
    "U8": "UInt8",
    "U16": "UInt16",
    "U32": "UInt32",
    "U64": "UInt64",
    "F16": "Float16",
    "F32": "Float32",
    "F64": "Float64",
    "BF16": "BFloat16",
}
_LENGTH_BYTES = 8


def index_safetensors(path: Path, data: bytes | mmap) -> dict[str, TensorInfo]:
    """Parameters of a ``.safetensors`` file by name.

    The library ``safetensors`` checks the header: its size, its JSON, that offsets are in bounds, in order and fit the
    shapes. The values are then read from the map like those of a ``.ckpt``.

    Args:
        path: the file.
        data: the same file, mapped.

    Raises:
        CheckpointError: the file is damaged, or its checksum (MindSpore's ``crc_num``) is wrong.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"This is no intact safetensors file: {error}.", hint="the file is damaged; get it again"
        ) from error
    base = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    header, metadata = _parsed(data[_LENGTH_BYTES:base])
    entries = {
        name: TensorInfo(
            _DTYPES.get(tensor["dtype"], tensor["dtype"]),
            tuple(tensor["shape"]),
            ((base + tensor["data_offsets"][0], base + tensor["data_offsets"][1]),),
        )
        for name, tensor in header.items()
    }
    _check_crc(data, entries, metadata)
    return entries


def _parsed(text: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors and metadata of a header that the library ``safetensors`` has accepted."""
    try:
        header = parse_json(text, limit=len(text))
    except JsonError as error:
        raise CheckpointError(
            f"This is no intact safetensors file: {error}.", hint="the file is damaged; get it again"
        ) from error
    return header, header.pop("__metadata__", None) or {}  # null stands for none


def _check_crc(data: bytes | mmap, entries: dict[str, TensorInfo], metadata: dict[str, str]) -> None:
    """MindSpore's checksum runs over names and values in order of name."""
    expected = metadata.get("crc_num")
    if expected is None:
        return
    checksum = 0
    with memoryview(data) as view:
        for name in sorted(entries):
            checksum = binascii.crc32(name.encode(), checksum)
            for start, end in entries[name].spans:
                checksum = binascii.crc32(view[start:end], checksum)
    if str(checksum) != expected:
        raise CheckpointError(
            f"The checkpoint's checksum is wrong: the file says {expected}, its content gives {checksum}.",
            hint="the file is damaged; get it again",
        )
