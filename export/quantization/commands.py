"""The command ``python -m export quantize``, and ``verify`` against a float model."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    detector_options,
    float_or_nan,
    json_option,
    open_named_detector,
    pairs_options,
    positive,
    read_named_pairs,
)
from edge_sphereface.cli.runner import Commands, Outcome, Progress, UsageError, note
from edge_sphereface.errors import ProviderError
from edge_sphereface.json_output import INLINE
from edge_sphereface.model.quantization import (
    INT8_TARGETS,
    TARGET_ARM64,
    TARGET_OPENVINO,
    TARGET_PORTABLE,
    mismatch_here,
)
from export.outputs import check_output
from export.quantization.output import measured_on, quantization_report, write_quantized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from export.quantization.output import QuantizationReport
    from export.quantization.policy import Policy
    from export.quantization.proof import Proof, ProofReport
    from export.quantization.quantize import QuantizedModel

PRECISIONS = ("int8", "float16", "weights8")


def add_quantize(commands: Commands) -> None:
    """Add the command ``quantize``."""
    parser = commands.add_parser(
        "quantize",
        parents=[json_option(), pairs_options(), detector_options()],
        help="quantize a model to INT8 or FP16; it is written only if its accuracy is proven on this machine",
        description="Quantize a float model: calibrate on photographs, find the ranges that change the embeddings "
        "least by measuring, and compare the result with the float model. It is written only if drift, accuracy (with "
        "labeled pairs) and latency on this machine meet the policy. Otherwise the exit code is 1 and the reason is "
        "printed. A report (.json, .md, .png) is written beside the model.",
        epilog="example: python -m export quantize sphereface20.onnx --calibration photos --lfw lfw -o "
        "sphereface20.int8.onnx",
    )
    parser.add_argument("model", type=Path, help="float ONNX file that `convert` made")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--calibration", type=Path, metavar="FOLDER", help="photographs of faces, or crops (needed for int8)"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="int8",
        help="int8 (default), float16, or weights8: "
        "float32 with 8-bit weights of the embedding layer, of the plain or of a tuned model",
    )
    parser.add_argument(
        "--target",
        choices=INT8_TARGETS,
        default=TARGET_PORTABLE,
        help="portable (default): 7-bit weights, the same embeddings everywhere; arm64, x86-vnni: 8-bit weights; "
        "x86-amx: those of x86-vnni in the form that onnxruntime multiplies in AMX tiles; openvino: for the provider "
        "openvino; of float16: portable for GPUs, arm64 for Arm processors with float16 arithmetic",
    )
    parser.add_argument(
        "--count", type=positive, default=428, metavar="N", help="crops for the calibration (default 428)"
    )
    parser.add_argument(
        "--max-drift",
        type=_share,
        default=0.002,
        metavar="D",
        help="mean of 1 - cosine above which layers stay in float, the best for their size first (default 0.002)",
    )
    parser.add_argument(
        "--provider",
        metavar="NAME",
        help="execution provider that judges a float16 model, or an INT8 model of target openvino, whose default is "
        "openvino (default otherwise: cpu)",
    )
    _add_faster_than(parser)
    parser.add_argument(
        "--threshold-from-pairs",
        action="store_true",
        help="measure the threshold on the labeled pairs instead of transferring the float model's",
    )
    add_policy(parser)
    _add_rounds(parser)
    parser.set_defaults(run=quantize)


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the bounds that a model of reduced precision must meet."""
    parser.add_argument(
        "--policy",
        type=_policy,
        default="strict",
        metavar="BOUNDS",
        help="strict (default), or bounds that differ from it: mean=0.997,p1=0.99 (cosine to float), known=0.985 "
        "(least of the built-in photograph), min=0.9 (least of all), accuracy=0.5,tar=2 (points lost), latency=1 "
        "(divided by float); estimates must meet their bounds with 95 %% confidence; none disables a bound",
    )


def _add_rounds(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--rounds", type=positive, default=100, metavar="N", help="latency samples of each model (default 100)"
    )


def _add_faster_than(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--faster-than",
        action="append",
        default=[],
        type=Path,
        metavar="FILE.onnx",
        help="another form, such as the tuned one, that the result must also be faster than (repeatable)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeReport:
    """What ``quantize`` did.

    Attributes:
        report: how the model was quantized.
        files: paths of the files that were written; empty if the model misses a bound of the policy.
    """

    report: QuantizationReport = field(metadata=INLINE)
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatProofReport:
    """What ``verify --float`` found.

    Attributes:
        proof: comparison with the float model; the exit code is 1 if it misses a bound of the policy.
        environment: machine and versions, by name.
    """

    proof: ProofReport
    environment: Mapping[str, str | int]


def quantize(arguments: argparse.Namespace) -> Outcome:
    """Run ``quantize``: quantize, prove, and write the model if it meets the policy.

    Raises:
        UsageError: INT8 without photographs, or a target or provider that the precision does not have.
        OutputError: the output cannot be written.
    """
    from edge_sphereface.evaluation.latency import Plan
    from export.quantization.quantize import QuantizationOptions
    from export.quantization.quantize import quantize as quantize_model

    if arguments.precision == "int8" and arguments.calibration is None:
        raise UsageError("INT8 needs photographs to calibrate with.", hint="add --calibration FOLDER")
    provider = _judging_provider(arguments)
    labeled = read_named_pairs(arguments)
    if arguments.threshold_from_pairs and labeled is None:
        raise UsageError("--threshold-from-pairs needs labeled pairs.", hint="add --lfw, or --pairs with --images")
    check_output(arguments.output, arguments.model)
    made = quantize_model(
        arguments.model,
        arguments.calibration,
        QuantizationOptions(
            precision=arguments.precision,
            target=arguments.target,
            count=arguments.count,
            max_drift=arguments.max_drift,
            policy=arguments.policy,
            provider=provider,
            faster_than=arguments.faster_than,
            threshold_from_pairs=arguments.threshold_from_pairs,
            plan=Plan.of(arguments.rounds),
        ),
        labeled=labeled,
        detector=open_named_detector(arguments),
        reporter=Progress,
        note=note,
    )
    report = quantization_report(made, arguments.output, arguments.model, provider)
    files = write_quantized(made, arguments.output, arguments.model, provider) if made.proof.passed else ()
    return Outcome(
        QuantizeReport(report=report, files=files), _quantize_text(arguments, made, files), passed=made.proof.passed
    )


def _judging_provider(arguments: argparse.Namespace) -> str:
    """Execution provider of the proof."""
    precision, target = arguments.precision, arguments.target
    is_for_openvino = precision == "int8" and target == TARGET_OPENVINO
    provider: str = arguments.provider or ("openvino" if is_for_openvino else "cpu")
    if is_for_openvino and provider == "openvino":
        _require_openvino()
    if precision == "int8" and provider != "cpu" and not is_for_openvino:
        raise UsageError("INT8 is made for the CPU, and --provider judges float16.", hint="leave --provider out")
    if is_for_openvino and provider not in ("cpu", "openvino"):
        raise UsageError("--target openvino is judged by that provider or the CPU.", hint="leave --provider out")
    if precision == "weights8" and (target, provider) != (TARGET_PORTABLE, "cpu"):
        raise UsageError("weights8 has one form, for the CPU.", hint="leave --target and --provider out")
    if precision == "float16" and target not in (TARGET_PORTABLE, TARGET_ARM64):
        raise UsageError(
            "There is no float16 form for x86-64, which has no float16 arithmetic that onnxruntime uses.",
            hint="leave --target out for GPUs, or use --target arm64",
        )
    if precision == "float16" and target == TARGET_ARM64 and provider != "cpu":
        raise UsageError("--target arm64 is for the CPU.", hint="leave --target out for another provider")
    return provider


def _require_openvino() -> None:
    from edge_sphereface.extras import install_command
    from edge_sphereface.inference.session import OPENVINO
    from edge_sphereface.inference.telemetry import import_onnxruntime

    if OPENVINO not in import_onnxruntime().get_available_providers():
        raise ProviderError(
            "--target openvino is judged on the provider 'openvino', which is not in this onnxruntime.",
            hint=f"give --provider cpu to judge its embeddings alone, or, in an environment of its own: "
            f"{install_command('openvino')}",
        )


def _quantize_text(arguments: argparse.Namespace, made: QuantizedModel, files: tuple[Path, ...]) -> str:
    from export.quantization import report
    from export.quantization.crops import skipped_text

    lines = [] if made.calibration is None else skipped_text(made.calibration.skipped)
    if made.search is not None:
        lines.append(report.search_text(made.search))
    lines.append(report.proof_text(made.proof))
    if files:
        share = made.model.ByteSize() / arguments.model.stat().st_size
        lines.append(f"{arguments.output}: {_mib(arguments.output)}, {share:.3f} of the float file")
        lines += map(str, files[1:])
    else:
        lines.append(f"refused: {'; '.join(made.proof.missed)}. Nothing was written.{_latency_hint(made.proof)}")
    return "\n".join(lines)


def _latency_hint(proof: Proof) -> str:
    if not proof.misses_latency_only:
        return ""
    return " For another machine than this, give --policy latency=none. On a busy machine, repeat it when that is idle."


def add_float_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``verify`` that compare a model of reduced precision with its float model."""
    group = parser.add_argument_group("against a float model")
    group.add_argument("--float", dest="original", type=Path, metavar="FILE.onnx", help="the model it was made from")
    group.add_argument(
        "--calibration",
        type=Path,
        metavar="FOLDER",
        help="photographs that the model was calibrated with; they are excluded from the proof",
    )
    _add_faster_than(group)
    _add_rounds(group)
    add_policy(parser)


def verify_against_float(arguments: argparse.Namespace) -> Outcome:
    """Run ``verify --float``: the proof of ``quantize`` for any model of reduced precision and its float model.

    Raises:
        UsageError: neither labeled pairs nor photographs were given.
    """
    from edge_sphereface.evaluation.latency import Plan
    from edge_sphereface.image import find_images
    from edge_sphereface.inference.embedder import Embedder
    from export.quantization import report
    from export.quantization.crops import folder_digests
    from export.quantization.paired_embeddings import embed_pairs, embed_photographs
    from export.quantization.proof import Latency, judge
    from export.quantization.quantize import PLAIN_NAME
    from export.speed import race
    from export.threshold import MeasuredThreshold

    provider = _provider_of(arguments.model)
    original = Embedder(arguments.original, provider=provider)
    reduced = Embedder(arguments.model, provider=provider)
    labeled, detector = read_named_pairs(arguments), open_named_detector(arguments)
    seen = frozenset[str]() if arguments.calibration is None else folder_digests(arguments.calibration)
    progress = Progress("both models over photographs")
    if labeled is not None:
        embedded = embed_pairs(original, reduced, labeled, detector, calibrated_on=seen, progress=progress)
    elif arguments.photos is not None:
        paths = find_images(arguments.photos)
        embedded = embed_photographs(original, reduced, paths, detector, calibrated_on=seen, progress=progress)
    else:
        raise UsageError("No photographs were named.", hint="give --lfw FOLDER, --pairs with --images, or --photos")
    others = {PLAIN_NAME: arguments.original, **{str(path): path for path in arguments.faster_than}}
    record = reduced.spec.quantization
    reason = mismatch_here(record.target) if record and record.target == TARGET_OPENVINO and provider == "cpu" else ""
    if reason and arguments.faster_than:
        raise UsageError(f"--faster-than cannot be judged here. {reason}", hint="leave --faster-than out")
    if reason:
        latency = Latency(None, reason)
    else:
        note("timing the models, in rounds")
        plan = Plan.of(arguments.rounds)
        latency = Latency(race(reduced.spec.precision, arguments.model, others, plan=plan, provider=provider))
    own = MeasuredThreshold(reduced.spec.threshold, reduced.spec.threshold_source)
    proof = judge(original.spec, embedded, labeled, latency, arguments.policy, own=own)
    text = report.proof_text(proof)
    if not proof.passed:
        verdict = "too slow" if proof.misses_latency_only else "harmful"
        text += f"\n{verdict}: {'; '.join(proof.missed)}.{_latency_hint(proof)}"
    found = FloatProofReport(proof=proof.report(), environment=measured_on(provider))
    return Outcome(found, text, passed=proof.passed)


def _provider_of(model: Path) -> str:
    """The provider that a model was made for: OpenVINO's if it is for it and that is here, else the CPU's."""
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.inference.session import OPENVINO
    from edge_sphereface.inference.telemetry import import_onnxruntime

    if OPENVINO not in import_onnxruntime().get_available_providers():
        return "cpu"
    record = Embedder(model).spec.quantization
    return "openvino" if record and record.target == TARGET_OPENVINO else "cpu"


def _mib(path: Path) -> str:
    return f"{path.stat().st_size / (1 << 20):.2f} MiB"


def _policy(text: str) -> Policy:
    from export.quantization.policy import parse_policy

    try:
        return parse_policy(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _share(text: str) -> float:
    value = float_or_nan(text)
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"expected a part from 0 to 2, got {text!r:.40}")
    return value
