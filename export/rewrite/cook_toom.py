"""Transforms of Winograd's minimal filtering, which computes short convolutions with fewer products, for 3 taps.

F(m, 3) computes m outputs of a filter with three taps from m + 2 inputs with m + 2 products instead of 3 m:
``y = AT [(G g) * (BT d)]``. In two dimensions, rows and columns are transformed one after the other, or together by the
Kronecker product of both.

With stride 2, outputs read the inputs at odd positions through the outer two taps and those at even positions through
the middle one. The sum of F(m, 2) over the former and of m plain products over the latter takes 2 m + 1 products.

References:
    Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, arXiv 1509.09308.
    Barabasz et al., Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks,
    ACM Transactions on Mathematical Software 46, 2020, arXiv 1803.10986: which points lose the fewest digits.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import Float64Array

TAPS = 3
_HALF, _THIRD = Fraction(1, 2), Fraction(1, 3)
_POINTS: dict[int, tuple[int | Fraction, ...]] = {
    1: (0,),
    2: (0, 1),
    3: (0, 1, -1),
    4: (0, 1, -1, _HALF),
    5: (0, 1, -1, _HALF, -2),
    6: (0, 1, -1, _HALF, Fraction(-2, 3), 3),
    7: (0, 1, -1, _HALF, -_HALF, 2, -2),
    8: (0, 1, -1, 2, -4, -_THIRD, Fraction(3, 4), Fraction(-3, 4)),
}
"""Points where the polynomials are evaluated, by their number, which lose the fewest digits. Infinity is added."""
MOST = max(_POINTS) - TAPS + 2
"""Largest number of outputs in one dimension."""


class Transforms(NamedTuple):
    """Matrices of a filter with n products.

    Attributes:
        inputs: BT, (n, n) float64.
        weights: G, (n, 3) float64.
        outputs: AT, (m, n) float64.
    """

    inputs: Float64Array
    weights: Float64Array
    outputs: Float64Array


def products(count: int, stride: int = 1) -> int:
    """Number of products, and of inputs, of ``count`` outputs."""
    return count + TAPS - 1 if stride == 1 else 2 * count + 1


@lru_cache
def transforms(count: int, stride: int = 1) -> Transforms:
    """Compute the matrices for one dimension. Exact fractions are rounded once, to float64.

    Args:
        count: number of outputs m, 1 to :data:`MOST`.
        stride: 1 or 2.
    """
    if stride == 1:
        return interpolated(_POINTS[count + TAPS - 2])
    outer = interpolated(_POINTS[count + TAPS - 3], TAPS - 1)
    size, most = products(count, stride), count + 1
    inputs = np.zeros((size, size))
    inputs[:most, 0::2] = outer.inputs
    inputs[most:, 1::2] = np.eye(count)
    weights = np.zeros((size, TAPS))
    weights[:most, 0::2] = outer.weights
    weights[most:, 1] = 1.0
    return Transforms(inputs, weights, np.hstack([outer.outputs, np.eye(count)]))


def interpolated(points: Sequence[float | Fraction], taps: int = TAPS) -> Transforms:
    """Compute the matrices of F(m, taps), by evaluation and interpolation of polynomials.

    Args:
        points: m + taps - 2 different points; infinity is added.
        taps: number of taps of the filter.
    """
    return _interpolated([Fraction(point) for point in points], taps)


def _interpolated(points: list[Fraction], taps: int) -> Transforms:
    size = len(points) + 1
    count = size - taps + 1
    inputs = np.zeros((size, size))
    weights = np.zeros((size, taps))
    outputs = np.zeros((count, size))
    for row, point in enumerate(points):
        others = [other for other in points if other != point]
        scale = prod(point - other for other in others)
        inputs[row, : size - 1] = [float(value) for value in _polynomial(others)]
        weights[row] = [float(point**power / scale) for power in range(taps)]
        outputs[:, row] = [float(point**power) for power in range(count)]
    inputs[-1] = [float(value) for value in _polynomial(points)]
    weights[-1, -1] = outputs[-1, -1] = 1.0
    return Transforms(inputs, weights, outputs)


def amplification(count: int, stride: int = 1) -> float:
    """Bound of the intermediate values relative to the result in one dimension, which bounds the loss of precision.

    It is the largest sum of absolute values that contribute to one output, divided by that of the direct sum of three
    products.
    """
    made = transforms(count, stride)
    on_the_way = np.abs(made.inputs).sum(axis=1) * np.abs(made.weights).sum(axis=1)
    return float((np.abs(made.outputs) @ on_the_way).max() / TAPS)


def _polynomial(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (x - root) over all roots, constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [a - root * b for a, b in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return coefficients
