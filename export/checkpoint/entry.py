"""Description of a parameter in a checkpoint, without its values."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np

DTYPES: dict[str, np.dtype[Any]] = {
    "Bool": np.dtype("?"),
    "Int8": np.dtype("i1"),
    "Int16": np.dtype("<i2"),
    "Int32": np.dtype("<i4"),
    "Int64": np.dtype("<i8"),
    "UInt8": np.dtype("u1"),
    "UInt16": np.dtype("<u2"),
    "UInt32": np.dtype("<u4"),
    "UInt64": np.dtype("<u8"),
    "Float16": np.dtype("<f2"),
    "Float32": np.dtype("<f4"),
    "Float64": np.dtype("<f8"),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
}
"""numpy types by their MindSpore names.

Source: MindSpore 2.10, mindspore/train/serialization.py, without the names that have no array form (``str``, ``Int4``).
"""


FileFormat: TypeAlias = Literal["MindSpore checkpoint", "safetensors file", "PyTorch file", "Caffe model", "ONNX graph"]


class TensorInfo(NamedTuple):
    """Type, shape and location of a parameter.

    Attributes:
        dtype: MindSpore's name of the type, such as ``Float32``.
        shape: dimensions; () for a scalar.
        spans: start and end of each part of the values in the file, in bytes and in order.
        strides: distances of neighbors along each dimension, in values; () if the values are in the order of the shape.
    """

    dtype: str
    shape: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    strides: tuple[int, ...] = ()

    @property
    def is_array(self) -> bool:
        """Whether the type has a numpy equivalent."""
        return self.dtype in DTYPES

    @property
    def nbytes(self) -> int:
        """Number of bytes of the values in the file."""
        return sum(end - start for start, end in self.spans)

    @property
    def expected_nbytes(self) -> int:
        """Number of bytes that the type and the shape require."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize
