"""Whether one model is faster than another on this machine: measured in rounds, decided by an interval.

A median that is a percent lower decides nothing: two copies of one model differ as much. Each round loads the models
anew, one at a time and in an order that alternates, since where a model's weights come to lie in memory moves its speed
for as long as it is loaded. The interval of the ratio comes from drawing rounds with replacement, for both models the
same ones, so that a machine that slows down for a while slows both. A model is faster if that interval lies below 1.

Before every inference the caches are emptied, as the frames and the detector of a camera do: a form with large weights
would otherwise look faster than it will be.

References:
    B. Efron, R. Tibshirani: An Introduction to the Bootstrap, 1993, chapter 8: resample the unit that is independent,
    here the round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from edge_sphereface.evaluation.timing import measure_interleaved
from edge_sphereface.json_output import rounded
from edge_sphereface.metrics import interval_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edge_sphereface.types import Float64Array

    Run = Callable[[], object]

Verdict: TypeAlias = Literal["faster", "slower", "tie"]

ROUNDS, PER_ROUND = 20, 5
"""Enough rounds that identical models are called different in less than 1 of 20 comparisons."""
_MIN_ROUNDS = 5
_WARMUP = 3
_FRAMES_BYTES = 64 << 20


class Plan(NamedTuple):
    """How many samples are taken.

    Attributes:
        rounds: how often each model is loaded.
        per_round: inferences that are timed each time.
    """

    rounds: int = ROUNDS
    per_round: int = PER_ROUND

    @classmethod
    def of(cls, samples: int, rounds: int = ROUNDS) -> Plan:
        """About as many samples, in at most as many rounds."""
        count = min(rounds, samples)
        return cls(count, math.ceil(samples / count))


_PLAN = Plan()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Latency of one model over that of another.

    Attributes:
        ratio: of the medians.
        low: of its 95 % interval.
        high: of that interval; infinite, null in JSON, after too few rounds to tell.
        rounds: that both were measured in.
        verdict: ``faster``, ``slower`` or, where the interval holds 1, ``tie``.
    """

    ratio: float = field(metadata=rounded(4))
    low: float = field(metadata=rounded(4, null_unless_finite=True))
    high: float = field(metadata=rounded(4, null_unless_finite=True))
    rounds: int
    verdict: Verdict = field(init=False)

    def __post_init__(self) -> None:
        verdict = "faster" if self.high < 1 else "slower" if self.low > 1 else "tie"
        object.__setattr__(self, "verdict", verdict)

    def __str__(self) -> str:
        if not math.isfinite(self.high):
            return f"{self.ratio:.3f} (too few rounds for an interval)"
        return f"{self.ratio:.3f} ({self.low:.3f} to {self.high:.3f})"


def ratio(candidate: Float64Array, reference: Float64Array) -> Ratio:
    """Compare two models that were measured in the same rounds.

    Args:
        candidate: (rounds, samples) milliseconds.
        reference: the same of the other model.
    """

    def of_rounds(drawn: NDArray[np.int64]) -> Float64Array:
        over, under = (rows[drawn].reshape(len(drawn), -1) for rows in (candidate, reference))
        return np.asarray(np.median(over, axis=1) / np.median(under, axis=1), dtype=np.float64)

    rounds = len(candidate)
    low, high = (0.0, math.inf) if rounds < _MIN_ROUNDS else interval_at_once(of_rounds, rounds)
    return Ratio(ratio=float(of_rounds(np.arange(rounds)[None])[0]), low=low, high=high, rounds=rounds)


def measure_rounds(
    load: Mapping[str, Callable[[], Run]],
    plan: Plan = _PLAN,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Float64Array]:
    """Time models in rounds; one is loaded at a time, so that the memory needed is that of the largest.

    Args:
        load: gives, by name, a function that loads a model and returns its inference.
        plan: how many samples.
        progress: told models measured and in all.

    Returns:
        Samples by name, (rounds, samples) float64, in milliseconds.
    """
    frames = np.zeros(_FRAMES_BYTES, dtype=np.uint8)
    samples = {name: np.empty((plan.rounds, plan.per_round)) for name in load}
    for number in range(plan.rounds):
        order = list(load.items())
        for done, (name, loaded) in enumerate(order if number % 2 == 0 else order[::-1], start=1):
            cases: dict[str, Run] = {"frames": partial(frames.fill, 1), "inference": loaded()}
            taken = measure_interleaved(cases, rounds=plan.per_round, warmup=_WARMUP)
            samples[name][number] = taken["inference"]
            del cases
            if progress is not None:
                progress(number * len(order) + done, plan.rounds * len(order))
    return samples
