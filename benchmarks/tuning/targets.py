"""Targets of the tuning, with the measured values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.target import Sense, Target
from benchmarks.tuning.measure import BATCH, PEERS, int8_form
from edge_sphereface.model.quantization import INT8_TARGETS, TARGET_PORTABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.case_row import CaseRow
    from benchmarks.tuning.measure import Figures

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
    times = {form: row.measured.latency.median_ms for form, row in chosen.items() if row.measured is not None}
    yield _ratio(f"{where}: tuned over the plain export", times, "tuned", "plain", OVER_PLAIN.get(threads, 0.70), "<=")
    yield _against_best(f"{where}: tuned over the best peer", times, "tuned", PEERS)
    if threads == 1:
        size, median = figures.product.size, figures.product.median_ms["1"]
        rate = 2 * size**3 / median / 1e6
        limit = figures.gflop / rate * 1e3
        yield Target(
            figure=f"{where}: tuned over direct convolution at {rate:.0f} GFLOP/s ({limit:.1f} ms)",
            measured=times["tuned"] / limit if "tuned" in times else None,
            bound=OVER_LIMIT,
            sense="<",
        )
    faces = {**times, "tuned_batch": times["tuned_batch"] / BATCH} if "tuned_batch" in times else times
    figure = f"{where}: tuned, batch {BATCH} per face over batch 1"
    yield _ratio(figure, faces, "tuned_batch", "tuned", BATCH_OVER_ONE, "<=")
    if "plain_on_provider" in chosen:
        figure = f"{where}: plain on the provider openvino over the best peer"
        yield _against_best(figure, times, "plain_on_provider", PEERS)
    for target in INT8_TARGETS:
        if (form := int8_form(target)) in chosen:
            name = "INT8" if target == TARGET_PORTABLE else f"INT8 of target {target}"
            yield _against_best(f"{where}: {name} over the best peer's", times, form, ("int8_openvino", "int8_nncf"))


def _ratio(figure: str, times: Mapping[str, float], ours: str, theirs: str, bound: float, sense: Sense) -> Target:
    if ours not in times or theirs not in times:
        return Target(figure=figure, measured=None, bound=bound, sense=sense, why_not="one of them did not run")
    return Target(figure=figure, measured=times[ours] / times[theirs], bound=bound, sense=sense)


def _against_best(figure: str, times: Mapping[str, float], ours: str, peers: tuple[str, ...]) -> Target:
    ran = [name for name in peers if name in times]
    if not ran:
        return Target(figure=figure, measured=None, bound=1.0, sense="<", why_not="no peer ran")
    best = min(ran, key=times.__getitem__)
    return _ratio(f"{figure} ({best})", times, ours, best, 1.0, "<")
