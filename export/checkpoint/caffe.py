"""Index the weights of a ``.caffemodel`` file.

The file is protobuf, a ``NetParameter``: layer = 100 {name = 1, type = 2, blobs = 7}, or, written before 2015,
layers = 2 {name = 4, type = 5, blobs = 6}. A blob has data = 5 or double_data = 8, and shape = 7 {dim = 1} or, in older
files, four dimensions (num = 1, channels = 2, height = 3, width = 4), the first of which are 1 where there are fewer.

A network is recognized by the names of its layers. Their types and parameters must fit, so that a network of the same
names that computes something else is refused.

The values of a blob are packed: so its definition says, and so every program writes that uses it.

Source: wy1iu/sphereface, tools/caffe-sphereface/src/caffe/proto/caffe.proto (``repeated float data = 5 [packed =
true]``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from edge_sphereface.storage.protobuf_wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Field,
    WireError,
    read_fields,
    read_varint,
)
from export.checkpoint.ckpt import MAX_PARAMETERS
from export.checkpoint.entry import TensorInfo
from export.errors import CheckpointError, TopologyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from mmap import mmap

LAYER, OLD_LAYER = 100, 2
"""Numbers of the fields of a layer."""

_MAX_LAYERS = 2048
"""Limit of the layers in a file. SphereFace-64 has about 170."""
_MAX_FIELDS = 256
"""Limit of the fields in a layer and its parts. Reading takes time for each field, however few bytes it has."""
_MAX_NAME_BYTES = 512
_MAX_RANK = 8


class _LayerFields(NamedTuple):
    """Numbers of the fields of a layer in one of the two forms."""

    name: int
    kind: int
    blobs: int
    convolution: int
    product: int
    addition: int


_FIELDS = {
    LAYER: _LayerFields(name=1, kind=2, blobs=7, convolution=106, product=117, addition=110),
    OLD_LAYER: _LayerFields(name=4, kind=5, blobs=6, convolution=10, product=17, addition=24),
}
_OLD_KINDS = {
    2: "BNLL", 3: "Concat", 4: "Convolution", 14: "InnerProduct", 15: "LRN", 17: "Pooling", 18: "ReLU", 19: "Sigmoid",
    23: "TanH", 25: "Eltwise", 26: "Power", 31: "Threshold", 34: "MVN", 35: "AbsVal", 38: "Exp", 39: "Deconvolution",
}  # fmt: skip
"""Types of layers written before 2015. PReLU is none of them; programs that had it gave it a number of their own."""
_CONVERTED = ("Convolution", "InnerProduct", "Eltwise")
_OTHER_KINDS = (
    {*_OLD_KINDS.values(), "BatchNorm", "Bias", "Crop", "ELU", "Embed", "Log", "LSTM", "Normalize", "Reduction"}
    | {"RNN", "Scale", "SPP", "Tile"}
) - {*_CONVERTED}
"""Types of layers that change values in a way of their own. Others read data, copy, or serve training."""
_EMBEDDING = "fc5"
_CONVOLUTION, _SLOPES = re.compile(r"conv[0-9]+_([0-9]+)"), re.compile(r"relu[0-9]+_[0-9]+")
_HINT = "only convolutions with PReLU, sums of two layers and one embedding layer are converted"


class _Rule(NamedTuple):
    """What a parameter of a layer must be, by the numbers of its fields."""

    word: str
    numbers: tuple[int, ...]
    default: int
    expected: int


_STRIDE = _Rule("stride", (6, 13, 14), 1, 1)
_CONVOLUTION_RULES = (
    _Rule("padding", (3, 9, 10), 0, 1),
    _Rule("groups", (5,), 1, 1),
    _Rule("dilation", (18,), 1, 1),
)
_PRODUCT_RULES = (_Rule("transpose", (6,), 0, 0), _Rule("axis", (5,), 1, 1))
_FLOAT_ONE = 0x3F800000
_ADDITION_RULES = (
    _Rule("operation", (1,), 1, 1),
    _Rule("coefficients of the bits", (2,), _FLOAT_ONE, _FLOAT_ONE),
)
_DATA = {5: "Float32", 8: "Float64"}


def index_caffe(data: bytes | mmap) -> dict[str, TensorInfo]:
    """Return the blobs of a ``.caffemodel`` file by layer: ``conv1_1.weight``, ``conv1_1.bias``, ``relu1_1.weight``.

    Args:
        data: the whole file, memory-mapped.

    Raises:
        CheckpointError: the file is damaged, or no Caffe model.
        TopologyError: a layer computes something else than its name says.
    """
    entries: dict[str, TensorInfo] = {}
    is_head = False
    try:
        for field in _bounded(read_fields(data, 0, len(data)), _MAX_LAYERS, "it", "layers"):
            if field.number not in _FIELDS or field.kind != BYTES:
                continue
            name, blobs = _read_layer(data, field, _FIELDS[field.number])
            if not is_head:  # Caffe writes layers in the order of computation; training may add any after the embedding
                _check_layer(data, field, _FIELDS[field.number], name)
            is_head = is_head or name == _EMBEDDING
            for place, blob in enumerate(blobs):
                full = f"{name}.{('weight', 'bias')[place] if place < 2 else place}"
                if full in entries:
                    raise WireError(f"layer {name!r:.80} occurs twice")
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
    for field in _fields(data, layer):
        if field.number == numbers.name and field.kind == BYTES:
            name = _text(data, field)
        elif field.number == numbers.blobs and field.kind == BYTES:
            blobs.append(_read_blob(data, field))
    return name, blobs


def _check_layer(data: bytes | mmap, layer: Field, numbers: _LayerFields, name: str) -> None:
    """Check that the type and the parameters of a layer, where the file has them, are those of its name."""
    fields = {field.number: field for field in _fields(data, layer)}
    kind = _kind(data, fields.get(numbers.kind), name)
    place = _CONVOLUTION.fullmatch(name)
    expected = "Convolution" if place else "InnerProduct" if name == _EMBEDDING else ""
    expected = "PReLU" if _SLOPES.fullmatch(name) else expected
    if (expected and kind not in ("", expected)) or (not expected and kind in _OTHER_KINDS):
        raise TopologyError(
            f"Layer {name!r:.80} of the Caffe model is of type {kind!r:.80}, and {expected or 'none'} is expected "
            "there.",
            hint=_HINT,
        )
    rules = {
        numbers.convolution: [_STRIDE._replace(expected=2 if place[1] == "1" else 1), *_CONVOLUTION_RULES]
        if place
        else [],
        numbers.product: _PRODUCT_RULES if name == _EMBEDDING else (),
        numbers.addition: _ADDITION_RULES if kind == "Eltwise" else (),
    }
    for number, checked in rules.items():
        if number in fields and fields[number].kind == BYTES:
            _check_parameters(data, fields[number], name, checked)


def _kind(data: bytes | mmap, field: Field | None, name: str) -> str:
    """Type of a layer, from its text or its old number; empty where the file does not say it."""
    if field is None:
        return ""
    if field.kind == BYTES:
        return _text(data, field)
    return _OLD_KINDS.get(field.value, "PReLU" if _SLOPES.fullmatch(name) else "")


def _check_parameters(data: bytes | mmap, message: Field, layer: str, rules: Sequence[_Rule]) -> None:
    fields = [(field.number, field.value) for field in _fields(data, message)]
    for rule in rules:
        found = [value for number, value in fields if number in rule.numbers] or [rule.default]
        if any(value != rule.expected for value in found):
            raise TopologyError(
                f"Expected layer {layer!r:.80} of the Caffe model with {rule.word} {rule.expected}, but it has "
                f"{found[:4]}.",
                hint=_HINT,
            )


def _read_blob(data: bytes | mmap, blob: Field) -> TensorInfo:
    shape: list[int] | None = None
    sides = {1: 1, 2: 1, 3: 1, 4: 1}
    dtype, spans = "Float32", []
    for field in _fields(data, blob):
        if field.number in sides and field.kind == VARINT:
            sides[field.number] = field.value
        elif field.number in _DATA and field.kind == BYTES:
            dtype = _DATA[field.number]
            spans.append((field.start, field.end))
        elif field.number in _DATA and field.kind in (FIXED32, FIXED64):
            raise CheckpointError(
                "Expected the values of a Caffe model packed, as Caffe writes them, but the blob at byte "
                f"{blob.start} has each in a field of its own.",
                hint="read the file as a NetParameter with protobuf and write it again, which packs them",
            )
        elif field.number == 7 and field.kind == BYTES:
            shape = _dimensions(data, field)
    return TensorInfo(dtype, tuple(_without_leading_ones(sides) if shape is None else shape), tuple(spans))


def _fields(data: bytes | mmap, message: Field) -> Iterator[Field]:
    """Read the fields of a layer or of a part of it."""
    fields = read_fields(data, message.start, message.end)
    return _bounded(fields, _MAX_FIELDS, f"the message at byte {message.start}", "fields")


def _bounded(fields: Iterator[Field], limit: int, whole: str, parts: str) -> Iterator[Field]:
    for number, field in enumerate(fields):
        if number == limit:
            raise WireError(f"{whole} has more than {limit} {parts}")
        yield field


def _dimensions(data: bytes | mmap, shape: Field) -> list[int]:
    found: list[int] = []
    for field in _fields(data, shape):
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
