"""The command ``python -m benchmarks memory``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import between, json_option, positive, thread_count
from edge_sphereface.cli.runner import Outcome, Progress

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands


def add_command(commands: Commands) -> None:
    """Add the command ``memory``."""
    parser = commands.add_parser(
        "memory",
        parents=[json_option()],
        help="measure resident memory by cause: embedding alone, and the whole command watch",
        description="Measure the resident memory of embedding alone, and of `watch` on a made video with a gallery of "
        "100 people, by cause: the files of each library, and what each step allocates. Linux only.",
        epilog="example: python -m benchmarks memory float.onnx int8.onnx -o memory.json",
    )
    parser.add_argument("model", nargs="+", type=Path, help="model: an ONNX file, or one for ncnn")
    parser.add_argument("--threads", type=thread_count, default=1, metavar="N", help="threads (default 1)")
    parser.add_argument("--starts", type=positive, default=3, metavar="N", help="processes of each row (default 3)")
    parser.add_argument(
        "--seconds",
        type=between(1, 3600),
        default=15,
        metavar="S",
        help="length of the video of watch, 1 to 3600 (default 15)",
    )
    parser.add_argument("--detector-model", type=Path, metavar="FILE", help="YuNet's ONNX file (default: in the cache)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_memory)


def run_memory(arguments: argparse.Namespace) -> Outcome:
    """Run ``memory``."""
    from benchmarks.memory import measure

    timed = environment.TimedRun()
    rows = measure.measure(
        arguments.model,
        threads=arguments.threads,
        starts=arguments.starts,
        seconds=arguments.seconds,
        detector=arguments.detector_model,
        progress=Progress("processes"),
    )
    result = measure.MemoryReport(
        environment=timed.describe(), people=measure.PEOPLE, frame=measure.FRAME, memory=tuple(rows)
    )
    keep_result(result, arguments.output)
    return Outcome(result, measure.text(rows))
