"""Accuracy of models on labeled pairs, and the significance of differences between models."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface import metrics
from edge_sphereface.compare import normalize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge_sphereface.evaluation.pairs import Pair
    from edge_sphereface.types import BoolArray, Float32Array, Float64Array, JsonObject


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


def judge(result: Scores, reference: Scores | None = None) -> JsonObject:
    """Compute the accuracy of one model with confidence intervals.

    Args:
        result: scores of the model.
        reference: scores of the model to compare with, on the same pairs.

    Returns:
        Plain JSON values; ``difference`` is present if there is a reference.
    """
    scores, same = result.scores, result.same
    folds = metrics.ten_fold(scores, same)
    count = len(scores)
    row: JsonObject = {
        "pairs": count,
        "photographs": result.undetected + len(result.embeddings),
        "undetected": result.undetected,
        "accuracy": folds.accuracy,
        "accuracy_std": folds.std,
        "accuracy_interval": list(metrics.interval(lambda i: float(folds.correct[i].mean()), count)),
        "threshold": folds.threshold,
        "tar_at_far": {},
        "eer": metrics.equal_error_rate(scores, same),
        "eer_interval": list(
            metrics.interval(lambda i: metrics.equal_error_rate(scores[i], same[i]), count, resamples=300)
        ),
        "roc": _thinned(*metrics.roc(scores, same)),
    }
    for far in metrics.FARS:

        def tar(i: NDArray[np.int64], far: float = far) -> float:
            return metrics.tar_at_far(scores[i], same[i], far)

        row["tar_at_far"][f"{far:g}"] = {
            "tar": metrics.tar_at_far(scores, same, far),
            "interval": list(metrics.interval(tar, count, resamples=300)),
        }
    if reference is not None:
        row["difference"] = _difference(result, reference)
    return row


def _difference(result: Scores, reference: Scores) -> JsonObject:
    ours = metrics.ten_fold(result.scores, result.same).correct
    theirs = metrics.ten_fold(reference.scores, reference.same).correct
    gain = ours.astype(float) - theirs
    shared = [name for name in reference.embeddings if name in result.embeddings]
    cosines = np.array([float(result.embeddings[name] @ reference.embeddings[name]) for name in shared])
    return {
        "accuracy": float(gain.mean()),
        "interval": list(metrics.interval(lambda i: float(gain[i].mean()), len(gain))),
        "mcnemar_p": mcnemar_p(ours, theirs),
        "cosine_mean": float(cosines.mean()) if len(cosines) else None,
        "cosine_p1": float(np.percentile(cosines, 1)) if len(cosines) else None,
        "cosine_min": float(cosines.min()) if len(cosines) else None,
    }


def mcnemar_p(first: BoolArray, second: BoolArray) -> float:
    """p-value of the exact McNemar test: probability of such a difference on the same pairs by chance."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def _thinned(far: Float64Array, tar: Float64Array, points: int = 200) -> JsonObject:
    """Reduce a curve to points that are spread evenly over the logarithm of FAR."""
    wanted = np.r_[0.0, np.logspace(-4, 0, points)]
    index = np.unique(np.searchsorted(far, wanted, side="right") - 1)
    return {"far": [round(float(v), 6) for v in far[index]], "tar": [round(float(v), 6) for v in tar[index]]}


def text(rows: Sequence[JsonObject]) -> str:
    """Format the rows as a table; percentages with 95 % confidence intervals."""
    lines = [
        (
            f"{'model':<28} {'accuracy, 10-fold':>18} {'interval':>15} {'threshold':>9} {'TAR@FAR=1e-2':>21} "
            f"{'TAR@FAR=1e-3':>21} {'EER':>6} {'no face':>7}"
        )
    ]
    for row in rows:
        low, high = row["accuracy_interval"]
        rates = [row["tar_at_far"][f"{far:g}"] for far in metrics.FARS]
        shown = [f"{r['tar']:.1%} ({r['interval'][0]:.1%}-{r['interval'][1]:.1%})" for r in rates]
        accuracy = f"{row['accuracy']:.2%} ± {row['accuracy_std']:.2%}"
        lines.append(
            f"{row['label'][:28]:<28} {accuracy:>18} "
            f"{f'{low:.2%}-{high:.2%}':>15} {row['threshold']:>9.3f} {shown[0]:>21} {shown[1]:>21} {row['eer']:>6.2%} "
            f"{row['undetected']:>7}"
        )
        if "difference" in row:
            gap = row["difference"]
            certain = "more than chance" if gap["mcnemar_p"] < 0.05 else "no more than chance"
            points, low, high = (100 * value for value in (gap["accuracy"], *gap["interval"]))
            line = f"  against the first: {points:+.2f} points ({low:+.2f} to {high:+.2f}), "
            line += f"McNemar p = {gap['mcnemar_p']:.3f}: {certain}"
            if gap["cosine_mean"] is not None:
                line += f"; cosine mean {gap['cosine_mean']:.4f}, 1st percentile {gap['cosine_p1']:.4f}"
                line += f", minimum {gap['cosine_min']:.4f}"
            lines.append(line)
    return "\n".join(lines)
