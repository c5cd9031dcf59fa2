"""Confidence intervals for the accuracy that a model of reduced precision loses, over pairs that share people.

Both models decide the same pairs, so only the pairs with different decisions count. Pairs that have a person in common
are not independent: the variance sums the products over all such pairs (Aronow and others), not only the squares. Two
added differing pairs, one in each direction, keep the variance above zero if no pair differs (Bonett and Price).

References:
    P. Aronow, C. Samii, V. Assenova: Cluster-robust variance estimation for dyadic data, Political Analysis 23, 2015.
    D. Bonett, R. Price: Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data, Journal of Educational and Behavioral Statistics 37, 2012.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.metrics import roc, tar_at_far

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.evaluation.pairs import Pair
    from edge_sphereface.types import BoolArray, Float64Array, Int64Array

MIN_PAIRS = 2000
"""With fewer pairs, an equally accurate model could miss the bound by chance: 1 to 2 of 100 decisions differ."""
MIN_OF_A_KIND = 500
_RESAMPLES = 300
_Z = 1.6448536269514722
"""95th percentile of the standard normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Loss of accuracy in percentage points.

    Attributes:
        points: measured loss; negative for a gain.
        most: upper end of the one-sided 95 % confidence interval.
    """

    points: float
    most: float


def people_of(pairs: Sequence[Pair]) -> tuple[Int64Array, Int64Array]:
    """Return the numbers of the first and of the second person of each pair, (N,) int64 each.

    If the labels agree with the folders, as in LFW, each folder is one person. Otherwise, photographs that are linked
    by genuine pairs are one person.
    """
    first, second = [_folder(pair.first) for pair in pairs], [_folder(pair.second) for pair in pairs]
    if any((one == other) != pair.same for one, other, pair in zip(first, second, pairs, strict=True)):
        root = _linked(pairs)
        first, second = [root[pair.first] for pair in pairs], [root[pair.second] for pair in pairs]
    _, numbers = np.unique(np.array([*first, *second]), return_inverse=True)
    return numbers[: len(pairs)], numbers[len(pairs) :]


def accuracy_loss(before: BoolArray, after: BoolArray, people: tuple[Int64Array, Int64Array]) -> Loss:
    """Loss of accuracy in percentage points.

    Args:
        before: (N,) bool, True if the float model decided the pair correctly.
        after: (N,) bool, the same for the reduced model.
        people: result of :func:`people_of`.
    """
    lost = before.astype(np.float64) - after
    each = (lost - lost.mean()) / len(lost)
    return _loss(float(lost.mean()), each, people, 1 / len(lost))


def tar_loss(scores: Float64Array, same: BoolArray, far: float, people: tuple[Int64Array, Int64Array]) -> Loss:
    """Loss of the true accept rate (TAR) in percentage points at a false accept rate (FAR).

    The thresholds are estimates too: an accepted impostor pair moves the threshold, and thereby TAR by the slope of the
    ROC curve. That slope is uncertain, so the variance is at least the variance over resampled pairs.

    Args:
        scores: (N, 2) cosine similarities by the float model and by the reduced model.
        same: (N,) bool, True for genuine pairs.
        far: false accept rate.
        people: result of :func:`people_of`.
    """
    tars, parts = zip(*(_tar_parts(column, same, far) for column in scores.T), strict=True)
    least = _resampled(scores, same, far)
    return _loss(tars[0] - tars[1], parts[0] - parts[1], people, 1 / max(int(same.sum()), 1), least)


def _resampled(scores: Float64Array, same: BoolArray, far: float) -> float:
    """Variance over resampled pairs, which includes the thresholds and ignores people in common."""
    random = np.random.default_rng(0)
    lost = []
    for _ in range(_RESAMPLES):
        drawn = random.integers(0, len(same), len(same))
        if same[drawn].any() and not same[drawn].all():
            before, after = (tar_at_far(column[drawn], same[drawn], far) for column in scores.T)
            lost.append(before - after)
    return float(np.var(lost)) if lost else 0.0


def _tar_parts(scores: Float64Array, same: BoolArray, far: float) -> tuple[float, Float64Array]:
    """Return the true accept rate, and the influence of each pair on it, (N,)."""
    fars, tars = roc(scores, same)

    def tar_at(rate: float) -> float:
        return float(tars[fars <= rate].max())

    impostors = np.sort(scores[~same])[::-1]
    threshold = impostors[min(math.floor(far * len(impostors)), len(impostors) - 1)]
    accepted = scores > threshold
    slope = (tar_at(1.5 * far) - tar_at(0.5 * far)) / far
    genuine = (accepted - accepted[same].mean()) / same.sum()
    impostor = -slope * (accepted - accepted[~same].mean()) / (~same).sum()
    return tar_at(far), np.where(same, genuine, impostor)


def _loss(
    lost: float, each: Float64Array, people: tuple[Int64Array, Int64Array], one_pair: float, least: float = 0.0
) -> Loss:
    variance = max(_variance(each, *people), least) + 2 * one_pair**2
    return Loss(points=100 * lost, most=100 * (lost + _Z * math.sqrt(variance)))


def _variance(each: Float64Array, first: Int64Array, second: Int64Array) -> float:
    """Sum of the products over all pairs that have a person in common; at least the value for independent pairs."""
    count = int(max(first.max(), second.max())) + 1
    two = first != second
    of_person = np.bincount(first, each, count) + np.bincount(second[two], each[two], count)
    low, high = np.minimum(first, second)[two], np.maximum(first, second)[two]
    _, dyad = np.unique(low * count + high, return_inverse=True)
    of_dyad = np.bincount(dyad, each[two]) if two.any() else np.zeros(1)  # counted with either of its people
    return max(float((of_person**2).sum() - (of_dyad**2).sum()), float((each**2).sum()))


def _folder(name: str) -> str:
    return str(PurePath(name).parent)


def _linked(pairs: Sequence[Pair]) -> dict[str, str]:
    """Map each photograph to one photograph that represents its person."""
    parent = {name: name for pair in pairs for name in (pair.first, pair.second)}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for pair in pairs:
        if pair.same:
            parent[root(pair.first)] = root(pair.second)
    return {name: root(name) for name in parent}
