"""Latency of embedding for all models, peers, numbers of threads and batch sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import runner
from benchmarks.cases import select_cases
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.certificate import golden_crops
from export.faces import face_crops
from export.parity import normalize_plainly

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.case_row import CaseRow
    from benchmarks.cases import Rival
    from benchmarks.environment import Condition, TimedEnvironment
    from benchmarks.stages import StageRow
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import UInt8Array


def measure(  # noqa: PLR0913 -- what is measured, by name
    models: Sequence[Path],
    *,
    threads: Sequence[int],
    batches: Sequence[int] = (1, 4, 16),
    rounds: int = 100,
    starts: int = 1,
    peers: Sequence[str] = (),
    checkpoint: Path | None = None,
    rivals: Sequence[Rival] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> list[CaseRow]:
    """Time models and peers, interleaved, each in a separate process.

    Args:
        models: ONNX files. The first one, a float32 file, is the reference for correctness.
        threads: numbers of threads of one inference.
        batches: numbers of crops per inference.
        rounds: number of samples of each case in total.
        starts: number of process starts of each contender, over which the samples are spread.
        peers: other contenders. They run the first model, quantized models, or the checkpoint; those of this project
            run every model.
        checkpoint: checkpoint for peers that require it.
        rivals: quantized models of other tools, which only their runtimes run.
        progress: called with a description of the case, rounds done and rounds in total.

    Returns:
        One row per case; a contender that is not available has the reason instead of figures.
    """
    specs = {path: Embedder(path, provider="cpu").spec for path in models}
    rows: list[CaseRow] = []
    for count in threads:
        for batch in batches:
            crops = example_crops(specs[models[0]], batch)
            floats = normalize_plainly(crops, specs[models[0]])
            chosen = select_cases(specs, peers=peers, checkpoint=checkpoint, rivals=rivals, threads=count, batch=batch)
            name = group_name(count, batch)
            report = None if progress is None else lambda done, total, what=name: progress(what, done, total)
            rows += runner.measure_restarted(chosen, crops, floats, rounds=rounds, restarts=starts, progress=report)
    return rows


def example_crops(spec: ModelSpec, batch: int) -> UInt8Array:
    """Return faces and golden inputs, (N, H, W, 3) uint8 BGR; N is a multiple of the batch size and at least 12."""
    crops = np.concatenate([face_crops(spec, 8), golden_crops(spec)])
    return np.resize(crops, (batch * math.ceil(len(crops) / batch), *spec.crop_shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """Latency of embedding by all contenders, and of the stages of recognition.

    Attributes:
        environment: machine, load and versions.
        before: temperature and power before the measurement.
        after: temperature and power after it.
        throttled: whether throttling slowed the machine down during the measurement.
        rows: one for each contender, number of threads and batch size.
        stages: one for each stage, detector, number of threads and batch size.
    """

    environment: TimedEnvironment
    before: Condition
    after: Condition
    throttled: bool
    rows: tuple[CaseRow, ...]
    stages: tuple[StageRow, ...]


def group_name(threads: int, batch: int) -> str:
    """Name of a group of cases, such as ``2 threads, batch 4``."""
    return f"{threads} thread{'s' if threads > 1 else ''}, batch {batch}"


def text(rows: Sequence[CaseRow]) -> str:
    """Format the rows as a table; ``x`` is the median divided by that of the first row with equal threads and batch."""
    columns = f"{'median ms':>9} {'p95':>8} {'p99':>8} {'x':>6} {'ms/face':>8} {'cosine':>9} {'MiB':>6} {'load ms':>8}"
    lines, group, base = [], None, math.nan
    for row in rows:
        measured = row.measured
        if group != (row.threads, row.batch):
            group = (row.threads, row.batch)
            lines += ["", f"{group_name(*group):<40} {columns}"]
            base = math.nan if measured is None else measured.latency.median_ms
        if measured is None:
            lines.append(f"{row.label[:40]:<40} not measured: {row.failure.error if row.failure else ''}")
            continue
        latency = measured.latency
        ratio = f"{latency.median_ms / base:.2f}" if measured.correct else "WRONG"
        lines.append(
            f"{row.label[:40]:<40} {latency.median_ms:>9.2f} {latency.p95_ms:>8.2f} {latency.p99_ms:>8.2f} "
            f"{ratio:>6} {measured.median_ms_per_face:>8.2f} {measured.min_cosine:>9.6f} "
            f"{measured.peak_rss_mib or math.nan:>6.0f} {measured.load_ms:>8.0f}"
        )
    return "\n".join(lines[1:])
