"""The command ``python -m benchmarks http``."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from benchmarks import environment
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import between, detector_options, json_option, thread_count
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from benchmarks.environment import TimedEnvironment
    from benchmarks.http.house import CamerasUnderLoad
    from benchmarks.http.load import LoadRow, Server, Unloaded
    from benchmarks.http.memory import MemoryUnderLoad
    from edge_sphereface.cli.runner import Commands

T = TypeVar("T")
_PATH = "/api/detect"
_WARM_S = 10.0
"""Time for cameras to begin, and for memory to settle."""
_SPARE_S = 60.0
_PERIODS = ("nothing", "one after the other")


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
        cameras: the cameras that the server watched, in each period; empty if it watched none.
    """

    environment: TimedEnvironment
    model: str
    operation: str
    picture_bytes: int
    threads: int
    unloaded: Unloaded
    loads: tuple[LoadRow, ...]
    cameras: tuple[CamerasUnderLoad, ...]


def add_command(commands: Commands) -> None:
    """Add the command ``http``."""
    parser = commands.add_parser(
        "http",
        parents=[json_option(), detector_options()],
        help="measure the HTTP interface under load: time of the admitted, refused share, memory",
        description="Start a server, measure its capacity by requests one after the other, and send pictures at "
        "random moments at shares of that capacity, whether or not earlier ones were answered. With --cameras it "
        "watches made cameras meanwhile, whose age and latency are measured before and during the load. Linux only.",
        epilog="example: python -m benchmarks http model.onnx --seconds 600 -o http.json",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument(
        "--loads",
        nargs="+",
        type=between(0.01, 100),
        default=[0.5, 1.0, 2.0],
        metavar="N",
        help="shares of the capacity, 0.01 to 100 (default: 0.5 1 2)",
    )
    parser.add_argument(
        "--seconds",
        type=between(1, 86_400),
        default=60.0,
        metavar="S",
        help="length of each load, 1 to 86400 (default: 60)",
    )
    parser.add_argument(
        "--settling",
        type=between(0, 3600),
        default=5.0,
        metavar="S",
        help="time of a load that does not count, 0 to 3600 (default: 5)",
    )
    parser.add_argument(
        "--threads", type=thread_count, default=1, metavar="N", help="threads of an inference (default: 1)"
    )
    parser.add_argument(
        "--port",
        type=between(1, 65_535, is_whole=True),
        default=18090,
        metavar="N",
        help="port on this machine, 1 to 65535 (default: 18090)",
    )
    parser.add_argument("--photo", type=Path, metavar="FILE", help="photograph to send (default: the built-in one)")
    parser.add_argument(
        "--cameras",
        type=between(0, 64, is_whole=True),
        default=0,
        metavar="N",
        help="cameras that the server watches meanwhile, up to 64 (default: 0)",
    )
    parser.add_argument("--lfw", type=Path, metavar="FOLDER", help="for the cameras: images/, lfw_landmark.txt")
    parser.add_argument(
        "--fps", type=between(0.1, 240), default=10.0, metavar="N", help="of each camera, 0.1 to 240 (default: 10)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_http)


def run_http(arguments: argparse.Namespace) -> Outcome:
    """Run ``http``."""
    from benchmarks.http.house import Reports
    from benchmarks.http.load import loaded, unloaded

    if arguments.cameras and arguments.lfw is None:
        raise UsageError("Expected --lfw with --cameras.", hint="the folder of LFW's photographs")
    rows: list[LoadRow] = []
    cameras: list[CamerasUnderLoad] = []
    timed, reports = environment.TimedRun(), Reports()
    picture = _picture(arguments.photo)

    def of_cameras(during: str, step: Callable[[], T]) -> T:
        began, found = time.monotonic(), step()
        if arguments.cameras:
            cameras.append(reports.row(during, began, cameras[0] if cameras else None))
            note(_camera_line(cameras[-1]))
        return found

    base_s = min(arguments.seconds, 60.0)
    with _server(arguments, base_s, reports.take) as server:
        ask = partial(server.ask, _PATH, picture)
        if arguments.cameras:
            time.sleep(_WARM_S)
            of_cameras("nothing", lambda: time.sleep(base_s))
        base = of_cameras("one after the other", lambda: unloaded(ask, base_s))
        note(f"one after the other: p50 {base.p50_ms:.1f} ms, p99 {base.p99_ms:.1f} ms")
        for load in arguments.loads:
            step = partial(loaded, ask, server.rss_mib, load=load, base=base)
            rows.append(
                of_cameras(f"{load:g}", partial(step, seconds=arguments.seconds, settling_s=arguments.settling))
            )
            note(_line(rows[-1]))
    report = HttpReport(
        environment=timed.describe(workers_elsewhere=True),
        model=arguments.model.name,
        operation=_PATH,
        picture_bytes=len(picture),
        threads=arguments.threads,
        unloaded=base,
        loads=tuple(rows),
        cameras=tuple(cameras),
    )
    keep_result(report, arguments.output)
    return Outcome(report, "\n".join([*map(_line, rows), *map(_camera_line, cameras)]))


@contextmanager
def _server(arguments: argparse.Namespace, base_s: float, take: Callable[[str], object]) -> Iterator[Server]:
    """A server without cameras, or with those that are asked for."""
    from benchmarks.cameras.made_video import render
    from benchmarks.http.house import write_house
    from benchmarks.http.load import serving

    options = ["--threads", str(arguments.threads), "--detector", arguments.detector]
    if arguments.detector_model is not None:
        options += ["--detector-model", str(arguments.detector_model)]
    if not arguments.cameras:
        with serving(["serve", str(arguments.model), "--listen", str(arguments.port), *options], arguments.port) as one:
            yield one
        return
    seconds = 2 * base_s + len(arguments.loads) * (arguments.seconds + arguments.settling) + _SPARE_S
    with TemporaryDirectory() as folder:
        settings = write_house(
            Path(folder),
            arguments.model,
            render(arguments.lfw, Progress("frames")),
            cameras=arguments.cameras,
            fps=arguments.fps,
            seconds=seconds,
        )
        words = ["watch", "--config", str(settings), "--json", "--http", f"127.0.0.1:{arguments.port}", *options]
        with serving(words, arguments.port, take) as one:
            yield one


def _camera_line(row: CamerasUnderLoad) -> str:
    ratio = "" if row.latency_ratio is None else f" ({row.latency_ratio:.2f} times that without requests)"
    what = row.during if row.during in _PERIODS else f"{row.during} of the capacity"
    return (
        f"cameras, {what}: {row.frames_per_s:.1f} frames/s, {row.dropped} dropped, latency p50 "
        f"{row.latency_ms_p50:.1f} ms{ratio}, p99 {row.latency_ms_p99:.1f} ms, age p99 {row.age_ms_p99:.1f} ms"
    )


def _line(row: LoadRow) -> str:
    times = "nothing admitted" if row.p50_ms is None else f"p50 {row.p50_ms:.1f} ms, p99 {row.p99_ms:.1f} ms"
    ratio = "" if row.p99_ratio is None else f" ({row.p99_ratio:.2f} times that without load)"
    return (
        f"{row.load:g} of the capacity: {times}{ratio}, {row.refused_share:.0%} of {row.sent} refused, "
        f"{row.failed} failed, {row.rss_begin_mib:.1f} to {row.rss_end_mib:.1f} MiB{_growth(row.memory)}"
    )


def _growth(memory: MemoryUnderLoad | None) -> str:
    if memory is None:
        return ""
    verdict = "flat" if memory.is_flat else "not flat"
    return f", {memory.growth_mib:+.1f} MiB since {memory.warm_up_s:.0f} s after its beginning: {verdict}"


def _picture(path: Path | None) -> bytes:
    """A JPEG file: of a photograph, or the built-in one."""
    import cv2

    from edge_sphereface.image import load_image
    from export.faces import astronaut

    image = astronaut() if path is None else load_image(path)
    encoded: bytes = cv2.imencode(".jpg", image)[1].tobytes()
    return encoded
