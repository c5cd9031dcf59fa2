"""Calibrates the threshold for a requested false accept rate, if the data can support that rate.

References:
    G. Doddington et al.: The NIST speaker recognition evaluation, Speech Communication 31, 2000: 30 errors are needed
    before an error rate is known to within 30 % (the "rule of 30"). ISO/IEC 19795-1, annex B: without an error in N
    independent comparisons the rate is below 3 / N with 95 % confidence (the "rule of 3").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import ThresholdError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_sphereface.types import Float32Array, Float64Array, Int64Array

MIN_FALSE_ACCEPTS = 30
"""Smallest number of false accepts among pairs of photographs, by the rule of 30."""
MIN_FALSE_PEOPLE = 3
"""Smallest expected number of falsely accepted pairs of people, by the rule of 3. Pairs of people are counted because
photographs of the same two people are not independent comparisons."""

_RESAMPLES = 500
_BLOCK = 512
_KEPT = 20
"""Highest impostor scores that are kept, as a multiple of the false accepts, so that they include resampled
thresholds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A threshold calibrated on photographs, and the data behind it.

    Attributes:
        far: requested false accept rate (FAR), a share of impostor pairs.
        threshold: cosine similarity at which at most that share of impostor pairs is accepted.
        low: lower bound of the threshold's 95 % interval, by resampling people.
        high: upper bound of that interval.
        measured_far: false accept rate of these photographs at the threshold.
        tar: true accept rate of these photographs at the threshold; None if no person has two photographs.
        people: number of people.
        photographs: number of photographs.
        genuine_pairs: number of pairs of the same person.
        impostor_pairs: number of pairs of different people.
    """

    far: float
    threshold: float
    low: float
    high: float
    measured_far: float
    tar: float | None
    people: int
    photographs: int
    genuine_pairs: int
    impostor_pairs: int


def calibrate(embeddings: Float32Array, people: Sequence[str], far: float, *, seed: int = 0) -> Calibration:
    """Find the threshold for a false accept rate on photographs.

    Args:
        embeddings: (N, D) unit rows.
        people: N names, the person of each row.
        far: requested share of accepted impostor pairs, above 0 and below 1.
        seed: seed of the resampling.

    Raises:
        ThresholdError: the data cannot support that rate; the message says what would.
        ValueError: the rate is not between 0 and 1.
    """
    if not 0 < far < 1:
        raise ValueError(f"Expected a false accept rate above 0 and below 1, got {far}.")
    names, labels, counts = np.unique(np.array(people, dtype=str), return_inverse=True, return_counts=True)
    impostors = (len(people) ** 2 - int((counts**2).sum())) // 2
    _require_support(far, len(names), impostors)
    allowed = math.floor(far * impostors)
    top = _KEPT * allowed + 1
    scores, first, second, genuine = _scores(embeddings, labels, top)
    threshold = _between(scores, allowed)
    measured = int((scores >= threshold).sum()) / impostors
    if measured > far:
        raise ThresholdError(
            f"No threshold gives so few false accepts: {allowed + 1} or more pairs of different people have a cosine "
            "similarity of 1.",
            hint="look for the same photographs under several names",
        )
    low, high = np.percentile(list(_resampled(scores, labels[first], labels[second], counts, far, seed)), [2.5, 97.5])
    return Calibration(
        far=far,
        threshold=threshold,
        low=float(low),
        high=float(high),
        measured_far=measured,
        tar=float((genuine >= threshold).mean()) if genuine.size else None,
        people=len(names),
        photographs=len(people),
        genuine_pairs=int(genuine.size),
        impostor_pairs=impostors,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackCalibration:
    """A threshold for streams, calibrated on tracks of strangers, and the data behind it.

    Attributes:
        far: requested false accept rate (FAR), the share of strangers' tracks that may ever be given a name.
        threshold: cosine similarity that at most that share of tracks reaches.
        low: lower bound of the threshold's 95 % interval, by resampling tracks.
        high: upper bound of that interval.
        measured_far: share of these tracks that reaches the threshold.
        tracks: number of strangers' tracks.
        sequences: number of sequences that the tracks come from.
    """

    far: float
    threshold: float
    low: float
    high: float
    measured_far: float
    tracks: int
    sequences: int


def calibrate_tracks(sequences: Sequence[Sequence[float]], far: float, *, seed: int = 0) -> TrackCalibration:
    """Find the threshold that at most a requested share of strangers' tracks ever reaches.

    Args:
        sequences: scores of the tracks of each sequence, from ``edge_sphereface.stream.stranger_tracks``.
        far: share of tracks that may reach the threshold.
        seed: seed of the resampling.

    Raises:
        ThresholdError: there are too few tracks for the rate (the rule of 3).
    """
    scores = np.array([score for sequence in sequences for score in sequence], dtype=np.float32)
    if far * len(scores) < MIN_FALSE_PEOPLE:
        least = MIN_FALSE_PEOPLE / max(len(scores), 1)
        supported = f"they support a rate of {least:.2g} or more" if least < 1 else "they support none"
        raise ThresholdError(
            f"A false alarm rate of {far:g} needs at least {tracks_needed(far)} tracks of strangers; "
            f"got {len(scores)} in {len(sequences)} sequences: {supported}.",
            hint="add sequences of more strangers, ask for a rate that they support, or choose a fixed threshold",
            remedy="fix-threshold",
        )
    allowed = int(far * len(scores))
    threshold = _between(np.sort(scores)[::-1], allowed)
    random = np.random.default_rng(seed)
    drawn = np.sort(random.choice(scores, (_RESAMPLES, len(scores))), axis=1)[:, ::-1]
    low, high = np.percentile(drawn[:, allowed], [2.5, 97.5])
    return TrackCalibration(
        far=far,
        threshold=threshold,
        low=min(float(low), threshold),
        high=max(float(high), threshold),
        measured_far=float((scores >= threshold).mean()),
        tracks=len(scores),
        sequences=len(sequences),
    )


def people_needed(far: float) -> int:
    """Smallest number of people whose photographs can support a false accept rate."""
    return math.ceil((1 + math.sqrt(1 + 8 * MIN_FALSE_PEOPLE / far)) / 2)


def tracks_needed(far: float) -> int:
    """Smallest number of tracks of strangers that can support a false alarm rate."""
    return math.ceil(MIN_FALSE_PEOPLE / far)


def _require_support(far: float, people: int, impostors: int) -> None:
    people_pairs = people * (people - 1) // 2
    if far * impostors >= MIN_FALSE_ACCEPTS and far * people_pairs >= MIN_FALSE_PEOPLE:
        return
    least = max(MIN_FALSE_ACCEPTS / max(impostors, 1), MIN_FALSE_PEOPLE / max(people_pairs, 1))
    supported = f"they support a rate of {least:.2g} or more" if least < 1 else "they support none"
    raise ThresholdError(
        f"A false accept rate of {far:g} needs at least {MIN_FALSE_ACCEPTS / far:.0f} pairs of photographs of "
        f"different people and {people_needed(far)} people; got {impostors} pairs of {people} people: {supported}.",
        hint="add photographs of more people, ask for a rate that they support, or choose a fixed threshold",
        remedy="fix-threshold",
    )


def _scores(
    embeddings: Float32Array, labels: Int64Array, top: int
) -> tuple[Float32Array, Int64Array, Int64Array, Float32Array]:
    """The ``top`` highest impostor scores in descending order, both row indices of each, and all genuine scores."""
    scores, first, second = np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64)
    genuine = []
    for start in range(0, len(embeddings), _BLOCK):
        block = embeddings[start : start + _BLOCK] @ embeddings[start:].T
        rows, columns = np.triu_indices(len(block), k=1, m=block.shape[1])
        values = np.clip(block[rows, columns], -1.0, 1.0)  # rounding can exceed 1
        rows, columns = rows + start, columns + start
        same = labels[rows] == labels[columns]
        genuine.append(values[same])
        other = ~same
        scores = np.concatenate([scores, values[other]])
        first, second = np.concatenate([first, rows[other]]), np.concatenate([second, columns[other]])
        if len(scores) > top:
            kept = np.argpartition(-scores, top - 1)[:top]
            scores, first, second = scores[kept], first[kept], second[kept]
    order = np.argsort(-scores, kind="stable")
    return scores[order], first[order], second[order], np.concatenate(genuine)


def _between(scores: Float32Array, allowed: int) -> float:
    """A threshold that ``allowed`` of the descending scores reach, or fewer if scores are equal."""
    if allowed >= len(scores):
        return float(scores[-1])
    above = scores[:allowed][scores[:allowed] > scores[allowed]]
    upper = float(above[-1]) if above.size else 1.0
    return (float(scores[allowed]) + upper) / 2


def _resampled(
    scores: Float32Array, first: Int64Array, second: Int64Array, counts: Int64Array, far: float, seed: int
) -> Iterator[float]:
    """Bootstrap thresholds of the same rate, by resampling people.

    A pair is weighted by the product of how often its two people were drawn. Pairs of a person with itself are not
    impostor pairs.
    """
    random = np.random.default_rng(seed)
    chances = np.full(len(counts), 1 / len(counts))
    for _ in range(_RESAMPLES):
        drawn: Float64Array = random.multinomial(len(counts), chances).astype(np.float64)
        photographs = drawn * counts
        total = (photographs.sum() ** 2 - (photographs**2).sum()) / 2
        accepted = np.cumsum(drawn[first] * drawn[second])
        yield float(scores[min(int(np.searchsorted(accepted, far * total, side="right")), len(scores) - 1)])
