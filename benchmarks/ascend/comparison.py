"""Gathers the rows of several results, and writes the ledger: table, picture, and the JSON that they were made from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.accuracy.evaluate import AccuracyRow
from benchmarks.ascend import ledger, picture, published
from benchmarks.ascend.row import IMPORTED, MEASURED, PUBLISHED, LedgerRow, Weights
from benchmarks.case_row import read_rows
from benchmarks.environment import Environment, TimedEnvironment
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
_OF_RUNS = ("native", "measurements")
"""What results of ``ascend run`` and ``report`` have, and imported ones lack."""
_NOT_HERE = "its file calls it measured here, and is not what a run on this machine wrote"
_NO_CHECK = "its file calls it proven, and names no check"


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
    here: Environment,
    network: Network = Network(),
    edge_network: Network = Network(),
) -> list[LedgerRow]:
    """Rows of several results, then the published ones.

    Args:
        results: results that hold a ledger. Their published rows are replaced by those of this version.
        edge: results of ``latency``, ``tuning`` and ``accuracy``.
        here: this machine. What was not recorded on it is ``imported``, whatever the file says.
        network: network of the rows of ``results`` that name none.
        edge_network: network of the rows of ``edge``.

    Raises:
        UsageError: a row is not valid.
    """
    rows = [edge_network.of(row) for row in edge_rows(edge, here=here, only_ours=True)]
    rows += [network.of(row) for result in results for row in ledger_rows(result, here=here)]
    return [*rows, *published.ROWS]


def ledger_rows(result: JsonObject, *, here: Environment) -> list[LedgerRow]:
    """Rows of the ledger of a result except published ones, with the origin and the proof that the file can give.

    Args:
        result: result of ``ascend run``, ``ascend import`` or ``report``.
        here: this machine.

    Raises:
        UsageError: a row is not valid.
    """
    found = [row for row in read_records(LedgerRow, result.get("ledger", [])) if row.origin != PUBLISHED]
    is_measured = any(result.get(name) is not None for name in _OF_RUNS) and _is_of(result, here)
    return [_as_far_as_known(row, result, is_measured=is_measured) for row in found]


def with_known_rows(result: JsonObject, *, here: Environment) -> JsonObject:
    """A result whose ledger says no more than is known here: rows of :func:`ledger_rows`, and this version's published.

    Raises:
        UsageError: a row is not valid.
    """
    if not result.get("ledger"):
        return result
    read = read_records(LedgerRow, result["ledger"])
    published_rows = published.ROWS if any(row.origin == PUBLISHED for row in read) else ()
    rows = [*ledger_rows(result, here=here), *published_rows]
    return {**result, "ledger": [json_object(row) for row in rows]}


def edge_rows(edge: Sequence[JsonObject], *, here: Environment, only_ours: bool = False) -> list[LedgerRow]:
    """Rows of results of ``latency``, ``tuning`` and ``accuracy``.

    Args:
        edge: the results.
        here: this machine; rows of other machines are ``imported``.
        only_ours: whether to leave out other projects' forms.

    Raises:
        UsageError: a row is not valid.
    """
    rows: list[LedgerRow] = []
    accuracy = [row for result in edge for row in read_records(AccuracyRow, result.get("accuracy", []))]
    for result in edge:
        chosen = [row for row in read_rows(result) if is_ours(row) or not only_ours]
        rows += ledger.of_edge(chosen, accuracy, machine=_machine(result), is_here=_is_of(result, here))
    return rows


def _as_far_as_known(row: LedgerRow, result: JsonObject, *, is_measured: bool) -> LedgerRow:
    """A row of a file, with no origin and no proof that the file cannot give."""
    if row.origin != MEASURED:
        if row.proof == "proven" and row.check is None:
            return replace(row, proof="not checked", doubts=(*row.doubts, _NO_CHECK))
        return row
    shown = ledger.proof_by(row.agreement, row.precision)
    row = _completed(row, result)
    if is_measured:
        return replace(row, proof=shown if row.proof == "not checked" else row.proof)
    return replace(
        row,
        proof="failed" if row.proof == "failed" else shown,
        origin=IMPORTED,
        source=f"a result of {row.machine}",
        doubts=(*row.doubts, _NOT_HERE),
    )


def _completed(row: LedgerRow, result: JsonObject) -> LedgerRow:
    """A measured row with what rows of earlier versions did not say: they, too, were of batch 1."""
    if row.device is None:
        device = None
    elif row.path.startswith(ledger.NATIVE):
        device = ledger.native_device(row.device)
    else:
        device = row.device.replace(", 1 threads", ", 1 thread")
    return replace(row, batch=row.batch or 1, device=device, machine=row.machine or _machine(result))


def _is_of(result: JsonObject, here: Environment) -> bool:
    """Whether a result was recorded on this machine, as far as its environment tells machines apart."""
    place = _place(result)
    return (place.cpu, place.processor, place.memory_mib) == (here.cpu, here.processor, here.memory_mib)


def _place(result: JsonObject) -> Environment:
    return TimedEnvironment.from_values(result["environment"]).environment


def _machine(result: JsonObject) -> str:
    place = _place(result)
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
