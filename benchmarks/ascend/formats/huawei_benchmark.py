"""``benchmark``, Huawei's tool before ais_bench: ``perf_vision_batchsize_N_device_M.txt``.

Source: pages of Ascend/ModelZoo-PyTorch. ``Interface throughputRate`` is the rate of the calls to the device alone, of
one chip: Huawei's pages multiply it by four for a card of four. ``moduleLatency`` is the mean time of one sample in a
stage, with waiting; it is the latency of a call only at batch 1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import NUMBER
from benchmarks.ascend.row import IMPORTED, LedgerRow, PartialLatency

if TYPE_CHECKING:
    from benchmarks.ascend.formats.recording import Recording

_INFERENCE = re.compile(
    rf"\[infer(?:ence)?\] throughputRate: {NUMBER}, Interface throughputRate: {NUMBER}, moduleLatency: {NUMBER}"
)
_BATCH_IN_NAME = re.compile(r"batchsize_([0-9]{1,6})_device")


def read(recording: Recording) -> list[LedgerRow]:
    """Read two rows: the calls to the device, and the stage of inference as a whole.

    Raises:
        ImportedError: the file holds several runs, or a figure cannot be a time or a rate.
    """
    found = recording.single(_INFERENCE, "benchmark")
    if found is None:
        return []
    in_name = _BATCH_IN_NAME.search(recording.name)
    batch, doubts = recording.batch(None if in_name is None else float(in_name[1]))
    mean_ms = recording.time_ms(found[3], "moduleLatency")
    return [
        LedgerRow(
            path="benchmark, calls to the device",
            device=recording.stated.device,
            precision=recording.stated.precision,
            batch=batch,
            includes="compute",
            faces_per_second=recording.rate(found[2], "Interface throughputRate"),
            origin=IMPORTED,
            source=recording.stated.source,
            doubts=(*doubts, "the rate of one chip"),
        ),
        LedgerRow(
            path="benchmark, stage of inference",
            device=recording.stated.device,
            precision=recording.stated.precision,
            batch=batch,
            includes="whole call",
            latency=PartialLatency(mean_ms=mean_ms) if batch == 1 else None,
            faces_per_second=recording.rate(found[1], "throughputRate"),
            origin=IMPORTED,
            source=recording.stated.source,
            doubts=(*doubts, f"moduleLatency, {mean_ms:g} ms, is for one sample and includes waiting"),
        ),
    ]
