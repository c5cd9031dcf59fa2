"""Gathers the rows of several results, and writes the ledger: table, picture, and the JSON that they were made from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.accuracy.evaluate import AccuracyRow
from benchmarks.ascend import ledger, picture, published
from benchmarks.ascend.row import MEASURED, PUBLISHED, LedgerRow, Weights
from benchmarks.case_row import read_rows
from benchmarks.environment import TimedEnvironment
from benchmarks.headline import is_ours
from benchmarks.recorded import read_records
from edge_sphereface.json_output import json_object
from edge_sphereface.storage.files import SHARED, atomic_write, ensure_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_sphereface.types import JsonObject

_ABOUT = (
    "Never compare rows of different origin as if one machine had measured both. `outputs` says whether the run's "
    "outputs were compared with the expected ones. A latency is that of one call with the batch named beside it; rows "
    "that are known only as throughput are drawn apart."
)
_PICTURE = "ledger.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLedger:
    """What ``ascend compare`` wrote.

    Attributes:
        files: paths of the page, the picture and the data.
    """

    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What is known of the network of rows that do not name theirs.

    Attributes:
        name: its name and width.
        weights: whether its weights are trained.
    """

    name: str | None = None
    weights: Weights | None = None

    def of(self, row: LedgerRow) -> LedgerRow:
        """The row with its network."""
        weights = row.weights or ("trained" if row.accuracy is not None else self.weights)
        return replace(row, network=row.network or self.name, weights=weights)


def gather(
    results: Sequence[JsonObject],
    edge: Sequence[JsonObject],
    *,
    network: Network = Network(),
    edge_network: Network = Network(),
) -> list[LedgerRow]:
    """Rows of several results, then the published ones.

    Args:
        results: results that hold a ledger. Their published rows are replaced by those of this version.
        edge: results of ``latency``, ``tuning`` and ``accuracy``.
        network: network of the rows of ``results`` that name none.
        edge_network: network of the rows of ``edge``.

    Raises:
        UsageError: a row is not valid.
    """
    rows: list[LedgerRow] = []
    accuracy = [row for result in edge for row in read_records(AccuracyRow, result.get("accuracy", []))]
    for result in edge:
        ours = [row for row in read_rows(result) if is_ours(row)]
        rows += map(edge_network.of, ledger.of_edge(ours, accuracy, machine=_machine(result)))
    for result in results:
        found = [row for row in read_records(LedgerRow, result.get("ledger", [])) if row.origin != PUBLISHED]
        rows += [network.of(_completed(row, result) if row.origin == MEASURED else row) for row in found]
    return [*rows, *published.ROWS]


def _completed(row: LedgerRow, result: JsonObject) -> LedgerRow:
    """A measured row with what rows of earlier versions did not say: they, too, were of batch 1."""
    proof = ledger.proof_by(row.agreement, row.precision) if row.proof == "not checked" else row.proof
    if row.device is None:
        device = None
    elif row.path.startswith(ledger.NATIVE):
        device = ledger.native_device(row.device)
    else:
        device = row.device.replace(", 1 threads", ", 1 thread")
    return replace(row, batch=row.batch or 1, device=device, proof=proof, machine=row.machine or _machine(result))


def _machine(result: JsonObject) -> str:
    place = TimedEnvironment.from_values(result["environment"]).environment
    return f"{place.cpu}, {place.usable_cpus} processors"


def write(report: ledger.ImportedReport, folder: Path, *, remark: str = "") -> list[Path]:
    """Write ``ledger.json``, ``ledger.png`` and ``ledger.md``.

    Args:
        report: the rows.
        folder: folder of the files; created if missing.
        remark: notes on the networks and the runs, for the page.

    Returns:
        Paths of the written files.
    """
    ensure_folder(folder)
    machines = sorted({row.machine for row in report.ledger if row.origin == MEASURED and row.machine is not None})
    lines = [
        "# Ledger of native and edge figures",
        "",
        *([f"Measured on: {'; '.join(machines)}.", ""] if machines else []),
        *([remark, ""] if remark else []),
        _ABOUT,
        "",
        f"![Latency by origin]({_PICTURE})",
        "",
        "```text",
        ledger.text(report.ledger),
        "```",
    ]
    files = {
        "ledger.json": json.dumps(json_object(report), indent=1).encode(),
        _PICTURE: picture.draw(report.ledger),
        "ledger.md": ("\n".join(lines) + "\n").encode(),
    }
    written = []
    for name, content in files.items():
        path = folder / name
        with atomic_write(path, mode=SHARED) as stream:
            stream.write(content)
        written.append(path)
    return written
