"""ais_bench: the JSON that it writes beside the outputs (``…_summary.json``; older versions: ``sumary.json``).

Source: Ascend/tools, ais-bench_workload/tool/ais_bench, ``summary.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from benchmarks.ascend.formats.ais_bench import PIPELINE
from benchmarks.ascend.formats.recording import ImportedError, differ, order_doubts, statistics
from benchmarks.ascend.row import IMPORTED, LedgerRow
from benchmarks.case_row import MAX_SAMPLES
from benchmarks.recorded import read_record
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.json_output import named

if TYPE_CHECKING:
    from benchmarks.ascend.formats.recording import Recording
    from benchmarks.ascend.row import PartialLatency
    from edge_sphereface.types import JsonObject

_COMPUTE = "NPU_compute_time"
_SAMPLES = "npu_compute_time_list"
_NEAR = 0.005
"""Difference to a whole number up to which a batch size follows from throughput and mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """Statistics of one kind of time in milliseconds."""

    min: float | None = None
    max: float | None = None
    mean: float | None = None
    median: float | None = None
    p99: float | None = field(default=None, metadata=named("percentile(99%)"))
    count: int | None = None


def read(values: JsonObject, recording: Recording) -> list[LedgerRow]:
    """Read the summary of one run.

    Raises:
        ImportedError: a figure is missing or cannot be a time.
    """
    if _COMPUTE not in values:
        return []
    compute, is_pipeline = _times(values, _COMPUTE, recording)
    if compute is None or compute.mean_ms is None:
        raise ImportedError(f"{recording.name} has no mean of {_COMPUTE}.", hint="give the file as ais_bench wrote it")
    given = values.get("throughput")
    if given is not None and not _is_number(given):
        raise ImportedError(
            f"{recording.name} has {given!r:.40} as throughput; expected a number.",
            hint="give the file as it was written",
        )
    rate = None if given is None else recording.rate(str(given), "throughput")
    implied = None if rate is None else rate * compute.mean_ms / 1000
    printed = None if implied is None or abs(implied - round(implied)) > _NEAR else float(round(implied))
    batch, doubts = recording.batch(printed)
    host_to_device, _ = _times(values, "H2D_latency", recording)
    device_to_host, _ = _times(values, "D2H_latency", recording)
    kinds = {_COMPUTE: compute, "H2D_latency": host_to_device, "D2H_latency": device_to_host}
    contradictions = [text for name, times in kinds.items() if times is not None for text in order_doubts(times, name)]
    samples = None if is_pipeline else _samples(values)
    if samples is not None and differ(sum(samples) / len(samples), compute.mean_ms):
        contradictions.append(f"the mean of its {len(samples)} samples is not the mean {compute.mean_ms:g} ms")
    return [
        LedgerRow(
            path="ais_bench",
            device=recording.stated.device,
            precision=recording.stated.precision,
            batch=batch,
            includes="compute",
            latency=None if is_pipeline else compute,
            host_to_device=host_to_device,
            device_to_host=device_to_host,
            faces_per_second=rate,
            samples_ms=samples,
            origin=IMPORTED,
            source=recording.stated.source,
            doubts=(*doubts, *([PIPELINE] if is_pipeline else []), *contradictions),
        )
    ]


def _times(values: JsonObject, name: str, recording: Recording) -> tuple[PartialLatency | None, bool]:
    """Statistics of that name, and whether only a mean is known, as of overlapping calls."""
    if name not in values:
        return None, False
    try:
        found = read_record(_Times, values[name], name)
    except UsageError as error:
        raise ImportedError(f"{recording.name}: {error.message}", hint="give the file as ais_bench wrote it") from error
    figures = [("min", found.min), ("max", found.max), ("mean", found.mean), ("median", found.median)]
    known = [(word, repr(value)) for word, value in (*figures, ("percentile(99%)", found.p99)) if value is not None]
    times = statistics(recording, known, name, zero=name != _COMPUTE)
    return replace(times, samples=found.count), found.median is None and found.min is None


def _samples(values: JsonObject) -> tuple[float, ...] | None:
    """The raw samples, if they are there and are single times."""
    found = values.get(_SAMPLES)
    if not isinstance(found, list) or not 0 < len(found) <= MAX_SAMPLES or not all(map(_is_number, found)):
        return None
    return tuple(round(float(value), 4) for value in found)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
