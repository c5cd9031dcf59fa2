"""Agreement between two sets of embeddings, and separation of genuine from impostor scores."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.json_output import NULL_UNLESS_FINITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from edge_sphereface.types import BoolArray, Float32Array, Float64Array

FOLDS = 10
THRESHOLDS = np.arange(-1.0, 1.0, 0.005)
"""Thresholds that the 10-fold protocol tries.

Source: eval.py of mindspore-ai/models, research/cv/sphereface. The folds and the tie rule (last threshold) are, too."""
FARS = (1e-2, 1e-3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of raw embeddings with reference embeddings.

    Attributes:
        max_abs_error: largest absolute difference of a component, as a share of the reference's largest component;
            infinite (null in JSON) if an embedding is not finite.
        min_cosine: smallest cosine similarity between an embedding and its reference.
    """

    max_abs_error: float = field(metadata=NULL_UNLESS_FINITE)
    min_cosine: float


def agreement(reference: ArrayLike, candidate: ArrayLike) -> Agreement:
    """Compare two (N, D) arrays row by row, in float64. A value that is not finite counts as total disagreement."""
    expected, got = np.asarray(reference, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if expected.shape != got.shape or expected.size == 0:
        raise ValueError(f"Expected two arrays of one shape with values, got {expected.shape} and {got.shape}.")
    if not (np.isfinite(expected).all() and np.isfinite(got).all()):
        return Agreement(max_abs_error=float("inf"), min_cosine=-1.0)
    largest = np.abs(expected).max()
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    if largest == 0 or (lengths == 0).any():
        return Agreement(max_abs_error=float("inf"), min_cosine=-1.0)
    cosines = np.einsum("nd,nd->n", expected, got) / lengths
    return Agreement(
        max_abs_error=float(np.abs(expected - got).max() / largest), min_cosine=float(np.minimum(cosines, 1.0).min())
    )


def roc_auc(genuine: Float32Array, impostor: Float32Array) -> float:
    """Area under the ROC curve: the probability that a genuine pair scores above an impostor pair.

    Ties count half. 1 is perfect, 0.5 is chance.
    """
    if not genuine.size or not impostor.size:
        raise ValueError("Expected at least one genuine and one impostor score.")
    ordered = np.sort(impostor)
    below = np.searchsorted(ordered, genuine, side="left")
    not_above = np.searchsorted(ordered, genuine, side="right")
    return float((below + not_above).mean() / (2 * impostor.size))


@dataclass(frozen=True, slots=True, kw_only=True)
class TenFold:
    """Accuracy by the original's 10-fold protocol.

    Attributes:
        accuracy: share of pairs decided correctly, mean over folds.
        std: standard deviation of the accuracy over folds.
        threshold: cosine similarity, mean over folds.
        correct: (N,) bool, whether each pair was decided correctly at its fold's threshold.
    """

    accuracy: float
    std: float
    threshold: float
    correct: BoolArray


def fold_edges(count: int) -> list[int]:
    """Bounds of ten folds of consecutive pairs: fold k holds the pairs from bound k to bound k + 1, exclusive."""
    return [number * count // FOLDS for number in range(FOLDS + 1)]


def ten_fold(scores: Float64Array, same: BoolArray) -> TenFold:
    """Choose the threshold on nine folds and decide the pairs of the tenth, for each fold of consecutive pairs.

    Args:
        scores: (N,) cosine similarities in the order of the pairs; or (10, N), those that each fold is decided by, or
            (1, N) for all folds.
        same: (N,) bool, whether a pair shows the same person.
    """
    by_fold = np.broadcast_to(scores, (FOLDS, len(same)))
    correct = np.zeros(len(same), dtype=bool)
    accuracies, thresholds = [], []
    for fold, (low, high) in enumerate(itertools.pairwise(fold_edges(len(same)))):
        right = (by_fold[fold][:, None] > THRESHOLDS) == same[:, None]
        on_others = right.sum(axis=0) - right[low:high].sum(axis=0)
        best = len(THRESHOLDS) - 1 - int(np.argmax(on_others[::-1]))
        correct[low:high] = right[low:high, best]
        accuracies.append(right[low:high, best].mean())
        thresholds.append(THRESHOLDS[best])
    return TenFold(
        accuracy=float(np.mean(accuracies)),
        std=float(np.std(accuracies)),
        threshold=float(np.mean(thresholds)),
        correct=correct,
    )


def roc(scores: Float64Array, same: BoolArray) -> tuple[Float64Array, Float64Array]:
    """False and true accept rates at every threshold, from the strictest to the loosest, starting at (0, 0)."""
    order = np.argsort(-scores, kind="stable")
    ordered, labels = scores[order], same[order]
    ends = np.r_[np.flatnonzero(np.diff(ordered)), len(ordered) - 1]  # equal scores are accepted together
    accepted, genuine = ends + 1, np.cumsum(labels)[ends]
    far = (accepted - genuine) / max(int((~same).sum()), 1)
    tar = genuine / max(int(same.sum()), 1)
    return np.r_[0.0, far], np.r_[0.0, tar]


def tar_at_far(scores: Float64Array, same: BoolArray, far: float) -> float:
    """Largest true accept rate at a false accept rate of at most ``far``."""
    fars, tars = roc(scores, same)
    return float(tars[fars <= far].max())


def equal_error_rate(scores: Float64Array, same: BoolArray) -> float:
    """Rate at which false accepts equal false rejects, interpolated."""
    far, tar = roc(scores, same)
    difference = far - (1 - tar)
    after = int(np.argmax(difference >= 0))
    if after == 0:
        return float(far[0])
    step = difference[after] - difference[after - 1]
    share = -difference[after - 1] / step
    return float(far[after - 1] + share * (far[after] - far[after - 1]))


def interval(
    figure: Callable[[NDArray[np.int64]], float], count: int, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of a figure, resampling independent items such as pairs or rounds of a measurement.

    Args:
        figure: computes the figure from the indices of the drawn items.
        count: number of independent items.
        resamples: number of bootstrap samples.
        seed: seed of the resampling.
    """
    return interval_at_once(lambda drawn: np.array([figure(row) for row in drawn]), count, resamples, seed)


def interval_at_once(
    figures: Callable[[NDArray[np.int64]], Float64Array],
    count: int,
    resamples: int = 1000,
    seed: int = 0,
    *,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Bootstrap interval, like :func:`interval`, of a figure that can be computed for all samples at once.

    Args:
        figures: computes (resamples,) figures from (resamples, count) indices.
        count: number of independent items.
        resamples: number of bootstrap samples.
        seed: seed of the resampling.
        confidence: probability that the interval contains the figure.
    """
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    low, high = np.quantile(figures(drawn), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
