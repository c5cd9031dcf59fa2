"""Targets of the quantization, with the measured values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.target import Target
from export.quantization.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_sphereface.types import JsonObject


def targets(result: JsonObject) -> list[Target]:
    """Return the targets with the values that ``python -m benchmarks quantization`` measured."""
    return [*_latency(result["rows"]), *_files(result), *_drift(result), *_gate(result), *_emulated(result)]


def _latency(rows: Sequence[JsonObject]) -> Iterator[Target]:
    for threads in sorted({row["threads"] for row in rows}):
        chosen = {row["form"]: row for row in rows if row["threads"] == threads}
        pairs = [
            ("float rewritten over plain", "rewritten", "plain", 0.90, "<="),
            ("INT8 over plain float", "int8", "plain", 0.47, "<="),
            # OpenVINO binds its threads, which spin: each runtime has its best settings.
            ("INT8, pinned threads, over OpenVINO on the same file", "int8_pinned", "openvino", 1.0, "<"),
            ("INT8, pinned threads, over OpenVINO on NNCF's INT8", "int8_pinned", "nncf", 1.0, "<"),
        ]
        for what, ours, theirs, bound, sense in pairs:
            figure = f"latency, {threads} thread{'s' if threads > 1 else ''}: {what}"
            problem = next((chosen[form]["error"] for form in (ours, theirs) if "error" in chosen[form]), "")
            if problem:
                yield Target(figure=figure, measured=None, bound=bound, sense=sense, why_not=problem)
                continue
            ratio = chosen[ours]["latency"]["median_ms"] / chosen[theirs]["latency"]["median_ms"]
            yield Target(figure=figure, measured=ratio, bound=bound, sense=sense)


def _files(result: JsonObject) -> Iterator[Target]:
    yield Target(figure="INT8 file over float file", measured=result["file_ratio"], bound=0.26, sense="<=")


def _drift(result: JsonObject) -> Iterator[Target]:
    exact, proof = result["rewritten_cosine"], result["proof"]
    what = f"rewritten float: least cosine to plain, {exact['crops']} crops"
    yield Target(figure=what, measured=exact["min"], bound=0.99999, sense=">=")
    strict = Policy()
    crops = f"{proof['crops']} crops not in the calibration"
    drift, harm = proof["judgments"][:4], proof["judgments"][4:6]
    for judgment, bound in zip(drift, (strict.mean, strict.p1, strict.known, strict.min), strict=True):
        yield from _judged(judgment, f"INT8: {judgment['what']}, {crops}", bound, ">=")
    for judgment, bound in zip(harm, (strict.accuracy, strict.tar), strict=True):
        yield from _judged(judgment, f"INT8: {judgment['what']}", bound, "<=")


def _judged(judgment: JsonObject, figure: str, bound: float | None, sense: str) -> Iterator[Target]:
    """Value that the gate judges: the worse end of the confidence interval, if there is one."""
    worst = judgment["worst"]
    end = "" if worst is None else f", {'lower' if judgment['at_least'] else 'upper'} end of the 95 % interval"
    measured = judgment["measured"] if worst is None else worst
    if judgment["why_not"]:
        measured = None
    if bound is not None:
        yield Target(figure=f"{figure}{end}", measured=measured, bound=bound, sense=sense, why_not=judgment["why_not"])


def _gate(result: JsonObject) -> Iterator[Target]:
    for attempt in result["gate"]:
        figure = f"gate: {attempt['what']}, refused"
        yield Target(figure=figure, measured=float(attempt["refused"]), bound=1, sense=">=")


def _emulated(result: JsonObject) -> Iterator[Target]:
    portable = [row for row in result["emulated"] if row["variant"] == "as it is" and row["weight_bits"] == 7]
    rows = [row for row in portable if row["median_ms"] is None]  # the others ran here
    if not rows:
        yield Target(
            figure="portable INT8 on other processors",
            measured=None,
            bound=0.9995,
            sense=">=",
            why_not="give --emulated, which `python -m benchmarks emulate` writes",
        )
    for row in rows:
        where = f"portable INT8 on {row['processor']} (emulated) against here, {row['crops']} crops"
        yield Target(figure=f"{where}: least cosine", measured=row["cosine_min"], bound=0.9995, sense=">=")
        yield Target(figure=f"{where}: share bit-identical", measured=row["identical"], bound=0.9, sense=">=")
