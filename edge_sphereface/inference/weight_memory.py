"""Places large weights in memory that can be read sequentially at full speed.

A tuned network reads up to a hundred megabytes of matrices for each face, more than any cache holds. onnxruntime copies
them to arbitrary addresses, and from scattered pages they take up to a third longer to read. This module places them
contiguously in the largest pages that the system provides, and onnxruntime uses them there without a copy.
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_sphereface.model.tuning import MATRICES
from edge_sphereface.storage.protobuf_wire import BYTES, VARINT, read_fields, read_varint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_GRAPH, _INITIALIZER = 7, 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9
"""Field numbers. Source: onnx.proto, messages ModelProto, GraphProto, TensorProto."""
_FLOAT = 1
_FLOAT_BYTES = 4
_ALIGNMENT = 64
_HUGE_PAGE = 2 << 20


class _Tensor(NamedTuple):
    """A float32 tensor in a model file, with the position of its values."""

    name: str
    shape: tuple[int, ...]
    start: int
    end: int


def place_matrices(ort: Any, model: Path, options: Any) -> list[Any]:
    """Load the matrices of a model into one block of memory, and let a session use them there.

    Args:
        ort: the module ``onnxruntime``.
        model: path of the ONNX file. A file without such matrices, or that cannot be parsed, is left to onnxruntime.
        options: ``SessionOptions`` of the session, to which the matrices are added.

    Returns:
        Objects that must live as long as the session.
    """
    try:
        with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = list(_matrices(content))
            return _place(ort, content, found, options) if found else []
    except (OSError, ValueError):  # unreadable, empty, or not protobuf: onnxruntime reports it
        return []


def _place(ort: Any, content: mmap.mmap, tensors: Sequence[_Tensor], options: Any) -> list[Any]:
    import numpy as np

    sizes = [tensor.end - tensor.start for tensor in tensors]
    memory = np.frombuffer(_block(sum(sizes) + len(sizes) * _ALIGNMENT + _HUGE_PAGE), dtype=np.uint8)
    at = -memory.ctypes.data % _HUGE_PAGE
    placed = []
    for tensor, size in zip(tensors, sizes, strict=True):
        room = memory[at : at + size]
        room[:] = np.frombuffer(content, dtype=np.uint8, count=size, offset=tensor.start)
        placed.append(ort.OrtValue.ortvalue_from_numpy(room.view(np.float32).reshape(tensor.shape)))
        options.add_initializer(tensor.name, placed[-1])
        at += -(-size // _ALIGNMENT) * _ALIGNMENT
    return placed


def _block(size: int) -> mmap.mmap:
    """Allocate private memory, in large pages if the system has them."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(-1, size)
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without large pages
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _matrices(content: mmap.mmap) -> Iterator[_Tensor]:
    """Iterate over the matrices of a tuned model, which are identified by the suffix of their names.

    Raises:
        ValueError: the content is not an ONNX file.
    """
    for graph in read_fields(content, 0, len(content)):
        if graph.number == _GRAPH and graph.kind == BYTES:
            for field in read_fields(content, graph.start, graph.end):
                tensor = _tensor(content, field.start, field.end) if field.number == _INITIALIZER else None
                if tensor is not None:
                    yield tensor


def _tensor(content: mmap.mmap, start: int, end: int) -> _Tensor | None:
    """The tensor if it is a complete float32 matrix of a tuned model, else None."""
    name, kind, raw, shape = b"", 0, (0, 0), list[int]()
    for field in read_fields(content, start, end):
        if field.number == _NAME:
            name = content[field.start : field.end]
        elif field.number == _DATA_TYPE:
            kind = field.value
        elif field.number == _RAW_DATA:
            raw = (field.start, field.end)
        elif field.number == _DIMS and field.kind == VARINT:
            shape.append(field.value)
        elif field.number == _DIMS:
            at = field.start
            while at < field.end:
                value, at = read_varint(content, at, field.end)
                shape.append(value)
    size = raw[1] - raw[0]
    if not name.endswith(MATRICES.encode()) or kind != _FLOAT or not size or math.prod(shape) * _FLOAT_BYTES != size:
        return None
    return _Tensor(name.decode(), tuple(shape), *raw)
