"""Rules that determine the quantized range of a tensor, which 256 steps cover, from its histogram.

:mod:`export.quantization.search` measures which rule changes the embeddings least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.types import Float64Array

BINS = 4096
STEPS = 256
_SHARES = np.linspace(0.3, 1.0, 57)
"""Shares of the whole range that the searching rules try."""


class Histogram(NamedTuple):
    """Histogram of the values of a tensor over the calibration.

    Attributes:
        low: smallest value.
        high: largest value.
        counts: (BINS,) counts in bins of equal width from ``low`` to ``high``.
    """

    low: float
    high: float
    counts: Float64Array

    @property
    def centers(self) -> Float64Array:
        """Center of each bin, (BINS,)."""
        width = (self.high - self.low) / len(self.counts)
        return np.asarray(self.low + width * (np.arange(len(self.counts)) + 0.5), dtype=np.float64)

    def mirrored(self) -> Histogram:
        """Histogram of the values and their negatives, whose best range is the best symmetric one."""
        limit = max(-self.low, self.high)
        if not limit > 0:
            return self
        places = np.concatenate([self.centers, -self.centers])
        index = np.minimum(((places / limit + 1) / 2 * len(self.counts)).astype(np.int64), len(self.counts) - 1)
        counts = np.bincount(index, np.tile(self.counts, 2), minlength=len(self.counts))
        return Histogram(-limit, limit, np.asarray(counts, dtype=np.float64))


class Range(NamedTuple):
    """Range of the represented values; values outside are clipped."""

    low: float
    high: float


def min_max(histogram: Histogram) -> Range:
    """Range of all values."""
    return Range(histogram.low, histogram.high)


def percentile(histogram: Histogram, percent: float) -> Range:
    """Range without a share of the values, half of it at each end; at the top only if no value is negative."""
    total = np.cumsum(histogram.counts) / histogram.counts.sum()
    tail = 1 - percent / 100
    edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
    if histogram.low >= 0:
        return Range(histogram.low, float(edges[int(np.searchsorted(total, 1 - tail)) + 1]))
    low = edges[np.searchsorted(total, tail / 2)]
    high = edges[min(int(np.searchsorted(total, 1 - tail / 2)) + 1, len(histogram.counts))]
    return Range(min(float(low), 0.0), max(float(high), 0.0))


def squared_error(histogram: Histogram) -> Range:
    """Range with the least squared error of clipping and rounding; each end is searched."""
    lows = histogram.low * (_SHARES if histogram.low < 0 else np.ones(1))
    highs = histogram.high * _SHARES
    values, counts = histogram.centers, histogram.counts
    clipping = _tail_error(values, counts, lows)[:, None] + _tail_error(-values, counts, -highs)
    rounding = counts.sum() * ((highs - lows[:, None]) / (STEPS - 1)) ** 2 / 12
    low, high = np.unravel_index(np.argmin(clipping + rounding), clipping.shape)
    return Range(float(lows[low]), float(highs[high]))


def _tail_error(values: Float64Array, counts: Float64Array, limits: Float64Array) -> Float64Array:
    """Squared error of clipping the values below each limit."""
    return np.array([(np.maximum(limit - values, 0) ** 2 * counts).sum() for limit in limits])


def entropy(histogram: Histogram) -> Range:
    """Range whose quantized distribution has the least divergence from the clipped one.

    References:
        Migacz, 8-bit Inference with TensorRT, GTC 2017. Here, both ends shrink together.
    """
    counts, size = histogram.counts, len(histogram.counts)
    zero = int(np.clip(round(-histogram.low / max(histogram.high - histogram.low, 1e-30) * size), 0, size))
    best, chosen = np.inf, 1.0
    for share in _SHARES:
        first, last = round(zero - zero * share), round(zero + (size - zero) * share)
        divergence = _divergence(counts, first, max(last, first + STEPS))
        if divergence < best:
            best, chosen = divergence, float(share)
    return Range(histogram.low * chosen if histogram.low < 0 else histogram.low, histogram.high * chosen)


def _divergence(counts: Float64Array, first: int, last: int) -> float:
    """Kullback-Leibler divergence between a distribution clipped to bins [first, last) and its form in 256 steps."""
    inside = counts[first:last]
    clipped = inside.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    step = (np.arange(len(inside)) * STEPS) // len(inside)
    occupied = inside > 0
    mass, bins = np.bincount(step, inside, STEPS), np.bincount(step, occupied, STEPS)
    quantized = np.where(occupied, (mass / np.maximum(bins, 1))[step], 0)
    p, q = clipped / clipped.sum(), quantized / max(quantized.sum(), 1e-30)
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())


RULES: dict[str, Callable[[Histogram], Range]] = {
    "min-max": min_max,
    "percentile-99.999": lambda histogram: percentile(histogram, 99.999),
    "percentile-99.99": lambda histogram: percentile(histogram, 99.99),
    "entropy": entropy,
    "squared-error": squared_error,
}
"""Rules by the names that are recorded in models."""
