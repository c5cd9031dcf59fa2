"""Entry point of ``python -m benchmarks``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment, latency
from edge_sphereface.cli.arguments import json_option, positive
from edge_sphereface.cli.contract import Outcome, Parser, Progress, run
from edge_sphereface.cpu import usable_cpus
from edge_sphereface.files import SHARED, atomic_write

if TYPE_CHECKING:
    import argparse


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(prog="python -m benchmarks", description="Measure SphereFace on this machine.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command = commands.add_parser(
        "latency",
        parents=[json_option()],
        help="latency of embedding; several models are measured in turn",
        epilog="example: python -m benchmarks latency float.onnx int8.onnx --rounds 200 -o latency.json",
    )
    command.add_argument("model", nargs="+", type=Path, help="ONNX file made by `python -m export convert`")
    command.add_argument(
        "--threads", nargs="+", type=positive, metavar="N", help="default: 1 and all usable processors"
    )
    command.add_argument("--batches", nargs="+", type=positive, default=[1, 4, 16], metavar="N", help="default: 1 4 16")
    command.add_argument("--rounds", type=positive, default=100, metavar="N", help="samples of each case (default 100)")
    command.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result with raw samples")
    command.set_defaults(run=measure_latency)
    return parser


def measure_latency(arguments: argparse.Namespace) -> Outcome:
    """Measure, show, and keep the result if a file was named."""
    threads = arguments.threads or sorted({1, usable_cpus()})
    rows = latency.measure(
        arguments.model,
        threads=threads,
        batches=arguments.batches,
        rounds=arguments.rounds,
        progress=Progress("cases"),
    )
    where = environment.describe()
    result = {"environment": where, "rows": rows}
    if arguments.output is not None:
        with atomic_write(arguments.output, mode=SHARED) as stream:
            stream.write(json.dumps(result, indent=1).encode())
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    foot = f"{arguments.rounds} samples each; {where['cpu']}, {where['usable_cpus']} processors; {versions}"
    return Outcome(result, f"{latency.text(rows)}\n{foot}")


if __name__ == "__main__":
    sys.exit(run(build_parser()))
