"""Compare embeddings of quantized models on several processors, with several ways to avoid saturation."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.emulation.emulator import Emulator, this_python
from benchmarks.emulation.processors import ARM64, PROCESSORS
from edge_sphereface.compare import normalize
from edge_sphereface.evaluation.timing import measure_interleaved, summarize
from edge_sphereface.inference.embedder import Embedder, preprocess
from edge_sphereface.inference.session import CPU
from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.json_output import INLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.emulation.emulator import EmulatedPython
    from benchmarks.emulation.processors import Processor
    from benchmarks.environment import Environment
    from edge_sphereface.types import Float32Array, UInt8Array

WORKER = Path(__file__).with_name("worker.py")
AS_IT_IS, UNSIGNED, PRECISE = "as it is", "unsigned weights", "session.x64quantprecision=1"
HERE = "this machine"
_ROUNDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Agreement of the embeddings of one model on one processor.

    Attributes:
        identical: share of the embeddings that equal those of this machine bit for bit.
        cosine_min: least cosine similarity to the embeddings of this machine.
        to_float_mean: mean cosine similarity to the embeddings of the float model.
        to_float_min: least cosine similarity to the embeddings of the float model.
    """

    identical: float
    cosine_min: float
    to_float_mean: float
    to_float_min: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedRow:
    """One model on one processor.

    Attributes:
        model: file name of the model.
        weight_bits: bits of a weight; None for a float model.
        variant: how saturation is avoided, in words.
        processor: name of the processor.
        crops: number of crops.
        median_ms: median latency with one thread in milliseconds; None on emulated processors.
        figures: agreement of the embeddings.
    """

    model: str
    weight_bits: int | None
    variant: str
    processor: str
    crops: int
    median_ms: float | None
    figures: Figures = field(metadata=INLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulateReport:
    """What ``emulate`` measured.

    Attributes:
        environment: machine and versions.
        emulated: one row for each model, variant and processor.
    """

    environment: Environment
    emulated: tuple[EmulatedRow, ...]


def compare(
    models: Sequence[Path],
    original: Path,
    crops: UInt8Array,
    *,
    processors: Sequence[str],
    emulator: Emulator | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> list[EmulatedRow]:
    """Embed crops with quantized models on this machine and on emulated processors.

    Models with 8-bit weights also run with unsigned weights, and with onnxruntime's setting against saturation: the
    other two ways to get the same embeddings on every processor.

    Args:
        models: quantized ONNX files made by this project.
        original: float model.
        crops: (N, H, W, 3) uint8 BGR.
        processors: names in ``PROCESSORS``.
        emulator: emulator of the processors; None for the one in ``build/emulation``.
        note: called with a description of each step.

    Returns:
        One row per model, variant and processor.

    Raises:
        EmulationError: emulation is not available, or failed.
    """
    emulator = emulator or Emulator()
    expected = normalize(Embedder(original, provider="cpu").forward(crops))
    rows: list[EmulatedRow] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in models:
            spec = Embedder(path, provider="cpu").spec
            np.save(folder / "batch.npy", preprocess(crops, spec))
            bits = spec.quantization.weight_bits if spec.quantization is not None else None
            for variant, model, settings in _variants(path, bits, folder):
                note(f"{path.name}, {variant}: {HERE}")
                here = _run(this_python(), model, folder, settings)
                speed = _latency(model, folder, settings)
                for processor in (None, *(PROCESSORS[key] for key in processors)):
                    if processor is not None:
                        note(f"{path.name}, {variant}: {processor.name}")
                    got = here if processor is None else _run(_python(processor, emulator), model, folder, settings)
                    where = HERE if processor is None else processor.name
                    row = EmulatedRow(
                        model=path.name,
                        weight_bits=bits,
                        variant=variant,
                        processor=where,
                        crops=len(crops),
                        median_ms=speed if processor is None else None,
                        figures=_figures(got, here, expected),
                    )
                    rows.append(row)
    return rows


def _variants(path: Path, bits: int | None, folder: Path) -> Iterator[tuple[str, Path, list[str]]]:
    yield AS_IT_IS, path, []
    if bits == 8:
        yield UNSIGNED, _with_unsigned_weights(path, folder / "unsigned.onnx"), []
        yield PRECISE, path, [PRECISE]


def _with_unsigned_weights(path: Path, target: Path) -> Path:
    """Add 128 to all weights and to their zero points, which preserves the values."""
    model = onnx.load(path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, tensor in tensors.items():
        if name.endswith(".weight.q"):
            raised = (numpy_helper.to_array(tensor).astype(np.int16) + 128).astype(np.uint8)
            zero = tensors[f"{name.removesuffix('.q')}.zero"]
            zeros = np.full(zero.dims[0], 128, dtype=np.uint8)
            tensor.CopyFrom(numpy_helper.from_array(raised, name))
            zero.CopyFrom(numpy_helper.from_array(zeros, zero.name))
    onnx.save(model, target)
    return target


def _figures(got: Float32Array, here: Float32Array, expected: Float32Array) -> Figures:
    unit = normalize(got.copy()).astype(np.float64)
    to_here = (unit * normalize(here.copy())).sum(axis=1)
    to_float = (unit * expected).sum(axis=1)
    return Figures(
        identical=float((got == here).all(axis=1).mean()),
        cosine_min=float(np.minimum(to_here, 1).min()),
        to_float_mean=float(to_float.mean()),
        to_float_min=float(to_float.min()),
    )


def _python(processor: Processor, emulator: Emulator) -> EmulatedPython:
    """Return the interpreter on an emulated processor, with the versions of numpy and onnxruntime of this process."""
    same_versions = [f"{name}=={version(name)}" for name in ("numpy", "onnxruntime")]
    packages = emulator.install(same_versions) if processor.machine == ARM64 else None
    return emulator.python(processor, packages=packages)


def _run(python: EmulatedPython, model: Path, folder: Path, settings: list[str]) -> Float32Array:
    output = folder / "output.npy"
    python.run([str(WORKER), str(model), str(folder / "batch.npy"), str(output), "2", *settings])
    result: Float32Array = np.load(output)
    return result


def _latency(model: Path, folder: Path, settings: list[str]) -> float:
    """Median latency in milliseconds with one thread on this machine."""
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    for setting in settings:
        options.add_session_config_entry(*setting.split("=", 1))
    session = ort.InferenceSession(str(model), options, providers=[CPU])
    inputs = {session.get_inputs()[0].name: np.load(folder / "batch.npy")[:1]}
    samples = measure_interleaved({"run": lambda: session.run(None, inputs)}, rounds=_ROUNDS)
    return summarize(samples["run"]).median_ms


def text(rows: Sequence[EmulatedRow]) -> str:
    """Format the rows as a table."""
    head = f"{'model':<24} {'bits':>4} {'variant':<28} {'processor':<28} {'same bits':>9} {'least cosine':>12} "
    lines = [f"{head}{'to float: mean':>14} {'least':>8} {'ms, 1 thread':>12}"]
    for row in rows:
        speed, figures = "" if row.median_ms is None else f"{row.median_ms:.2f}", row.figures
        lines.append(
            f"{row.model:<24} {row.weight_bits or '':>4} {row.variant:<28} {row.processor:<28} "
            f"{figures.identical:>9.0%} {figures.cosine_min:>12.6f} {figures.to_float_mean:>14.5f} "
            f"{figures.to_float_min:>8.5f} {speed:>12}"
        )
    lines.append(f"{rows[0].crops} crops. Emulated processors compute exactly and say nothing about speed.")
    return "\n".join(lines)
