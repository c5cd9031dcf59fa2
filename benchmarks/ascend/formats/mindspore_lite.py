"""MindSpore Lite's ``benchmark``.

Source: MindSpore Lite's documentation, "benchmark". Its times are those around ``Predict``; inputs are random unless
``--inDataFile`` names one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import NUMBER, order_doubts, statistics
from benchmarks.ascend.row import IMPORTED, LedgerRow

if TYPE_CHECKING:
    from benchmarks.ascend.formats.recording import Recording

_RUN = re.compile(
    rf"NumThreads = ([0-9]{{1,6}}), MinRunTime = {NUMBER} ms, MaxRunTime = {NUMBER} ms, AvgRunTime = {NUMBER} ms",
    re.IGNORECASE,
)


def read(recording: Recording) -> list[LedgerRow]:
    """Read minimum, maximum and mean.

    Raises:
        ImportedError: the file holds several runs, or a figure cannot be a time.
    """
    found = recording.single(_RUN, "MindSpore Lite's benchmark")
    if found is None:
        return []
    names = ("min", "max", "mean")
    latency = statistics(recording, list(zip(names, found.groups()[1:], strict=True)), "RunTime")
    batch, doubts = recording.batch(None)
    threads = f"{found[1]} threads"
    device = recording.stated.device
    return [
        LedgerRow(
            path="MindSpore Lite, benchmark",
            device=threads if device is None else f"{device}, {threads}",
            precision=recording.stated.precision,
            batch=batch,
            includes="compute and copies",
            latency=latency,
            origin=IMPORTED,
            source=recording.stated.source,
            doubts=(*doubts, *order_doubts(latency, "RunTime")),
        )
    ]
