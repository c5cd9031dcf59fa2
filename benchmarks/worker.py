"""Process of one contender: loads it, and measures on request.

The protocol is JSON lines: one on start (``ready`` or ``error``), and one for each line on stdin. The process needs
only numpy and the contender's packages, so that it can run in the contender's environment.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.contenders.contender import Setup
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.evaluation.process_memory import peak_rss_mib
from edge_sphereface.evaluation.timing import measure_interleaved
from edge_sphereface.json_output import json_text
from edge_sphereface.storage.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.json_output import Dataclass


class Message(Record):
    """A line between the benchmark and a worker."""

    __slots__ = ()
    record_name = "The message of a worker"
    record_error = EdgeSphereFaceError
    record_hint = "both processes must run the same version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Message):
    """What a worker loads.

    Attributes:
        contender: name of the contender's module.
        model: absolute path of the model.
        threads: number of threads of one inference.
        batch: number of crops in one inference.
        provider: execution provider, for contenders that use onnxruntime.
        folder: folder for converted models.
        crops: path of the crops (.npy), (N, H, W, 3) uint8 BGR.
        floats: path of the same crops (.npy), (N, 3, H, W) float32, normalized.
        output: path of the embeddings (.npy) that the worker writes, (N, D) float32.
    """

    contender: str
    model: str
    threads: int
    batch: int
    provider: str
    folder: str
    crops: str
    floats: str
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Message):
    """Answer of a worker that has loaded the contender.

    Attributes:
        version: version of the runtime, and how it runs the model.
        load_ms: time to load the model in milliseconds.
        first_ms: time of the first inference in milliseconds.
    """

    version: str
    load_ms: float
    first_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Message):
    """Request for samples.

    Attributes:
        rounds: number of samples.
        warmup: number of inferences before those, which are not counted.
        period_ms: time from the start of an inference to that of the next one in milliseconds; 0 for no pause.
        evict_mib: size of the memory that is written in each pause, so that the caches hold other data, in MiB.
    """

    rounds: int
    warmup: int
    period_ms: float = 0.0
    evict_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples(Message):
    """Samples of a worker.

    Attributes:
        samples_ms: latency of each inference in milliseconds.
        cpu_ms: processor time of all threads for each inference and its pause, in milliseconds.
        peak_rss_mib: peak resident memory of the process in MiB; None if the system does not report it.
    """

    samples_ms: tuple[float, ...]
    cpu_ms: float
    peak_rss_mib: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Message):
    """Answer of a worker that failed.

    Attributes:
        error: the reason.
    """

    error: str


def main(serve: Callable[[Callable[[Dataclass], None]], None]) -> None:
    """Serve the parent process.

    Args:
        serve: loads the contender and answers orders until stdin ends, by the function that it is given.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # libraries print to stdout as they like

        def answer(message: Dataclass) -> None:
            answers.write(json_text(message) + "\n")
            answers.flush()

        try:
            serve(answer)
        except Exception as error:  # noqa: BLE001 -- whatever a peer raises is its result
            answer(Problem(error=f"{type(error).__name__}: {str(error).strip()[:500]}"))


def _serve(request: Request, answer: Callable[[Dataclass], None]) -> None:
    module = import_module(f"benchmarks.contenders.{request.contender}")
    batch = request.batch
    crops, floats = np.load(request.crops), np.load(request.floats)
    start = time.perf_counter()
    setup = Setup(
        threads=request.threads,
        batch=batch,
        height=floats.shape[2],
        width=floats.shape[3],
        folder=Path(request.folder),
        provider=request.provider,
    )
    contender = module.Contender(Path(request.model), setup)
    load_ms = (time.perf_counter() - start) * 1e3
    prepared = contender.prepare(crops[:batch], floats[:batch])
    start = time.perf_counter()
    contender.run(prepared)
    first_ms = (time.perf_counter() - start) * 1e3
    outputs = []
    for at in range(0, len(crops) - batch + 1, batch):
        part = contender.prepare(crops[at : at + batch], floats[at : at + batch])
        outputs.append(np.array(contender.run(part), dtype=np.float32).reshape(batch, -1))
    np.save(request.output, np.concatenate(outputs))
    answer(Ready(version=contender.version, load_ms=load_ms, first_ms=first_ms))
    for line in sys.stdin:
        order = Order.from_json(line)
        run = partial(contender.run, prepared)
        samples_ms, cpu_ms = _back_to_back(run, order) if not order.period_ms else _paced(run, order)
        answer(Samples(samples_ms=samples_ms, cpu_ms=cpu_ms, peak_rss_mib=peak_rss_mib()))


def _back_to_back(run: Callable[[], object], order: Order) -> tuple[tuple[float, ...], float]:
    """Run without pauses; returns latencies and the mean processor time in milliseconds."""
    before = time.process_time()
    samples = measure_interleaved({"run": run}, rounds=order.rounds, warmup=order.warmup)["run"]
    return tuple(samples.tolist()), (time.process_time() - before) * 1e3 / (order.rounds + order.warmup)


def _paced(run: Callable[[], object], order: Order) -> tuple[tuple[float, ...], float]:
    """Run in the rhythm of a camera; an inference that is late delays the next ones."""
    other = np.zeros(order.evict_mib << 20, dtype=np.uint8)
    for _ in range(order.warmup):
        run()
    samples = []
    due, before, evicting = time.perf_counter(), time.process_time(), 0.0
    for _ in range(order.rounds):
        began = time.thread_time()
        other += 1
        evicting += time.thread_time() - began
        now = time.perf_counter()
        due = max(due + order.period_ms / 1e3, now)
        time.sleep(due - now)
        start = time.perf_counter_ns()
        run()
        samples.append((time.perf_counter_ns() - start) / 1e6)
    return tuple(samples), (time.process_time() - before - evicting) * 1e3 / order.rounds


if __name__ == "__main__":
    main(partial(_serve, Request.from_json(sys.argv[1])))
