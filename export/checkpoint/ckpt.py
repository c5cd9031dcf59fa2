"""Index a ``.ckpt`` file: names, types, shapes and offsets of its parameters, without their values.

The file is protobuf: repeated value = 1 {tag = 1, tensor = 2 {dims = 1, tensor_type = 2, tensor_content = 3}}. A large
tensor is split into several values with the same tag, each with the dimensions of the whole tensor. A file saved with
``crc_check=True`` ends in ``crc_num`` and ten big-endian bytes.

Source: MindSpore 2.10, mindspore/train/serialization.py and checkpoint.proto.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from edge_sphereface.storage.protobuf_wire import BYTES, VARINT, Field, WireError, read_fields, read_varint
from export.checkpoint.entry import TensorInfo
from export.errors import CheckpointError

if TYPE_CHECKING:
    from mmap import mmap

ENCRYPTED_MAGIC = frozenset(
    number.to_bytes(4, "little")
    for number in (0x7F3A5ED8, 0x7F3A5ED9, 0x7F3A5EDA)  # AES-GCM, AES-CBC, SM4-CBC
)
"""First four bytes of an encrypted file. Source: MindSpore, include/mindspore/core/include/utils/crypto.h."""

CRC_MARK = b"crc_num"
CRC_BYTES = 10

MAX_PARAMETERS = 2048
"""Limit of the parameters in a file. SphereFace-64 with momentum and head has fewer than 400."""
MAX_SLICES = 1024
"""Limit of the slices of a parameter. MindSpore splits tensors into slices of 512 MiB."""
_MAX_NAME_BYTES = 512
_MAX_RANK = 8
_BLOCK = 1 << 20


def index_ckpt(data: bytes | mmap) -> dict[str, TensorInfo]:
    """Return the parameters of a ``.ckpt`` file by name, in the order of the file. Its checksum, if any, is verified.

    Args:
        data: the whole file, memory-mapped.

    Raises:
        CheckpointError: the file is encrypted, damaged, or not a checkpoint.
    """
    if bytes(data[:4]) in ENCRYPTED_MAGIC:
        raise CheckpointError(
            "The checkpoint is encrypted.",
            hint="decrypt it with MindSpore: load_checkpoint(..., dec_key=…, dec_mode=…), then save_checkpoint",
        )
    end = _end_without_crc(data)
    entries: dict[str, TensorInfo] = {}
    last = None
    try:
        for field in read_fields(data, 0, end):
            if field.number != 1 or field.kind != BYTES:
                raise WireError(f"field {field.number} at byte {field.start} is not part of the format")
            name, info = _read_value(data, field)
            if name == last:
                info = _append_slice(entries[name], info, name)
            elif name in entries:
                raise WireError(f"parameter {name!r} occurs twice")
            elif len(entries) == MAX_PARAMETERS:
                raise WireError(f"there are more than {MAX_PARAMETERS} parameters")
            entries[name] = info
            last = name
    except WireError as error:
        raise CheckpointError(
            f"This is not an intact MindSpore checkpoint: {error}.",
            hint="the file is damaged, truncated or of a different format; compare its SHA-256 with its source",
        ) from error
    return entries


def _end_without_crc(data: bytes | mmap) -> int:
    tail = len(CRC_MARK) + CRC_BYTES
    end = len(data) - tail
    if end < 0 or bytes(data[end : end + len(CRC_MARK)]) != CRC_MARK:
        return len(data)
    expected = int.from_bytes(data[end + len(CRC_MARK) : end + tail], "big")
    checksum = 0
    for start in range(0, end, _BLOCK):
        checksum = binascii.crc32(data[start : min(start + _BLOCK, end)], checksum)
    if checksum != expected:
        raise CheckpointError(
            f"The checkpoint's checksum is wrong: the file states {expected:#x}, its content has {checksum:#x}.",
            hint="the file is damaged; download it again",
        )
    return end


def _read_value(data: bytes | mmap, value: Field) -> tuple[str, TensorInfo]:
    name, tensor = None, None
    for field in read_fields(data, value.start, value.end):
        if field.number == 1 and field.kind == BYTES:
            name = _text(data, field, "a parameter's name")
        elif field.number == 2 and field.kind == BYTES:  # checkpoint.proto
            tensor = _read_tensor(data, field)
    if name is None or tensor is None:
        raise WireError(f"the value at byte {value.start} has no {'name' if name is None else 'tensor'}")
    return name, tensor


def _read_tensor(data: bytes | mmap, tensor: Field) -> TensorInfo:
    shape: list[int] = []
    dtype, span = None, (tensor.end, tensor.end)
    for field in read_fields(data, tensor.start, tensor.end):
        match field.number, field.kind:
            case 1, kind if kind == VARINT:
                shape.append(field.value)
            case 1, kind if kind == BYTES:  # packed
                position = field.start
                while position < field.end and len(shape) <= _MAX_RANK:
                    number, position = read_varint(data, position, field.end)
                    shape.append(number)
            case 2, kind if kind == BYTES:
                dtype = _text(data, field, "a type")
            case 3, kind if kind == BYTES:
                span = (field.start, field.end)
        if len(shape) > _MAX_RANK:
            raise WireError(f"the tensor at byte {tensor.start} has more than {_MAX_RANK} dimensions")
    if dtype is None:
        raise WireError(f"the tensor at byte {tensor.start} has no type")
    # Older versions write a scalar with the single dimension 0.
    return TensorInfo(dtype, () if shape == [0] else tuple(shape), (span,))


def _append_slice(first: TensorInfo, following: TensorInfo, name: str) -> TensorInfo:
    if (first.dtype, first.shape) != (following.dtype, following.shape):
        raise WireError(f"the slices of {name!r} differ in type or shape")
    if len(first.spans) == MAX_SLICES:  # each slice costs the time of all before it
        raise WireError(f"parameter {name!r} has more than {MAX_SLICES} slices")
    return first._replace(spans=first.spans + following.spans)


def _text(data: bytes | mmap, field: Field, what: str) -> str:
    if field.end - field.start > _MAX_NAME_BYTES:
        raise WireError(f"{what} of {field.end - field.start} bytes at byte {field.start}")
    try:
        return bytes(data[field.start : field.end]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"{what} at byte {field.start} is not text") from error
