"""Write a report: Markdown, plots, and the JSON that they were made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import devices, environment, headline, latency, plots, stages, target
from benchmarks.accuracy import evaluate
from benchmarks.ascend import ledger
from benchmarks.ascend.row import LedgerRow
from benchmarks.case_row import CaseRow, read_rows
from benchmarks.environment import TimedEnvironment
from benchmarks.quantization import proof_table
from benchmarks.recorded import read_record, read_records
from benchmarks.target import Target
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.device.report import KIND as DEVICE_KIND
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
_BEST = (
    "The fastest form of each runtime at the smallest batch, by precision, all from one run: contenders took turns on "
    "the same network. INT8 embeddings differ slightly from those of float32 (`cosine`: least similarity to the "
    "reference), so compare within one precision."
)
_BEST_PICTURE = "best-of-each.png"
_SUSTAINED_PICTURE = "sustained.png"
_PROOFS = (
    "`python -m export quantize` refuses a model that misses a bound. Points lost are against the float model on the "
    "same pairs, with the upper end of the 95 % interval; the latency has its 95 % interval."
)
_DEVICES = (
    "Each row is a report of `edge-sphereface report-device`. `ms` is the median of embedding one face by the fastest "
    "form; INT8 over float has its 95 % interval. `rate` is in faces a second during the sustained run, first and last "
    "tenth of its time, with the form that ran."
)
_TIMED = ("rows", "stages")
"""Sections with timings. Rows that were measured on a busy machine have the field ``busy``."""
SECTIONS = ("rows", "stages", "accuracy", "ledger")
"""Lists of rows of a result, which are joined."""
_WHOLE = ("tuning", "quantization", "proofs", "devices")
"""Kinds of results that are shown whole: of ``tuning``, ``quantization``, ``export quantize`` and ``report-device``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _GateRow:
    """What a report shows of an attempt to pass a harmful model.

    Attributes:
        what: what is harmful.
        exit_code: exit code of the command.
        reason: bounds that the model missed, or the error.
    """

    what: str
    exit_code: int
    reason: str


def kind_of(result: JsonObject) -> str | None:
    """Return the kind of a result that is shown whole; None for one whose rows are joined with others."""
    if result.get("kind") == DEVICE_KIND:
        return "devices"
    if "product" in result and "exactness" in result:
        return "tuning"
    if "gate" in result and "rewritten_cosine" in result:
        return "quantization"
    if isinstance(result.get("report"), dict) and "proof" in result["report"]:
        return "proofs"
    return None


def is_shown(result: JsonObject) -> bool:
    """Whether a report shows anything of a result."""
    return kind_of(result) is not None or any(result.get(section) for section in (*SECTIONS, *_WHOLE))


def merge(results: Sequence[JsonObject]) -> JsonObject:
    """Merge several results of one machine, and reports of any devices. A merged result can be merged again.

    Raises:
        ValueError: the results come from different machines, so that one table cannot show them.
        UsageError: the environment or a section of a result is not valid.
    """
    kinds = [kind_of(result) for result in results]
    timed = [
        result
        for result, kind in zip(results, kinds, strict=True)
        if kind != "devices" and not (result["environment"] is None and result.get("devices"))
    ]
    places = [TimedEnvironment.from_values(result["environment"]).environment for result in timed]
    machines = {(place.cpu, place.usable_cpus) for place in places}
    generations = {tuple(sorted(place.generation.items())) for place in places if place.generation}
    if len(machines) > 1 or len(generations) > 1:
        different = sorted(map(str, machines if len(machines) > 1 else generations))
        raise ValueError(f"The results come from different machines: {different}.")
    merged: JsonObject = {
        "environment": timed[-1]["environment"] if timed else None,
        "measurements": [facts for result in timed for facts in result.get("measurements", [result["environment"]])],
        "presence": None,
        "throttled": False,
    }
    for section in SECTIONS:
        merged[section] = [
            _marked(row, section, result)
            for result, kind in zip(results, kinds, strict=True)
            if kind is None
            for row in _objects(result, section)
        ]
    for section in _WHOLE:
        merged[section] = [
            whole
            for result, kind in zip(results, kinds, strict=True)
            for whole in ([result] if kind == section else _objects(result, section) if kind is None else [])
        ]
    for result in results:
        merged["presence"] = result.get("presence", merged["presence"])
        merged["throttled"] = merged["throttled"] or result.get("throttled", False)
    return merged


def _objects(result: JsonObject, section: str) -> list[JsonObject]:
    """Return a section of a result, a list of JSON objects; empty if the result lacks it."""
    found = result.get(section, [])
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise UsageError(f"{section!r} of the result is not a list of JSON objects.", hint="measure again")
    return found


def _marked(row: JsonObject, section: str, result: JsonObject) -> JsonObject:
    busy = _busy(result) if section in _TIMED else ""
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
    rows = read_rows(merged)
    best = best_of(merged).entries
    measured = [row for row in rows if row.measured is not None]
    if best:
        pictures[_BEST_PICTURE] = plots.headline(best)
    if measured:
        pictures["latency.png"] = plots.latencies(measured)
    if merged["accuracy"] and measured:
        pictures["accuracy-over-latency.png"] = plots.accuracy_over_latency(merged["accuracy"], measured)
    if merged["accuracy"]:
        pictures["roc.png"] = plots.roc(merged["accuracy"])
    sustained = devices.sustained_runs(devices.read_reports(merged["devices"]))
    if sustained:
        pictures[_SUSTAINED_PICTURE] = plots.sustained(sustained)
    written = []
    for name, content in pictures.items():
        written.append(_write(folder / name, content))
    written.append(_write(folder / "report.json", json.dumps(merged, indent=1).encode()))
    page = markdown(merged, title=title, remark=remark, pictures=list(pictures))
    written.append(_write(folder / "report.md", page.encode()))
    return written


def _write(path: Path, content: bytes) -> Path:
    with atomic_write(path, mode=SHARED) as stream:
        stream.write(content)
    return path


def best_of(merged: JsonObject) -> headline.Headline:
    """Return the headline of all runs: those of ``latency``, ``quantization`` and ``tuning``."""
    runs = []
    start = 0
    for rows in headline.split_runs(read_rows(merged)):
        runs.append(headline.Run(rows=tuple(rows), busy=merged["rows"][start].get("busy", "")))
        start += len(rows)
    whole = [*merged["quantization"], *merged["tuning"]]
    runs += [headline.Run(rows=tuple(read_rows(result)), busy=_busy(result)) for result in whole]
    return headline.choose(runs)


def markdown(merged: JsonObject, *, title: str, remark: str = "", pictures: Sequence[str] = ()) -> str:
    """Format the page of a report.

    Args:
        merged: result of :func:`merge`.
        title: first line of the report.
        remark: notes on the models and the run.
        pictures: file names of the plots, which are beside the page.
    """
    lines = [f"# {title}", ""]
    lines += [_machine(merged["environment"]), ""] if merged["environment"] is not None else []
    lines += [remark, ""] if remark else []
    lines += [*_loads(merged["measurements"]), ""] if merged["measurements"] else []
    lines += ["The machine was slowed down by heat or power during the run.", ""] if merged["throttled"] else []
    best = best_of(merged)
    if best.entries:
        lines += ["## Fastest form of each runtime", "", f"![Fastest form of each runtime]({_BEST_PICTURE})", ""]
        lines += [_BEST, "", *_block(headline.text(best.entries)), *_warning(best.busy)]
    parts = [
        ("Latency of embedding", merged["rows"], _latency_text),
        ("Stages", merged["stages"], _stages_text),
        ("Accuracy on labeled pairs", merged["accuracy"], _accuracy_text),
        ("Edge beside native Ascend", merged["ledger"], _ledger_text),
    ]
    before = {"Latency of embedding": _HOW, "Edge beside native Ascend": merged["presence"]}
    for heading, rows, text in parts:
        if rows:
            lines += [f"## {heading}", ""]
            lines += [before[heading], ""] if before.get(heading) else []
            lines += [*_block(text(rows)), *_busy_notes(rows)]
            lines += [_settings(rows), ""] if text is _latency_text else []
    for section, heading in {"tuning": "Tuning", "quantization": "Quantization"}.items():
        for result in merged[section]:
            lines += [f"## {heading}", "", *_whole(result)]
    if merged["proofs"]:
        lines += ["## Proofs of quantized models", "", _PROOFS, "", *_block(proof_table.text(merged["proofs"]))]
        lines += [line for result in merged["proofs"] for line in _warning(_busy(result))]
    if merged["devices"]:
        reports = devices.read_reports(merged["devices"])
        lines += ["## Devices", "", _DEVICES, "", *_block(devices.text(reports)), *devices.notes(reports), ""]
    lines += [f"![{name.removesuffix('.png')}]({name})\n" for name in pictures if name != _BEST_PICTURE]
    return "\n".join(lines).rstrip() + "\n"


def _machine(facts: JsonObject) -> str:
    where = TimedEnvironment.from_values(facts).environment
    versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
    governor = where.governor or "unknown"
    return (
        f"{where.time}; {where.cpu}, {where.usable_cpus} processors, governor {governor}; {where.system}; {versions}."
    )


def _loads(measurements: Sequence[JsonObject]) -> list[str]:
    """Format the load of the machine at each measurement."""
    lines = []
    for facts in measurements:
        timed = TimedEnvironment.from_values(facts)
        busy = "**busy**, " if environment.busy_text(timed.other_work) else ""
        known = timed.other_work is not None or timed.environment.load is not None
        load = environment.load_text(timed) if known else "not recorded"
        lines.append(f"* Load at {timed.environment.time}: {busy}{load}.")
    return lines


def _block(text: str) -> list[str]:
    return ["```text", text, "```", ""]


def _whole(result: JsonObject) -> list[str]:
    """Format a result of ``tuning`` or ``quantization``: latency, models that the gate refuses, targets."""
    rows = sorted(read_rows(result), key=lambda row: (row.threads, row.batch))  # stable: one group, one reference
    lines = [f"Measured {result['environment']['time']}.", "", *_block(latency.text(rows))]
    gate = read_records(_GateRow, result.get("gate", []))
    lines += [f"* gate, {row.what}: exit code {row.exit_code}; {row.reason}" for row in gate]
    lines += [""] if gate else []
    lines += _block(target.text(read_records(Target, result.get("targets"))))
    return lines + _warning(_busy(result))


def _busy(result: JsonObject) -> str:
    return environment.busy_text(TimedEnvironment.from_values(result["environment"]).other_work)


def _warning(busy: str) -> list[str]:
    return [f"Measured on a busy machine ({busy}). On an idle machine the timings are shorter.", ""] if busy else []


def _latency_text(rows: Sequence[JsonObject]) -> str:
    return latency.text([CaseRow.from_values(row) for row in rows])


def _stages_text(rows: Sequence[JsonObject]) -> str:
    return stages.text([read_record(stages.StageRow, row) for row in rows])


def _accuracy_text(rows: Sequence[JsonObject]) -> str:
    return evaluate.text([read_record(evaluate.AccuracyRow, row) for row in rows])


def _ledger_text(rows: Sequence[JsonObject]) -> str:
    return ledger.text([read_record(LedgerRow, row) for row in rows])


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
