"""Write a report: Markdown, plots, and the JSON that they were made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import environment, latency, plots, stages
from benchmarks.accuracy import evaluate
from benchmarks.ascend import comparison_table
from benchmarks.case_row import CaseRow
from benchmarks.environment import TimedEnvironment
from edge_sphereface.storage.files import SHARED, atomic_write, ensure_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_sphereface.types import JsonObject

_HOW = (
    "Every contender ran in a process of its own, interleaved with the others; medians and percentiles are of raw "
    "samples (`report.json`). `x` is the median over that of the first row of its group; a row whose embeddings differ "
    "from the first row's by more than allowed is marked WRONG instead."
)
_TIMED = ("rows", "stages")
"""Sections with timings. Rows that were measured on a busy machine have the field ``busy``."""
SECTIONS = ("rows", "stages", "accuracy", "ledger")


def merge(results: Sequence[JsonObject]) -> JsonObject:
    """Merge several results of one machine.

    Raises:
        ValueError: the results come from different machines, so that one table cannot show them.
    """
    machines = {(result["environment"]["cpu"], result["environment"]["usable_cpus"]) for result in results}
    if len(machines) != 1:
        raise ValueError(f"The results come from different machines: {sorted(map(str, machines))}.")
    merged: JsonObject = {"environment": results[-1]["environment"], "presence": None, "throttled": False}
    for section in SECTIONS:
        merged[section] = [_marked(row, section, result) for result in results for row in result.get(section, [])]
    for result in results:
        merged["presence"] = result.get("presence", merged["presence"])
        merged["throttled"] = merged["throttled"] or result.get("throttled", False)
    return merged


def _marked(row: JsonObject, section: str, result: JsonObject) -> JsonObject:
    work = TimedEnvironment.from_values(result["environment"]).other_work
    busy = environment.busy_text(work) if section in _TIMED else ""
    return {**row, "busy": busy} if busy else row


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """What ``report`` wrote.

    Attributes:
        files: paths of the Markdown page, the data and the plots.
    """

    files: tuple[Path, ...]


def write(merged: JsonObject, folder: Path, *, title: str, remark: str = "") -> list[Path]:
    """Write ``report.md``, ``report.json`` and a PNG for each kind of result.

    Args:
        merged: result of :func:`merge`.
        folder: folder of the files; created if missing.
        title: first line of the report.
        remark: notes on the models and the run.

    Returns:
        Paths of the written files.
    """
    ensure_folder(folder)
    pictures = {}
    measured = [row for row in merged["rows"] if "latency" in row]
    if measured:
        pictures["latency.png"] = plots.latencies(measured)
    if merged["accuracy"] and measured:
        pictures["accuracy-over-latency.png"] = plots.accuracy_over_latency(merged["accuracy"], measured)
    if merged["accuracy"]:
        pictures["roc.png"] = plots.roc(merged["accuracy"])
    written = []
    for name, content in pictures.items():
        written.append(_write(folder / name, content))
    written.append(_write(folder / "report.json", json.dumps(merged, indent=1).encode()))
    written.append(_write(folder / "report.md", _markdown(merged, title, remark, list(pictures)).encode()))
    return written


def _write(path: Path, content: bytes) -> Path:
    with atomic_write(path, mode=SHARED) as stream:
        stream.write(content)
    return path


def _markdown(merged: JsonObject, title: str, remark: str, pictures: Sequence[str]) -> str:
    where = merged["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    machine = (
        f"{where['time']}; {where['cpu']}, {where['usable_cpus']} processors, governor {where['governor'] or 'unknown'}"
    )
    lines = [
        f"# {title}",
        "",
        f"{machine}; {where['system']}; {versions}.",
        "",
        *([remark, ""] if remark else []),
        *(["The machine was slowed down by heat or power during the run.", ""] if merged["throttled"] else []),
        _HOW,
        "",
    ]
    parts = [
        ("Latency of embedding", merged["rows"], _latency_text),
        ("Stages", merged["stages"], stages.text),
        ("Accuracy on labeled pairs", merged["accuracy"], evaluate.text),
        ("Edge beside native Ascend", merged["ledger"], comparison_table.text),
    ]
    for heading, rows, text in parts:
        if rows:
            lines += [f"## {heading}", ""]
            if heading.startswith("Edge") and merged["presence"]:
                lines += [merged["presence"], ""]
            lines += ["```text", text(rows), "```", "", *_busy_notes(rows)]
            if heading.startswith("Latency"):
                lines += [_settings(rows), ""]
    lines += [f"![{name.removesuffix('.png')}]({name})\n" for name in pictures]
    return "\n".join(lines).rstrip() + "\n"


def _latency_text(rows: Sequence[JsonObject]) -> str:
    return latency.text([CaseRow.from_values(row) for row in rows])


def _busy_notes(rows: Sequence[JsonObject]) -> list[str]:
    """Format a note for each measurement on a busy machine, with the affected rows."""
    concerned: dict[str, dict[str, None]] = {}
    for row in rows:
        if "busy" in row:
            concerned.setdefault(row["busy"], {})[row.get("label") or f"stages of {row.get('model', 'a model')}"] = None
    lines = []
    for busy, names in concerned.items():
        which = "All rows" if all(row.get("busy") == busy for row in rows) else ", ".join(names)
        lines += [f"Measured on a busy machine ({busy}): {which}. On an idle machine the timings are shorter.", ""]
    return lines


def _settings(rows: Sequence[JsonObject]) -> str:
    """Format the settings of each contender."""
    settings = {row["label"].partition(":")[0]: (row.get("version", "not measured"), row["settings"]) for row in rows}
    samples = sorted({row["latency"]["samples"] for row in rows if "latency" in row})
    lines = [f"Samples per row: {', '.join(map(str, samples))}. Settings:", ""]
    return "\n".join(lines + [f"* {name} ({version}): {text}" for name, (version, text) in settings.items()])
