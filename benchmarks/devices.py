"""Shows reports of ``edge-sphereface report-device`` beside one another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_sphereface.device.report import DeviceReport
from edge_sphereface.storage.bounded_json import escaped, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_sphereface.device.report import SustainedRun
    from edge_sphereface.types import JsonObject

_UNKNOWN = "-"
_MARKUP = re.compile(r"[\\`*\[\]<>&|]")
"""What Markdown takes for markup inside of a line."""
_HEAD = (
    "device", "proven", "fastest form", "threads", "ms", "INT8 / float", "detector, ms", "rate", "hottest", "throttled",
)  # fmt: skip


def read_reports(results: Iterable[JsonObject]) -> list[DeviceReport]:
    """Read results of the kind ``devices``.

    Raises:
        EdgeSphereFaceError: a result is not a valid report.
    """
    return [DeviceReport.from_values(result) for result in results]


def names(reports: Sequence[DeviceReport]) -> list[str]:
    """Names of the devices, without control characters; several reports of one kind of device are numbered."""
    boards = [shown(report.environment.cpu) for report in reports]
    return [
        board if boards.count(board) == 1 else f"{board} #{boards[:place].count(board) + 1}"
        for place, board in enumerate(boards)
    ]


def sustained_runs(reports: Sequence[DeviceReport]) -> dict[str, SustainedRun]:
    """Sustained runs that lasted long enough for a curve, by the name of the device."""
    return {
        name: report.sustained
        for name, report in zip(names(reports), reports, strict=True)
        if report.sustained is not None and len(report.sustained.windows) > 1 and report.sustained.start_rate
    }


def text(reports: Sequence[DeviceReport]) -> str:
    """Format a table with one row for each report."""
    known = [_row(name, report) for name, report in zip(names(reports), reports, strict=True)]
    rows = [_HEAD, *(tuple(map(shown, row)) for row in known)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def notes(reports: Sequence[DeviceReport]) -> list[str]:
    """Describe, in Markdown, what the table cannot show: versions, missing parts, warnings, load by other programs."""
    lines = []
    for name, report in zip(names(reports), reports, strict=True):
        where = report.environment
        versions = ", ".join(f"{package} {version}" for package, version in where.versions.items())
        samples = "a quarter of the samples; " if report.quick else ""
        first = (
            f"{name}: {where.time}; {where.usable_cpus} processors, governor {where.governor or 'unknown'}; "
            f"{samples}{where.system}; {versions}."
        )
        more = [] if report.complete else [f"INCOMPLETE: {report.stopped}."]
        more += [f"missing: {one.part}: {one.reason}" for one in report.missing]
        more += [f"{one.status}: {one.check}: {one.message}" for one in report.findings if one.status != "ok"]
        more += [f"{model.form}: {model.warning}" for model in report.models if model.warning]
        if report.load is not None and report.load.is_high:
            more.append(f"Measured on a busy machine: {report.load}.")
        lines += [f"* {_plain(first)}", *(f"    * {_plain(line)}" for line in more)]
    return lines


def _plain(line: str) -> str:
    """A line with words of somebody else's file, which Markdown shows as they are."""
    return _MARKUP.sub(r"\\\g<0>", escaped(line))


def _row(name: str, report: DeviceReport) -> tuple[str, ...]:
    best = report.fastest
    run = report.sustained if report.sustained is not None and report.sustained.windows else None
    form = (_UNKNOWN,) * 3 if best is None else (best.form, str(best.threads), f"{best.median_ms:.2f}")
    return (
        name,
        _proof(report),
        *form,
        _int8(report),
        ", ".join(f"{one.name} {one.latency.median_ms:.1f}" for one in report.detectors) or _UNKNOWN,
        *((_UNKNOWN,) * 3 if run is None else _sustained(run)),
    )


def _proof(report: DeviceReport) -> str:
    if not all(model.passed for model in report.models):
        return "FAILED"
    certified = sum(model.certified is True for model in report.models)
    return f"{certified} of {len(report.models)}"


def _int8(report: DeviceReport) -> str:
    found = report.int8_over_float
    if found is None:
        return _UNKNOWN
    return f"{found.ratio:.2f}" if found.low is None else f"{found.ratio:.2f} ({found.low:.2f} to {found.high:.2f})"


def _sustained(run: SustainedRun) -> tuple[str, str, str]:
    hottest = _UNKNOWN if run.hottest_c is None else f"{run.hottest_c:.0f} C"
    throttled = _UNKNOWN if run.throttled is None else ", ".join(run.throttled) or "no"
    return f"{run.start_rate:.1f} to {run.end_rate:.1f}, {run.form}", hottest, throttled
