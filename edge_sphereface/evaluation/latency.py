"""Decides whether one model is faster than another on this machine, by a confidence interval over rounds.

A median that is one percent lower is no evidence: two copies of one model differ by as much. Each round loads the
models again, one at a time and in alternating order, because the place of a model's weights in memory affects its speed
for as long as it is loaded. The interval of the ratio comes from resampling rounds, the same ones for both models, so
that a temporary slowdown of the machine affects both. A model is faster if the interval lies below 1.

The caches are flushed before every timed inference, as the frames and the detector of a camera would do. Otherwise a
model with large weights would seem faster than it is in use.

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
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import NDArray

    from edge_sphereface.evaluation.timing import Deadline
    from edge_sphereface.types import Float64Array

    Run = Callable[[], object]

Verdict: TypeAlias = Literal["faster", "slower", "tie"]

ROUNDS, PER_ROUND = 20, 5
"""Default rounds, and samples per round: identical models differ in fewer than 1 of 20 comparisons."""
_MIN_ROUNDS = 5
_WARMUP = 3
_FRAMES_BYTES = 64 << 20


class Plan(NamedTuple):
    """Number of latency samples.

    Attributes:
        rounds: number of times that each model is loaded.
        per_round: number of timed inferences per round.
    """

    rounds: int = ROUNDS
    per_round: int = PER_ROUND

    @classmethod
    def of(cls, samples: int, rounds: int = ROUNDS) -> Plan:
        """Plan about ``samples`` samples in at most ``rounds`` rounds."""
        count = min(rounds, samples)
        return cls(count, math.ceil(samples / count))


DEFAULT_PLAN = Plan()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Latency of one model divided by that of another.

    Attributes:
        ratio: ratio of the median latencies.
        low: lower bound of the ratio's interval; 0 if there were too few rounds.
        high: upper bound of that interval; infinite (null in JSON) if there were too few rounds.
        rounds: number of rounds in which both models were measured.
        verdict: ``faster``, ``slower``, or ``tie`` if the interval includes 1.
    """

    ratio: float = field(metadata=rounded(4))
    low: float = field(metadata=rounded(4))
    high: float = field(metadata=rounded(4, null_unless_finite=True))
    rounds: int
    verdict: Verdict = field(init=False, default="tie")

    def __post_init__(self) -> None:
        verdict = "faster" if self.high < 1 else "slower" if self.low > 1 else "tie"
        object.__setattr__(self, "verdict", verdict)

    def __str__(self) -> str:
        if not math.isfinite(self.high):
            return f"{self.ratio:.3f} (too few rounds for an interval)"
        return f"{self.ratio:.3f} ({self.low:.3f} to {self.high:.3f})"


def ratio(candidate: Float64Array, reference: Float64Array, *, confidence: float = 0.95) -> Ratio:
    """Compare two models by the rounds in which both were measured.

    Args:
        candidate: (rounds, samples) latencies in milliseconds.
        reference: (rounds, samples) latencies of the other model in milliseconds.
        confidence: probability that the interval contains the ratio.
    """
    rounds = min(len(candidate), len(reference))
    candidate, reference = candidate[:rounds], reference[:rounds]

    def of_rounds(drawn: NDArray[np.int64]) -> Float64Array:
        over, under = (rows[drawn].reshape(len(drawn), -1) for rows in (candidate, reference))
        return np.asarray(np.median(over, axis=1) / np.median(under, axis=1), dtype=np.float64)

    low, high = 0.0, math.inf
    if rounds >= _MIN_ROUNDS:
        low, high = interval_at_once(of_rounds, rounds, confidence=confidence)
    return Ratio(ratio=float(of_rounds(np.arange(rounds)[None])[0]), low=low, high=high, rounds=rounds)


def measure_rounds(
    load: Mapping[str, Callable[[], Run]],
    plan: Plan = DEFAULT_PLAN,
    *,
    frames_bytes: int = _FRAMES_BYTES,
    remaining: Callable[[Mapping[str, Float64Array]], Collection[str]] | None = None,
    deadline: Deadline | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Float64Array]:
    """Measure the latency of models in rounds. One model is loaded at a time, which bounds the memory.

    A model that leaves early has the samples of the first rounds, which its ratio to another one is computed from.

    Args:
        load: for each name, a function that loads the model and returns its inference.
        plan: number of samples.
        frames_bytes: bytes that are written before every timed inference to empty the caches.
        remaining: called after each round with the samples until then; returns the names to measure again. None
            measures all of them in every round.
        deadline: no round starts after it, except the first one; None for no limit.
        progress: called with the number of models measured and their total.

    Returns:
        Latencies (rounds, samples) float64 in milliseconds, by name. A model that left early has fewer rounds.
    """
    frames = np.zeros(frames_bytes, dtype=np.uint8)
    samples = {name: np.empty((0, plan.per_round)) for name in load}
    order, done = list(load), 0
    for left in range(plan.rounds, 0, -1):
        total = done + left * len(order)
        for name in order:
            run = load[name]()
            for _ in range(_WARMUP):
                run()
            cases: dict[str, Run] = {"frames": partial(frames.fill, 1), "inference": run}
            taken = measure_interleaved(cases, rounds=plan.per_round, warmup=0)
            samples[name] = np.vstack([samples[name], taken["inference"]])
            del cases, run
            done += 1
            if progress is not None:
                progress(done, total)
        kept = order if remaining is None else remaining(samples)
        order = [name for name in reversed(order) if name in kept]
        if not order or (deadline is not None and deadline.passed):
            break
    return samples
