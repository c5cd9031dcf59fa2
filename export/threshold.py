"""Measure the threshold that is stored in a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface import metrics
from edge_sphereface.compare import normalize
from edge_sphereface.errors import PairsError
from export.quantization.paired_embeddings import pair_crops

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.detection import Detector
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import BoolArray, Float64Array

MIN_PAIRS = 300
MIN_OF_A_KIND = 100
"""Least number of genuine and of impostor pairs. With fewer, the threshold is arbitrary between their scores."""


class MeasuredThreshold(NamedTuple):
    """A threshold and its origin.

    Attributes:
        value: least cosine similarity of two faces of the same person.
        source: origin of the value, in words.
    """

    value: float
    source: str

    @classmethod
    def of_pairs(cls, scores: Float64Array, same: BoolArray) -> MeasuredThreshold:
        """Mean of the ten thresholds of 10-fold cross-validation, each chosen on nine folds.

        Args:
            scores: (N,) cosine similarities in the order of the pairs.
            same: (N,) bool, True for genuine pairs.

        Raises:
            PairsError: there are too few pairs.
        """
        genuine = int(same.sum())
        if len(same) < MIN_PAIRS or min(genuine, len(same) - genuine) < MIN_OF_A_KIND:
            raise PairsError(
                f"A threshold from pairs needs at least {MIN_PAIRS} usable pairs, {MIN_OF_A_KIND} of each kind; got "
                f"{len(same)}, {genuine} of them of the same person.",
                hint="give more labeled pairs, or name a threshold with --threshold at the conversion",
            )
        value = round(metrics.ten_fold(scores, same).threshold, 4)
        return cls(value, f"mean of ten out-of-fold thresholds on {len(same)} labeled pairs")


def measure_threshold(
    embedder: Embedder,
    labeled: LabeledPairs,
    detector: Detector,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> MeasuredThreshold:
    """Measure the threshold of a model on labeled pairs.

    Args:
        embedder: the model.
        labeled: labeled pairs.
        detector: finds faces in pairs without landmarks.
        progress: called with the number of photographs done and their total.

    Raises:
        PairsError: too few pairs are usable.
    """
    rows = {}
    for name, crop, _ in pair_crops(labeled, embedder.spec, detector, progress=progress):
        if not isinstance(crop, str):
            rows[name] = normalize(embedder.forward(crop[None]))[0].astype(np.float64)
    usable = [pair for pair in labeled.pairs if pair.first in rows and pair.second in rows]
    scores = np.array([rows[pair.first] @ rows[pair.second] for pair in usable], dtype=np.float64)
    return MeasuredThreshold.of_pairs(scores, np.array([pair.same for pair in usable], dtype=bool))
