"""Latency of embedding for all models, peers, numbers of threads and batch sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import runner
from benchmarks.contenders import find_peer
from benchmarks.runner import Case
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import AUTO_ORDER, CPU
from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.model.certificate import golden_crops
from edge_sphereface.model.spec import LAYOUT_NCHW
from export.faces import face_crops
from export.parity import normalize_plainly

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.case_row import CaseRow
    from benchmarks.environment import Condition, TimedEnvironment
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import JsonObject, UInt8Array


_TAKES_FLOATS = "takes floats alone: convert the checkpoint with --input-layout nchw"


def measure(  # noqa: PLR0913 -- what is measured, by name
    models: Sequence[Path],
    *,
    threads: Sequence[int],
    batches: Sequence[int] = (1, 4, 16),
    rounds: int = 100,
    starts: int = 1,
    peers: Sequence[str] = (),
    checkpoint: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[CaseRow]:
    """Time models and peers, interleaved, each in a separate process.

    Args:
        models: ONNX files. The first one, a float32 file, is the reference for correctness.
        threads: numbers of threads of one inference.
        batches: numbers of crops per inference.
        rounds: number of samples of each case in total.
        starts: number of process starts of each contender, over which the samples are spread.
        peers: other contenders, which run the first model or the checkpoint.
        checkpoint: checkpoint for peers that require it.
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
            cases = _cases(models, specs, peers, checkpoint, count, batch)
            name = group_name(count, batch)
            report = None if progress is None else lambda done, total, what=name: progress(what, done, total)
            rows += runner.measure_restarted(cases, crops, floats, rounds=rounds, restarts=starts, progress=report)
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
    stages: tuple[JsonObject, ...]


def _cases(
    models: Sequence[Path],
    specs: dict[Path, ModelSpec],
    peers: Sequence[str],
    checkpoint: Path | None,
    threads: int,
    batch: int,
) -> list[Case]:
    case = partial(Case, threads=threads, batch=batch)
    cases = [case(contender="edge", model=path, label=path.stem, precision=specs[path].precision) for path in models]
    offered = [name for name in import_onnxruntime().get_available_providers() if name in AUTO_ORDER and name != CPU]
    cases += [
        case(
            contender="edge",
            model=models[0],
            label=f"{models[0].stem} on {provider}",
            precision=specs[models[0]].precision,
            provider=provider,
        )
        for provider in offered
    ]
    for name in peers:
        peer = find_peer(name)
        if peer.needs_checkpoint:
            if checkpoint is not None:
                cases.append(case(contender=name, model=checkpoint, label=peer.title, precision="float32"))
            continue
        for path in models:
            if specs[path].precision == "float32" and path is not models[0]:
                continue
            if specs[path].precision == "float32" or peer.takes_quantized:
                label = f"{peer.title}: {path.stem}"
                refusal = "" if peer.takes_crops or specs[path].input_layout == LAYOUT_NCHW else _TAKES_FLOATS
                precision = specs[path].precision
                cases.append(case(contender=name, model=path, label=label, precision=precision, refusal=refusal))
    return cases


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
