"""The command ``python -m benchmarks stream``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.result_file import keep_result
from benchmarks.stream.setting import Setting, embed_photographs, read_setting
from edge_sphereface.cli.arguments import (
    above_zero,
    cosine,
    count,
    detector_options,
    json_option,
    open_named_detector,
    positive,
)
from edge_sphereface.cli.runner import Outcome, Parser, Progress
from edge_sphereface.json_output import INLINE

if TYPE_CHECKING:
    import argparse

    from benchmarks.stream.efficiency import EfficiencyRow
    from benchmarks.stream.soak import SoakFigures
    from benchmarks.stream.strangers import StrangersFigures
    from edge_sphereface.cli.runner import Commands


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoReport:
    """What ``stream video`` wrote.

    Attributes:
        video: path of the video.
        frames: number of frames.
        visits: number of visits of people.
    """

    video: Path
    frames: int
    visits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EconomyReport:
    """What ``stream economy`` measured.

    Attributes:
        setting: conditions of the measurement.
        seeds: seeds of the pooled casts.
        economy: one row for each contender.
    """

    setting: Setting = field(metadata=INLINE)
    seeds: tuple[int, ...]
    economy: tuple[EfficiencyRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangersReport:
    """What ``stream strangers`` measured.

    Attributes:
        setting: conditions of the measurement.
        strangers: shares of the strangers that are ever named.
    """

    setting: Setting = field(metadata=INLINE)
    strangers: StrangersFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakReport:
    """What ``stream soak`` measured.

    Attributes:
        setting: conditions of the measurement.
        soak: figures of the run.
    """

    setting: Setting = field(metadata=INLINE)
    soak: SoakFigures


def add_command(commands: Commands) -> None:
    """Add the command ``stream``."""
    parser = commands.add_parser(
        "stream",
        help="measure live recognition: work, accuracy, a long run",
        description="Measure live recognition on rendered video: embeddings and time, correct names, false alarms, "
        "and memory over a long run.",
    )
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_video(kinds)
    _add_economy(kinds)
    _add_strangers(kinds)
    _add_soak(kinds)


def _video_options() -> Parser:
    parser = Parser(add_help=False)
    parser.add_argument("--lfw", type=Path, required=True, metavar="FOLDER", help="images/, lfw_landmark.txt")
    parser.add_argument(
        "--rounds", type=positive, default=4, metavar="N", help="rounds of 12 visits and 60 seconds (default: 4)"
    )
    parser.add_argument(
        "--seed", type=count, default=0, metavar="N", help="seed of the cast and the noise (default: 0)"
    )
    return parser


def _add_video(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "video",
        parents=[json_option(), _video_options()],
        help="make a test video with ground truth: people enter, cross, leave, blur and turn away",
        description="Render photographs of LFW as moving heads, 1280 x 720 at 25 frames per second. FILE.jsonl beside "
        "the video has one line for each frame with all people in it.",
        epilog="example: python -m benchmarks stream video --lfw lfw --rounds 1 -o people.avi",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.avi", help="mode 0600")
    parser.set_defaults(run=run_video)


def run_video(arguments: argparse.Namespace) -> Outcome:
    """Run ``stream video``: write the test video."""
    from benchmarks.stream.video import Video, write_video

    video = Video(arguments.lfw, rounds=arguments.rounds, seed=arguments.seed)
    write_video(video, arguments.output, Progress("frames"))
    result = VideoReport(video=arguments.output, frames=len(video), visits=len(video.visits))
    return Outcome(result, f"{arguments.output}: {len(video)} frames, {len(video.visits)} visits")


def _add_economy(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "economy",
        parents=[json_option(), detector_options(), _video_options()],
        help="compare embeddings, work and accuracy of `watch` with embedding every face in every frame",
        description="The people with at least 20 photographs are enrolled from 5 each. The video is rendered from "
        "their other photographs and from strangers. 1 % of 500 other strangers reach the threshold.",
        epilog="example: python -m benchmarks stream economy model.onnx --lfw lfw --seeds 3 4 5 -o economy.json",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=count,
        metavar="N",
        help="seeds of the casts to pool, one video each (default: --seed)",
    )
    parser.add_argument(
        "--budgets-ms",
        nargs="+",
        type=above_zero,
        default=[],
        metavar="MS",
        help="also measure `watch` with these budgets",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_economy)


def run_economy(arguments: argparse.Namespace) -> Outcome:
    """Run ``stream economy``: all contenders on the same frames."""
    from benchmarks.stream import efficiency
    from benchmarks.stream.video import Video
    from edge_sphereface.inference.embedder import Embedder

    timed = environment.TimedRun()
    seeds = arguments.seeds or [arguments.seed]
    videos = [Video(arguments.lfw, rounds=arguments.rounds, seed=seed) for seed in seeds]
    protocol = videos[0].protocol
    embedder = Embedder(arguments.model)
    detector = open_named_detector(arguments)
    found = efficiency.measure(
        videos,
        embedder=embedder,
        detector=open_named_detector(arguments),
        photographs=embed_photographs(arguments, protocol.enrolled, protocol.strangers, embedder, detector),
        budgets_ms=arguments.budgets_ms,
        report=Progress("frames"),
    )
    rows = efficiency.rows_of(found)
    result = EconomyReport(
        setting=read_setting(timed, arguments, embedder, detector), seeds=tuple(seeds), economy=tuple(rows)
    )
    keep_result(result, arguments.output)
    return Outcome(result, efficiency.text(rows))


def _add_strangers(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "strangers",
        parents=[json_option(), detector_options()],
        help="count the strangers that `watch` ever names, with thresholds for photographs and for tracks",
        description="Strangers of LFW are tracked in rendered video by the code of `calibrate-threshold --tracks`. "
        "Each half is judged by the threshold of the other half.",
        epilog="example: python -m benchmarks stream strangers model.onnx --lfw lfw -o strangers.json",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--lfw", type=Path, required=True, metavar="FOLDER", help="images/, lfw_landmark.txt")
    parser.add_argument("--count", type=positive, default=800, metavar="N", help="strangers (default: 800)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of their choice and motion (default: 0)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_strangers)


def run_strangers(arguments: argparse.Namespace) -> Outcome:
    """Run ``stream strangers``: track strangers, and count those who are ever named.

    Raises:
        ThresholdError: there are too few strangers.
    """
    from benchmarks.gallery.identification import make_protocol
    from benchmarks.stream import strangers
    from edge_sphereface.inference.embedder import Embedder

    timed = environment.TimedRun()
    embedder, detector = Embedder(arguments.model), open_named_detector(arguments)
    protocol = make_protocol(arguments.lfw / "images")
    row = strangers.measure(
        arguments.lfw,
        count=arguments.count,
        seed=arguments.seed,
        embedder=embedder,
        detector=detector,
        photographs=embed_photographs(arguments, protocol.enrolled, protocol.strangers, embedder, detector),
        report=Progress("strangers"),
    )
    result = StrangersReport(setting=read_setting(timed, arguments, embedder, detector), strangers=row)
    keep_result(result, arguments.output)
    return Outcome(result, strangers.text(row))


def _add_soak(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "soak",
        parents=[json_option(), detector_options(), _video_options()],
        help="long run with all features: memory, files, threads, latency",
        description="The exit code is 1 if memory grows by 5 MiB or more after the first fifth, if the number of files "
        "or threads does not return to its level, or if an event is lost. Linux only.",
        epilog="example: python -m benchmarks stream soak model.onnx --lfw lfw --frames 50000 -o soak.json",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--frames", type=positive, default=50_000, metavar="N", help="default: 50000")
    parser.add_argument("--paced", action="store_true", help="deliver 25 frames per second, not as fast as possible")
    parser.add_argument(
        "--threshold", type=cosine, default=0.5, metavar="COSINE", help="threshold of a match (default: 0.5)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_soak)


def run_soak(arguments: argparse.Namespace) -> Outcome:
    """Run ``stream soak``: a long run of a whole stream."""
    from benchmarks.gallery.identification import fill
    from benchmarks.stream import soak
    from benchmarks.stream.video import Video
    from edge_sphereface.gallery import open_gallery
    from edge_sphereface.inference.embedder import Embedder

    timed = environment.TimedRun()
    video = Video(arguments.lfw, rounds=arguments.rounds, seed=arguments.seed)
    protocol = video.protocol
    embedder = Embedder(arguments.model)
    detector = open_named_detector(arguments)
    with TemporaryDirectory() as folder, open_gallery(Path(folder) / "people.db", embedder, create=True) as gallery:
        known = embed_photographs(arguments, protocol.enrolled, protocol.strangers, embedder, detector)
        fill(gallery, protocol, known)
        row = soak.measure(
            video,
            frames=arguments.frames,
            embedder=embedder,
            detector=detector,
            gallery=gallery,
            threshold=arguments.threshold,
            paced=arguments.paced,
            report=Progress("frames"),
        )
    result = SoakReport(setting=read_setting(timed, arguments, embedder, detector), soak=row)
    keep_result(result, arguments.output)
    return Outcome(result, soak.text(row), passed=soak.holds(row))
