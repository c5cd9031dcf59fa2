"""Targets of the quantization, with the measured values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.target import Sense, Target
from export.quantization.policy import Judgment, Policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.case_row import FormRow
    from benchmarks.emulation.compare import EmulatedRow
    from benchmarks.quantization.measure import Figures


def targets(figures: Figures, emulated: Sequence[EmulatedRow]) -> list[Target]:
    """Return the targets with the measured values.

    Args:
        figures: what ``python -m benchmarks quantization`` measured.
        emulated: rows of ``python -m benchmarks emulate``.
    """
    return [*_latency(figures.rows), *_files(figures), *_drift(figures), *_gate(figures), *_emulated(emulated)]


def _latency(rows: Sequence[FormRow]) -> Iterator[Target]:
    for threads in sorted({row.row.threads for row in rows}):
        chosen = {row.form: row.row for row in rows if row.row.threads == threads}
        pairs: list[tuple[str, str, str, float, Sense]] = [
            ("float rewritten over plain", "rewritten", "plain", 0.90, "<="),
            ("INT8 over plain float", "int8", "plain", 0.47, "<="),
            # OpenVINO binds its threads, which spin: each runtime has its best settings.
            ("INT8, pinned threads, over OpenVINO on the same file", "int8_pinned", "openvino", 1.0, "<"),
            ("INT8, pinned threads, over OpenVINO on NNCF's INT8", "int8_pinned", "nncf", 1.0, "<"),
        ]
        for what, ours, theirs, bound, sense in pairs:
            figure = f"latency, {threads} thread{'s' if threads > 1 else ''}: {what}"
            mine, other = chosen[ours].measured, chosen[theirs].measured
            if mine is None or other is None:
                failure = chosen[ours].failure or chosen[theirs].failure
                reason = "" if failure is None else failure.error
                yield Target(figure=figure, measured=None, bound=bound, sense=sense, why_not=reason)
                continue
            ratio = mine.latency.median_ms / other.latency.median_ms
            yield Target(figure=figure, measured=ratio, bound=bound, sense=sense)


def _files(figures: Figures) -> Iterator[Target]:
    yield Target(figure="INT8 file over float file", measured=figures.file_ratio, bound=0.26, sense="<=")


def _drift(figures: Figures) -> Iterator[Target]:
    exact, proof = figures.rewritten_cosine, figures.proof
    what = f"rewritten float: least cosine to plain, {exact.crops} crops"
    yield Target(figure=what, measured=exact.min, bound=0.99999, sense=">=")
    strict = Policy()
    crops = f"{proof.crops} crops not in the calibration"
    drift, harm = proof.judgments[:4], proof.judgments[4:6]
    for judgment, bound in zip(drift, (strict.mean, strict.p1, strict.known, strict.min), strict=True):
        yield from _judged(judgment, f"INT8: {judgment.what}, {crops}", bound, ">=")
    for judgment, bound in zip(harm, (strict.accuracy, strict.tar), strict=True):
        yield from _judged(judgment, f"INT8: {judgment.what}", bound, "<=")


def _judged(judgment: Judgment, figure: str, bound: float | None, sense: Sense) -> Iterator[Target]:
    """Value that the gate judges: the worse end of the confidence interval, if there is one."""
    worst = judgment.worst
    end = "" if worst is None else f", {'lower' if judgment.at_least else 'upper'} end of the 95 % interval"
    measured = judgment.measured if worst is None else worst
    if judgment.why_not:
        measured = None
    if bound is not None:
        yield Target(figure=f"{figure}{end}", measured=measured, bound=bound, sense=sense, why_not=judgment.why_not)


def _gate(figures: Figures) -> Iterator[Target]:
    for attempt in figures.gate:
        figure = f"gate: {attempt.what}, refused"
        yield Target(figure=figure, measured=float(attempt.refused), bound=1, sense=">=")


def _emulated(emulated: Sequence[EmulatedRow]) -> Iterator[Target]:
    portable = [row for row in emulated if row.variant == "as it is" and row.weight_bits == 7]
    rows = [row for row in portable if row.median_ms is None]  # the others ran here
    if not rows:
        yield Target(
            figure="portable INT8 on other processors",
            measured=None,
            bound=0.9995,
            sense=">=",
            why_not="give --emulated, which `python -m benchmarks emulate` writes",
        )
    for row in rows:
        where = f"portable INT8 on {row.processor} (emulated) against here, {row.crops} crops"
        yield Target(figure=f"{where}: least cosine", measured=row.figures.cosine_min, bound=0.9995, sense=">=")
        yield Target(figure=f"{where}: share bit-identical", measured=row.figures.identical, bound=0.9, sense=">=")
