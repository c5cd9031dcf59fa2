"""The command ``python -m benchmarks day``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.result_file import keep_result
from benchmarks.stream.setting import Setting, embed_photographs, read_setting
from edge_sphereface.cli.arguments import count, detector_options, json_option, open_named_detector, positive
from edge_sphereface.cli.runner import Outcome, Progress
from edge_sphereface.json_output import INLINE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from benchmarks.day.cast import Cast, Numbers
    from benchmarks.day.score import DayFigures
    from benchmarks.gallery.identification import Protocol
    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.types import Float32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReport:
    """What ``day`` measured.

    Attributes:
        setting: conditions of the measurement.
        people: how many people came, and how often.
        day: what was reported, and what of it was right.
    """

    setting: Setting = field(metadata=INLINE)
    people: Numbers
    day: DayFigures


def add_command(commands: Commands) -> None:
    """Add the command ``day``."""
    from benchmarks.day.cast import Numbers

    usual = Numbers()
    parser = commands.add_parser(
        "day",
        parents=[json_option(), detector_options()],
        help="simulate a day in a house: names, ignored people, strangers, a held print, what is left on the disk",
        description="People of LFW, rendered as moving heads, come to three cameras in the course of a day with a "
        "simulated clock: enrolled and ignored people, strangers of whom some come again, and a printed photograph "
        "of somebody enrolled. Reports whether the right names came, whether the ignored left no trace, how strangers "
        "were grouped, whether the print was refused, and whether bytes are left on the disk once their time is over. "
        "The liveness model is made for this run on rendered faces and prints: it shows the veto, not how well real "
        "prints are told.",
        epilog="example: python -m benchmarks day model.onnx --lfw lfw -o day.json",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--lfw", type=Path, required=True, metavar="FOLDER", help="images/, lfw_landmark.txt")
    for name, what in (
        ("enrolled", "enrolled people"),
        ("ignored", "ignored people"),
        ("recurring", "strangers who come several times"),
        ("passing", "strangers who come once"),
    ):
        default = getattr(usual, name)
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=f"{what} ({default})")
    parser.add_argument("--visits", type=positive, metavar="N", help="visits of everybody who comes several times")
    parser.add_argument("--seed", type=count, default=0, metavar="N", help="default: 0")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_day)


def run_day(arguments: argparse.Namespace) -> Outcome:
    """Run ``day``."""
    from benchmarks.day import run, score
    from benchmarks.day.cast import Numbers
    from edge_sphereface.inference.embedder import Embedder

    timed = environment.TimedRun()
    embedder = Embedder(arguments.model)
    detector = open_named_detector(arguments)
    times = (
        {f"{name}_visits": arguments.visits for name in ("enrolled", "ignored", "recurring")}
        if arguments.visits
        else {}
    )
    numbers = Numbers(
        enrolled=arguments.enrolled,
        ignored=arguments.ignored,
        recurring=arguments.recurring,
        passing=arguments.passing,
        **times,
    )

    def embed(protocol: Protocol, cast: Cast) -> Mapping[str, Float32Array]:
        return embed_photographs(arguments, cast.gallery, protocol.strangers, embedder, detector)

    figures = run.play(
        arguments.lfw,
        numbers,
        seed=arguments.seed,
        extent=run.Extent(),
        embedder=embedder,
        detector=detector,
        embed=embed,
        report=Progress("visits"),
    )
    result = DayReport(
        setting=read_setting(timed, arguments, embedder, detector),
        people=numbers,
        day=figures,
    )
    keep_result(result, arguments.output)
    return Outcome(result, score.text(figures))
