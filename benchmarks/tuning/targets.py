"""Targets of the tuning, with the measured values."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.target import Sense, Target
from benchmarks.tuning.measure import BATCH, PEERS, int8_form
from edge_sphereface.evaluation.latency import ratio
from edge_sphereface.model.quantization import INT8_TARGETS, TARGET_PORTABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.case_row import CaseRow, Measurement
    from benchmarks.tuning.measure import Figures
    from edge_sphereface.types import Float64Array

OVER_PLAIN = {1: 0.65, 2: 0.70}
"""Largest latency divided by the plain model's, by number of threads; the last one applies to more threads."""
OVER_LIMIT = 0.80
BATCH_OVER_ONE = 0.85


def targets(figures: Figures) -> list[Target]:
    """Return the targets with the values that ``python -m benchmarks tuning`` measured."""
    lines = []
    for threads in sorted({row.row.threads for row in figures.rows}):
        chosen = {row.form: row.row for row in figures.rows if row.row.threads == threads}
        lines += list(_latency(chosen, threads, figures))
    for row in figures.exactness:
        figure = f"{', '.join(row.stages)}: least cosine to plain, {row.crops} crops"
        lines.append(Target(figure=figure, measured=row.min_cosine, bound=0.99999, sense=">="))
    return lines


def _latency(chosen: Mapping[str, CaseRow], threads: int, figures: Figures) -> Iterator[Target]:
    where = f"{threads} thread{'s' if threads > 1 else ''}"
    ran = {form: _by_start(row.measured, row.batch) for form, row in chosen.items() if row.measured is not None}
    yield _ratio(f"{where}: tuned over the plain export", ran, "tuned", "plain", OVER_PLAIN.get(threads, 0.70), "<=")
    yield _against_best(f"{where}: tuned over the best peer", ran, "tuned", PEERS)
    if threads == 1:
        size, median = figures.product.size, figures.product.median_ms["1"]
        rate = 2 * size**3 / median / 1e6
        limit = figures.gflop / rate * 1e3
        yield Target(
            figure=f"{where}: tuned over direct convolution at {rate:.0f} GFLOP/s ({limit:.1f} ms)",
            measured=float(np.median(ran["tuned"])) / limit if "tuned" in ran else None,
            bound=OVER_LIMIT,
            sense="<",
        )
    figure = f"{where}: tuned, batch {BATCH} per face over batch 1"
    yield _ratio(figure, ran, "tuned_batch", "tuned", BATCH_OVER_ONE, "<=")
    if "plain_on_provider" in chosen:
        figure = f"{where}: plain on the provider openvino over the best peer"
        yield _against_best(figure, ran, "plain_on_provider", PEERS)
    for target in INT8_TARGETS:
        if (form := int8_form(target)) in chosen:
            name = "INT8" if target == TARGET_PORTABLE else f"INT8 of target {target}"
            yield _against_best(f"{where}: {name} over the best peer's", ran, form, ("int8_openvino", "int8_nncf"))


def _by_start(measured: Measurement, batch: int) -> Float64Array:
    """Latency per face, (starts, samples) in milliseconds."""
    starts = np.split(np.array(measured.samples_ms), np.cumsum(measured.start_samples)[:-1])
    count = min(map(len, starts))
    return np.stack([start[:count] for start in starts]) / batch


def _ratio(figure: str, ran: Mapping[str, Float64Array], ours: str, theirs: str, bound: float, sense: Sense) -> Target:
    if ours not in ran or theirs not in ran:
        return Target(figure=figure, measured=None, bound=bound, sense=sense, why_not="one of them did not run")
    found = ratio(ran[ours], ran[theirs])
    interval = (round(found.low, 4), round(found.high, 4)) if isfinite(found.high) else None
    return Target(figure=figure, measured=found.ratio, bound=bound, sense=sense, interval=interval)


def _against_best(figure: str, ran: Mapping[str, Float64Array], ours: str, peers: tuple[str, ...]) -> Target:
    rivals = [name for name in peers if name in ran]
    if not rivals:
        return Target(figure=figure, measured=None, bound=1.0, sense="<", why_not="no peer ran")
    best = min(rivals, key=lambda name: float(np.median(ran[name])))
    return _ratio(f"{figure} ({best})", ran, ours, best, 1.0, "<")
