"""Compare the fastest form of this project with the fastest of each other runtime, by precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import static_int8
from benchmarks.contenders import find_peer, peer_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.case_row import CaseRow, Measurement

OURS = "edge_sphereface"
_PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Fastest row of one runtime with one precision and one number of threads.

    Attributes:
        runtime: name of the runtime.
        form: model, or form of the model, that it ran.
        precision: ``float32``, ``float16`` or ``int8``.
        threads: number of threads of one inference.
        batch: number of crops in one inference.
        measured: its figures.
    """

    runtime: str
    form: str
    precision: str
    threads: int
    batch: int
    measured: Measurement

    @property
    def is_ours(self) -> bool:
        """Whether it is a form of this project on its own runtime."""
        return self.runtime == OURS


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Rows of one run, in which contenders took turns on one network.

    Attributes:
        rows: one for each contender, number of threads and batch size.
        busy: description of the load by other programs; empty if it was low or is unknown.
    """

    rows: tuple[CaseRow, ...]
    busy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """Entries of the run that is shown first.

    Attributes:
        entries: fastest form of each runtime.
        busy: description of the load by other programs during the run.
    """

    entries: tuple[Entry, ...]
    busy: str


def entries(rows: Sequence[CaseRow]) -> list[Entry]:
    """Return the fastest correct row of each runtime, precision and number of threads, at the smallest batch.

    The rows must be of one run and one network. The entries are sorted by threads, precision and median.
    """
    smallest = min((row.batch for row in rows), default=1)
    found: dict[tuple[str, str, int], Entry] = {}
    for row in rows:
        precision = row.precision.split(" ")[0]
        if row.measured is None or not row.measured.correct or row.batch != smallest or precision not in _PRECISIONS:
            continue
        entry = Entry(
            runtime=_runtime(row),
            form=_form(row),
            precision=precision,
            threads=row.threads,
            batch=row.batch,
            measured=row.measured,
        )
        key = (entry.runtime, entry.precision, entry.threads)
        if key not in found or _median(entry) < _median(found[key]):
            found[key] = entry
    return sorted(found.values(), key=lambda entry: (entry.threads, _PRECISIONS.index(entry.precision), _median(entry)))


def choose(runs: Iterable[Run]) -> Headline:
    """Choose the run with the most precisions of this project, then the most entries, then the last.

    Figures of different runs are not compared: contenders did not take turns, and the networks may differ.
    """
    best = Headline(entries=(), busy="")
    for run in runs:
        found = entries(run.rows)
        if _worth(found) >= _worth(best.entries):
            best = Headline(entries=tuple(found), busy=run.busy)
    return best


def split_runs(rows: Sequence[CaseRow]) -> list[list[CaseRow]]:
    """Split rows of several runs. A run begins where a number of threads and batch size appears again."""
    runs: list[list[CaseRow]] = []
    seen: set[tuple[int, int]] = set()
    group = None
    for row in rows:
        if (row.threads, row.batch) != group:
            group = (row.threads, row.batch)
            if not runs or group in seen:
                runs.append([])
                seen = set()
            seen.add(group)
        runs[-1].append(row)
    return runs


def text(found: Sequence[Entry]) -> str:
    """Format the entries as a table."""
    figures = f"{'median ms':>9} {'p95':>8} {'p99':>8} {'cosine':>9}"
    lines = [f"{'threads':>7} {'precision':<9} {'runtime':<28} {figures}  form"]
    for entry in found:
        latency = entry.measured.latency
        lines.append(
            f"{entry.threads:>7} {entry.precision:<9} {entry.runtime:<28} {latency.median_ms:>9.2f} "
            f"{latency.p95_ms:>8.2f} {latency.p99_ms:>8.2f} {entry.measured.min_cosine:>9.6f}  {entry.form}"
        )
    return "\n".join(lines)


def _worth(found: Sequence[Entry]) -> tuple[int, int]:
    return len({entry.precision for entry in found if entry.is_ours}), len(found)


def _median(entry: Entry) -> float:
    return entry.measured.latency.median_ms


def is_ours(row: CaseRow) -> bool:
    """Whether the row ran a form of this project on this project's runtime."""
    return _runtime(row) == OURS


def _runtime(row: CaseRow) -> str:
    if row.contender not in peer_names():
        return row.contender  # of another version
    peer = find_peer(row.contender)
    if not peer.is_ours:
        return peer.title
    # A model that this project did not quantize is no form of its own, whatever runs it
    return find_peer("onnxruntime_plain").title if _is_static(row) else OURS


def _is_static(row: CaseRow) -> bool:
    return row.precision == static_int8.PRECISION


def _form(row: CaseRow) -> str:
    if _is_static(row):
        return f"quantize_static: {row.model}"
    name = row.label.partition(": ")[2] if row.label.startswith(_runtime(row)) else row.label
    name = name or row.model
    session = {"edge_tuned": ", tuned session", "edge_pinned": ", pinned threads"}.get(row.contender, "")
    return f"{name}{f' ({row.graph})' if row.graph else ''}{session}"
