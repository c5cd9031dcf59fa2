"""Compare settings of the session: latency with and without pauses between inferences, processor time, memory.

A camera has pauses between two faces, in which waiting threads either sleep or use processor time. Each setting runs in
a separate process, all of them in turn, several times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.recorded import read_record
from edge_sphereface.evaluation.timing import LatencySummary, summarize
from edge_sphereface.inference.embedder import preprocess
from edge_sphereface.inference.session import SessionConfig, open_session
from edge_sphereface.json_output import json_text, rounded
from edge_sphereface.model.certificate import golden_crops
from edge_sphereface.model.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.environment import TimedEnvironment

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "default": SessionConfig(),
    "spinning": SessionConfig(spinning=True),
    "memory arena": SessionConfig(memory_arena=True),
    "pinned threads": SessionConfig(pinned_threads=True),
}
_WARMUP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One setting of one model.

    Attributes:
        model: path of the ONNX file.
        setting: name among :data:`SETTINGS`.
        threads: number of threads of one inference.
        rounds: number of inferences with a pause, and without, in each start.
        pause_ms: pause after each inference in milliseconds.
    """

    model: Path
    setting: str
    threads: int
    rounds: int
    pause_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Measurement of one process.

    Attributes:
        precision: precision of the model.
        provider: execution provider of the session.
        samples_ms: latencies without pauses in milliseconds.
        paused_ms: latencies with pauses in milliseconds.
        cpu_ms: processor time of an inference and its pause in milliseconds.
        resident_mib: resident memory at the end in MiB; 0 if the system does not report it.
    """

    precision: str
    provider: str
    samples_ms: tuple[float, ...] = field(metadata=rounded(4))
    paused_ms: tuple[float, ...] = field(metadata=rounded(4))
    cpu_ms: float
    resident_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """Latency, processor time and memory with one setting.

    Attributes:
        model: file name of the model.
        precision: precision of the model.
        provider: execution provider of the session.
        setting: name of the setting.
        threads: number of threads of one inference.
        batch: number of crops in one inference.
        starts: number of processes.
        pause_ms: pause after each inference of ``paused`` in milliseconds.
        latency: latency without pauses.
        median_ms: lowest and highest median of a start without pauses, in milliseconds.
        paused: latency with pauses.
        paused_median_ms: lowest and highest median of a start with pauses, in milliseconds.
        cpu_ms: processor time of an inference and its pause in milliseconds, median of the starts.
        resident_mib: resident memory in MiB, median of the starts.
        samples_ms: latencies without pauses of each start in milliseconds.
        paused_ms: latencies with pauses of each start in milliseconds.
    """

    model: str
    precision: str
    provider: str
    setting: str
    threads: int
    batch: int
    starts: int
    pause_ms: float
    latency: LatencySummary
    median_ms: tuple[float, float] = field(metadata=rounded(3))
    paused: LatencySummary
    paused_median_ms: tuple[float, float] = field(metadata=rounded(3))
    cpu_ms: float = field(metadata=rounded(2))
    resident_mib: float = field(metadata=rounded(1))
    samples_ms: tuple[tuple[float, ...], ...]
    paused_ms: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsReport:
    """What ``sessions`` measured.

    Attributes:
        environment: machine, versions and load by other programs.
        sessions: one row for each model, setting and number of threads.
    """

    environment: TimedEnvironment
    sessions: tuple[SessionRow, ...]


def measure(
    models: Sequence[Path],
    *,
    threads: Sequence[int],
    rounds: int,
    starts: int,
    pause_ms: float,
    progress: Callable[[int, int], None] | None = None,
) -> list[SessionRow]:
    """Measure all settings of all models with all numbers of threads.

    Args:
        models: ONNX files.
        threads: numbers of threads of one inference.
        rounds: number of inferences with a pause, and without, in each start.
        starts: number of processes of each case.
        pause_ms: pause after each inference in milliseconds, as between two faces of a camera.
        progress: called with the number of finished processes and their total.

    Returns:
        One row per case.

    Raises:
        ModelError: a file is not a model.
    """
    for model in models:
        open_session(model, SessionConfig(provider="cpu", threads=1))
    cases = [
        Case(model=model.absolute(), setting=setting, threads=count, rounds=rounds, pause_ms=pause_ms)
        for model in models
        for count in threads
        for setting in SETTINGS
        if count > 1 or setting != "pinned threads"  # one thread has no helpers to pin
    ]
    answers: list[list[Start]] = [[] for _ in cases]
    for start in range(starts):
        for number, case in enumerate(cases):
            answers[number].append(_run(case))
            if progress is not None:
                progress(start * len(cases) + number + 1, starts * len(cases))
    return [_row(case, found) for case, found in zip(cases, answers, strict=True)]


def text(rows: Sequence[SessionRow]) -> str:
    """Format the rows as a table."""
    head = f"{'model':<24}{'threads':>8}  {'setting':<16}{'ms':>8}{'with pause':>12}{'processor':>11}{'MiB':>7}"
    lines = [
        f"{row.model:<24}{row.threads:>8}  {row.setting:<16}{row.latency.median_ms:>8.2f}"
        f"{row.paused.median_ms:>12.2f}{row.cpu_ms:>11.1f}{row.resident_mib:>7.0f}"
        for row in rows
    ]
    return "\n".join([head, "-" * len(head), *lines])


def _run(case: Case) -> Start:
    """Run one start in a separate process."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.sessions", json_text(case)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return read_record(Start, json.loads(done.stdout.splitlines()[-1]))


def _row(case: Case, starts: Sequence[Start]) -> SessionRow:
    samples, paused = ([start.samples_ms for start in starts], [start.paused_ms for start in starts])
    return SessionRow(
        model=case.model.name,
        precision=starts[0].precision,
        provider=starts[0].provider,
        setting=case.setting,
        threads=case.threads,
        batch=1,
        starts=len(starts),
        pause_ms=case.pause_ms,
        latency=summarize(np.concatenate(samples)),
        median_ms=_range_of_medians(samples),
        paused=summarize(np.concatenate(paused)),
        paused_median_ms=_range_of_medians(paused),
        cpu_ms=float(np.median([start.cpu_ms for start in starts])),
        resident_mib=float(np.median([start.resident_mib for start in starts])),
        samples_ms=tuple(samples),
        paused_ms=tuple(paused),
    )


def _range_of_medians(starts: Sequence[Sequence[float]]) -> tuple[float, float]:
    medians = [float(np.median(start)) for start in starts]
    return min(medians), max(medians)


def _measure_here(case: Case) -> Start:
    """Measure one case in this process."""
    config = replace(SETTINGS[case.setting], provider="cpu", threads=case.threads)
    session, provider = open_session(case.model, config)
    spec = ModelSpec.from_metadata(session.get_modelmeta().custom_metadata_map)
    given = {session.get_inputs()[0].name: preprocess(golden_crops(spec)[:1], spec)}

    def inference() -> float:
        start = time.perf_counter_ns()
        session.run(None, given)
        return (time.perf_counter_ns() - start) / 1e6

    for _ in range(_WARMUP):
        inference()
    samples = [inference() for _ in range(case.rounds)]
    paused, before = [], time.process_time()
    for _ in range(case.rounds):
        paused.append(inference())
        time.sleep(case.pause_ms / 1e3)
    cpu_ms = (time.process_time() - before) * 1e3 / case.rounds
    return Start(
        precision=spec.precision,
        provider=provider.active[0],
        samples_ms=tuple(samples),
        paused_ms=tuple(paused),
        cpu_ms=cpu_ms,
        resident_mib=_resident_mib(),
    )


def _resident_mib(status: Path = Path("/proc/self/status")) -> float:
    """Resident memory of this process in MiB; 0 if the system does not report it."""
    try:
        lines = status.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


if __name__ == "__main__":
    sys.stdout.write(json_text(_measure_here(read_record(Case, json.loads(sys.argv[1])))) + "\n")
