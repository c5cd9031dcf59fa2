"""Run the checkpoint natively with MindSpore. Everything also runs on the CPU; rows state the device."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmarks import environment
from benchmarks.ascend.row import Power
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.evaluation.timing import measure_interleaved, summarize
from edge_sphereface.json_output import INLINE, OMIT_NONE
from edge_sphereface.metrics import agreement
from export.checkpoint import open_checkpoint
from export.mindspore_reference import MindsporeReference
from export.reference import NumpyReference
from export.topology import infer_topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.evaluation.timing import LatencySummary
    from edge_sphereface.metrics import Agreement
    from edge_sphereface.types import Float32Array
    from export.topology import Topology

    Forward = Callable[[Float32Array], Float32Array]

_FULL_WIDTHS = (64, 128, 256, 512)
"""Channels of the stages of the official network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeFigures:
    """Latency of one way to run the network, and agreement with numpy.

    Attributes:
        latency: latency of one crop.
        faces_per_second: crops per second.
        power: power during the run.
        agreement: agreement of the embeddings with numpy's.
        samples_ms: raw samples in milliseconds.
    """

    latency: LatencySummary
    faces_per_second: float
    power: Power = field(metadata=INLINE)
    agreement: Agreement = field(metadata=INLINE)
    samples_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeAccuracy:
    """Accuracy on LFW's pairs by the 10-fold protocol.

    Attributes:
        accuracy: mean accuracy of the folds.
        accuracy_std: standard deviation of the folds' accuracies.
        accuracy_interval: 95 % confidence interval of the accuracy.
        threshold: mean threshold of the folds, a cosine similarity.
        pairs: number of pairs.
    """

    accuracy: float
    accuracy_std: float
    accuracy_interval: tuple[float, float]
    threshold: float
    pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeRow:
    """One way to run the checkpoint natively.

    Attributes:
        path: ``MindSpore``, ``MINDIR``, or how a MINDIR was run.
        network: name and width of the network; None in results of earlier versions.
        device: ``Ascend`` or ``CPU``.
        precision: ``float16`` or ``float32``.
        figures: what was measured; None if it did not run.
        judged: accuracy; None if it was not measured.
        error: why it did not run; left out if it ran.
    """

    path: str
    network: str | None = field(default=None, metadata=OMIT_NONE)
    device: str
    precision: str
    figures: NativeFigures | None = field(default=None, metadata=INLINE)
    judged: NativeAccuracy | None = field(default=None, metadata=INLINE)
    error: str | None = field(default=None, metadata=OMIT_NONE)


def run(
    checkpoint: Path,
    device: str,
    floats: Float32Array,
    *,
    rounds: int,
    judge: Callable[[Forward], NativeAccuracy] | None = None,
) -> list[NativeRow]:
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
    rows: list[NativeRow] = []
    for half in (True, False):
        row = NativeRow(
            path="MindSpore",
            network=_named(topology),
            device=device,
            precision="float16" if half else "float32",
        )
        try:
            network = MindsporeReference(checkpoint, topology, device=device, half=half)
            figures = _measure(network.forward, floats, expected, rounds)
            judged = judge(network.forward) if judge is not None and half else None
            rows.append(replace(row, figures=figures, judged=judged))
            row = replace(row, path="MINDIR")
            with tempfile.TemporaryDirectory() as folder:
                path, forward = _mindir(network, floats[:1], Path(folder), device)
                row = replace(row, path=path)
                rows.append(replace(row, figures=_measure(forward, floats[:1], expected[:1], rounds)))
        except EdgeSphereFaceError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever MindSpore raises is the result
            rows.append(replace(row, error=f"{type(error).__name__}: {error}"[:300]))
    return rows


def _named(topology: Topology) -> str:
    """Name and width of a network."""
    share = topology.widths[-1] / _FULL_WIDTHS[-1]
    is_scaled = tuple(round(width * share) for width in _FULL_WIDTHS) == topology.widths
    width = (
        {1.0: "full width", 0.5: "half width"}.get(share, f"{share:g} of the width") if is_scaled else "other widths"
    )
    return f"{topology.name}, {width}"


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


def _measure(forward: Forward, floats: Float32Array, expected: Float32Array, rounds: int) -> NativeFigures:
    measured = agreement(expected, np.concatenate([forward(picture[None]) for picture in floats]))
    before, start = environment.energy_j(), time.perf_counter()
    samples = measure_interleaved({"run": lambda: forward(floats[:1])}, rounds=rounds)["run"]
    after, seconds = environment.energy_j(), time.perf_counter() - start
    latency = summarize(samples)
    return NativeFigures(
        latency=latency,
        faces_per_second=round(1000 / latency.median_ms, 2),
        power=Power(watts=None if before is None or after is None or after < before else (after - before) / seconds),
        agreement=measured,
        samples_ms=tuple(np.round(samples, 4).tolist()),
    )
