"""Run the checkpoint natively with MindSpore. Everything also runs on the CPU; rows state the device."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmarks import environment
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.evaluation.timing import measure_interleaved, summarize
from edge_sphereface.json_output import json_object
from edge_sphereface.metrics import agreement
from export.checkpoint import open_checkpoint
from export.mindspore_reference import MindsporeReference
from export.reference import NumpyReference
from export.topology import infer_topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.types import Float32Array, JsonObject

    Forward = Callable[[Float32Array], Float32Array]


def run(
    checkpoint: Path,
    device: str,
    floats: Float32Array,
    *,
    rounds: int,
    judge: Callable[[Forward], JsonObject] | None = None,
) -> list[JsonObject]:
    """Time the network in MindSpore and as MINDIR, and compare both with numpy.

    The precisions are float16, which the original evaluation uses on Ascend (``add_flags_recursive(fp16=True)``), and
    float32.

    Args:
        checkpoint: MindSpore checkpoint.
        device: ``Ascend`` or ``CPU``.
        floats: (N, 3, H, W) float32, normalized; the first one is timed.
        rounds: number of samples.
        judge: measures the accuracy of the original evaluation's path: MindSpore, float16.

    Returns:
        One row per path and precision; a path that cannot run has an ``error`` instead of figures.
    """
    with open_checkpoint(checkpoint) as opened:
        topology = infer_topology(opened.entries)
        expected = NumpyReference(opened, topology).forward(floats)
    rows: list[JsonObject] = []
    for half in (True, False):
        where: JsonObject = {"device": device, "precision": "float16" if half else "float32"}
        path = "MindSpore"
        try:
            network = MindsporeReference(checkpoint, topology, device=device, half=half)
            rows.append({"path": path, **where, **_measure(network.forward, floats, expected, rounds)})
            if judge is not None and half:
                rows[-1] |= judge(network.forward)
            path = "MINDIR"
            with tempfile.TemporaryDirectory() as folder:
                path, forward = _mindir(network, floats[:1], Path(folder), device)
                rows.append({"path": path, **where, **_measure(forward, floats[:1], expected[:1], rounds)})
        except EdgeSphereFaceError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever MindSpore raises is the result
            rows.append({"path": path, **where, "error": f"{type(error).__name__}: {error}"[:300]})
    return rows


def _mindir(network: MindsporeReference, floats: Float32Array, folder: Path, device: str) -> tuple[str, Forward]:
    """Export the network as MINDIR and load it with MindSpore Lite if installed, else with MindSpore."""
    import mindspore

    path = folder / "sphereface.mindir"
    mindspore.export(network.cell, mindspore.Tensor(floats), file_name=str(path), file_format="MINDIR")
    try:
        import mindspore_lite
    except ImportError:
        cell = mindspore.nn.GraphCell(mindspore.load(str(path)))
        return "MINDIR by MindSpore", lambda batch: cast("Float32Array", cell(mindspore.Tensor(batch)).asnumpy())
    return "MINDIR by MindSpore Lite", _lite(mindspore_lite, path, device)


def _lite(lite: Any, path: Path, device: str) -> Forward:
    context = lite.Context()
    context.target = [device.lower()]
    model = lite.Model()
    model.build_from_file(str(path), lite.ModelType.MINDIR, context)

    def forward(batch: Float32Array) -> Float32Array:
        inputs = model.get_inputs()
        inputs[0].set_data_from_numpy(batch)
        return cast("Float32Array", model.predict(inputs)[0].get_data_to_numpy())

    return forward


def _measure(forward: Forward, floats: Float32Array, expected: Float32Array, rounds: int) -> JsonObject:
    measured = agreement(expected, np.concatenate([forward(picture[None]) for picture in floats]))
    before, start = environment.energy_j(), time.perf_counter()
    samples = measure_interleaved({"run": lambda: forward(floats[:1])}, rounds=rounds)["run"]
    after, seconds = environment.energy_j(), time.perf_counter() - start
    latency = summarize(samples)
    return {
        "latency": json_object(latency),
        "faces_per_second": round(1000 / latency.median_ms, 2),
        "watts": None if before is None or after is None else round((after - before) / seconds, 2),
        **json_object(measured),
        "samples_ms": [round(float(value), 4) for value in samples],
    }
