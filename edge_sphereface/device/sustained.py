"""Runs a model without a pause for minutes, and samples rate, temperature, clock and throttling."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from edge_sphereface.device.report import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_sphereface.evaluation.condition import DeviceCondition

_WINDOWS = 60
_SHORTEST_S = 0.5


def sustain(
    run: Callable[[], object],
    seconds: float,
    *,
    condition: Callable[[], DeviceCondition],
    clock: Callable[[], float],
) -> Iterator[Window]:
    """Call a function again and again, and give the parts of the run as they end.

    The time that reading the condition takes, and that of the caller, belong to no part.

    Args:
        run: one inference.
        seconds: duration of the run; the inference that reaches it is the last one.
        condition: reads the condition of the machine.
        clock: monotonic time in seconds.

    Yields:
        About sixty parts, but none shorter than half a second or one inference.
    """
    length = max(seconds / _WINDOWS, _SHORTEST_S)
    start = opened = now = clock()
    latencies: list[float] = []
    while now - start < seconds:
        run()
        before, now = now, clock()
        latencies.append(now - before)
        if now - opened >= length or now - start >= seconds:
            yield Window(
                end_s=now - start,
                inferences=len(latencies),
                rate=len(latencies) / (now - opened),
                median_ms=median(latencies) * 1e3,
                condition=condition(),
            )
            latencies = []
            opened = now = clock()
