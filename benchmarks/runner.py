"""Measure contenders in turn, each in a separate process.

All contenders are loaded. Then each runs a few rounds while the others sleep, repeatedly, so that a change of the
machine's speed affects all of them equally.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.case_row import CaseRow, Failure, Measurement
from benchmarks.contenders import find_peer
from benchmarks.peer_environments import FOLDER, PeerUnavailableError
from benchmarks.peer_process import PeerProcess
from benchmarks.worker import Order, Problem, Ready, Request, Samples
from edge_sphereface.evaluation.timing import summarize
from edge_sphereface.metrics import agreement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_sphereface.types import Float32Array, UInt8Array

BLOCK = 5
"""Number of rounds that a contender runs before the next one."""
MIN_COSINE = {"float32": 0.9999}
"""Least cosine similarity to the reference, by precision. The row of a contender below it is marked as wrong."""
MIN_COSINE_OTHER = 0.98
SETTLE_S = 0.03
"""Pause between turns in seconds, after which the threads of the previous contender no longer spin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One contender with one model.

    Attributes:
        contender: name of the contender's module.
        model: path of the ONNX file, or of the checkpoint if the contender requires it.
        label: name in tables.
        threads: number of threads of one inference.
        batch: number of crops in one inference.
        precision: precision of the model.
        graph: ``plain``, or the rewrites of the model's graph; empty if unknown.
        provider: execution provider, for contenders that use onnxruntime.
        refusal: reason why the contender cannot run the model; it is not started then.
    """

    contender: str
    model: Path
    label: str
    threads: int
    batch: int
    precision: str
    graph: str = ""
    provider: str = "cpu"
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Files of the crops.

    Attributes:
        crops: (N, H, W, 3) uint8 BGR.
        floats: the same crops, (N, 3, H, W) float32, normalized.
    """

    crops: Path
    floats: Path

    @classmethod
    def write(cls, folder: Path, crops: UInt8Array, floats: Float32Array) -> Inputs:
        """Write the files into a folder."""
        inputs = cls(crops=folder / "crops.npy", floats=folder / "floats.npy")
        np.save(inputs.crops, crops)
        np.save(inputs.floats, floats)
        return inputs


class Worker(PeerProcess):
    """Process of one contender."""

    def __init__(self, case: Case, folder: Path, inputs: Inputs) -> None:
        peer = find_peer(case.contender)
        kept = FOLDER / f"{peer.name}-models"
        kept.mkdir(parents=True, exist_ok=True)
        self.output = folder / f"{id(self)}.npy"
        request = Request(
            contender=case.contender,
            model=str(case.model.absolute()),
            threads=case.threads,
            batch=case.batch,
            provider=case.provider,
            folder=str(kept),
            crops=str(inputs.crops),
            floats=str(inputs.floats),
            output=str(self.output),
        )
        super().__init__(peer, "benchmarks.worker", request, threads=case.threads)

    def ready(self) -> Ready | Problem:
        """Wait until the contender is loaded."""
        return self.read(Ready)

    def measure(self, order: Order) -> Samples | Problem:
        """Run the contender."""
        self.send(order)
        return self.read(Samples)


def measure(
    cases: Sequence[Case],
    crops: UInt8Array,
    floats: Float32Array,
    *,
    rounds: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[CaseRow]:
    """Measure cases of one batch size, interleaved.

    Args:
        cases: cases; the first one is the reference for correctness.
        crops: (N, H, W, 3) uint8 BGR, N a multiple of the batch size.
        floats: the same crops as input of the original network, (N, 3, H, W) float32, normalized.
        rounds: number of samples per case.
        progress: called with rounds done and rounds in total.

    Returns:
        One row per case, in order; a contender that is not available or fails has the reason instead of figures.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        inputs = Inputs.write(folder, crops, floats)
        runs: dict[Case, _Run] = {}
        problems: dict[Case, str] = {}
        for case in cases:
            if case.refusal:
                problems[case] = case.refusal
                continue
            try:
                worker = stack.enter_context(started(case, folder, inputs))
            except PeerUnavailableError as error:
                problems[case] = str(error)
                continue
            answer = worker.ready()  # one after the other: loading is measured too
            if isinstance(answer, Problem):
                problems[case] = answer.error
            else:
                runs[case] = _Run(worker, answer)
        _interleave(runs, problems, rounds, progress)
        reference = np.load(runs[cases[0]].worker.output) if cases[0] in runs else None
        return [_row(case, runs.get(case), problems.get(case), reference) for case in cases]


def measure_restarted(
    cases: Sequence[Case],
    crops: UInt8Array,
    floats: Float32Array,
    *,
    rounds: int,
    restarts: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[CaseRow]:
    """Measure as :func:`measure`, restart every process several times, and combine the samples of all starts.

    The placement of memory is random, and a network with large weights is up to a third slower at some places. One
    start of each contender would compare these random effects.

    Args:
        cases: see :func:`measure`.
        crops: see :func:`measure`.
        floats: see :func:`measure`.
        rounds: number of samples per case in total.
        restarts: number of starts of each contender.
        progress: called with rounds done and rounds in total.
    """
    restarts = min(restarts, rounds)
    starts: list[list[CaseRow]] = []
    for number in range(restarts):
        share = rounds // restarts + (number < rounds % restarts)
        starts.append(measure(cases, crops, floats, rounds=share))
        if progress is not None:
            progress(sum(start[0].measured.latency.samples for start in starts if start[0].measured), rounds)
    return [_together(rows) for rows in zip(*starts, strict=True)]


def _together(rows: Sequence[CaseRow]) -> CaseRow:
    """Combine the rows of all starts of one case; values other than latency are the worst of all starts."""
    parts = [row.measured for row in rows if row.measured is not None]
    if len(parts) < len(rows):
        return next(row for row in rows if row.failure is not None)
    samples = tuple(sample for part in parts for sample in part.samples_ms)
    latency = summarize(np.array(samples))
    errors = [part.max_abs_error for part in parts]
    measured = replace(
        parts[0],
        load_ms=max(part.load_ms for part in parts),
        first_ms=max(part.first_ms for part in parts),
        peak_rss_mib=max((part.peak_rss_mib for part in parts if part.peak_rss_mib is not None), default=None),
        latency=latency,
        median_ms_per_face=latency.median_ms / rows[0].batch,
        max_abs_error=None if None in errors else max(error for error in errors if error is not None),
        min_cosine=min(part.min_cosine for part in parts),
        correct=all(part.correct for part in parts),
        samples_ms=samples,
        starts=len(parts),
        start_samples=tuple(len(part.samples_ms) for part in parts),
    )
    return replace(rows[0], measured=measured)


class _Run:
    """A worker that has loaded its contender, and its samples so far."""

    def __init__(self, worker: Worker, ready: Ready) -> None:
        self.worker, self.ready = worker, ready
        self.samples_ms: list[float] = []
        self.peak_rss_mib: float | None = None


@contextmanager
def started(case: Case, folder: Path, inputs: Inputs) -> Iterator[Worker]:
    """Start the process of a case, and end it after the block."""
    worker = Worker(case, folder, inputs)
    try:
        yield worker
    finally:
        worker.close()


def _interleave(
    runs: dict[Case, _Run],
    problems: dict[Case, str],
    rounds: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    for done in range(0, rounds, BLOCK):
        for case, run in runs.items():
            if case in problems:
                continue
            # The first round of each turn is not counted: the caches have the data of the previous contender.
            answer = run.worker.measure(Order(rounds=min(BLOCK, rounds - done), warmup=5 if done == 0 else 1))
            if isinstance(answer, Problem):
                problems[case] = answer.error
                continue
            run.samples_ms += answer.samples_ms
            run.peak_rss_mib = answer.peak_rss_mib
            time.sleep(SETTLE_S)
        if progress is not None:
            progress(min(done + BLOCK, rounds), rounds)


def _row(case: Case, run: _Run | None, problem: str | None, reference: Float32Array | None) -> CaseRow:
    measured = None if run is None or problem or reference is None else _measurement(case, run, reference)
    failure = Failure(error=problem or "the reference did not run") if measured is None else None
    return CaseRow(
        label=case.label,
        contender=case.contender,
        settings=find_peer(case.contender).settings,
        model=case.model.name,
        precision=case.precision,
        graph=case.graph,
        threads=case.threads,
        batch=case.batch,
        provider=case.provider,
        measured=measured,
        failure=failure,
    )


def _measurement(case: Case, run: _Run, reference: Float32Array) -> Measurement:
    found = agreement(reference, np.load(run.worker.output))
    latency = summarize(np.array(run.samples_ms))
    return Measurement(
        version=run.ready.version,
        load_ms=run.ready.load_ms,
        first_ms=run.ready.first_ms,
        peak_rss_mib=run.peak_rss_mib,
        latency=latency,
        median_ms_per_face=latency.median_ms / case.batch,
        max_abs_error=found.max_abs_error if isfinite(found.max_abs_error) else None,
        min_cosine=found.min_cosine,
        correct=found.min_cosine >= MIN_COSINE.get(case.precision, MIN_COSINE_OTHER),
        samples_ms=tuple(run.samples_ms),
        starts=1,
        start_samples=(len(run.samples_ms),),
    )
