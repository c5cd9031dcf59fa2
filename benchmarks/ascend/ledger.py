"""The ledger: edge rows and native rows in one table, in which measured, imported and published figures never mix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.ascend import published
from benchmarks.ascend.row import IMPORTED, MEASURED, PUBLISHED, SPHEREFACE, LedgerRow, Origin, Proof
from benchmarks.runner import MIN_COSINE, MIN_COSINE_OTHER
from edge_sphereface.storage.bounded_json import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.accuracy.evaluate import AccuracyRow
    from benchmarks.ascend.native import NativeRow
    from benchmarks.ascend.probe import Presence
    from benchmarks.case_row import CaseRow
    from benchmarks.environment import Environment, TimedEnvironment
    from edge_sphereface.metrics import Agreement

NATIVE = "native: "
"""Start of the names of native runs."""
_HERE = "this machine"
_OTHERS = "other networks: what their times cover differs"
_UNNAMED = "network not stated"
_LABEL = 110
"""Largest number of characters of a name in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AscendReport:
    """What ``ascend run`` measured and compared.

    Attributes:
        environment: machine, versions and load by other programs.
        presence: Ascend hardware and software of this machine in a sentence.
        probe: the same in detail.
        native: one row for each native run.
        ledger: rows of the comparison.
    """

    environment: TimedEnvironment
    presence: str
    probe: Presence
    native: tuple[NativeRow, ...]
    ledger: tuple[LedgerRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedReport:
    """What ``ascend import`` read.

    Attributes:
        environment: machine and versions of the import, not of the runs.
        ledger: rows of the runs.
    """

    environment: Environment
    ledger: tuple[LedgerRow, ...]


def collect(edge: Sequence[LedgerRow], native: Sequence[NativeRow]) -> list[LedgerRow]:
    """Combine rows in one list; each row states the origin of its figures.

    Args:
        edge: rows of :func:`of_edge`.
        native: rows of :func:`benchmarks.ascend.native.run`.
    """
    return [*edge, *map(_of_native, native), *published.ROWS]


def of_edge(
    edge: Sequence[CaseRow], accuracy: Sequence[AccuracyRow], *, machine: str | None = None, is_here: bool = True
) -> list[LedgerRow]:
    """Rows of the ledger of measured edge forms at batch 1.

    Args:
        edge: rows of a recorded result.
        accuracy: rows of ``benchmarks accuracy``; the accuracy of a model is added to its rows.
        machine: processor on which they were measured; None to leave it out.
        is_here: whether that is this machine; else the rows are ``imported``.
    """
    # The original evaluation uses the landmarks of LFW's file; so do the native rows.
    known = {row.model: row.figures for row in accuracy if row.landmarks == "given"}
    rows = []
    for row in edge:
        if row.batch != 1 or row.measured is None:
            continue
        judged, latency = known.get(row.model), row.measured.latency
        rows.append(
            LedgerRow(
                path=f"edge: {row.label}",
                device=f"{row.provider}, {row.threads} thread{'s' if row.threads > 1 else ''}",
                precision=row.precision,
                batch=1,
                includes="whole call",
                latency=latency,
                faces_per_second=round(1000 / latency.median_ms, 2),
                accuracy=None if judged is None else judged.accuracy,
                accuracy_std=None if judged is None else judged.accuracy_std,
                threshold=None if judged is None else judged.threshold,
                machine=machine,
                origin=MEASURED if is_here else IMPORTED,
                source=_HERE if is_here else f"a result of {machine or 'another machine'}",
                proof="proven" if row.measured.correct else "failed",
            )
        )
    return rows


def proof_by(agreement: Agreement | None, precision: str | None) -> Proof:
    """Whether embeddings agree with numpy's as closely as their precision allows."""
    if agreement is None:
        return "not checked"
    least = MIN_COSINE.get(precision or "", MIN_COSINE_OTHER)
    return "proven" if agreement.min_cosine >= least else "failed"


def _of_native(row: NativeRow) -> LedgerRow:
    figures, judged = row.figures, row.judged
    return LedgerRow(
        path=f"{NATIVE}{row.path}",
        network=row.network,
        device=native_device(row.device),
        precision=row.precision,
        batch=1,
        includes="whole call",
        latency=None if figures is None else figures.latency,
        faces_per_second=None if figures is None else figures.faces_per_second,
        power=None if figures is None else figures.power,
        agreement=None if figures is None else figures.agreement,
        accuracy=None if judged is None else judged.accuracy,
        accuracy_std=None if judged is None else judged.accuracy_std,
        accuracy_interval=None if judged is None else judged.accuracy_interval,
        threshold=None if judged is None else judged.threshold,
        pairs=None if judged is None else judged.pairs,
        samples_ms=None if figures is None else figures.samples_ms,
        error=row.error,
        origin=MEASURED,
        source=_HERE,
        proof=proof_by(None if figures is None else figures.agreement, row.precision),
    )


def native_device(device: str) -> str:
    """Device of a native run with its threads, which this project leaves to MindSpore."""
    return "CPU, MindSpore's default threads" if device == "CPU" else device


def grouped(rows: Sequence[LedgerRow]) -> dict[str, list[LedgerRow]]:
    """Rows by the heading of their network, those of this project's networks first."""
    groups: dict[str, list[LedgerRow]] = {}
    for row in rows:
        is_other = row.network is not None and not row.network.startswith(SPHEREFACE)
        groups.setdefault(_OTHERS if is_other else escaped(row.network or _UNNAMED), []).append(row)
    last = (_UNNAMED, _OTHERS)
    order = sorted(groups, key=lambda heading: (last.index(heading) + 1 if heading in last else 0, heading))
    return {heading: groups[heading] for heading in order}


def text(rows: Sequence[LedgerRow]) -> str:
    """Format the rows as one table with a heading for each network, then what is doubtful about them.

    There is a column for each origin that a row has; columns are as wide as their content. Control characters, which a
    row of somebody else's file may hold, are escaped.
    """
    groups = grouped(rows)
    origins = [origin for origin in (MEASURED, IMPORTED, PUBLISHED) if any(row.origin == origin for row in rows)]
    lines = [("path", *origins, "outputs", "source")]
    lines += [_cells(row, heading, origins) for heading, members in groups.items() for row in members]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
    head, *body = ["  ".join((*_padded(line, widths), line[-1])).rstrip() for line in lines]
    table, remaining = [head], iter(body)
    for heading, members in groups.items():
        table += ["", heading, *(next(remaining) for _ in members)]
    doubts = dict.fromkeys(
        f"* {escaped(name_of(row))}: {escaped(doubt)}"
        for members in groups.values()
        for row in members
        for doubt in row.doubts
    )
    return "\n".join([*table, *(["", "What to know before believing a figure:", *doubts] if doubts else [])])


def _cells(row: LedgerRow, heading: str, origins: Sequence[Origin]) -> tuple[str, ...]:
    name = name_of(row) if heading == _OTHERS else row.path
    where = whereabouts(row)
    label = escaped(name + (f" [{where}]" if where else ""))[:_LABEL]
    figures = (_figures(row) if row.origin == origin else "" for origin in origins)
    return (f"  {label}", *figures, row.proof, escaped(row.source))


def _padded(line: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Cells of a line but the last: figures to the right, words to the left."""
    last = len(widths) - 1
    for place, (cell, width) in enumerate(zip(line, widths, strict=False)):
        yield cell.ljust(width) if place in (0, last) else cell.rjust(width)


def name_of(row: LedgerRow) -> str:
    """Name of a row, after that of its network."""
    return row.path if row.network is None else f"{row.network}: {row.path}"


def whereabouts(row: LedgerRow) -> str:
    """Device, precision and batch size of a row, as far as they are known."""
    batch = None if row.batch is None else f"batch {row.batch}"
    return ", ".join(word for word in (row.device, row.precision, batch) if word)


def _figures(row: LedgerRow) -> str:
    if row.error is not None:
        return "not measured"
    parts = []
    if (value := row.milliseconds()) is not None:
        parts.append(f"{value:.2f} ms")
    if row.faces_per_second is not None:
        parts.append(f"{row.faces_per_second:.0f}/s")
    if row.power is not None and row.power.watts is not None:
        parts.append(f"{row.power.watts:.1f} W")
    if row.accuracy is not None:
        parts.append(f"LFW {row.accuracy:.2%}")
    return ", ".join(parts)
