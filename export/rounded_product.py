"""Matrix products whose sums round to the 11 digits of float16 after every term.

numba compiles the loops where it is installed. numpy computes the same numbers, bit by bit, more slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.types import Float32Array

_SPLIT = np.float32(2**13 + 1)
"""Factor that splits the 24 digits of float32 so that the 11 of float16 remain."""
_BLOCK_VALUES = 1 << 18
"""Number of sums that numpy keeps at a time, 1 MiB."""
_BLOCK_COLUMNS = 128
"""Number of columns that the compiled loops keep at a time: with 512 terms, 256 KiB."""


@dataclass(frozen=True, slots=True)
class RoundedProduct:
    """What computes the products.

    Attributes:
        compute: (B, M, K) times (B, K, N) float32, contiguous: (B, M, N), where each of the K terms of a result is
            added to one sum, which then rounds.
        versions: packages that compute, with their versions.
    """

    compute: Callable[[Float32Array, Float32Array], Float32Array]
    versions: str


def rounded(value: Float32Array) -> Float32Array:
    """Round to the digits of float16, in place."""
    shifted = value * _SPLIT
    np.subtract(shifted, value, out=value)
    np.subtract(shifted, value, out=value)
    return value


def fastest_product() -> RoundedProduct:
    """Return the compiled product if numba is installed, else numpy's."""
    return compiled_product() if is_compiled() else numpy_product()


def is_compiled() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


def numpy_product() -> RoundedProduct:
    """Return the product that numpy computes."""
    return RoundedProduct(_by_numpy, f"numpy {np.__version__}")


@cache
def compiled_product() -> RoundedProduct:
    """Compile the product, which takes about a second. It runs without Python's lock.

    Raises:
        ImportError: numba is not installed.
    """
    import numba

    kind = numba.float32[:, :, ::1]
    compute = numba.njit(kind(kind, kind), nogil=True)(_by_loops)
    return RoundedProduct(compute, f"numba {numba.__version__}")


def _by_numpy(left: Float32Array, right: Float32Array) -> Float32Array:
    batch, outputs, terms = left.shape
    columns = right.shape[2]
    result = np.empty((batch, outputs, columns), dtype=np.float32)
    block = max(1, _BLOCK_VALUES // (batch * outputs))
    for start in range(0, columns, block):
        part = np.ascontiguousarray(right[:, :, start : start + block].transpose(1, 0, 2))
        total = np.zeros((batch, outputs, part.shape[2]), dtype=np.float32)
        term, shifted = np.empty_like(total), np.empty_like(total)
        for number in range(terms):
            np.multiply(left[:, :, number, None], part[number][:, None], out=term)
            np.add(total, term, out=total)
            np.multiply(total, _SPLIT, out=shifted)
            np.subtract(shifted, total, out=total)
            np.subtract(shifted, total, out=total)
        result[:, :, start : start + block] = total
    return result


def _by_loops(left: Float32Array, right: Float32Array) -> Float32Array:
    batch, outputs, terms = left.shape
    columns = right.shape[2]
    result = np.zeros((batch, outputs, columns), dtype=np.float32)
    for matrix in range(batch):
        for start in range(0, columns, _BLOCK_COLUMNS):
            stop = min(start + _BLOCK_COLUMNS, columns)
            for output in range(outputs):
                total = result[matrix, output, start:stop]
                for term in range(terms):
                    factor = left[matrix, output, term]
                    row = right[matrix, term, start:stop]
                    for column in range(len(row)):
                        value = total[column] + factor * row[column]
                        shifted = value * _SPLIT
                        total[column] = shifted - (shifted - value)
    return result
