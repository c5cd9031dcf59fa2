"""Draw plots as PNG bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from benchmarks.headline import is_ours
from benchmarks.latency import group_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.case_row import CaseRow, Measurement
    from benchmarks.gallery.identification import IdentificationRow
    from benchmarks.headline import Entry
    from edge_sphereface.device.report import SustainedRun
    from edge_sphereface.types import JsonObject

_OURS, _PEER, _GRID, _TEXT = "#1f6f8b", "#b8b8b8", "#e6e6e6", "#333333"
_WHISKERS = "milliseconds per inference (bar: median, tick: 95th, dot: 99th percentile); shorter is better"
_ROOM = 1.15
"""Width of a panel over its longest whisker, so that the number fits."""
_LONG_MS = 10
"""Medians from here on have one decimal."""
_CYCLE = ("#1f6f8b", "#e07a3f", "#6a994e", "#8e5572", "#c9a227", "#555555")


def headline(entries: Sequence[Entry]) -> bytes:
    """Draw the fastest form of each runtime: one column per number of threads, one row per precision.

    All panels of a column have one scale. This project is in color.
    """
    threads = sorted({entry.threads for entry in entries})
    precisions = list(dict.fromkeys(entry.precision for entry in entries))
    counts = [
        max(sum((entry.precision, entry.threads) == (precision, count) for entry in entries) for count in threads)
        for precision in precisions
    ]
    figure, panels = _grid(
        counts, len(threads), width=6.4 * len(threads), height=0.46 * sum(counts) + 0.9 * len(precisions) + 0.5
    )
    for precision, row in zip(precisions, panels, strict=True):
        for count, axis in zip(threads, row, strict=True):
            shown = [entry for entry in entries if (entry.precision, entry.threads) == (precision, count)]
            _bars(
                axis,
                [(f"{entry.runtime}\n{entry.form[:44]}", entry.measured, entry.is_ours) for entry in shown],
            )
            axis.set_title(f"{precision}, {group_name(count, entries[0].batch)}", loc="left", fontweight="bold")
    figure.supxlabel(_WHISKERS, fontsize=10)
    return png(figure)


def latencies(rows: Sequence[CaseRow]) -> bytes:
    """Draw every contender at the smallest batch, one panel per number of threads. This project is in color."""
    smallest = min(row.batch for row in rows)
    chosen = [row for row in rows if row.batch == smallest and row.measured is not None]
    threads = sorted({row.threads for row in chosen})
    most = max(sum(row.threads == count for row in chosen) for count in threads)
    figure, panels = _grid([most], len(threads), width=6 * len(threads), height=1.2 + 0.34 * most)
    for axis, count in zip(panels[0], threads, strict=True):
        shown = [row for row in chosen if row.threads == count]
        _bars(
            axis,
            [(f"{row.label} · {row.precision}", row.measured, is_ours(row)) for row in shown if row.measured],
        )
        axis.set_title(group_name(count, smallest), loc="left")
    figure.supxlabel(_WHISKERS, fontsize=10)
    return png(figure)


def _bars(axis: Any, shown: Sequence[tuple[str, Measurement, bool]]) -> None:
    """Draw medians as bars from top to bottom, with whiskers to p95 and p99 and the median as a number."""
    latencies = [measured.latency for _, measured, _ in shown]
    for place, (latency, (_, _, ours)) in enumerate(zip(latencies, shown, strict=True)):
        axis.barh(place, latency.median_ms, height=0.62, color=_OURS if ours else _PEER)
        axis.plot([latency.median_ms, latency.p99_ms], [place, place], color=_TEXT, linewidth=0.9)
        axis.plot(latency.p95_ms, place, color=_TEXT, marker="|", markersize=9, markeredgewidth=1.4)
        axis.plot(latency.p99_ms, place, color=_TEXT, marker="o", markersize=3.2)
        axis.annotate(
            f"{latency.median_ms:.{2 if latency.median_ms < _LONG_MS else 1}f}",
            (latency.p99_ms, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold" if ours else "normal",
            color=_TEXT,
        )
    axis.set_yticks(range(len(shown)), [label for label, _, _ in shown])
    axis.set_ylim(len(shown) - 0.4, -0.6)
    # The right limit is of all panels that share the axis: a fixed one would cut those that are drawn later
    longest = max([axis.get_xlim()[1] / _ROOM, *(latency.p99_ms for latency in latencies)])
    axis.set_xlim(0, longest * _ROOM)
    axis.grid(visible=False, axis="y")


def _grid(heights: Sequence[int], columns: int, *, width: float, height: float) -> tuple[Any, Any]:
    """Make a grid of panels; all panels of a column have one horizontal scale."""
    plt = pyplot()
    figure, axes = plt.subplots(
        len(heights),
        columns,
        figsize=(width, height),
        squeeze=False,
        sharex="col",
        gridspec_kw={"height_ratios": [count + 0.6 for count in heights]},
    )
    for axis in axes.flat:
        style(axis)
    return figure, axes


def accuracy_over_latency(accuracy: Sequence[JsonObject], rows: Sequence[CaseRow]) -> bytes:
    """Plot the accuracy of each model with its 95 % confidence interval over its fastest median at batch 1."""
    figure, (axis,) = _figure(1, width=6.4, height=4.2)
    for number, row in enumerate(accuracy):
        times = [
            r.measured.latency.median_ms
            for r in rows
            if r.measured is not None and r.model == row["model"] and r.batch == 1 and r.contender.startswith("edge")
        ]
        if not times:
            continue
        low, high = row["accuracy_interval"]
        center = row["accuracy"]
        error = [[max(center - low, 0) * 100], [max(high - center, 0) * 100]]
        color = _CYCLE[number % len(_CYCLE)]
        axis.errorbar(min(times), center * 100, yerr=error, fmt="o", color=color, capsize=4, label=row["label"])
    axis.margins(x=0.15)
    axis.set_xlim(left=0)
    axis.set_xlabel("median latency of one face, milliseconds")
    axis.set_ylabel("10-fold accuracy, % (bar: 95 % interval)")
    axis.legend(frameon=False)
    return png(figure)


def roc(accuracy: Sequence[JsonObject]) -> bytes:
    """Plot ROC (left) and DET (right) over the logarithm of the false accept rate."""
    figure, (left, right) = _figure(2, width=10.5, height=4.2)
    for number, row in enumerate(accuracy):
        color = _CYCLE[number % len(_CYCLE)]
        far = [max(value, 1e-4) for value in row["roc"]["far"]]
        left.plot(far, [value * 100 for value in row["roc"]["tar"]], color=color, label=row["label"])
        right.plot(far, [max(1 - value, 1e-4) for value in row["roc"]["tar"]], color=color, label=row["label"])
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xlim(3e-4, 1)
        axis.set_xlabel("false accept rate")
        axis.legend(frameon=False)
    left.set_ylabel("true accept rate, %")
    right.set_ylabel("false reject rate")
    right.set_yscale("log")
    return png(figure)


def identification(rows: Sequence[IdentificationRow]) -> bytes:
    """Plot identification over false alarms (left), and the best similarities of known people and strangers (right)."""
    figure, (left, right) = _figure(2, width=10.5, height=4.2)
    for number, row in enumerate(rows):
        curve = row.figures.curve
        rates = [100 * value for value in curve.dir]
        left.plot(curve.false_alarm_rate, rates, color=_CYCLE[number % len(_CYCLE)], label=row.label)
    first = rows[0].figures
    left.axvline(first.false_alarm_rate, color=_TEXT, linewidth=0.8, linestyle=":")
    left.set_xscale("log")
    left.set_xlabel("false alarm rate: strangers taken for somebody")
    left.set_ylabel("known people identified, %")
    left.legend(frameon=False)
    for values, color, label in (
        (first.similarities.probes, _OURS, f"{first.probes} photographs of known people"),
        (first.similarities.strangers, _CYCLE[1], f"{first.strangers} strangers"),
    ):
        right.hist(values, bins=50, density=True, alpha=0.6, color=color, label=label)
    right.axvline(first.threshold, color=_TEXT, linewidth=0.8, linestyle=":")
    right.set_xlabel(f"similarity of the best candidate, {rows[0].label}; dotted: 1 % false alarms")
    right.set_yticks([])
    right.legend(frameon=False)
    return png(figure)


def sustained(runs: Mapping[str, SustainedRun]) -> bytes:
    """Plot rate (top) and known temperatures (bottom) of sustained runs over time; crosses mark throttling.

    Rates are relative to the start of each run, since those of two devices may differ by orders of magnitude.

    Args:
        runs: sustained runs, by the name of the device.
    """
    is_heat_known = any(run.hottest_c is not None for run in runs.values())
    panels = 2 if is_heat_known else 1
    figure, grid = pyplot().subplots(panels, 1, figsize=(8, 1.2 + 2.2 * panels), sharex=True, squeeze=False)
    axes = grid[:, 0]
    rate = axes[0]
    for number, (name, run) in enumerate(runs.items()):
        color = _CYCLE[number % len(_CYCLE)]
        minutes = [part.end_s / 60 for part in run.windows]
        start = run.start_rate
        rate.plot(
            minutes,
            [part.rate / start for part in run.windows],
            color=color,
            label=f"{name}: {start:.1f} faces a second".replace("$", r"\$"),  # matplotlib takes it for a formula
        )
        slowed = [(part.end_s / 60, part.rate / start) for part in run.windows if part.condition.is_slowed]
        rate.plot([at for at, _ in slowed], [share for _, share in slowed], "x", color=color)
        known = [part for part in run.windows if part.condition.temperature_c is not None]
        axes[-1].plot(
            [part.end_s / 60 for part in known], [part.condition.temperature_c for part in known], color=color
        )
    for axis in axes:
        style(axis)
        axis.margins(y=0.15)
    rate.set_ylim(bottom=0)
    rate.set_ylabel("rate, over that at the start")
    rate.legend(frameon=False, loc="lower left", title="at the start")
    if is_heat_known:
        axes[-1].set_ylabel("hottest zone, degrees Celsius")
    axes[-1].set_xlabel("minutes; cross: slowed down by heat or power")
    return png(figure)


def _figure(panels: int, *, width: float, height: float) -> tuple[Any, Any]:
    figure, axes = pyplot().subplots(1, panels, figsize=(width, height), squeeze=False)
    for axis in axes[0]:
        style(axis)
    return figure, axes[0]


def style(axis: Any) -> None:
    """Give a panel the look of all plots: two spines, a light grid behind the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="both", color=_GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(colors=_TEXT, labelsize=9)


def pyplot() -> Any:
    """Matplotlib's pyplot, without a window."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def png(figure: Any, *, top: float = 1.0) -> bytes:
    """Lay a figure out, write it as PNG and close it.

    Args:
        figure: matplotlib's figure.
        top: upper edge of the panels as a share of the height; what is above is left to a legend.
    """
    plt = pyplot()
    figure.tight_layout(rect=(0, 0, 1, top))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    plt.close(figure)
    return stream.getvalue()
