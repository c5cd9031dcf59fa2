"""Index the weights of a ``.caffemodel`` file.

The file is protobuf, a ``NetParameter``: layer = 100 {name = 1, type = 2, blobs = 7}, or, written before 2015,
layers = 2 {name = 4, type = 5, blobs = 6}. A blob has data = 5 or double_data = 8, and shape = 7 {dim = 1} or, in older
files, four dimensions (num = 1, channels = 2, height = 3, width = 4), the first of which are 1 where there are fewer.

Source: wy1iu/sphereface, tools/caffe-sphereface/src/caffe/proto/caffe.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edge_sphereface.storage.protobuf_wire import BYTES, VARINT, Field, WireError, read_fields, read_varint
from export.checkpoint.ckpt import MAX_PARAMETERS, MAX_SLICES
from export.checkpoint.entry import TensorInfo
from export.errors import CheckpointError

if TYPE_CHECKING:
    from mmap import mmap

LAYER, OLD_LAYER = 100, 2
"""Numbers of the fields of a layer."""

_MAX_NAME_BYTES = 512
_MAX_RANK = 8


class _LayerFields(NamedTuple):
    name: int
    blobs: int


_FIELDS = {LAYER: _LayerFields(name=1, blobs=7), OLD_LAYER: _LayerFields(name=4, blobs=6)}
_DATA = {5: "Float32", 8: "Float64"}


def index_caffe(data: bytes | mmap) -> dict[str, TensorInfo]:
    """Return the blobs of a ``.caffemodel`` file by layer: ``conv1_1.weight``, ``conv1_1.bias``, ``relu1_1.weight``.

    Args:
        data: the whole file, memory-mapped.

    Raises:
        CheckpointError: the file is damaged, or no Caffe model.
    """
    entries: dict[str, TensorInfo] = {}
    try:
        for field in read_fields(data, 0, len(data)):
            if field.number not in _FIELDS or field.kind != BYTES:
                continue
            name, blobs = _read_layer(data, field, _FIELDS[field.number])
            for place, blob in enumerate(blobs):
                full = f"{name}.{('weight', 'bias')[place] if place < 2 else place}"
                if full in entries:
                    raise WireError(f"layer {name!r} occurs twice")
                if len(entries) == MAX_PARAMETERS:
                    raise WireError(f"there are more than {MAX_PARAMETERS} blobs")
                entries[full] = blob
        if not entries:
            raise WireError("it has no layer with weights")
    except WireError as error:
        raise CheckpointError(
            f"This is not an intact Caffe model: {error}.",
            hint="the file is damaged or truncated; compare its SHA-256 with its source",
        ) from error
    return entries


def _read_layer(data: bytes | mmap, layer: Field, numbers: _LayerFields) -> tuple[str, list[TensorInfo]]:
    name, blobs = "", []
    for field in read_fields(data, layer.start, layer.end):
        if field.number == numbers.name and field.kind == BYTES:
            name = _text(data, field)
        elif field.number == numbers.blobs and field.kind == BYTES:
            blobs.append(_read_blob(data, field))
            if len(blobs) > MAX_PARAMETERS:
                raise WireError(f"a layer has more than {MAX_PARAMETERS} blobs")
    return name, blobs


def _read_blob(data: bytes | mmap, blob: Field) -> TensorInfo:
    shape: list[int] | None = None
    sides = {1: 1, 2: 1, 3: 1, 4: 1}
    dtype, spans = "Float32", []
    for field in read_fields(data, blob.start, blob.end):
        if field.number in sides and field.kind == VARINT:
            sides[field.number] = field.value
        elif field.number in _DATA and field.kind == BYTES:
            dtype = _DATA[field.number]
            spans.append((field.start, field.end))
        elif field.number == 7 and field.kind == BYTES:
            shape = _dimensions(data, field)
        if len(spans) > MAX_SLICES:
            raise WireError(f"the blob at byte {blob.start} has more than {MAX_SLICES} parts")
    return TensorInfo(dtype, tuple(_without_leading_ones(sides) if shape is None else shape), tuple(spans))


def _dimensions(data: bytes | mmap, shape: Field) -> list[int]:
    found: list[int] = []
    for field in read_fields(data, shape.start, shape.end):
        if field.number == 1 and field.kind == VARINT:
            found.append(field.value)
        elif field.number == 1 and field.kind == BYTES:  # packed
            position = field.start
            while position < field.end and len(found) <= _MAX_RANK:
                number, position = read_varint(data, position, field.end)
                found.append(number)
        if len(found) > _MAX_RANK:
            raise WireError(f"the blob at byte {shape.start} has more than {_MAX_RANK} dimensions")
    return found


def _without_leading_ones(sides: dict[int, int]) -> list[int]:
    found = [sides[number] for number in sorted(sides)]
    while len(found) > 1 and found[0] == 1:
        found.pop(0)
    return found


def _text(data: bytes | mmap, field: Field) -> str:
    if field.end - field.start > _MAX_NAME_BYTES:
        raise WireError(f"a name of {field.end - field.start} bytes at byte {field.start}")
    try:
        return bytes(data[field.start : field.end]).decode()
    except UnicodeDecodeError as error:
        raise WireError(f"the name at byte {field.start} is not text") from error
