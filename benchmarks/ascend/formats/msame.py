"""msame, the older tool for networks in the .om format.

Source: Ascend/tools, msame; real output in the pages of Ascend/ModelZoo-TensorFlow. Its times cover the execution on
the device. The first call prepares the network, so the mean without it is taken where it is printed.
"""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import NUMBER, differ, order_doubts
from benchmarks.ascend.row import IMPORTED, LedgerRow, PartialLatency

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.ascend.formats.recording import Recording

_MEAN = re.compile(rf"Inference average time ?: ?{NUMBER} ?ms")
_LATER_MEAN = re.compile(rf"Inference average time without first time ?: ?{NUMBER} ?ms")
_CALL = re.compile(rf"Inference time: {NUMBER}ms")


def read(recording: Recording) -> list[LedgerRow]:
    """Read the mean, and the time of each call where it is printed.

    Raises:
        ImportedError: the file holds several runs, or a figure cannot be a time.
    """
    every, later = recording.single(_MEAN, "msame"), recording.single(_LATER_MEAN, "msame")
    chosen = later or every
    if chosen is None:
        return []
    mean_ms = recording.time_ms(chosen[1], "the mean")
    calls = [recording.time_ms(found[1], "a call") for found in recording.matches(_CALL)]
    counted = calls[1:] if later is not None and len(calls) > 1 else calls
    latency = PartialLatency(mean_ms=mean_ms)
    if counted:
        latency = PartialLatency(
            samples=len(counted), min_ms=min(counted), mean_ms=mean_ms, median_ms=median(counted), max_ms=max(counted)
        )
    batch, doubts = recording.batch(None)
    return [
        LedgerRow(
            path="msame" if later is None else "msame without the first call",
            device=recording.stated.device,
            precision=recording.stated.precision,
            batch=batch,
            includes="compute",
            latency=latency,
            origin=IMPORTED,
            source=recording.stated.source,
            doubts=(*doubts, *_contradictions(latency, counted)),
        )
    ]


def _contradictions(latency: PartialLatency, calls: list[float]) -> Iterator[str]:
    yield from order_doubts(latency, "msame")
    if calls and latency.mean_ms is not None and differ(sum(calls) / len(calls), latency.mean_ms):
        mean_ms = sum(calls) / len(calls)
        yield f"the mean of its {len(calls)} calls is {mean_ms:.6g} ms, and {latency.mean_ms:g} ms is printed"
