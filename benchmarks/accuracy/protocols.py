"""10-fold accuracy by each protocol in use. Published figures of one network differ, since they mix these protocols.

A protocol is a choice of features (of one crop, of the crop and its mirror image) and of whether the mean of the
features is subtracted. The photographs, the pairs, the folds and the rule for thresholds are the same in all of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from edge_sphereface import metrics
from edge_sphereface.compare import normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from edge_sphereface.evaluation.pairs import Pair
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import BoolArray, Float32Array, Float64Array, UInt8Array

Mirror: TypeAlias = Literal["none", "sum", "concatenation"]
_NO_FACE = -1.0
"""Score of a pair with a photograph without a usable face: "different people"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolAccuracy:
    """10-fold accuracy by one protocol.

    Attributes:
        mirror: how features of the mirrored crop count: ``none``, ``sum`` of both or ``concatenation`` of both.
        mean_subtracted: whether the mean of the features of the nine other folds is subtracted before normalization.
        accuracy: mean accuracy over the folds.
        accuracy_std: standard deviation of the folds' accuracies.
        threshold: mean threshold of the folds, a cosine similarity.
    """

    mirror: Mirror
    mean_subtracted: bool
    accuracy: float
    accuracy_std: float
    threshold: float


def both_features(embedder: Embedder) -> Callable[[UInt8Array], Float32Array]:
    """Function from (N, H, W, 3) crops to (N, 2 D) float32: features of each crop and of its mirror image.

    Features are not normalized. The function raises :class:`~edge_sphereface.errors.EmbeddingError` where the network
    computes NaN or a zero vector.
    """

    def features(crops: UInt8Array) -> Float32Array:
        parts = [embedder.forward(crops), embedder.forward(crops[:, :, ::-1])]
        for part in parts:
            normalize(part.copy())  # raises for NaN, which would count as a photograph without a face
        return np.concatenate(parts, axis=1)

    return features


def mirrored(both: Float32Array, mirror: Mirror) -> Float32Array:
    """Features by one protocol from (..., 2 D) features of a crop and of its mirror image."""
    first, second = np.split(both, 2, axis=-1)
    if mirror == "none":
        return first
    return first + second if mirror == "sum" else both


def by_protocol(pairs: Sequence[Pair], both: Mapping[str, Float32Array]) -> tuple[ProtocolAccuracy, ...]:
    """Measure the accuracy by each protocol.

    Args:
        pairs: labeled pairs, whose ten folds are consecutive parts.
        both: features (2 D,) of each photograph, by :func:`both_features`; NaN if it shows no usable face.
    """
    same = np.array([pair.same for pair in pairs])
    rows = []
    for mean_subtracted in (False, True):
        for mirror in ("none", "sum", "concatenation"):
            scores = np.stack(list(_scores(pairs, both, mirror, mean_subtracted=mean_subtracted)))
            folds = metrics.ten_fold(scores, same)
            rows.append(
                ProtocolAccuracy(
                    mirror=mirror,
                    mean_subtracted=mean_subtracted,
                    accuracy=folds.accuracy,
                    accuracy_std=folds.std,
                    threshold=folds.threshold,
                )
            )
    return tuple(rows)


def _scores(
    pairs: Sequence[Pair], both: Mapping[str, Float32Array], mirror: Mirror, *, mean_subtracted: bool
) -> Iterator[Float64Array]:
    """Yield the scores (N,) of all pairs for each fold, or once for all folds.

    The mean is that over the pairs of the nine other folds, in which a photograph counts as often as it occurs.

    Source: wy1iu/sphereface, test/code/evaluation.m: ``mu = mean([[pairs(valFold).featureL],
    [pairs(valFold).featureR]], 2)``, subtracted before the features are divided by their lengths. There,
    ``valFold`` is the nine folds that also choose the threshold.
    """
    first, second = (
        np.array([mirrored(both[name], mirror) for name in names], dtype=np.float64)
        for names in zip(*((pair.first, pair.second) for pair in pairs), strict=True)
    )
    usable: BoolArray = np.isfinite(np.concatenate([first, second], axis=1)).all(axis=1)
    if not mean_subtracted:
        yield _cosines(first, second, usable)
        return
    for low, high in itertools.pairwise(metrics.fold_edges(len(pairs))):
        training = usable.copy()
        training[low:high] = False
        mean = np.concatenate([first[training], second[training]]).mean(axis=0) if training.any() else 0.0
        yield _cosines(first - mean, second - mean, usable)


def _cosines(first: Float64Array, second: Float64Array, usable: BoolArray) -> Float64Array:
    """Cosine similarities (N,) of rows; -1 where a photograph shows no usable face."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    known: BoolArray = usable & (lengths > 0)
    cosines = np.full(len(first), _NO_FACE)
    cosines[known] = np.einsum("nd,nd->n", first[known], second[known]) / lengths[known]
    return cosines


def text(rows: Sequence[ProtocolAccuracy]) -> list[str]:
    """Format the accuracies of one model as lines, one for each protocol."""
    features = {
        "none": "one crop",
        "sum": "crop and mirror image, sum",
        "concatenation": "crop and mirror image, concatenated",
    }
    return [
        f"  {features[row.mirror] + (', mean subtracted' if row.mean_subtracted else ''):<54} "
        f"{row.accuracy:>7.2%} ± {row.accuracy_std:.2%}, threshold {row.threshold:.3f}"
        for row in rows
    ]
