"""The command ``detection`` of ``python -m benchmarks``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.detection import measure
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import json_option, positive, thread_count
from edge_sphereface.cli.runner import Outcome, Progress
from edge_sphereface.detection.yunet import cached_model

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands


def add_command(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "detection",
        parents=[json_option()],
        help="measure detection beside what it replaced: OpenCV's FaceDetectorYN with two closer looks",
        description="Time YuNet, the refinement of landmarks, a photograph and embed-folder, each in turn with what it "
        "replaced, and count the faces that only one of both finds.",
        epilog="example: python -m benchmarks detection int8.onnx --threads 1 2 --photos lfw/images -o detection.json",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--threads", nargs="+", type=thread_count, default=[1], metavar="N", help="default: 1")
    parser.add_argument("--rounds", type=positive, default=100, metavar="N", help="samples of each stage (default 100)")
    parser.add_argument(
        "--photos", nargs="+", type=Path, default=[], metavar="FOLDER", help="also count the faces of these photographs"
    )
    parser.add_argument("--detector-model", type=Path, metavar="FILE", help="YuNet's ONNX file (default: in the cache)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result with raw samples")
    parser.set_defaults(run=run_detection)


def run_detection(arguments: argparse.Namespace) -> Outcome:
    """Run ``detection``: time all stages, then count faces."""
    detector = arguments.detector_model or cached_model()
    rows: list[measure.StageComparison] = []
    with TemporaryDirectory() as temporary:
        measure.write_large_photographs(Path(temporary))
        stages = {
            threads: measure.make_stages(arguments.model, detector, Path(temporary), threads)
            for threads in arguments.threads
        }
        timed = environment.TimedRun()
        for threads, some in stages.items():
            rows += measure.compare(
                some,
                threads=threads,
                rounds=arguments.rounds,
                progress=partial(_show, Progress(f"rounds, threads {threads}"), arguments.rounds),
            )
    described = timed.describe()
    result = measure.DetectionReport(
        environment=described,
        model=arguments.model.name,
        comparisons=tuple(rows),
        found=tuple(
            measure.agree(detector, folder, progress=Progress(f"photographs of {folder}"))
            for folder in arguments.photos
        ),
    )
    keep_result(result, arguments.output)
    return Outcome(result, measure.text(result))


def _show(progress: Progress, rounds: int, done: int) -> None:
    progress(done, rounds)
