"""The command ``python -m export ncnn``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    detector_options,
    json_option,
    open_named_detector,
    pairs_options,
    read_named_pairs,
)
from edge_sphereface.cli.runner import Commands, Outcome, Progress, UsageError, note
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.ncnn_network import LARGE_TILES
from export import parity
from export.ncnn_form import FLOAT32, PRECISIONS, NcnnOptions, make_ncnn_form
from export.quantization.commands import add_policy

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.model.spec import ModelSpec
    from export.ncnn_form import NcnnForm
    from export.parity import ParityReport
    from export.quantization.proof import ProofReport


def add_ncnn(commands: Commands) -> None:
    """Add the command ``ncnn``."""
    parser = commands.add_parser(
        "ncnn",
        parents=[json_option(), pairs_options(), detector_options()],
        help="make a form of a float model that ncnn runs, which may be faster on Arm processors",
        description="Convert a float ONNX file for ncnn by pnnx. The float32 form is proven equal to its source, and "
        "its embeddings belong into the same galleries. Half precision must meet the policy of `quantize`. What misses "
        "its bounds is not written. Needs the packages ncnn and pnnx (pip install ncnn; pip install --no-deps "
        "pnnx); numba, if it is installed, makes the proof of float16-large-tiles several times as fast. There is no "
        "INT8: no wheel contains ncnn's tools for it.",
        epilog="examples: python -m export ncnn sphereface20.onnx -o sphereface20.ncnn; "
        "python -m export ncnn sphereface20.onnx --precision float16 --lfw lfw -o sphereface20.float16.ncnn",
    )
    parser.add_argument("model", type=Path, help="float ONNX file that `convert` made")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.ncnn")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=FLOAT32,
        help="float32 (default); float16: half the size, with half-precision arithmetic where the processor has it; "
        "float16-large-tiles: float16 in ncnn's own choice of tiles, with fewer operations and fewer digits, and with "
        "bounds of its own: a mean cosine of 0.998 and 0.2 points of accuracy",
    )
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photographs of faces that judge a float16 form")
    add_policy(parser)
    parser.set_defaults(run=ncnn)


@dataclass(frozen=True, slots=True, kw_only=True)
class NcnnReport:
    """What ``ncnn`` did.

    Attributes:
        model: path of the form for ncnn; None, with exit code 1, if it misses a bound of the policy.
        certificate: path of its parity certificate; None if it misses a bound.
        spec: specification of the form.
        bytes: size of the form.
        arithmetic: precision in which ncnn computed here, ``float32`` or ``float16``.
        parity: comparison with the ONNX file.
        proof: judgment of a float16 form; None for float32.
    """

    model: Path | None
    certificate: Path | None
    spec: ModelSpec
    bytes: int
    arithmetic: str
    parity: ParityReport
    proof: ProofReport | None


def ncnn(arguments: argparse.Namespace) -> Outcome:
    """Run ``ncnn``: convert, prove, and write the form.

    Raises:
        UsageError: photographs or labeled pairs were named for a float32 form, which is proven without them.
    """
    from edge_sphereface.image import find_images

    labeled = read_named_pairs(arguments)
    if arguments.precision == FLOAT32 and (labeled is not None or arguments.photos is not None):
        raise UsageError("Photographs judge a float16 form; float32 is proven without.", hint="leave them out")
    made = make_ncnn_form(
        arguments.model,
        arguments.output,
        NcnnOptions(
            precision=arguments.precision,
            policy=arguments.policy,
            photographs=() if arguments.photos is None else find_images(arguments.photos),
            labeled=labeled,
        ),
        detector=open_named_detector(arguments),
        note=note,
        reporter=Progress,
    )
    report = NcnnReport(
        model=arguments.output if made.written else None,
        certificate=certificate_path(arguments.output) if made.written else None,
        spec=made.spec,
        bytes=made.bytes,
        arithmetic=made.arithmetic,
        parity=parity.report(made.proof),
        proof=None if made.judged is None else made.judged.report(),
    )
    return Outcome(report, _text(arguments, made), passed=made.written)


def _text(arguments: argparse.Namespace, made: NcnnForm) -> str:
    from export.quantization import report

    if made.judged is None:
        lines = [parity.text(made.proof)]
    else:
        lines = [report.proof_text(made.judged)]
        if made.arithmetic == FLOAT32:
            modelled = ", which was modelled" if made.spec.precision == LARGE_TILES else ""
            lines.append(
                f"this processor has no half-precision arithmetic{modelled}: verify-model proves it on one that has"
            )
    if made.judged is not None and not made.written:
        return "\n".join([*lines, f"refused: {'; '.join(made.judged.missed)}. Nothing was written."])
    share = made.bytes / arguments.model.stat().st_size
    lines.append(f"{arguments.output}: {made.bytes / (1 << 20):.2f} MiB, {share:.3f} of the ONNX file")
    return "\n".join([*lines, f"{certificate_path(arguments.output)}: certificate"])
