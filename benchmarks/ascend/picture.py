"""Draws the ledger. Origin shows in color, mark and line, so that no reader can take one for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from benchmarks import plots
from benchmarks.ascend.ledger import grouped, name_of, whereabouts
from benchmarks.ascend.row import IMPORTED, MEASURED, PUBLISHED, LedgerRow, Origin
from edge_sphereface.storage.bounded_json import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    _Value = Callable[[LedgerRow], float | None]


class _Look(NamedTuple):
    """How an origin is drawn: color, mark, fill of the mark, style of the line to it, and words of the legend."""

    color: str
    mark: str
    fill: str
    line: Literal["-", "--", ":"]
    words: str


_LOOKS: dict[Origin, _Look] = {
    MEASURED: _Look("#0072B2", "o", "#0072B2", "-", "measured here"),
    IMPORTED: _Look("#D55E00", "s", "#D55E00", "--", "imported from another machine"),
    PUBLISHED: _Look("#555555", "^", "white", ":", "published by others"),
}
"""Blue and vermilion are of Okabe and Ito's palette, which color-blind readers tell apart."""
_WIDTH_IN = 11.0
_ROW_IN = 0.4
_GAP = 1.4
"""Room of the heading of a network, in rows."""
_TEXT = "#222222"
_COLUMNS = (1.03, 1.22)
"""Places of the columns beside a panel, in widths of the panel."""
_LATENCY = "milliseconds of one call, logarithmic: left is better"
_RATE = "known only as throughput, not a latency: faces a second, logarithmic, right is better"
_LABEL = 64
"""Largest number of characters of a line of a label."""


def draw(rows: Sequence[LedgerRow]) -> bytes:
    """Draw latencies, and below them the rows that are known only as throughput, both by network.

    Rows with neither are left to the table. Each mark is labeled with network, device, precision and batch size. Beside
    it are the accuracy on LFW, and whether the outputs were compared with the expected ones.

    Args:
        rows: rows of the ledger.

    Returns:
        The picture as PNG.
    """
    shown = [row for row in rows if row.error is None]
    timed = [row for row in shown if row.milliseconds() is not None]
    rated = [row for row in shown if row.milliseconds() is None and row.faces_per_second is not None]
    panels: list[tuple[str, list[LedgerRow], _Value]] = []
    if timed:
        panels.append((_LATENCY, timed, LedgerRow.milliseconds))
    if rated:
        panels.append((_RATE, rated, lambda row: row.faces_per_second))
    heights = [len(drawn) + _GAP * len(grouped(drawn)) + 1.7 for _, drawn, _ in panels] or [1.0]
    figure, axes = plots.pyplot().subplots(
        len(heights),
        1,
        figsize=(_WIDTH_IN, _ROW_IN * sum(heights) + 0.6),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for axis, (title, drawn, value) in zip(axes[:, 0], panels, strict=False):
        _marks(axis, grouped(drawn), value)
        axis.set_xlabel(title, fontsize=10, color=_TEXT)
    _legend(figure, {row.origin for row in shown})
    return plots.png(figure, top=1 - 0.4 / figure.get_figheight())


def _marks(axis: Any, groups: Mapping[str, Sequence[LedgerRow]], value_of: _Value) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    plots.style(axis)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    values = [value_of(row) or 0.0 for rows in groups.values() for row in rows]
    start = min(values) / 1.6
    axis.set_xlim(start, max(values) * 2.5)  # room for the figure beside the last mark
    end, placed = -1.0, list[tuple[float, LedgerRow]]()
    for heading, rows in groups.items():
        axis.annotate(
            _short(heading), (0, end + _GAP), xycoords=axis.get_yaxis_transform(), xytext=(-6, 0),
            textcoords="offset points", ha="right", va="center", fontsize=10, fontweight="bold", color=_TEXT,
        )  # fmt: skip
        end += _GAP
        placed += [(end + number, row) for number, row in enumerate(rows, start=1)]
        end += len(rows)
    for (place, row), value in zip(placed, values, strict=True):
        look = _LOOKS[row.origin]
        axis.plot([start, value], [place, place], color=look.color, linestyle=look.line, linewidth=1.3)
        axis.plot(
            value, place, marker=look.mark, color=look.fill, markeredgecolor=look.color, markersize=9,
            markeredgewidth=1.6,
        )  # fmt: skip
        axis.annotate(
            _figure(value), (value, place), xytext=(9, 0), textcoords="offset points", va="center", fontsize=10,
            fontweight="bold", color=look.color,
        )  # fmt: skip
        _columns(axis, place, (_accuracy(row), row.proof), bold=False)
    _columns(axis, -0.9, ("LFW", "outputs"), bold=True)
    axis.set_yticks([place for place, _ in placed], [_label(row) for _, row in placed], fontsize=9)
    axis.set_ylim(end + 0.6, -1.2)
    axis.grid(visible=False, axis="y")


def _columns(axis: Any, place: float, words: tuple[str, str], *, bold: bool) -> None:
    for column, word in zip(_COLUMNS, words, strict=True):
        axis.text(
            column, place, word, transform=axis.get_yaxis_transform(), va="center", fontsize=9, color=_TEXT,
            fontweight="bold" if bold else "normal",
        )  # fmt: skip


def _figure(value: float) -> str:
    """Write a number with three digits, without an exponent."""
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}"


def _label(row: LedgerRow) -> str:
    where = whereabouts(row) if row.batch is not None else f"{whereabouts(row)}, batch not stated".removeprefix(", ")
    return f"{_short(escaped(name_of(row)))}\n{_short(escaped(where))}"


def _short(words: str) -> str:
    shortened = words if len(words) <= _LABEL else f"{words[: _LABEL - 1]}…"
    return shortened.replace("$", r"\$")  # matplotlib would set what is between two as a formula


def _accuracy(row: LedgerRow) -> str:
    if row.accuracy is not None:
        return f"{row.accuracy:.2%}"
    return "untrained" if row.weights == "untrained" else "unknown"


def _legend(figure: Any, origins: set[Origin]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=look.color, marker=look.mark, markerfacecolor=look.fill, linestyle=look.line, markersize=9,
            label=look.words,
        )
        for origin, look in _LOOKS.items()
        if origin in origins
    ]  # fmt: skip
    figure.legend(handles=handles, loc="upper center", ncols=len(handles) or 1, frameon=False, fontsize=10)
