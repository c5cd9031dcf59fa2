"""The command ``python -m export verify``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import detector_options, json_option, pairs_options
from edge_sphereface.cli.runner import Commands, Outcome, note
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.storage.files import SHARED, atomic_write
from export import official, parity
from export.errors import ParityError
from export.known_checkpoints import weights_file
from export.quantization.commands import add_float_options, verify_against_float
from export.told_options import add_proof_options, add_told_options, told

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.inference.embedder import Embedder
    from export.parity import ParityReport
    from export.source import SourceNetwork


def add_verify(commands: Commands) -> None:
    """Add the command ``verify``."""
    parser = commands.add_parser(
        "verify",
        parents=[json_option(), pairs_options(), detector_options()],
        help="prove an ONNX file against its checkpoint, or a model of reduced precision against its float model",
        description="The proof against a checkpoint is that of a conversion and writes the certificate. In the proof "
        "against a float model (--float), drift, accuracy and latency must meet the policy of `quantize`.",
        epilog="example: python -m export verify sphereface20.onnx --checkpoint sphereface.ckpt; "
        "python -m export verify sphereface20.int8.onnx --float sphereface20.onnx --lfw lfw",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument(
        "--checkpoint",
        type=weights_file,
        metavar="FILE",
        help="source of the model, or a name of `fetch` (default: the official one, in the cache)",
    )
    add_told_options(parser, size=False)
    add_proof_options(parser)
    add_float_options(parser)
    parser.set_defaults(run=verify, is_check=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What ``verify`` found.

    Attributes:
        certificate: path of the parity certificate that was written; None, with exit code 1, if the proof does not
            hold.
        parity: comparison with the checkpoint.
    """

    certificate: Path | None
    parity: ParityReport


def verify(arguments: argparse.Namespace) -> Outcome:
    """Run ``verify``: prove a model, and write the certificate if it equals its checkpoint.

    Raises:
        ParityError: the model was made from another checkpoint, or is of reduced precision.
    """
    from edge_sphereface.inference.embedder import Embedder
    from export.checkpoint import open_checkpoint
    from export.reference import open_reference
    from export.source import recognize, told_by

    if arguments.original is not None:
        return verify_against_float(arguments)
    embedder = Embedder(arguments.model, provider="cpu")
    spec = embedder.spec
    if spec.precision != "float32":
        raise ParityError(
            f"{arguments.model} has the precision {spec.precision} and cannot equal its checkpoint.",
            hint="compare it with its float model: --float FILE.onnx",
        )
    source = arguments.checkpoint or official.official_path()
    with open_checkpoint(source) as checkpoint:
        if checkpoint.sha256 != spec.source_sha256:
            raise ParityError(
                f"{arguments.model} was made from {spec.source_file} (SHA-256 {spec.source_sha256}), but "
                f"{source} has SHA-256 {checkpoint.sha256}.",
                hint="use the checkpoint that it was made from",
            )
        network = recognize(checkpoint, told_by(spec, told(arguments)))
        _require_crops(network, embedder)
        reference = open_reference(arguments.reference, checkpoint, network.topology)
        proof = parity.prove(embedder, reference, network.origin, photos=arguments.photos, note=note)
        target = certificate_path(arguments.model)
        if proof.passed:
            record = parity.certificate(proof, embedder, model_name=arguments.model.name)
            with atomic_write(target, mode=SHARED) as stream:
                stream.write(json.dumps(record.as_json(), indent=1).encode())
    lines = [parity.text(proof), f"{target}: parity certificate" if proof.passed else "no certificate was written"]
    report = VerifyReport(certificate=target if proof.passed else None, parity=parity.report(proof))
    return Outcome(report, "\n".join(lines), passed=proof.passed)


def _require_crops(network: SourceNetwork, embedder: Embedder) -> None:
    """Require that a model takes crops as the options say, which its specification may contradict."""
    wanted, spec = network.preprocessing, embedder.spec
    differing = [
        f"{words} {expected}, not {found}"
        for words, found, expected in (
            ("pixel mean", spec.pixel_mean, wanted.pixel_mean),
            ("pixel scale", spec.pixel_scale, wanted.pixel_scale),
            ("kind of fit", spec.alignment_fit, wanted.alignment_fit),
        )
        if found != expected
    ]
    if differing:
        raise ParityError(
            f"{embedder.path} was made with other crops than told: expected {'; '.join(differing)}.",
            hint="leave out what the model says itself, or convert the weights again",
        )
