"""Rewrite the float model for speed. The result is kept only if it is equal to its source and measurably faster."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, NamedTuple

import onnx

from edge_sphereface.cpu import read_cpuinfo, usable_cpus
from edge_sphereface.evaluation.latency import DEFAULT_PLAN
from edge_sphereface.evaluation.model_selection import Setting
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.spec import METADATA_KEY, ModelSpec
from edge_sphereface.model.tuning import DIRECT, Tuning
from edge_sphereface.storage.files import SHARED, atomic_write
from export import parity
from export.outputs import check_output
from export.plain import open_plain
from export.rewrite.tile import stage_names
from export.rewrite.winograd import to_winograd
from export.speed import AFTER, BEFORE, race

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_sphereface.evaluation.latency import Plan
    from edge_sphereface.inference.embedder import Embedder
    from export.parity import Proof
    from export.rewrite.tile import StageForm
    from export.speed import Race


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """Result of a rewrite.

    Attributes:
        written: whether the model was fast enough to be written.
        spec: specification of the model.
        proof: comparisons with its source.
        race: latency of both models; None if it was measured before or elsewhere.
    """

    written: bool
    spec: ModelSpec
    proof: Proof
    race: Race | None


class Measured(NamedTuple):
    """Latency of a rewritten model with the conditions of the measurement.

    Attributes:
        processor: name of the processor or board.
        onnxruntime: version of onnxruntime.
        setting: setting of the session.
        batch: number of faces in one inference.
        samples: number of samples of each model.
        plain_ms: median of the plain model with the same setting; None if it was not measured.
        tuned_ms: median of the rewritten model.
    """

    processor: str
    onnxruntime: str
    setting: Setting
    batch: int
    samples: int
    plain_ms: float | None
    tuned_ms: float


def rewrite(  # noqa: PLR0913 -- all but the first two are options, by name
    source: Path,
    output: Path,
    *,
    forms: Mapping[int, StageForm] = MappingProxyType({}),
    setting: Setting | None = None,
    measured: Measured | None = None,
    max_ratio: float | None = 1.0,
    plan: Plan = DEFAULT_PLAN,
    note: Callable[[str], None] = lambda _: None,
) -> Rewritten:
    """Rewrite a float model, prove it, time it against its source, and write it with its certificate if it is faster.

    Args:
        source: path of the plain float ONNX file.
        output: path of the result.
        forms: forms of the stages that use Winograd's filtering, see :mod:`export.rewrite.winograd`.
        setting: session setting of the timed inferences; None for the default.
        measured: latency measured before, here or elsewhere, which is recorded unchanged; None to measure that of one
            face here.
        max_ratio: largest latency divided by that of the source on this machine. The upper end of the ratio's
            confidence interval must not exceed it. None writes the result at any latency.
        plan: number of latency samples.
        note: called with a description of each step.

    Raises:
        ModelFormatError: the source is not a plain float32 model of this project.
        ParityError: the result differs from its source; nothing is written.
        OutputError: the output cannot be written.
    """
    check_output(output, source)
    _, plain = open_plain(source, "cpu")
    model = to_winograd(plain, forms)
    how = setting or (measured.setting if measured else Setting(threads=usable_cpus()))
    original = how.open(source, "cpu")
    try:
        with (
            atomic_write(certificate_path(output), mode=SHARED) as certificate_stream,
            atomic_write(output, mode=SHARED) as stream,
        ):
            _write(model, original.spec, stream)
            embedder = how.open(Path(stream.name), "cpu")
            proof = parity.prove_against_model(embedder, original, note=note)
            parity.require(proof, "The rewritten graph", original=source.name)
            timed = None
            if measured is None:
                note("timing both models, in rounds")
                timed = race(AFTER, Path(stream.name), {BEFORE: source}, plan=plan, setting=how)
                measured = _measured_here(timed, how, original)
            growth = weight_bytes(model) / weight_bytes(plain)
            spec = _spec(original.spec, stage_names(forms, len(original.spec.widths)), growth, measured)
            made = Rewritten(written=True, spec=spec, proof=proof, race=timed)
            if timed is not None and max_ratio is not None and not timed.ratios[BEFORE].high <= max_ratio:
                raise _TooSlowError(made)  # a bound that is no number is not kept
            del embedder  # Windows cannot write over a file that is mapped, nor rename it
            _write(model, spec, stream)
            embedder = how.open(Path(stream.name), "cpu")
            record = parity.certificate(proof, embedder, model_name=output.name)
            certificate_stream.write(json.dumps(record.as_json(), indent=1).encode())
            del embedder
    except _TooSlowError as error:
        return replace(error.made, written=False)
    return made


def _write(model: onnx.ModelProto, spec: ModelSpec, stream: IO[bytes]) -> None:
    """Replace the contents of a file by a model with its specification."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    stream.seek(0)
    stream.truncate()
    stream.write(model.SerializeToString(deterministic=True))
    stream.flush()


def _measured_here(timed: Race, how: Setting, original: Embedder) -> Measured:
    return Measured(
        processor=read_cpuinfo()[0] or platform.machine(),
        onnxruntime=original.provider.library[1],
        setting=how,
        batch=1,
        samples=timed.latency[AFTER].samples,
        plain_ms=timed.latency[BEFORE].median_ms,
        tuned_ms=timed.latency[AFTER].median_ms,
    )


def _spec(original: ModelSpec, stages: tuple[str, ...], growth: float, measured: Measured) -> ModelSpec:
    how = measured.setting
    tuning = Tuning(
        stages=stages,
        weight_growth=round(growth, 3),
        processor=measured.processor,
        threads=how.threads,
        pinned_threads=how.pinned_threads,
        memory_arena=how.memory_arena,
        batch=measured.batch,
        onnxruntime=measured.onnxruntime,
        samples=measured.samples,
        plain_ms=None if measured.plain_ms is None else round(measured.plain_ms, 3),
        tuned_ms=round(measured.tuned_ms, 3),
    )
    is_direct = set(stages) == {DIRECT}
    return replace(original, rewrites=("prelu",) if is_direct else ("winograd", "prelu"), tuning=tuning)


def weight_bytes(model: onnx.ModelProto) -> int:
    """Size of all weights in bytes."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


class _TooSlowError(Exception):
    """Raised inside the block that writes atomically, so that the output is discarded."""

    def __init__(self, made: Rewritten) -> None:
        super().__init__()
        self.made = made
