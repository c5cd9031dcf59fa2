"""The command ``python -m benchmarks http``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import above_zero, detector_options, from_zero, json_option, positive
from edge_sphereface.cli.runner import Outcome, note

if TYPE_CHECKING:
    import argparse

    from benchmarks.environment import TimedEnvironment
    from benchmarks.http.load import LoadRow, Unloaded
    from edge_sphereface.cli.runner import Commands

_PATH = "/api/detect"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReport:
    """What ``http`` measured.

    Attributes:
        environment: machine, versions and load by other programs.
        model: file name of the model.
        operation: path of the operation that was asked for.
        picture_bytes: size of the picture's file.
        threads: threads of one inference.
        unloaded: requests one after the other.
        loads: one row for each load.
    """

    environment: TimedEnvironment
    model: str
    operation: str
    picture_bytes: int
    threads: int
    unloaded: Unloaded
    loads: tuple[LoadRow, ...]


def add_command(commands: Commands) -> None:
    """Add the command ``http``."""
    parser = commands.add_parser(
        "http",
        parents=[json_option(), detector_options()],
        help="measure the HTTP interface under load: time of the admitted, refused share, memory",
        description="Start a server, measure its capacity by requests one after the other, and send pictures at "
        "random moments at shares of that capacity, whether or not earlier ones were answered. Linux only.",
        epilog="example: python -m benchmarks http model.onnx --seconds 600 -o http.json",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument(
        "--loads",
        nargs="+",
        type=above_zero,
        default=[0.5, 1.0, 2.0],
        metavar="N",
        help="shares of the capacity (default: 0.5 1 2)",
    )
    parser.add_argument(
        "--seconds", type=above_zero, default=60.0, metavar="S", help="length of each load (default: 60)"
    )
    parser.add_argument(
        "--settling", type=from_zero, default=5.0, metavar="S", help="time of a load that does not count (default: 5)"
    )
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of an inference (default: 1)")
    parser.add_argument("--port", type=positive, default=18090, metavar="N", help="port on this machine")
    parser.add_argument("--photo", type=Path, metavar="FILE", help="photograph to send (default: the built-in one)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_http)


def run_http(arguments: argparse.Namespace) -> Outcome:
    """Run ``http``."""
    from benchmarks.http.load import loaded, serving, unloaded

    timed = environment.TimedRun()
    picture = _picture(arguments.photo)
    options = ["--threads", str(arguments.threads), "--detector", arguments.detector]
    if arguments.detector_model is not None:
        options += ["--detector-model", str(arguments.detector_model)]
    with serving(arguments.model, arguments.port, options) as server:
        ask = partial(server.ask, _PATH, picture)
        base = unloaded(ask, min(arguments.seconds, 60.0))
        note(f"without load: p50 {base.p50_ms:.1f} ms, p99 {base.p99_ms:.1f} ms")
        rows = []
        for load in arguments.loads:
            row = loaded(
                ask,
                server.rss_mib,
                load=load,
                base=base,
                seconds=arguments.seconds,
                settling_s=arguments.settling,
            )
            rows.append(row)
            note(_line(row))
    report = HttpReport(
        environment=timed.describe(workers_elsewhere=True),
        model=arguments.model.name,
        operation=_PATH,
        picture_bytes=len(picture),
        threads=arguments.threads,
        unloaded=base,
        loads=tuple(rows),
    )
    keep_result(report, arguments.output)
    return Outcome(report, "\n".join(map(_line, rows)))


def _line(row: LoadRow) -> str:
    times = "nothing admitted" if row.p50_ms is None else f"p50 {row.p50_ms:.1f} ms, p99 {row.p99_ms:.1f} ms"
    ratio = "" if row.p99_ratio is None else f" ({row.p99_ratio:.2f} times that without load)"
    return (
        f"{row.load:g} of the capacity: {times}{ratio}, {row.refused_share:.0%} of {row.sent} refused, "
        f"{row.failed} failed, {row.rss_begin_mib:.1f} to {row.rss_end_mib:.1f} MiB"
    )


def _picture(path: Path | None) -> bytes:
    """A JPEG file: of a photograph, or the built-in one."""
    import cv2

    from edge_sphereface.image import load_image
    from export.faces import astronaut

    image = astronaut() if path is None else load_image(path)
    encoded: bytes = cv2.imencode(".jpg", image)[1].tobytes()
    return encoded
