"""TensorRT's ``trtexec``.

Source: NVIDIA's documentation of trtexec ("Performance summary"). "GPU Compute Time" covers the device alone, "Latency"
adds both copies; ``qps`` counts calls, not samples, and calls overlap copies.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import NUMBER, order_doubts, statistics
from benchmarks.ascend.row import IMPORTED, LedgerRow
from edge_sphereface.storage.bounded_json import shown

if TYPE_CHECKING:
    from benchmarks.ascend.formats.recording import Recording
    from benchmarks.ascend.row import PartialLatency

_FIGURE = re.compile(rf"(min|max|mean|median|percentile\(9[059]%\)) = {NUMBER} ms")
_RATE = re.compile(rf"Throughput: {NUMBER} qps")
_DEVICE = re.compile(r"Selected Device: (.{1,80})")
_PRECISION = re.compile(r"\[I\] Precision: (.{1,40})")


def read(recording: Recording) -> list[LedgerRow]:
    """Read the performance summary of one run.

    Raises:
        ImportedError: the file holds several runs, or a figure cannot be a time.
    """
    compute = _times(recording, "GPU Compute Time")
    if compute is None:
        return []
    kinds = {"GPU Compute Time": compute, "H2D Latency": _times(recording, "H2D Latency", zero=True)}
    kinds["D2H Latency"] = _times(recording, "D2H Latency", zero=True)
    batch, doubts = recording.batch(None)
    calls = recording.single(_RATE, "trtexec")
    notes = []
    if calls is not None:
        rate = recording.rate(calls[1], "Throughput")
        notes.append(f"{rate:g} calls a second, which overlap; trtexec may use random input")
    selected, precision = recording.single(_DEVICE, "trtexec"), recording.single(_PRECISION, "trtexec")
    device, about_device = recording.device(None if selected is None else shown(selected[1]))
    return [
        LedgerRow(
            path="trtexec",
            device=device,
            precision=recording.stated.precision or (None if precision is None else shown(precision[1])),
            batch=batch,
            includes="compute",
            latency=compute,
            host_to_device=kinds["H2D Latency"],
            device_to_host=kinds["D2H Latency"],
            faces_per_second=None if calls is None or batch is None else round(rate * batch, 3),
            origin=IMPORTED,
            source=recording.stated.source,
            doubts=(
                *doubts,
                *about_device,
                *notes,
                *(text for name, times in kinds.items() if times is not None for text in order_doubts(times, name)),
            ),
        )
    ]


def _times(recording: Recording, name: str, *, zero: bool = False) -> PartialLatency | None:
    found = recording.single(re.compile(rf"\[I\] {name}: (min = .*)"), "trtexec")
    return None if found is None else statistics(recording, _FIGURE.findall(found[1]), name, zero=zero)
