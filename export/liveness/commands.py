"""The command ``python -m export liveness``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import above_zero, json_option
from edge_sphereface.cli.runner import Commands, Outcome, note
from export.known_checkpoints import cached_weights
from export.liveness.published import LIVE_CLASS, PUBLISHED

if TYPE_CHECKING:
    import argparse


def add_liveness(commands: Commands) -> None:
    """Add the command ``liveness``."""
    parser = commands.add_parser(
        "liveness",
        parents=[json_option()],
        help="convert the weights of MiniFASNet, which tells a live face from a picture of one",
        description="Convert a MiniFASNet to an ONNX file that `edge-sphereface liveness` and `watch --liveness` use, "
        "compare it with a reference forward pass of the weights, and write it only if it is equal. The file is read "
        "without PyTorch and without executing anything in it. Such a network is no protection against fraud: it only "
        "makes the simplest attacks harder.",
        epilog="examples: python -m export fetch minifasnet-v2; python -m export liveness minifasnet-v2 -o live.onnx; "
        "python -m export liveness own.pth --crop-scale 2.7 -o live.onnx",
    )
    parser.add_argument("weights", type=weights_file, help=f".pth file, or a name of `fetch`: {', '.join(PUBLISHED)}")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--crop-scale",
        type=above_zero,
        metavar="N",
        help="size of the crops of the training as a multiple of the face's box (published files: known)",
    )
    parser.add_argument(
        "--live-class",
        type=int,
        default=LIVE_CLASS,
        metavar="N",
        help=f"index of the class of live faces (default {LIVE_CLASS}, as in the published files)",
    )
    parser.set_defaults(run=liveness)


def weights_file(text: str) -> Path:
    """Path of a file of weights that was named in an option: a path, or a name of :data:`PUBLISHED`."""
    path, published = Path(text), PUBLISHED.get(text)
    return path if published is None or path.exists() else cached_weights(published.file)


def liveness(arguments: argparse.Namespace) -> Outcome:
    """Run ``liveness``: convert a network and describe the result."""
    from export.liveness.convert import convert

    result = convert(
        arguments.weights,
        arguments.output,
        crop_scale=arguments.crop_scale,
        live_class=arguments.live_class,
        note=note,
    )
    worst = max(case.measured.max_abs_error for case in result.cases)
    spec = result.spec
    lines = [
        f"{result.model}: {spec.architecture}, crops of {spec.side} pixels, {spec.crop_scale:g} times the face's box",
        f"equal to its weights: error at most {worst:.1e} of the largest value in {len(result.cases)} comparisons",
        "the weights are as published" if result.is_published else "the weights are not among the published files",
        f"next: edge-sphereface liveness --liveness {result.model} photo.jpg",
    ]
    return Outcome(result, "\n".join(lines))
