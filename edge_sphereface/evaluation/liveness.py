"""Error rates of liveness models on clips, and the threshold for a wanted share of attacks.

References:
    ISO/IEC 30107-3: APCER is the share of attack presentations classified as live (bona fide), BPCER the share of live
    presentations classified as attacks. A presentation is a clip here, not a frame: frames of one clip are no
    independent observations. ISO/IEC 19795-1, annex B: without an error in N independent trials the rate is below
    3 / N with 95 % confidence (the "rule of 3").
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.errors import ThresholdError
from edge_sphereface.liveness.calibration import ErrorRate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import Float64Array

_RULE = 3
_NORMAL = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


class LivenessErrors(NamedTuple):
    """A threshold for clips, and how wrong it is.

    Attributes:
        threshold: mean probability from which a clip counts as live.
        apcer: share of attack clips that count as live.
        bpcer: share of live clips that do not.
        equal_error: error rate where both are equal, or nearest to it.
    """

    threshold: float
    apcer: ErrorRate
    bpcer: ErrorRate
    equal_error: ErrorRate


def clip_score(checks: Sequence[float], window: int) -> float:
    """The highest threshold at which a clip would count as live at some time.

    A stream decides after each check by the mean of the newest ones, so an attack passes if that mean is ever high
    enough, and a live person is recognized as soon as it is.

    Args:
        checks: probability of each check, in order; at least one.
        window: number of newest checks that are averaged.
    """
    sums = np.concatenate([[0.0], np.cumsum(checks)])
    ends = np.arange(1, len(sums))
    begins = np.maximum(ends - window, 0)
    return float(((sums[ends] - sums[begins]) / (ends - begins)).max())


def clips_needed(rate: float) -> int:
    """Smallest number of clips that can support an error rate, by the rule of 3."""
    return math.ceil(_RULE / rate)


def wilson(errors: int, trials: int) -> ErrorRate:
    """The share of errors with its 95 % interval.

    References:
        E. B. Wilson: Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
    """
    share, square = errors / trials, _NORMAL**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = _NORMAL / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return ErrorRate(value=share, low=max(0.0, min(share, middle - half)), high=min(1.0, max(share, middle + half)))


def calibrate_liveness(
    live: Sequence[float], attacks: Sequence[float], *, apcer: float, bpcer: float
) -> LivenessErrors:
    """Find the threshold with the fewest errors of both kinds that at most a wanted share of attack clips reaches.

    Of thresholds with equally many errors it is the one in the middle of the widest gap between scores.

    Args:
        live: score of each live clip, 0 to 1.
        attacks: score of each attack clip.
        apcer: largest share of attack clips that may count as live.
        bpcer: largest share of live clips that may not.

    Raises:
        ThresholdError: there are too few clips for these rates, or the models do not separate the clips; the message
            says what would do.
    """
    for scores, rate, what in ((attacks, apcer, "attack"), (live, bpcer, "live")):
        if len(scores) < clips_needed(rate):
            raise ThresholdError(
                f"An error rate of {rate:g} needs at least {clips_needed(rate)} {what} clips with a face; got "
                f"{len(scores)}: they support a rate of {_RULE / max(len(scores), _RULE):.2g} or more.",
                hint="add clips of other moments, people and light, or ask for a rate that they support",
            )
    genuine, spoofs = np.array(live, np.float64), np.array(attacks, np.float64)
    candidates = [_Candidate.at(threshold, gap, genuine, spoofs) for threshold, gap in _thresholds(genuine, spoofs)]
    permitted = [candidate for candidate in candidates if candidate.apcer.value <= apcer]
    if not permitted:
        raise ThresholdError(
            f"No threshold refuses enough of these {len(spoofs)} attack clips: the models are sure that they are live.",
            hint="these models do not know such attacks on this camera; use others",
        )
    best = min(permitted, key=lambda candidate: (candidate.total, -candidate.gap))
    found = LivenessErrors(best.threshold, best.apcer, best.bpcer, _equal_error(candidates))
    if found.bpcer.value > bpcer or 1 - found.bpcer.high <= found.apcer.high:
        raise ThresholdError(
            f"The models cannot tell these clips apart: at the threshold {found.threshold:.4f}, which "
            f"{_percent(found.apcer)} of {len(spoofs)} attack clips reach, {_percent(found.bpcer)} of {len(genuine)} "
            f"live clips do not count as live. Expected at most {100 * bpcer:.3g} %, and intervals of the two shares "
            f"that count as live which do not meet. The equal error rate is {_percent(found.equal_error)}.",
            hint="take more clips, with more light and larger faces, or use other models",
        )
    return found


class _Candidate(NamedTuple):
    """A threshold, its distance between the next lower and the next higher score, and its errors."""

    threshold: float
    gap: float
    apcer: ErrorRate
    bpcer: ErrorRate

    @classmethod
    def at(cls, threshold: float, gap: float, genuine: Float64Array, spoofs: Float64Array) -> _Candidate:
        accepted, refused = int((spoofs >= threshold).sum()), int((genuine < threshold).sum())
        return cls(threshold, gap, wilson(accepted, len(spoofs)), wilson(refused, len(genuine)))

    @property
    def total(self) -> float:
        return round(self.apcer.value + self.bpcer.value, 12)


def _thresholds(genuine: Float64Array, spoofs: Float64Array) -> list[tuple[float, float]]:
    """Thresholds in the middle between neighboring scores, up to 1, each with the distance of those scores."""
    edges = np.unique(np.concatenate([[0.0], genuine, spoofs, [1.0]]))
    return [((low + high) / 2, high - low) for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]


def _equal_error(candidates: Sequence[_Candidate]) -> ErrorRate:
    """The mean of both rates where they are nearest, with an interval that holds those of both."""
    best = min(candidates, key=lambda candidate: (abs(candidate.apcer.value - candidate.bpcer.value), candidate.total))
    one, other = best.apcer, best.bpcer
    return ErrorRate(value=(one.value + other.value) / 2, low=min(one.low, other.low), high=max(one.high, other.high))


def _percent(rate: ErrorRate) -> str:
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
