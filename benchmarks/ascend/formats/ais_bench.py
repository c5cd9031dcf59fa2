"""ais_bench, Huawei's tool for networks in the .om format: what it prints.

Source: Ascend/tools, ais-bench_workload/tool/ais_bench (``summary.py``, README); now ``msit benchmark``. Its older name
is ais_infer. ``NPU_compute_time`` covers the device alone; with ``display_all_summary`` the copies are printed beside
it. With ``--pipeline`` only a mean is printed: the time in which the device was busy, divided by the number of calls.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import NUMBER, ImportedError, order_doubts, rate_doubts, statistics
from benchmarks.ascend.row import IMPORTED, LedgerRow

if TYPE_CHECKING:
    from benchmarks.ascend.formats.recording import Recording
    from benchmarks.ascend.row import PartialLatency

PIPELINE = "threads overlapped (--pipeline): a mean busy time of the device per call is known, not the time of a call"

_TIMES = re.compile(r"(H2D_latency|NPU_compute_time|D2H_latency) \(ms\): (.*)")
_FIGURE = re.compile(rf"(min|max|mean|median|percentile\(99%\)) = {NUMBER}")
_THROUGHPUT = re.compile(
    r"throughput (?:"
    rf"1000\*batchsize(?:\.mean)?\({NUMBER}\)/NPU_compute_time\.mean\({NUMBER}\)"
    r"|\(1000\*batchsize/NPU_compute_time\)"
    rf"): {NUMBER}"
)
_BATCH = re.compile(r"try get model batchsize:([0-9]{1,9})(?![\w.,])")
_LOOP = re.compile(r"loop inference exec: \(([0-9]{1,9})/\1\)")
_ENERGY = re.compile(rf"NPU ID:([0-9]{{1,6}}) energy consumption\(J\):{NUMBER}")
_DEVICE_RATE = re.compile(rf"device_([0-9]{{1,6}}) throughput:{NUMBER} start_time:")
_TOTAL = re.compile(rf"summary throughput:{NUMBER}")


@dataclass(slots=True)
class _Summary:
    """One "Performance Summary": times by name, batch size and rate."""

    times: dict[str, PartialLatency] = field(default_factory=dict)
    batch: float | None = None
    rate: float | None = None


def read(recording: Recording) -> list[LedgerRow]:
    """Read the summary of one run; with several devices, one row for each and one for all.

    Raises:
        ImportedError: the file holds several runs, or a figure cannot be a time.
    """
    summaries = _summaries(recording)
    total = recording.single(_TOTAL, "ais_bench with several devices")
    if len(summaries) > 1 and total is None:
        raise recording.several(len(summaries), "ais_bench")
    rows = [_row(recording, summary) for summary in summaries]
    if total is None:
        return rows
    by_device = {
        recording.rate(found[2], "the rate of a device"): found[1] for found in recording.matches(_DEVICE_RATE)
    }
    rows = [replace(row, device=_device(row.device, by_device.get(row.faces_per_second or 0.0))) for row in rows]
    all_devices = LedgerRow(
        path=f"ais_bench, {len(by_device)} devices together",
        device=recording.stated.device,
        precision=recording.stated.precision,
        batch=rows[0].batch if rows else recording.stated.batch,
        includes="compute",
        faces_per_second=recording.rate(total[1], "the rate of all devices"),
        origin=IMPORTED,
        source=recording.stated.source,
        doubts=("the sum of the devices' rates, which assumes that they ran at the same time",),
    )
    return [*rows, all_devices]


def _summaries(recording: Recording) -> list[_Summary]:
    found: list[_Summary] = []
    current = _Summary()
    for number in range(len(recording.lines)):
        times, rate = recording.search(_TIMES, number), recording.search(_THROUGHPUT, number)
        if times is not None:
            if times[1] in current.times:  # a log without the line of the throughput
                found.append(current)
                current = _Summary()
            name, copies = times[1], times[1] != "NPU_compute_time"
            current.times[name] = statistics(recording, _FIGURE.findall(times[2]), name, zero=copies)
        elif rate is not None:
            current.batch = None if rate[1] is None else recording.number(rate[1], "batch size")
            current.rate = recording.rate(rate[3], "throughput")
            found.append(current)
            current = _Summary()
    found += [current] if current.times else []
    return [summary for summary in found if "NPU_compute_time" in summary.times or summary.rate is not None]


def _row(recording: Recording, summary: _Summary) -> LedgerRow:
    printed = summary.batch
    if printed is None and (tried := _common(recording, _BATCH)) is not None:
        printed = float(tried)
    batch, doubts = recording.batch(printed)
    compute = summary.times.get("NPU_compute_time")
    is_pipeline = compute is not None and compute.median_ms is None and compute.min_ms is None
    if is_pipeline and summary.rate is None:
        raise ImportedError(
            f"{recording.name} has a mean of overlapping calls and no throughput.", hint="give the whole output"
        )
    contradictions = [text for name, times in summary.times.items() for text in order_doubts(times, name)]
    contradictions += rate_doubts(summary.rate, None if compute is None else compute.mean_ms, printed or batch)
    energies = list(recording.matches(_ENERGY))
    energy = energies[0] if len(energies) == 1 else None  # of several, none can be told to be this device's
    loops = _common(recording, _LOOP)
    if loops is not None and compute is not None:
        compute = replace(compute, samples=int(loops))
    return LedgerRow(
        path="ais_bench",
        device=_device(recording.stated.device, None if energy is None else energy[1]),
        precision=recording.stated.precision,
        batch=batch,
        includes="compute",
        latency=None if is_pipeline else compute,
        host_to_device=summary.times.get("H2D_latency"),
        device_to_host=summary.times.get("D2H_latency"),
        faces_per_second=summary.rate,
        energy_j=None if energy is None else recording.number(energy[2], "energy"),
        origin=IMPORTED,
        source=recording.stated.source,
        doubts=(*doubts, *([PIPELINE] if is_pipeline else []), *contradictions),
    )


def _common(recording: Recording, pattern: re.Pattern[str]) -> str | None:
    """What every match of a pattern says; with several devices, each prints the line."""
    found = {match[1] for match in recording.matches(pattern)}
    return found.pop() if len(found) == 1 else None


def _device(stated: str | None, number: str | None) -> str | None:
    if number is None:
        return stated
    return f"NPU {number}" if stated is None else f"{stated}, NPU {number}"
