"""The threshold that a model is given, and what it rests on."""

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
    from edge_sphereface.evaluation.pairs import LabelledPairs
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import BoolArray, Float64Array

MIN_PAIRS = 300
MIN_OF_A_KIND = 100
"""Fewer pairs put a threshold anywhere between the two kinds."""


class MeasuredThreshold(NamedTuple):
    """A cosine similarity and where it comes from.

    Attributes:
        value: from which two faces count as one person.
        source: in words.
    """

    value: float
    source: str

    @classmethod
    def of_pairs(cls, scores: Float64Array, same: BoolArray) -> MeasuredThreshold:
        """The mean of the thresholds that ten folds chose on the other nine.

        Args:
            scores: (N,) cosines in the order of the pairs.
            same: (N,) labels.

        Raises:
            PairsError: too few pairs to tell.
        """
        genuine = int(same.sum())
        if len(same) < MIN_PAIRS or min(genuine, len(same) - genuine) < MIN_OF_A_KIND:
            raise PairsError(
                f"A threshold from pairs needs at least {MIN_PAIRS} usable pairs, {MIN_OF_A_KIND} of either kind; got "
                f"{len(same)}, {genuine} of them of the same person.",
                hint="give more labelled pairs, or name a threshold with --threshold at the conversion",
            )
        value = round(metrics.ten_fold(scores, same).threshold, 4)
        return cls(value, f"mean of ten out-of-fold thresholds on {len(same)} labelled pairs")


def measure_threshold(
    embedder: Embedder,
    labelled: LabelledPairs,
    detector: Detector,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> MeasuredThreshold:
    """The threshold that labelled pairs give a model.

    Args:
        embedder: the model.
        labelled: pairs.
        detector: finds the faces, where the pairs come without landmarks.
        progress: called with photographs done and their total.

    Raises:
        PairsError: too few pairs are usable.
    """
    rows = {}
    for name, crop, _ in pair_crops(labelled, embedder.spec, detector, progress=progress):
        if not isinstance(crop, str):
            rows[name] = normalize(embedder.forward(crop[None]))[0].astype(np.float64)
    usable = [pair for pair in labelled.pairs if pair.first in rows and pair.second in rows]
    scores = np.array([rows[pair.first] @ rows[pair.second] for pair in usable], dtype=np.float64)
    return MeasuredThreshold.of_pairs(scores, np.array([pair.same for pair in usable], dtype=bool))
