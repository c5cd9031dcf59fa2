"""Table of edge rows and native rows. Measured, imported and published figures have separate columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_sphereface.evaluation.timing import LatencySummary  # noqa: TC001 -- read with the annotations of the row
from edge_sphereface.json_output import INLINE, OMIT_NONE, rounded
from edge_sphereface.metrics import Agreement  # noqa: TC001 -- read with the annotations of the row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.accuracy.evaluate import AccuracyRow
    from benchmarks.ascend.native import NativeRow
    from benchmarks.ascend.probe import Presence
    from benchmarks.case_row import CaseRow
    from benchmarks.environment import Environment, TimedEnvironment

_README = "README of mindspore-ai/models, research/cv/sphereface"
_HERE = "this machine"
_ZOO = "opencv_zoo, benchmark/README.md"

MEASURED, IMPORTED, PUBLISHED_HERE = "measured here", "imported", "published"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialLatency:
    """What the log of another program says of a latency, in milliseconds; figures that it lacks are left out.

    Attributes:
        samples: number of samples.
        min_ms: minimum.
        mean_ms: mean.
        median_ms: median.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
    """

    samples: int | None = field(default=None, metadata=OMIT_NONE)
    min_ms: float | None = field(default=None, metadata=OMIT_NONE)
    mean_ms: float | None = field(default=None, metadata=OMIT_NONE)
    median_ms: float | None = field(default=None, metadata=OMIT_NONE)
    p95_ms: float | None = field(default=None, metadata=OMIT_NONE)
    p99_ms: float | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Power of the processor during a run.

    Attributes:
        watts: mean power in watts; None if the machine does not report it.
    """

    watts: float | None = field(metadata=rounded(2))


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One row of the comparison. Figures that it lacks are left out.

    Attributes:
        path: name of the way to run the network.
        device: device or execution provider, and threads.
        precision: precision of the network.
        latency: measured latency of one crop.
        latency_ms: published latency in milliseconds.
        faces_per_second: faces per second.
        power: power during the run.
        agreement: agreement of the embeddings with numpy's.
        accuracy: accuracy on LFW's pairs by the 10-fold protocol.
        accuracy_std: standard deviation of the folds' accuracies.
        accuracy_interval: 95 % confidence interval of the accuracy.
        threshold: mean threshold of the folds, a cosine similarity.
        pairs: number of pairs.
        samples_ms: raw samples of the latency in milliseconds.
        error: why it was not measured.
        machine: processor of the machine of an imported run.
        origin: ``measured here``, ``imported`` or ``published``.
        source: who measured it, and where.
        file: name of the file of an imported run.
    """

    path: str
    device: str | None = field(default=None, metadata=OMIT_NONE)
    precision: str | None = field(default=None, metadata=OMIT_NONE)
    latency: LatencySummary | PartialLatency | None = field(default=None, metadata=OMIT_NONE)
    latency_ms: float | None = field(default=None, metadata=OMIT_NONE)
    faces_per_second: float | None = field(default=None, metadata=OMIT_NONE)
    power: Power | None = field(default=None, metadata=INLINE)
    agreement: Agreement | None = field(default=None, metadata=INLINE)
    accuracy: float | None = field(default=None, metadata=OMIT_NONE)
    accuracy_std: float | None = field(default=None, metadata=OMIT_NONE)
    accuracy_interval: tuple[float, float] | None = field(default=None, metadata=OMIT_NONE)
    threshold: float | None = field(default=None, metadata=OMIT_NONE)
    pairs: int | None = field(default=None, metadata=OMIT_NONE)
    samples_ms: tuple[float, ...] | None = field(default=None, metadata=OMIT_NONE)
    error: str | None = field(default=None, metadata=OMIT_NONE)
    machine: str | None = field(default=None, metadata=OMIT_NONE)
    origin: str
    source: str
    file: str | None = field(default=None, metadata=OMIT_NONE)


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
        environment: machine and versions.
        ledger: rows of the comparison.
    """

    environment: Environment
    ledger: tuple[LedgerRow, ...]


PUBLISHED = (
    LedgerRow(
        path="official checkpoint, file name and MindSpore Hub",
        accuracy=0.9848,
        origin=PUBLISHED_HERE,
        source="MindSpore Hub",
    ),
    LedgerRow(path="MindSpore on Ascend", accuracy=0.9923, threshold=0.305, origin=PUBLISHED_HERE, source=_README),
    LedgerRow(
        path="MindSpore on Ascend, 8 devices", accuracy=0.9928, threshold=0.294, origin=PUBLISHED_HERE, source=_README
    ),
    LedgerRow(path="MindSpore on GPU", accuracy=0.9913, threshold=0.284, origin=PUBLISHED_HERE, source=_README),
    LedgerRow(path="inference on Ascend 310", accuracy=0.9922, threshold=0.28, origin=PUBLISHED_HERE, source=_README),
    LedgerRow(path="another network (SFace) on Atlas 200 DK, CPU", latency_ms=92.2, origin=PUBLISHED_HERE, source=_ZOO),
    LedgerRow(
        path="another network (SFace) on Atlas 200 DK, CANN", latency_ms=2.66, origin=PUBLISHED_HERE, source=_ZOO
    ),
)
"""Published figures with their sources. None was measured by this project."""


def collect(edge: Sequence[CaseRow], accuracy: Sequence[AccuracyRow], native: Sequence[NativeRow]) -> list[LedgerRow]:
    """Combine rows in one list; each row states the origin of its figures.

    Args:
        edge: rows of a recorded result of ``benchmarks latency``; those of batch 1 are used.
        accuracy: rows of ``benchmarks accuracy``; the accuracy of a model is added to its edge rows.
        native: rows of :func:`benchmarks.ascend.native.run`.
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
                device=f"{row.provider}, {row.threads} threads",
                precision=row.precision,
                latency=latency,
                faces_per_second=round(1000 / latency.median_ms, 2),
                accuracy=None if judged is None else judged.accuracy,
                accuracy_std=None if judged is None else judged.accuracy_std,
                threshold=None if judged is None else judged.threshold,
                origin=MEASURED,
                source=_HERE,
            )
        )
    return [*rows, *map(_of_native, native), *PUBLISHED]


def _of_native(row: NativeRow) -> LedgerRow:
    figures, judged = row.figures, row.judged
    return LedgerRow(
        path=f"native: {row.path}",
        device=row.device,
        precision=row.precision,
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
    )


def text(rows: Sequence[LedgerRow]) -> str:
    """Format the rows as a table with one column for each origin."""
    lines = [f"{'path':<66} {'measured here':>34} {'imported':>34} {'published':>12}  source"]
    for row in rows:
        cells = dict.fromkeys((MEASURED, IMPORTED, PUBLISHED_HERE), "")
        cells[row.origin] = _figures(row)
        where = ", ".join(word for word in (row.device, row.precision) if word)
        path = (row.path + (f" [{where}]" if where else ""))[:66]
        lines.append(
            f"{path:<66} {cells[MEASURED]:>34} {cells[IMPORTED]:>34} {cells[PUBLISHED_HERE]:>12}  {row.source}"
        )
    return "\n".join(lines)


def _figures(row: LedgerRow) -> str:
    if row.error is not None:
        return "not measured"
    parts = []
    if (value := _milliseconds(row)) is not None:
        parts.append(f"{value:.2f} ms")
    if row.faces_per_second is not None:
        parts.append(f"{row.faces_per_second:.0f}/s")
    if row.power is not None and row.power.watts is not None:
        parts.append(f"{row.power.watts:.1f} W")
    if row.accuracy is not None:
        parts.append(f"LFW {row.accuracy:.2%}")
    return ", ".join(parts)


def _milliseconds(row: LedgerRow) -> float | None:
    if row.latency is None:
        return row.latency_ms
    if isinstance(row.latency, PartialLatency) and row.latency.median_ms is None:
        return row.latency.mean_ms
    return row.latency.median_ms
