"""Accuracy of models on labeled pairs, and the significance of differences between models."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.accuracy import protocols
from benchmarks.accuracy.protocols import ProtocolAccuracy  # noqa: TC001 -- read with the annotations of the row
from benchmarks.accuracy.published import PublishedNetwork  # noqa: TC001 -- read with the annotations of the report
from edge_sphereface import metrics
from edge_sphereface.compare import normalize
from edge_sphereface.inference.session import ProviderReport  # noqa: TC001 -- read with the annotations of the row
from edge_sphereface.json_output import INLINE, OMIT_NONE, rounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.environment import Environment
    from edge_sphereface.evaluation.pairs import Pair
    from edge_sphereface.types import BoolArray, Float32Array, Float64Array


_RESAMPLES = 300
"""Number of resamples of the intervals of TAR and EER."""


class Scores(NamedTuple):
    """Scores of one model on labeled pairs.

    Attributes:
        scores: (N,) cosine similarities; -1 ("different people") if a photograph shows no usable face.
        same: (N,) bool, True for genuine pairs.
        undetected: number of photographs without a usable face.
        embeddings: embeddings (M, D) of the usable photographs in order of appearance, and their names.
    """

    scores: Float64Array
    same: BoolArray
    undetected: int
    embeddings: dict[str, Float32Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """TAR at one FAR.

    Attributes:
        tar: true accept rate.
        interval: 95 % confidence interval of it.
    """

    tar: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roc:
    """Points of the ROC curve, spread evenly over the logarithm of FAR.

    Attributes:
        far: false accept rates.
        tar: true accept rates.
    """

    far: tuple[float, ...] = field(metadata=rounded(6))
    tar: tuple[float, ...] = field(metadata=rounded(6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Difference from the first model on the same pairs.

    Attributes:
        accuracy: 10-fold accuracy minus that of the first model.
        interval: 95 % confidence interval of the difference.
        mcnemar_p: p-value of the exact McNemar test.
        cosine_mean: mean cosine similarity of both models' embeddings of a photograph; None without usable faces, or
            for models of different weights.
        cosine_p1: 1st percentile of these similarities.
        cosine_min: least of these similarities.
    """

    accuracy: float
    interval: tuple[float, float]
    mcnemar_p: float
    cosine_mean: float | None
    cosine_p1: float | None
    cosine_min: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Accuracy of one model on labeled pairs, with 95 % confidence intervals.

    Attributes:
        pairs: number of pairs.
        photographs: number of photographs.
        undetected: number of photographs without a usable face.
        accuracy: mean accuracy of the 10-fold protocol.
        accuracy_std: standard deviation of the folds' accuracies.
        accuracy_interval: confidence interval of the accuracy.
        threshold: mean threshold of the folds, a cosine similarity.
        tar_at_far: TAR by FAR.
        eer: equal error rate.
        eer_interval: confidence interval of the equal error rate.
        roc: ROC curve.
        difference: difference from the first model; None for the first model.
    """

    pairs: int
    photographs: int
    undetected: int
    accuracy: float
    accuracy_std: float
    accuracy_interval: tuple[float, float]
    threshold: float
    tar_at_far: Mapping[str, Rate]
    eer: float
    eer_interval: tuple[float, float]
    roc: Roc
    difference: Difference | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow:
    """Accuracy of one model, and how it was measured.

    Attributes:
        label: name in tables.
        model: file name of the model.
        precision: precision of the model.
        landmarks: ``given``, or the name of the detector.
        flip: whether each embedding is averaged with that of the mirrored crop.
        provider: what the model ran on.
        figures: accuracy on the pairs.
        protocols: 10-fold accuracy by each protocol in use.
    """

    label: str
    model: str
    precision: str
    landmarks: str
    flip: bool
    provider: ProviderReport
    figures: Accuracy = field(metadata=INLINE)
    protocols: tuple[ProtocolAccuracy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReport:
    """What ``accuracy`` measured.

    Attributes:
        environment: machine and versions.
        accuracy: one row for each model.
        published: published networks with their claims; empty for other pairs than those of LFW.
    """

    environment: Environment
    accuracy: tuple[AccuracyRow, ...]
    published: tuple[PublishedNetwork, ...] = ()


def score(pairs: Sequence[Pair], found: Mapping[str, Float32Array]) -> Scores:
    """Compare the photographs of pairs.

    Args:
        pairs: labeled pairs.
        found: result of :func:`benchmarks.accuracy.embeddings.embed_images`: an embedding (D,) for each photograph,
            NaN if it shows no usable face.
    """
    usable = {name: row for name, row in found.items() if np.isfinite(row).all()}
    if usable:
        rows = normalize(np.stack(list(usable.values())))
        usable = dict(zip(usable, rows, strict=True))
    scores = np.array(
        [
            float(usable[pair.first] @ usable[pair.second]) if pair.first in usable and pair.second in usable else -1.0
            for pair in pairs
        ]
    )
    same = np.array([pair.same for pair in pairs])
    return Scores(scores, same, len(found) - len(usable), usable)


def judge(result: Scores, reference: Scores | None = None) -> Accuracy:
    """Compute the accuracy of one model with confidence intervals.

    Args:
        result: scores of the model.
        reference: scores of the model to compare with, on the same pairs.
    """
    scores, same = result.scores, result.same
    folds = metrics.ten_fold(scores, same)
    count = len(scores)
    return Accuracy(
        pairs=count,
        photographs=result.undetected + len(result.embeddings),
        undetected=result.undetected,
        accuracy=folds.accuracy,
        accuracy_std=folds.std,
        accuracy_interval=metrics.interval(lambda i: float(folds.correct[i].mean()), count),
        threshold=folds.threshold,
        tar_at_far={f"{far:g}": _rate(scores, same, far) for far in metrics.FARS},
        eer=metrics.equal_error_rate(scores, same),
        eer_interval=metrics.interval(
            lambda i: metrics.equal_error_rate(scores[i], same[i]), count, resamples=_RESAMPLES
        ),
        roc=_thinned(*metrics.roc(scores, same)),
        difference=None if reference is None else _difference(result, reference),
    )


def _rate(scores: Float64Array, same: BoolArray, far: float) -> Rate:
    def tar(i: NDArray[np.int64]) -> float:
        return metrics.tar_at_far(scores[i], same[i], far)

    interval = metrics.interval(tar, len(scores), resamples=_RESAMPLES)
    return Rate(tar=metrics.tar_at_far(scores, same, far), interval=interval)


def _difference(result: Scores, reference: Scores) -> Difference:
    ours = metrics.ten_fold(result.scores, result.same).correct
    theirs = metrics.ten_fold(reference.scores, reference.same).correct
    gain = ours.astype(float) - theirs
    shared = [name for name in reference.embeddings if name in result.embeddings]
    cosines = np.array([float(result.embeddings[name] @ reference.embeddings[name]) for name in shared])
    return Difference(
        accuracy=float(gain.mean()),
        interval=metrics.interval(lambda i: float(gain[i].mean()), len(gain)),
        mcnemar_p=mcnemar_p(ours, theirs),
        cosine_mean=float(cosines.mean()) if len(cosines) else None,
        cosine_p1=float(np.percentile(cosines, 1)) if len(cosines) else None,
        cosine_min=float(cosines.min()) if len(cosines) else None,
    )


def mcnemar_p(first: BoolArray, second: BoolArray) -> float:
    """p-value of the exact McNemar test: probability of such a difference on the same pairs by chance."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    count = only_first + only_second
    as_few = sum(math.comb(count, number) for number in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * as_few / (1 << count))


def _thinned(far: Float64Array, tar: Float64Array, points: int = 200) -> Roc:
    """Reduce a curve to points that are spread evenly over the logarithm of FAR."""
    wanted = np.r_[0.0, np.logspace(-4, 0, points)]
    index = np.unique(np.searchsorted(far, wanted, side="right") - 1)
    return Roc(far=tuple(far[index].tolist()), tar=tuple(tar[index].tolist()))


def text(rows: Sequence[AccuracyRow]) -> str:
    """Format the rows as a table; percentages with 95 % confidence intervals."""
    lines = [
        (
            f"{'model':<28} {'accuracy, 10-fold':>18} {'interval':>15} {'threshold':>9} {'TAR@FAR=1e-2':>21} "
            f"{'TAR@FAR=1e-3':>21} {'EER':>6} {'no face':>7}"
        )
    ]
    for row in rows:
        figures = row.figures
        low, high = figures.accuracy_interval
        rates = [figures.tar_at_far[f"{far:g}"] for far in metrics.FARS]
        shown = [f"{rate.tar:.1%} ({rate.interval[0]:.1%}-{rate.interval[1]:.1%})" for rate in rates]
        accuracy = f"{figures.accuracy:.2%} ± {figures.accuracy_std:.2%}"
        lines.append(
            f"{row.label[:28]:<28} {accuracy:>18} "
            f"{f'{low:.2%}-{high:.2%}':>15} {figures.threshold:>9.3f} {shown[0]:>21} {shown[1]:>21} "
            f"{figures.eer:>6.2%} {figures.undetected:>7}"
        )
        if figures.difference is not None:
            lines.append(_difference_text(figures.difference))
        lines += protocols.text(row.protocols)
    return "\n".join(lines)


def _difference_text(gap: Difference) -> str:
    certain = "more than chance" if gap.mcnemar_p < 0.05 else "no more than chance"
    points, low, high = (100 * value for value in (gap.accuracy, *gap.interval))
    line = f"  against the first: {points:+.2f} points ({low:+.2f} to {high:+.2f}), "
    line += f"McNemar p = {gap.mcnemar_p:.3f}: {certain}"
    if gap.cosine_mean is not None:
        line += f"; cosine mean {gap.cosine_mean:.4f}, 1st percentile {gap.cosine_p1:.4f}"
        line += f", minimum {gap.cosine_min:.4f}"
    return line
