"""The command ``python -m benchmarks cameras``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import between, json_option, positive
from edge_sphereface.cli.runner import Outcome, Progress

if TYPE_CHECKING:
    import argparse

    from benchmarks.cameras.isolation import IsolationRow
    from benchmarks.cameras.measure import CamerasRow
    from benchmarks.environment import TimedEnvironment
    from edge_sphereface.cli.runner import Commands

_PEOPLE = 50
"""Number of enrolled people; a search takes a small share of the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CamerasReport:
    """What ``cameras`` measured.

    Attributes:
        environment: machine, versions and load by other programs.
        model: file name of the model.
        detector: name of the detector, the one that `auto` chooses.
        fps: frames per second of each camera.
        size: width and height of the frames in pixels.
        cameras: one row for each number of cameras and arrangement.
        isolation: one row for each way in which a camera fails, and what it costs the others.
    """

    environment: TimedEnvironment
    model: str
    detector: str
    fps: float
    size: tuple[int, int]
    cameras: tuple[CamerasRow, ...]
    isolation: tuple[IsolationRow, ...]


def add_command(commands: Commands) -> None:
    """Add the command ``cameras``."""
    parser = commands.add_parser(
        "cameras",
        parents=[json_option()],
        help="measure several cameras in one process, a process for each, and what a camera that fails costs others",
        description="Made cameras give rendered video of LFW, paced by the clock. For each number of cameras, all are "
        "watched by one process, and then by a process for each: frames, age, latency, processor time, memory. Then "
        "one of four cameras hangs, dies, begins to flood, floods or changes its size, in turns with none and with one "
        "that works: latency of the other three. One that floods shows what one that works shows, decoded and "
        "delivered again and again without any wait. Linux.",
        epilog="example: python -m benchmarks cameras model.onnx --lfw lfw -o cameras.json",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--lfw", type=Path, required=True, metavar="FOLDER", help="images/, lfw_landmark.txt")
    parser.add_argument(
        "--numbers", nargs="*", type=positive, default=[1, 2, 4, 8], metavar="N", help="cameras (default: 1 2 4 8)"
    )
    parser.add_argument(
        "--fps", type=between(0.1, 240), default=15.0, metavar="N", help="of each camera, 0.1 to 240 (default: 15)"
    )
    parser.add_argument(
        "--seconds", type=between(1, 86_400), default=60.0, metavar="S", help="of each row, 1 to 86400 (default: 60)"
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        default=6,
        metavar="N",
        help="rounds of the failures, each with seven conditions (default: 6)",
    )
    parser.add_argument(
        "--round-seconds",
        type=between(1, 3600),
        default=5.0,
        metavar="S",
        help="of each condition, 1 to 3600 (default: 5)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_cameras)


def run_cameras(arguments: argparse.Namespace) -> Outcome:
    """Run ``cameras``."""
    import numpy as np

    from benchmarks.cameras import isolation, measure
    from benchmarks.cameras.isolation_worker import IsolationJob
    from benchmarks.cameras.made_video import SIZE, pack, render
    from benchmarks.cameras.worker import Job
    from edge_sphereface.detection.detector import choose_installed
    from edge_sphereface.gallery import open_gallery
    from edge_sphereface.inference.embedder import Embedder

    timed, files = environment.TimedRun(), render(arguments.lfw, Progress("frames"))
    embedder, random = Embedder(arguments.model), np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        pack(files, Path(folder) / "video.npz")
        with open_gallery(Path(folder) / "people.db", embedder, create=True) as gallery:
            for person in range(_PEOPLE):
                row = random.standard_normal(embedder.spec.embedding_size).astype(np.float32)
                gallery.enroll(f"person {person}", row / np.linalg.norm(row))
        job = Job(
            video=str(Path(folder) / "video.npz"),
            model=str(arguments.model),
            gallery=str(Path(folder) / "people.db"),
            cameras=1,
            first=0,
            fps=arguments.fps,
            seconds=arguments.seconds,
            begin_at=0.0,
        )
        rows = measure.measure(job, sorted(set(arguments.numbers)), Progress("numbers of cameras"))
        failures = isolation.measure_isolation(
            IsolationJob(
                video=job.video,
                model=job.model,
                gallery=job.gallery,
                fps=job.fps,
                rounds=arguments.rounds,
                seconds=arguments.round_seconds,
            )
        )
    result = CamerasReport(
        environment=timed.describe(),
        model=arguments.model.name,
        detector=choose_installed().name,
        fps=arguments.fps,
        size=SIZE,
        cameras=tuple(rows),
        isolation=tuple(failures),
    )
    keep_result(result, arguments.output)
    return Outcome(result, "\n\n".join([measure.text(rows), isolation.isolation_text(failures)]))
