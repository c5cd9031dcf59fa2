"""What a checkpoint says of a parameter before its values are read."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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
"""numpy's type for each name of MindSpore's.

Source: MindSpore 2.10, mindspore/train/serialization.py; names without an array form (``str``, ``Int4``) are left out.
"""


class TensorInfo(NamedTuple):
    """A parameter, not read yet.

    Attributes:
        dtype: MindSpore's name of its type, such as ``Float32``.
        shape: its dimensions; () is a scalar.
        spans: start and end of its values in the file, in order, in bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def is_array(self) -> bool:
        """Whether numpy has a type for it."""
        return self.dtype in DTYPES

    @property
    def nbytes(self) -> int:
        """Bytes of its values in the file."""
        return sum(end - start for start, end in self.spans)

    @property
    def expected_nbytes(self) -> int:
        """Bytes that its type and shape ask for."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize
