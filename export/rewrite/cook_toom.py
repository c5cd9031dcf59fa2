"""Transforms of Winograd's minimal filtering, which computes short convolutions with fewer products, for 3 taps.

F(m, 3) computes m outputs of a filter with three taps from m + 2 inputs with m + 2 products instead of 3 m:
``y = AT [(G g) * (BT d)]``. In two dimensions, the transform is the Kronecker product of those of rows and columns.

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
    from edge_sphereface.types import Float64Array

TAPS = 3
_POINTS = {
    1: (0, 1),
    2: (0, 1, -1),
    3: (0, 1, -1, Fraction(1, 2)),
    4: (0, 1, -1, Fraction(1, 2), -2),
}
"""Points where the polynomials are evaluated, by the number of outputs. Infinity is added to each."""
OUTPUTS = tuple(_POINTS)


class Transforms(NamedTuple):
    """Matrices of F(m, 3) with n = m + 2.

    Attributes:
        inputs: BT, (n, n) float64.
        weights: G, (n, 3) float64.
        outputs: AT, (m, n) float64.
    """

    inputs: Float64Array
    weights: Float64Array
    outputs: Float64Array


@lru_cache
def transforms(count: int) -> Transforms:
    """Compute the matrices for one dimension. Exact fractions are rounded once, to float64.

    Args:
        count: number of outputs m, one of :data:`OUTPUTS`.
    """
    points = [Fraction(point) for point in _POINTS[count]]
    size = count + TAPS - 1
    inputs = np.zeros((size, size))
    weights = np.zeros((size, TAPS))
    outputs = np.zeros((count, size))
    for row, point in enumerate(points):
        others = [other for other in points if other != point]
        scale = prod(point - other for other in others)
        inputs[row, : size - 1] = [float(value) for value in _polynomial(others)]
        weights[row] = [float(point**power / scale) for power in range(TAPS)]
        outputs[:, row] = [float(point**power) for power in range(count)]
    inputs[-1] = [float(value) for value in _polynomial(points)]
    weights[-1, -1] = outputs[-1, -1] = 1.0
    return Transforms(inputs, weights, outputs)


def amplification(count: int) -> float:
    """Bound of the intermediate values relative to the result in one dimension, which bounds the loss of precision.

    It is the largest sum of absolute values that contribute to one output, divided by that of the direct sum of three
    products.
    """
    made = transforms(count)
    on_the_way = np.abs(made.inputs).sum(axis=1) * np.abs(made.weights).sum(axis=1)
    return float((np.abs(made.outputs) @ on_the_way).max() / TAPS)


def _polynomial(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (x - root) over all roots, constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [a - root * b for a, b in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return coefficients
