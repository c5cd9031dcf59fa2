"""Draw plots as PNG bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from benchmarks.latency import group_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import JsonObject

_OURS, _PEER, _GRID, _TEXT = "#1f6f8b", "#b8b8b8", "#e6e6e6", "#333333"
_CYCLE = ("#1f6f8b", "#e07a3f", "#6a994e", "#8e5572", "#c9a227", "#555555")


def latencies(rows: Sequence[JsonObject]) -> bytes:
    """Draw box plots of batch 1 with one panel per number of threads; this project's runtime is in color."""
    chosen = [row for row in rows if row["batch"] == min(r["batch"] for r in rows)]
    threads = sorted({row["threads"] for row in chosen})
    height = 1.2 + 0.42 * max(sum(row["threads"] == count for row in chosen) for count in threads)
    figure, axes = _figure(len(threads), width=5.2 * len(threads) + 1.2, height=height)
    for axis, count in zip(axes, threads, strict=True):
        shown = [row for row in chosen if row["threads"] == count][::-1]
        boxes = axis.boxplot(
            [row["samples_ms"] for row in shown],
            orientation="horizontal",
            patch_artist=True,
            widths=0.6,
            showfliers=False,
            medianprops={"color": _TEXT, "linewidth": 1.4},
        )
        for box, row in zip(boxes["boxes"], shown, strict=True):
            box.set(facecolor=_OURS if row["contender"] == "edge" else _PEER, edgecolor=_TEXT, linewidth=0.7)
        axis.set_yticks(range(1, len(shown) + 1), [row["label"] for row in shown])
        axis.set_xlim(left=0)
        axis.set_title(group_name(count, shown[0]["batch"]), loc="left")
        axis.set_xlabel("milliseconds (box: middle half, line: median)")
    return _png(figure)


def accuracy_over_latency(accuracy: Sequence[JsonObject], rows: Sequence[JsonObject]) -> bytes:
    """Plot the accuracy of each model with its 95 % confidence interval over its fastest median at batch 1."""
    figure, (axis,) = _figure(1, width=6.4, height=4.2)
    for number, row in enumerate(accuracy):
        times = [
            r["latency"]["median_ms"]
            for r in rows
            if r["model"] == row["model"] and r["batch"] == 1 and r["contender"] == "edge"
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
    return _png(figure)


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
    return _png(figure)


def identification(rows: Sequence[JsonObject]) -> bytes:
    """Plot identification over false alarms (left), and the best similarities of known people and strangers (right)."""
    figure, (left, right) = _figure(2, width=10.5, height=4.2)
    for number, row in enumerate(rows):
        curve = row["curve"]
        rates = [100 * value for value in curve["dir"]]
        left.plot(curve["false_alarm_rate"], rates, color=_CYCLE[number % len(_CYCLE)], label=row["label"])
    left.axvline(rows[0]["false_alarm_rate"], color=_TEXT, linewidth=0.8, linestyle=":")
    left.set_xscale("log")
    left.set_xlabel("false alarm rate: strangers taken for somebody")
    left.set_ylabel("known people identified, %")
    left.legend(frameon=False)
    first = rows[0]
    for kind, color in (("probes", _OURS), ("strangers", _CYCLE[1])):
        label = {
            "probes": f"{first['probes']} photographs of known people",
            "strangers": f"{first['strangers']} strangers",
        }
        right.hist(first["similarities"][kind], bins=50, density=True, alpha=0.6, color=color, label=label[kind])
    right.axvline(first["threshold"], color=_TEXT, linewidth=0.8, linestyle=":")
    right.set_xlabel(f"similarity of the best candidate, {first['label']}; dotted: 1 % false alarms")
    right.set_yticks([])
    right.legend(frameon=False)
    return _png(figure)


def _figure(panels: int, *, width: float, height: float) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, panels, figsize=(width, height), squeeze=False)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="both", color=_GRID, linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(colors=_TEXT, labelsize=9)
    return figure, axes[0]


def _png(figure: Any) -> bytes:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    plt.close(figure)
    return stream.getvalue()
