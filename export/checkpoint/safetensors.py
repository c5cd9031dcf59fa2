"""Index a ``.safetensors`` file that MindSpore 2.x wrote."""

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
    """Return the parameters of a ``.safetensors`` file by name.

    The library ``safetensors`` validates the header: its size, its JSON, and the bounds, order and shapes of the
    offsets. Values are then read from the memory map like those of a ``.ckpt`` file.

    Args:
        path: path of the file.
        data: the same file, memory-mapped.

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
    """Return the tensors and the metadata of a header that the library ``safetensors`` has validated."""
    try:
        header = parse_json(text, limit=len(text))
    except JsonError as error:
        raise CheckpointError(
            f"This is no intact safetensors file: {error}.", hint="the file is damaged; get it again"
        ) from error
    return header, header.pop("__metadata__", None) or {}  # null stands for none


def _check_crc(data: bytes | mmap, entries: dict[str, TensorInfo], metadata: dict[str, str]) -> None:
    """Verify MindSpore's checksum, which covers names and values in the order of names."""
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
            f"The checkpoint's checksum is wrong: the file states {expected}, its content has {checksum}.",
            hint="the file is damaged; get it again",
        )
