"""Quantize a float model and prove that the result preserves accuracy."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from edge_sphereface import __version__
from edge_sphereface.detection import open_detector
from edge_sphereface.evaluation.latency import DEFAULT_PLAN, Plan
from edge_sphereface.evaluation.model_selection import require_one_source
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import CPU
from edge_sphereface.model.quantization import (
    TARGET_ARM64,
    TARGET_FLOAT16,
    TARGET_FLOAT16_ARM64,
    TARGET_OPENVINO,
    TARGET_PORTABLE,
    TARGET_WEIGHTS8,
    WEIGHT_BITS,
    Quantization,
    Target,
    mismatch_here,
)
from edge_sphereface.model.spec import METADATA_KEY, ModelSpec
from edge_sphereface.storage.files import sha256_of
from export.layers import weight_counts
from export.plain import open_float, open_plain
from export.quantization.crops import CalibrationCrops, calibration_crops, doubts
from export.quantization.embedding_weights import with_embedding_weights_in_8_bits
from export.quantization.float16 import to_float16
from export.quantization.float16_arm import to_float16_for_arm
from export.quantization.kernels import KERNELS
from export.quantization.paired_embeddings import embed_pairs, embed_photographs
from export.quantization.policy import Policy
from export.quantization.proof import Latency, judge
from export.quantization.search import search
from export.rewrite import decompose_prelu
from export.speed import race

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.evaluation.model_selection import Setting
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from export.quantization.paired_embeddings import Embedded
    from export.quantization.proof import Proof
    from export.quantization.search import Reporter, Search

INT8, FLOAT16, WEIGHTS8 = "int8", "float16", "weights8"
PLAIN_NAME, REWRITTEN_NAME = "the float model", "the float model, rewritten"
PROOF_PHOTOGRAPHS = 2000
_MUCH = 0.2
"""Share of the weights in float32 layers above which a quantization says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationOptions:
    """Options of a quantization.

    Attributes:
        precision: ``int8``, ``float16``, or ``weights8`` for float32 with 8-bit weights of the embedding layer.
        target: kind of processor or provider for ``int8``; for ``float16``, ``portable`` for GPUs or ``arm64`` for Arm
            processors with float16 arithmetic.
        count: largest number of crops for the calibration.
        max_drift: mean of 1 - cosine above which layers remain in float32, the best for their size first.
        policy: bounds that the result must meet.
        provider: execution provider of the proof; INT8 models run on the CPU, or on ``openvino`` if they are for it.
        faster_than: paths of other forms of the float model, such as a tuned one, that the result must be faster than.
        threshold_from_pairs: measure the threshold on the labeled pairs instead of transferring the float model's.
        plan: number of latency samples.
        setting: session setting of the timed inferences; None for all processors.
    """

    precision: str = INT8
    target: Target = TARGET_PORTABLE
    count: int = 428
    max_drift: float = 0.002
    policy: Policy = field(default_factory=Policy)
    provider: str = "cpu"
    faster_than: Sequence[Path] = ()
    threshold_from_pairs: bool = False
    plan: Plan = DEFAULT_PLAN
    setting: Setting | None = None

    @property
    def recorded_target(self) -> Target:
        """Target as the model records it."""
        if self.precision == INT8:
            return self.target
        if self.precision == WEIGHTS8:
            return TARGET_WEIGHTS8
        return TARGET_FLOAT16_ARM64 if self.target == TARGET_ARM64 else TARGET_FLOAT16


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedModel:
    """Result of a quantization.

    Attributes:
        model: model with its final metadata.
        spec: specification of the model.
        search: search for the INT8 form; None for float16.
        calibration: calibration crops; None for a float16 model without photographs.
        doubts: warnings about the calibration.
        proof: comparison with the float model.
    """

    model: onnx.ModelProto
    spec: ModelSpec
    search: Search | None
    calibration: CalibrationCrops | None
    doubts: tuple[str, ...]
    proof: Proof


def quantize(
    path: Path,
    photographs: Path | None,
    options: QuantizationOptions,
    *,
    labeled: LabeledPairs | None = None,
    detector: Detector | None = None,
    reporter: Reporter = lambda _: lambda _done, _total: None,
    note: Callable[[str], None] = lambda _: None,
) -> QuantizedModel:
    """Quantize a model and prove the result. Nothing is written.

    Args:
        path: path of a float ONNX file that ``python -m export convert`` made; for ``weights8`` also of a form of it,
            such as the tuned one.
        photographs: folder of photographs for the calibration; optional for float16.
        options: options of the quantization.
        labeled: labeled pairs for the accuracy; None to judge only the drift.
        detector: finds faces in photographs; None for the best detector available.
        reporter: returns a progress function for a named step.
        note: called with a description of each step, and with each warning.

    Raises:
        ModelFormatError: the file is not a plain float32 model of this project; for ``weights8``, not a float32 model.
        CalibrationError: no photograph shows a usable face.
    """
    original, plain = (open_float if options.precision == WEIGHTS8 else open_plain)(path, options.provider)
    others = {other: Embedder(other, provider=options.provider).spec for other in options.faster_than}
    require_one_source({path: original.spec, **others})  # before minutes of search
    finder = detector or open_detector()
    calibration, sentences = None, list[str]()
    if photographs is not None:
        progress = reporter("crops for the calibration")
        calibration = calibration_crops(photographs, original.spec, finder, count=options.count, progress=progress)
        sentences = doubts(calibration, original)
        for sentence in sentences:
            note(f"warning: {sentence}")
    found = None
    reason = mismatch_here(options.recorded_target) if original.provider.active[0] == CPU else ""
    if reason:
        note(f"warning: {reason} It is judged here all the same.")
    if options.precision == INT8:
        if calibration is None:
            raise ValueError("INT8 needs photographs for the calibration.")
        found = search(
            plain,
            original.spec,
            calibration.for_ranges,
            calibration.for_judging,
            kernels=KERNELS[options.target],
            max_drift=options.max_drift,
            reporter=reporter,
        )
        model = found.model
        _note_float_layers(found, plain, note)
    elif options.precision == WEIGHTS8:
        model = with_embedding_weights_in_8_bits(plain)
    elif options.recorded_target == TARGET_FLOAT16_ARM64:
        model = to_float16_for_arm(plain)
    else:
        model = to_float16(plain)
    with _on_disk(model) as reduced_path, _on_disk(decompose_prelu(plain)) as rewritten_path:
        reduced = Embedder(reduced_path, provider=options.provider)
        embedded = _embed(original, reduced, calibration, labeled, finder, reporter)
        why_not = reason if options.precision == FLOAT16 or options.target == TARGET_OPENVINO else ""
        floats = {PLAIN_NAME: path} | ({} if options.precision == WEIGHTS8 else {REWRITTEN_NAME: rewritten_path})
        latency = _latency(reduced, floats, options, why_not, note)
        from_pairs = options.threshold_from_pairs
        proof = judge(original.spec, embedded, labeled, latency, options.policy, from_pairs=from_pairs)
    spec = _spec(original, options, found, calibration, proof)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    return QuantizedModel(
        model=model, spec=spec, search=found, calibration=calibration, doubts=tuple(sentences), proof=proof
    )


def _note_float_layers(found: Search, plain: onnx.ModelProto, note: Callable[[str], None]) -> None:
    weights = weight_counts(plain)
    share = sum(weights[layer] for layer in found.chosen.float_layers) / sum(weights.values())
    if share > _MUCH:
        count = f"{len(found.chosen.float_layers)} of {len(weights)} layers, with {share:.0%} of the weights"
        remedies = "photographs that vary more, a larger permitted drift or another target may help"
        note(f"warning: {count}, stay in float32 to keep the drift: {remedies}")


def _embed(
    original: Embedder,
    reduced: Embedder,
    calibration: CalibrationCrops | None,
    labeled: LabeledPairs | None,
    detector: Detector,
    reporter: Reporter,
) -> Embedded:
    progress = reporter("both models over photographs")
    seen = frozenset[str]() if calibration is None else calibration.digests
    if labeled is not None:
        return embed_pairs(original, reduced, labeled, detector, calibrated_on=seen, progress=progress)
    paths = () if calibration is None else calibration.unused[:PROOF_PHOTOGRAPHS]
    return embed_photographs(original, reduced, paths, detector, calibrated_on=seen, progress=progress)


def _latency(
    reduced: Embedder,
    floats: Mapping[str, Path],
    options: QuantizationOptions,
    why_not: str,
    note: Callable[[str], None],
) -> Latency:
    """Time the reduced model against the float model and against the forms of the options."""
    if why_not:
        return Latency(None, why_not)
    note("timing the models, in rounds")
    timed = {**floats, **{str(path): path for path in options.faster_than}}
    return Latency(
        race(
            options.precision,
            reduced.path,
            timed,
            plan=options.plan,
            setting=options.setting,
            provider=options.provider,
        )
    )


def _spec(
    original: Embedder,
    options: QuantizationOptions,
    found: Search | None,
    calibration: CalibrationCrops | None,
    proof: Proof,
) -> ModelSpec:
    target = options.recorded_target
    mean, p1, low = (round(value, 6) for value in proof.drift)
    record = Quantization(
        target=target,
        weight_bits=WEIGHT_BITS[target],
        rules=() if found is None else tuple(found.chosen.rules.items()),
        equalization=0.0 if found is None else found.chosen.equalization,
        bias_correction=found is not None and found.chosen.bias_correction,
        float_layers=() if found is None else found.chosen.float_layers,
        calibration_crops=0 if found is None or calibration is None else len(calibration.crops),
        float_sha256=sha256_of(original.path),
        proof_crops=len(proof.cosines),
        cosine_mean=mean,
        cosine_p1=p1,
        cosine_min=low,
    )
    spec = original.spec
    rewrites = list(spec.rewrites)
    rewrites += ["equalize"] if record.equalization else []
    rewrites += ["winograd"] if target == TARGET_FLOAT16_ARM64 else []
    is_decomposed = target == TARGET_FLOAT16_ARM64 or (found is not None and not KERNELS[target].fuses_prelu)
    rewrites += ["prelu"] if is_decomposed else []
    return replace(
        spec,
        precision=options.precision,
        rewrites=tuple(rewrites),
        quantization=record,
        tuning=None,
        threshold=proof.threshold,
        threshold_source=proof.threshold_source,
        exporter_version=__version__,
    )


@contextmanager
def _on_disk(model: onnx.ModelProto) -> Iterator[Path]:
    """Store a model in a temporary file, since an embedder reads files."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps what is mapped
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        yield path
