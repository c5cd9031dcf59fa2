"""Refuses models whose weights are in other files, which onnxruntime would read without asking.

External data names a path, or an address in this process's memory. No model of this project uses it.

References:
    https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.storage.protobuf_wire import BYTES, WireError, read_fields

if TYPE_CHECKING:
    from pathlib import Path

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _SPARSE, _TRAINING, _FUNCTION, _TENSOR = range(8)
_INSIDE = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TENSOR: {},
}
"""Field numbers that lead to a tensor, by message. Source: onnx.proto."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""Field numbers. Source: onnx.proto, message TensorProto."""
_MOST_FIELDS = 1 << 20
"""Largest number of fields that are read. The largest network of this project has 5,000."""


def refuse_external_data(model: Path) -> None:
    """Require that an ONNX file holds all its weights. The weights themselves are not read.

    Raises:
        ModelFormatError: the model refers to other files, or the file is not an ONNX file.
    """
    try:
        with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            named = _has_external_data(content)
    except (OSError, ValueError) as error:  # ValueError: not the wire format, or the file is empty
        reason = error if isinstance(error, WireError) else "it cannot be mapped, or is empty"
        raise ModelFormatError(
            f"{model} is not an ONNX file: {reason}.",
            hint="the file is damaged or of another kind; convert the checkpoint again",
            remedy="convert-model",
        ) from error
    if named:
        raise ModelFormatError(
            f"Expected a model that holds all its weights, and {model} takes some from other files (external data).",
            hint="save the weights into the file itself, or convert the checkpoint",
            remedy="convert-model",
        )


def _has_external_data(content: mmap.mmap) -> bool:
    todo = [(_MODEL, 0, len(content))]
    seen = 0
    while todo:
        kind, start, end = todo.pop()
        inside = _INSIDE[kind]
        for field in read_fields(content, start, end):
            seen += 1
            if seen > _MOST_FIELDS:
                raise WireError(f"it has more than {_MOST_FIELDS} fields")
            if field.kind == BYTES and field.number in inside:
                todo.append((inside[field.number], field.start, field.end))
            elif kind == _TENSOR and (
                field.number == _EXTERNAL_DATA or (field.number == _DATA_LOCATION and field.value)
            ):
                return True
    return False
