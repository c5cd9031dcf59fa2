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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.evaluation.timing import summarize
from edge_sphereface.inference.embedder import preprocess
from edge_sphereface.inference.session import SessionConfig, open_session
from edge_sphereface.json_output import json_object
from edge_sphereface.model.certificate import golden_crops
from edge_sphereface.model.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.types import JsonObject

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "default": SessionConfig(),
    "spinning": SessionConfig(spinning=True),
    "memory arena": SessionConfig(memory_arena=True),
    "pinned threads": SessionConfig(pinned_threads=True),
}
_WARMUP = 10


def measure(
    models: Sequence[Path],
    *,
    threads: Sequence[int],
    rounds: int,
    starts: int,
    pause_ms: float,
    progress: Callable[[int, int], None] | None = None,
) -> list[JsonObject]:
    """Measure all settings of all models with all numbers of threads.

    Args:
        models: ONNX files.
        threads: numbers of threads of one inference.
        rounds: number of inferences with a pause, and without, in each start.
        starts: number of processes of each case.
        pause_ms: pause after each inference in milliseconds, as between two faces of a camera.
        progress: called with the number of finished processes and their total.

    Returns:
        One row per case. ``latency`` is without pauses, ``paused`` with pauses. ``cpu_ms`` is the processor time of an
        inference and its pause. ``median_ms`` and ``paused_median_ms`` are the lowest and highest median of a start.

    Raises:
        ModelError: a file is not a model.
    """
    for model in models:
        open_session(model, SessionConfig(provider="cpu", threads=1))
    cases = [
        {"model": str(model.absolute()), "setting": setting, "threads": count, "rounds": rounds, "pause_ms": pause_ms}
        for model in models
        for count in threads
        for setting in SETTINGS
        if count > 1 or setting != "pinned threads"  # one thread has no helpers to pin
    ]
    answers: list[list[JsonObject]] = [[] for _ in cases]
    for start in range(starts):
        for number, case in enumerate(cases):
            answers[number].append(_run(case))
            if progress is not None:
                progress(start * len(cases) + number + 1, starts * len(cases))
    return [_row(case, found) for case, found in zip(cases, answers, strict=True)]


def text(rows: Sequence[JsonObject]) -> str:
    """Format the rows as a table."""
    head = f"{'model':<24}{'threads':>8}  {'setting':<16}{'ms':>8}{'with pause':>12}{'processor':>11}{'MiB':>7}"
    lines = [
        f"{row['model']:<24}{row['threads']:>8}  {row['setting']:<16}{row['latency']['median_ms']:>8.2f}"
        f"{row['paused']['median_ms']:>12.2f}{row['cpu_ms']:>11.1f}{row['resident_mib']:>7.0f}"
        for row in rows
    ]
    return "\n".join([head, "-" * len(head), *lines])


def _run(case: JsonObject) -> JsonObject:
    """Run one start in a separate process."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.sessions", json.dumps(case)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _row(case: JsonObject, starts: Sequence[JsonObject]) -> JsonObject:
    samples = {name: [start[name] for start in starts] for name in ("samples_ms", "paused_ms")}
    medians = {name: [round(float(np.median(start)), 3) for start in values] for name, values in samples.items()}
    return {
        "model": Path(case["model"]).name,
        "precision": starts[0]["precision"],
        "provider": starts[0]["provider"],
        "setting": case["setting"],
        "threads": case["threads"],
        "batch": 1,
        "starts": len(starts),
        "pause_ms": case["pause_ms"],
        "latency": json_object(summarize(np.concatenate(samples["samples_ms"]))),
        "median_ms": [min(medians["samples_ms"]), max(medians["samples_ms"])],
        "paused": json_object(summarize(np.concatenate(samples["paused_ms"]))),
        "paused_median_ms": [min(medians["paused_ms"]), max(medians["paused_ms"])],
        "cpu_ms": round(float(np.median([start["cpu_ms"] for start in starts])), 2),
        "resident_mib": round(float(np.median([start["resident_mib"] for start in starts])), 1),
        **samples,
    }


def _measure_here(case: JsonObject) -> JsonObject:
    """Measure one case in this process."""
    config = replace(SETTINGS[case["setting"]], provider="cpu", threads=case["threads"])
    session, provider = open_session(Path(case["model"]), config)
    spec = ModelSpec.from_metadata(session.get_modelmeta().custom_metadata_map)
    given = {session.get_inputs()[0].name: preprocess(golden_crops(spec)[:1], spec)}

    def inference() -> float:
        start = time.perf_counter_ns()
        session.run(None, given)
        return (time.perf_counter_ns() - start) / 1e6

    for _ in range(_WARMUP):
        inference()
    samples = [round(inference(), 4) for _ in range(case["rounds"])]
    paused, before = [], time.process_time()
    for _ in range(case["rounds"]):
        paused.append(round(inference(), 4))
        time.sleep(case["pause_ms"] / 1e3)
    cpu_ms = (time.process_time() - before) * 1e3 / case["rounds"]
    return {
        "precision": spec.precision,
        "provider": provider.active[0],
        "samples_ms": samples,
        "paused_ms": paused,
        "cpu_ms": cpu_ms,
        "resident_mib": _resident_mib(),
    }


def _resident_mib(status: Path = Path("/proc/self/status")) -> float:
    """Resident memory of this process in MiB; 0 if the system does not report it."""
    try:
        lines = status.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure_here(json.loads(sys.argv[1]))) + "\n")
