"""Measure contenders in turn, each in a separate process.

All contenders are loaded. Then each runs a few rounds while the others sleep, repeatedly, so that a change of the
machine's speed affects all of them equally.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.contenders import find_peer
from benchmarks.peer_environments import FOLDER, PeerUnavailableError, environment_of, python_of
from edge_sphereface.evaluation.timing import summarize
from edge_sphereface.json_output import json_object
from edge_sphereface.metrics import agreement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_sphereface.types import Float32Array, JsonObject, UInt8Array

ROOT = Path(__file__).resolve().parents[1]
BLOCK = 5
"""Number of rounds that a contender runs before the next one."""
MIN_COSINE = {"float32": 0.9999}
"""Least cosine similarity to the reference, by precision. The row of a contender below it is marked as wrong."""
MIN_COSINE_OTHER = 0.98
_SETTLE_S = 0.03
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
        provider: execution provider, for contenders that use onnxruntime.
        refusal: reason why the contender cannot run the model; it is not started then.
    """

    contender: str
    model: Path
    label: str
    threads: int
    batch: int
    precision: str
    provider: str = "cpu"
    refusal: str = ""


class _Worker:
    """Process of one contender."""

    def __init__(self, case: Case, folder: Path, inputs: JsonObject) -> None:
        peer = find_peer(case.contender)
        kept = FOLDER / f"{peer.name}-models"
        kept.mkdir(parents=True, exist_ok=True)
        self.output = folder / f"{id(self)}.npy"
        request = {
            "contender": case.contender,
            "model": str(case.model.absolute()),
            "threads": case.threads,
            "batch": case.batch,
            "provider": case.provider,
            "folder": str(kept),
            "output": str(self.output),
            **inputs,
        }
        threads = str(case.threads)
        environment = {**environment_of(peer), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads, "GLOG_v": "3"}
        self._process = subprocess.Popen(  # noqa: S603
            [python_of(peer), "-m", "benchmarks.worker", json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def read(self) -> JsonObject:
        assert self._process.stdout is not None  # noqa: S101 -- a pipe was asked for
        line = self._process.stdout.readline()
        if not line:
            return {"error": f"the process ended with exit code {self._process.wait()}"}
        return dict(json.loads(line))

    def measure(self, rounds: int, warmup: int) -> JsonObject:
        assert self._process.stdin is not None  # noqa: S101 -- a pipe was asked for
        with suppress(OSError):  # the process has died; reading tells how
            self._process.stdin.write(json.dumps({"rounds": rounds, "warmup": warmup}) + "\n")
            self._process.stdin.flush()
        return self.read()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def measure(
    cases: Sequence[Case],
    crops: UInt8Array,
    floats: Float32Array,
    *,
    rounds: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[JsonObject]:
    """Measure cases of one batch size, interleaved.

    Args:
        cases: cases; the first one is the reference for correctness.
        crops: (N, H, W, 3) uint8 BGR, N a multiple of the batch size.
        floats: the same crops as input of the original network, (N, 3, H, W) float32, normalized.
        rounds: number of samples per case.
        progress: called with rounds done and rounds in total.

    Returns:
        One row per case, in order; a contender that is not available or fails has an ``error`` instead of figures.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        np.save(folder / "crops.npy", crops)
        np.save(folder / "floats.npy", floats)
        inputs = {"crops": str(folder / "crops.npy"), "floats": str(folder / "floats.npy")}
        workers: dict[Case, _Worker] = {}
        rows: dict[Case, JsonObject] = {}
        for case in cases:
            if case.refusal:
                rows[case] = {"error": case.refusal}
                continue
            try:
                worker = stack.enter_context(_started(case, folder, inputs))
            except PeerUnavailableError as error:
                rows[case] = {"error": str(error)}
                continue
            rows[case] = worker.read()  # one after the other: loading is measured too
            if "error" not in rows[case]:
                workers[case] = worker
        samples = _interleave(workers, rows, rounds, progress)
        reference = np.load(workers[cases[0]].output) if cases[0] in workers else None
        return [_row(case, rows[case], samples.get(case), workers.get(case), reference) for case in cases]


def measure_restarted(
    cases: Sequence[Case],
    crops: UInt8Array,
    floats: Float32Array,
    *,
    rounds: int,
    restarts: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[JsonObject]:
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
    starts: list[list[JsonObject]] = []
    for number in range(restarts):
        share = rounds // restarts + (number < rounds % restarts)
        starts.append(measure(cases, crops, floats, rounds=share))
        if progress is not None:
            progress(sum(len(start[0].get("samples_ms", ())) for start in starts), rounds)
    return [_together(rows) for rows in zip(*starts, strict=True)]


def _together(rows: Sequence[JsonObject]) -> JsonObject:
    """Combine the rows of all starts of one case; values other than latency are the worst of all starts."""
    failed = next((row for row in rows if "error" in row), None)
    if failed is not None:
        return failed
    samples = [sample for row in rows for sample in row["samples_ms"]]
    latency = summarize(np.array(samples))
    memory = [row["peak_rss_mib"] for row in rows if row["peak_rss_mib"] is not None]
    return {
        **rows[0],
        "starts": len(rows),
        "start_samples": [len(row["samples_ms"]) for row in rows],
        "load_ms": max(row["load_ms"] for row in rows),
        "first_ms": max(row["first_ms"] for row in rows),
        "peak_rss_mib": max(memory, default=None),
        "latency": json_object(latency),
        "median_ms_per_face": round(latency.median_ms / rows[0]["batch"], 3),
        "max_abs_error": max(row["max_abs_error"] for row in rows),
        "min_cosine": min(row["min_cosine"] for row in rows),
        "correct": all(row["correct"] for row in rows),
        "samples_ms": samples,
    }


@contextmanager
def _started(case: Case, folder: Path, inputs: JsonObject) -> Iterator[_Worker]:
    worker = _Worker(case, folder, inputs)
    try:
        yield worker
    finally:
        worker.close()


def _interleave(
    workers: dict[Case, _Worker],
    rows: dict[Case, JsonObject],
    rounds: int,
    progress: Callable[[int, int], None] | None,
) -> dict[Case, list[float]]:
    samples: dict[Case, list[float]] = {case: [] for case in workers}
    for done in range(0, rounds, BLOCK):
        for case, worker in workers.items():
            if "error" in rows[case]:
                continue
            # The first round of each turn is not counted: the caches have the data of the previous contender.
            answer = worker.measure(min(BLOCK, rounds - done), warmup=5 if done == 0 else 1)
            if "error" in answer:
                rows[case] = answer
                continue
            samples[case] += answer["samples_ms"]
            rows[case]["peak_rss_mib"] = answer["peak_rss_mib"]
            time.sleep(_SETTLE_S)
        if progress is not None:
            progress(min(done + BLOCK, rounds), rounds)
    return samples


def _row(
    case: Case,
    answer: JsonObject,
    samples: list[float] | None,
    worker: _Worker | None,
    reference: Float32Array | None,
) -> JsonObject:
    peer = find_peer(case.contender)
    row: JsonObject = {
        "label": case.label,
        "contender": case.contender,
        "settings": peer.settings,
        "model": case.model.name,
        "precision": case.precision,
        "threads": case.threads,
        "batch": case.batch,
        "provider": case.provider,
    }
    if "error" in answer or samples is None or worker is None or reference is None:
        return {**row, "error": answer.get("error", "the reference did not run")}
    measured = agreement(reference, np.load(worker.output))
    latency = summarize(np.array(samples))
    return {
        **row,
        "version": answer["version"],
        "load_ms": round(answer["load_ms"], 1),
        "first_ms": round(answer["first_ms"], 2),
        "peak_rss_mib": answer["peak_rss_mib"] and round(answer["peak_rss_mib"], 1),
        "latency": json_object(latency),
        "median_ms_per_face": round(latency.median_ms / case.batch, 3),
        **json_object(measured),
        "correct": measured.min_cosine >= MIN_COSINE.get(case.precision, MIN_COSINE_OTHER),
        "samples_ms": [round(value, 4) for value in samples],
    }
