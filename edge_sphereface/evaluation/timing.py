"""Interleaved latency measurement of several cases, with raw samples."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.json_output import rounded
from edge_sphereface.storage.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_sphereface.types import Float64Array

_NS_PER_MS = 1e6
_SEED = 0
"""Of the order of the cases in each round: every run of a benchmark uses the same orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary(Record):
    """Latency of one case, in milliseconds.

    Attributes:
        samples: number of samples.
        min_ms: minimum.
        median_ms: median.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile; with fewer than 100 samples it is close to the maximum.
    """

    record_name = "The summary of a latency"
    record_error = EdgeSphereFaceError
    record_hint = "measure again"

    samples: int
    min_ms: float = field(metadata=rounded(3))
    median_ms: float = field(metadata=rounded(3))
    p95_ms: float = field(metadata=rounded(3))
    p99_ms: float = field(metadata=rounded(3))


class Deadline:
    """A moment after which a measurement starts nothing new.

    Args:
        seconds: time until then; infinite for no limit.
        clock: monotonic time in seconds.
    """

    def __init__(self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self._clock() >= self._end

    def share(self, part: float) -> Deadline:
        """Deadline of a step that may take this part of the time that is left."""
        return Deadline((self._end - self._clock()) * part, self._clock)


def measure_interleaved(
    cases: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 5,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Float64Array]:
    """Run every case once per round, so that a drift of the machine affects all cases equally.

    Each round has another order, the same in every run: a case that always followed the same one would find the caches
    as that one leaves them.

    Args:
        cases: functions to time, by name.
        rounds: samples per case.
        warmup: additional rounds before those, which are not counted.
        clock_ns: monotonic clock in nanoseconds.
        progress: called after each counted round with its number.

    Returns:
        Latencies (rounds,) float64 in milliseconds, by name.
    """
    samples = {name: np.empty(rounds, dtype=np.float64) for name in cases}
    order, shuffled = list(cases.items()), random.Random(_SEED)  # noqa: S311 -- not for secrets
    for number in range(-warmup, rounds):
        shuffled.shuffle(order)
        for name, run in order:
            start = clock_ns()
            run()
            elapsed = clock_ns() - start
            if number >= 0:
                samples[name][number] = elapsed / _NS_PER_MS
        if number >= 0 and progress is not None:
            progress(number + 1)
    return samples


def summarize(samples_ms: Float64Array) -> LatencySummary:
    """Summarize raw samples in milliseconds by minimum, median and tail."""
    low, median, p95, p99 = np.percentile(samples_ms, [0, 50, 95, 99])
    return LatencySummary(
        samples=len(samples_ms), min_ms=float(low), median_ms=float(median), p95_ms=float(p95), p99_ms=float(p99)
    )
