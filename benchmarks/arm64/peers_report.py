"""Format counts of contenders as Markdown that is readable in a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.arm64.cores import CORES
from benchmarks.arm64.report import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.arm64.cost_model import CostModel
    from benchmarks.arm64.peers import PeerRow
    from benchmarks.environment import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersReport:
    """What ``arm64 peers`` counted.

    Attributes:
        environment: machine and versions.
        emulator: name and version of the emulator.
        reference: file name of the first model, whose embedding on this machine every run is compared with.
        network: architecture and widths of that model.
        peers: one row for each core, contender, model and precision.
        model: the cost model with its error on published times; null without ``--published``.
    """

    environment: Environment
    emulator: str
    reference: str
    network: str
    peers: tuple[PeerRow, ...]
    model: CostModel | None


def text(report: PeersReport) -> str:
    """Format the counts, and the cost model with its error."""
    head = (
        f"{report.network}, {report.reference}. Counts of one inference with one thread, in millions, on emulated "
        f"cores ({report.emulator}). A count is no time."
    )
    parts = [head, *(_core(name, report) for name in dict.fromkeys(row.processor for row in report.peers))]
    if report.model is not None:
        parts.append(_model(report.model))
    return "\n\n".join(parts)


def _core(name: str, report: PeersReport) -> str:
    rows = sorted(
        (row for row in report.peers if row.processor == name),
        key=lambda row: row.counted.counts.instructions if row.counted else 0,
        reverse=True,
    )
    head = ["contender", "precision", "instructions", "multiply-adds", "loads, stores", "MB to memory", "cosine"]
    head += ["model, ms"] if report.model is not None else []
    core = CORES[name]
    emulated = f", emulated as {core.emulated_as}" if core.emulated_as else ""
    body = table(head, [_cells(row, len(head)) for row in rows])
    return f"{name}{emulated}, with the caches of {core.board}:\n\n{body}"


def _cells(row: PeerRow, length: int) -> list[str]:
    if row.counted is None:
        why = f"left out: {row.skipped}" if row.skipped else f"failed: {row.error}"
        return [row.label, row.precision, why[:60], *["·"] * (length - 3)]
    counts = row.counted.counts
    cells = [
        row.label,
        row.precision,
        f"{counts.instructions / 1e6:.0f}",
        f"{counts.multiply_adds / 1e6:.0f}",
        f"{(counts.vector_memory + counts.other_memory) / 1e6:.0f}",
        "·" if counts.traffic is None else f"{counts.traffic.memory_bytes / 1e6:.0f}",
        f"{row.counted.cosine:.6f}",
        "·" if row.modelled_ms is None else f"{row.modelled_ms:.1f}",
    ]
    return cells[:length]


def _model(model: CostModel) -> str:
    head = ["core", "network", "threads", "published, ms", "model, ms", "error", "use"]
    body: list[Sequence[str]] = [
        [
            pair.published.network.processor,
            f"{pair.published.network.network} {pair.published.network.precision}",
            str(pair.published.threads),
            f"{pair.published.ms:.1f}",
            f"{pair.modelled_ms:.1f}",
            f"{pair.error:+.0%}",
            "fitted" if pair.published.is_fitted else "judges",
        ]
        for pair in model.pairs
    ]
    bandwidths = ", ".join(
        f"{CORES[name].board} {value:.2f}, {'published' if CORES[name].memory_gb_s else 'fitted'}"
        for name, value in model.bandwidth_gb_s.items()
    )
    said = (
        "The cost model: all vector instructions at the rate of the core, then all bytes to and from memory at a "
        f"bandwidth in GB/s ({bandwidths}). Against ncnn's published times:"
    )
    return f"{said}\n\n{table(head, body)}"
