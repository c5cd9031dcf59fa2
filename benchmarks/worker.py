"""Process of one contender: loads it, and measures on request.

The protocol is JSON lines: one on start (``ready`` or ``error``), and one for each line on stdin. The process needs
only numpy and the contender's packages, so that it can run in the contender's environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.contenders.contender import Setup
from edge_sphereface.evaluation.timing import measure_interleaved

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.types import JsonObject


def main(request: JsonObject) -> None:
    """Load the contender, and answer requests until stdin ends.

    Args:
        request: ``contender``, ``model``, ``threads``, ``batch``, ``provider``, ``folder``, and the paths ``crops`` and
            ``floats`` (.npy, read) and ``output`` (.npy, written).
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # libraries print to stdout as they like

        def answer(message: JsonObject) -> None:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

        try:
            _serve(request, answer)
        except Exception as error:  # noqa: BLE001 -- whatever a peer raises is its result
            answer({"error": f"{type(error).__name__}: {str(error).strip()[:500]}"})


def _serve(request: JsonObject, answer: Callable[[JsonObject], None]) -> None:
    module = import_module(f"benchmarks.contenders.{request['contender']}")
    batch = request["batch"]
    crops, floats = np.load(request["crops"]), np.load(request["floats"])
    start = time.perf_counter()
    setup = Setup(
        threads=request["threads"],
        batch=batch,
        height=floats.shape[2],
        width=floats.shape[3],
        folder=Path(request["folder"]),
        provider=request["provider"],
    )
    contender = module.Contender(Path(request["model"]), setup)
    load_ms = (time.perf_counter() - start) * 1e3
    prepared = contender.prepare(crops[:batch], floats[:batch])
    start = time.perf_counter()
    contender.run(prepared)
    first_ms = (time.perf_counter() - start) * 1e3
    outputs = []
    for at in range(0, len(crops) - batch + 1, batch):
        part = contender.prepare(crops[at : at + batch], floats[at : at + batch])
        outputs.append(np.array(contender.run(part), dtype=np.float32).reshape(batch, -1))
    np.save(request["output"], np.concatenate(outputs))
    answer({"ready": True, "version": contender.version, "load_ms": load_ms, "first_ms": first_ms})
    for line in sys.stdin:
        order = json.loads(line)
        samples = measure_interleaved(
            {"run": lambda: contender.run(prepared)}, rounds=order["rounds"], warmup=order["warmup"]
        )
        answer({"samples_ms": samples["run"].tolist(), "peak_rss_mib": peak_rss_mib()})


def peak_rss_mib(status: Path = Path("/proc/self/status")) -> float | None:
    """Peak resident memory of this process in MiB; None if the system does not report it.

    On Linux, it is read from /proc: the value of ``getrusage`` includes the memory of the process that forked this one.
    """
    try:
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
