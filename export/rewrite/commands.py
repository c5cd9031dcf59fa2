"""The command ``python -m export rewrite``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import above_zero, json_option, positive
from edge_sphereface.cli.runner import Outcome, UsageError, note
from edge_sphereface.json_output import json_object
from edge_sphereface.model.certificate import certificate_path
from export import parity
from export.speed import AFTER, BEFORE

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.types import JsonObject
    from export.rewrite.fast import Rewritten
    from export.speed import Race


def add_rewrite(commands: Commands) -> None:
    """Add the command ``rewrite``."""
    parser = commands.add_parser(
        "rewrite",
        parents=[json_option()],
        help="rewrite a float model in operators that onnxruntime runs faster on a CPU",
        description="Replace every PRelu by operators that onnxruntime's CPU kernels run faster and, with --stages, "
        "convolutions by Winograd's filtering. The result is proven equal to its source, timed against it on this "
        "machine, and written only if it is equal and measurably faster (the 95 % interval of the ratio lies below "
        "--max-latency). `tune` finds the stages.",
        epilog="examples: python -m export rewrite sphereface20.onnx -o sphereface20.fast.onnx; "
        "python -m export rewrite sphereface20.onnx --stages 4x4 4x4w 2x3w direct -o sphereface20.winograd.onnx",
    )
    parser.add_argument("model", type=Path, help="float ONNX file that `convert` made")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--stages",
        nargs="+",
        default=[],
        metavar="TILE",
        help="for each stage `direct` or the outputs of a tile, such as 4x4 or 2x3w (w: weights as the left factor)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="threads of the timed inferences (default: all)")
    parser.add_argument(
        "--max-latency",
        type=above_zero,
        default=1.0,
        metavar="R",
        help="largest latency divided by the source's (default 1)",
    )
    parser.set_defaults(run=rewrite)


def rewrite(arguments: argparse.Namespace) -> Outcome:
    """Rewrite a float model, prove it, time it, and write it if it is faster."""
    from edge_sphereface.evaluation.model_selection import Setting
    from export.rewrite.fast import rewrite as rewrite_model
    from export.rewrite.tile import read_stages

    try:
        tiles = read_stages(arguments.stages)
    except ValueError as error:
        raise UsageError(f"--stages: {error}", hint="give direct, 4x4, 2x3w, … for each stage") from error
    made = rewrite_model(
        arguments.model,
        arguments.output,
        tiles=tiles,
        setting=Setting(threads=arguments.threads) if arguments.threads else None,
        max_ratio=arguments.max_latency,
        note=note,
    )
    result = {
        "model": str(arguments.output) if made.written else None,
        "certificate": str(certificate_path(arguments.output)) if made.written else None,
        "spec": made.spec.as_json(),
        "parity": parity.summary(made.proof),
        "latency": None if made.race is None else _latency(made.race),
    }
    return Outcome(result, _rewrite_text(arguments, made), passed=made.written)


def _rewrite_text(arguments: argparse.Namespace, made: Rewritten) -> str:
    lines = [parity.text(made.proof)]
    if made.race is not None:
        after, before = (made.race.latency[name].median_ms for name in (AFTER, BEFORE))
        lines.append(f"latency {after:.2f} ms, the source's {before:.2f} ms: ratio {made.race.ratios[BEFORE]}")
        lines.append(str(made.race.load))
    if made.written:
        lines += [
            f"{arguments.output}: {arguments.output.stat().st_size / (1 << 20):.2f} MiB",
            f"{certificate_path(arguments.output)}: certificate",
        ]
    else:
        lines.append(
            f"refused: not measurably below {arguments.max_latency:g} times the source's latency; nothing was written"
        )
    return "\n".join(lines)


def _latency(race: Race) -> JsonObject:
    return {
        **{name: json_object(race.latency[name]) for name in (BEFORE, AFTER)},
        **json_object(race.ratios[BEFORE]),
        "load": json_object(race.load),
    }
