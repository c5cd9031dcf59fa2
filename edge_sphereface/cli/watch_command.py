"""``watch``: live recognition."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    cosine,
    detector_options,
    gallery_options,
    model_option,
    named_gallery,
    open_embedder,
    open_named_detector,
    open_named_gallery,
    positive,
)
from edge_sphereface.cli.configuration import OPTION, with_configuration
from edge_sphereface.cli.contract import Outcome, Parser, UsageError, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from edge_sphereface.cli.contract import Commands
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.stream import Event, EventSink, FaceStream, StreamSettings
    from edge_sphereface.types import JsonObject


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "watch",
        parents=[gallery_options(required=False), model_option(), detector_options(), _stream_options()],
        help="who is in front of a camera, now and as long as it runs",
        description="Follow the faces of a camera, stream or video, recognize them by a gallery, and tell what "
        "happens: one line for each event. Runs until the source ends or it is told to stop (Ctrl-C, SIGTERM); a "
        "camera that fails is opened again, with growing waits. Without a gallery it tells faces, and no names.",
        epilog="examples: edge-sphereface watch 0 --gallery people.db --model model.onnx; "
        "edge-sphereface watch rtsp://user:password@host/stream --config watch.toml --json",
    )
    parser.expand = with_configuration
    parser.add_argument(
        "source",
        nargs="?",
        help="camera's number or /dev/video0, URL (rtsp, http, …), GStreamer pipeline, video file, folder of pictures",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each event on stdout")
    parser.add_argument(
        OPTION, type=Path, metavar="FILE.toml", help="settings; each key is an option of this help without its --"
    )
    parser.set_defaults(run=watch)


def _stream_options() -> Parser:
    """What a stream can be told. Defaults stand in the settings' own classes; what is left out is None."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("source")
    group.add_argument("--source", dest="named_source", metavar="SOURCE", help="the same, for --config")
    group.add_argument("--name", metavar="TEXT", help="of the stream, in its events (default: camera)")
    group.add_argument("--size", type=_size, metavar="WxH", help="to ask of a camera")
    group.add_argument("--pixel-format", type=_fourcc, metavar="FOURCC", help="to ask of a camera, such as MJPG")
    group.add_argument("--camera-fps", type=_above_zero, metavar="N", help="frames a second to ask of a camera")
    group.add_argument("--folder-fps", type=_above_zero, metavar="N", help="of a folder of pictures (default: 25)")
    group.add_argument("--fps", type=_above_zero, metavar="N", help="frames a second to look at, at most")
    group.add_argument("--fast", action="store_true", help="every frame of a recording, as fast as possible")
    group.add_argument("--once", action="store_true", help="end when a stream ends, instead of opening it again")
    group.add_argument(
        "--stall-s", type=_above_zero, metavar="S", help="without a frame, a source is opened again (default: 10)"
    )
    group = parser.add_argument_group("work")
    group.add_argument(
        "--budget-ms",
        type=_above_zero,
        metavar="MS",
        help="work per frame on average; kept by detecting more rarely, in smaller pictures, by embedding more rarely",
    )
    group.add_argument("--detect-fps", type=_above_zero, metavar="N", help="detections a second, at most (default: 8)")
    group.add_argument(
        "--detect-side", type=positive, metavar="PX", help="longer side of the picture for detection (default: 640)"
    )
    group.add_argument("--min-face-px", type=_above_zero, metavar="PX", help="smaller faces are left out (default: 20)")
    group.add_argument("--max-faces", type=positive, metavar="N", help="at a time, the largest (default: 32)")
    group.add_argument(
        "--lost-after-s", type=_above_zero, metavar="S", help="without a sign, a face is gone (default: 1)"
    )
    group = parser.add_argument_group("recognition")
    group.add_argument("--threshold", type=cosine, metavar="COSINE", help="to reach (default: the gallery's)")
    group.add_argument("--margin", type=cosine, metavar="COSINE", help="by which the best must lead (default: 0)")
    group.add_argument(
        "--hysteresis", type=cosine, metavar="COSINE", help="by which a name must fail to be taken back (default: 0.05)"
    )
    group.add_argument(
        "--refresh-s", type=_from_zero, metavar="S", help="between embeddings of who is identified (default: 10)"
    )
    group = parser.add_argument_group("events")
    group.add_argument("--events", type=Path, metavar="FILE.jsonl", help="append them to a file, mode 0600")
    group.add_argument(
        "--events-mib", type=_above_zero, default=10.0, metavar="MIB", help="begin another (default: 10)"
    )
    group.add_argument("--events-keep", type=_count, default=5, metavar="N", help="older files to keep (default: 5)")
    group.add_argument(
        "--mqtt", metavar="URL", help="mqtt[s]://[user@]host[:port][/topic]; password in $EDGE_SPHEREFACE_MQTT_PASSWORD"
    )
    group.add_argument(
        "--mqtt-spool", type=Path, metavar="FILE", help="keeps events while the broker is away (default: in the cache)"
    )
    group.add_argument("--mqtt-ca", type=Path, metavar="FILE.pem", help="certificates to trust (default: the system's)")
    group.add_argument("--mqtt-certificate", type=Path, metavar="FILE.pem", help="of this client")
    group.add_argument("--mqtt-key", type=Path, metavar="FILE.pem", help="of that certificate")
    group.add_argument("--statistics-s", type=_from_zero, metavar="S", help="between statistics (default: 10; 0: none)")
    return parser


def watch(arguments: argparse.Namespace) -> Outcome:
    """Watch until the end.

    Raises:
        UsageError: no source, or two.
    """
    from edge_sphereface.stream import FaceStream

    source = arguments.source or arguments.named_source
    if source is None:
        raise UsageError("No source was named.", hint="edge-sphereface watch 0 is the first camera")
    settings = _settings(arguments)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg complains of every damaged frame
    with ExitStack() as stack:
        gallery: Gallery | None = None
        embedder = None
        if named_gallery(arguments) is not None:
            embedder = open_embedder(arguments)
            gallery = stack.enter_context(open_named_gallery(arguments, embedder))
        stream = FaceStream(
            source,
            detector=open_named_detector(arguments),
            embedder=embedder,
            gallery=gallery,
            settings=settings,
            sinks=_sinks(arguments, settings.name, lambda: stream.stop()),  # noqa: PLW0108 -- it is bound by then
        )
        stops = stack.enter_context(_stopped_by_signals(stream))
        note(f"watching {stream.name}{'' if gallery is None else f', {len(gallery)} people known'}; Ctrl-C ends")
        stream.run()
    if stream.undelivered:
        note(f"warning: {stream.undelivered} events could not be delivered before the end")
    if signal.SIGINT in stops:
        raise KeyboardInterrupt
    return Outcome(None, "")


def _settings(arguments: argparse.Namespace) -> StreamSettings:
    from edge_sphereface.stream import RecognitionSettings, SourceOptions, StreamSettings, TrackingSettings

    def given(kind: type) -> JsonObject:
        """The options of a class that were given."""
        values = {field.name: getattr(arguments, field.name, None) for field in fields(kind)}
        return {name: value for name, value in values.items() if value is not None}

    try:
        return StreamSettings(
            **{
                **{name: value for name, value in given(StreamSettings).items() if name != "source"},
                "pace": not arguments.fast,
                "reopen": not arguments.once,
                "source": SourceOptions(**given(SourceOptions)),
                "tracking": TrackingSettings(**given(TrackingSettings)),
                "recognition": RecognitionSettings(**given(RecognitionSettings)),
            }
        )
    except ValueError as error:
        raise UsageError(str(error), hint="edge-sphereface watch --help") from error


def _sinks(arguments: argparse.Namespace, name: str, left: Callable[[], None]) -> list[EventSink]:
    from edge_sphereface.stream import FileSink
    from edge_sphereface.stream.sinks.lines import StreamSink

    sinks: list[EventSink] = [StreamSink(sys.stdout, form=_json_line if arguments.json else plain_line, left=left)]
    if arguments.events is not None:
        size = round(arguments.events_mib * (1 << 20))
        sinks.append(FileSink(arguments.events, max_bytes=size, keep=arguments.events_keep))
    if arguments.mqtt is not None:
        sinks.append(_mqtt(arguments, name))
    return sinks


def _mqtt(arguments: argparse.Namespace, name: str) -> EventSink:
    from edge_sphereface.cache import cache_folder
    from edge_sphereface.stream.sinks.mqtt import Broker, MqttSink

    safe = "".join(letter if letter.isalnum() else "_" for letter in name)
    return MqttSink(
        Broker.parse(arguments.mqtt, stream=safe),
        spool=arguments.mqtt_spool or cache_folder() / "mqtt" / f"{safe}.db",
        ca_file=arguments.mqtt_ca,
        certificate=arguments.mqtt_certificate,
        key=arguments.mqtt_key,
    )


def _json_line(event: Event) -> str:
    return event.line()


def plain_line(event: Event) -> str | None:
    """An event for people; None for what they need not see."""
    detail = event.detail
    if event.kind == "statistics" and not detail["final"]:
        return None
    return f"{event.as_json()['time'][11:19]}  {_about_face(event) if 'track' in detail else _about_source(event)}"


def _about_source(event: Event) -> str:
    detail = event.detail
    if event.kind == "source-up":
        return f"{detail['source']}: {detail['width']} x {detail['height']}"
    if event.kind == "source-down":
        return f"{detail['reason']}" + ("" if detail["retry_s"] is None else f"; again in {detail['retry_s']:.0f} s")
    return (
        f"{detail['frames']} frames ({detail['dropped']} dropped), {detail['detections']} detections, "
        f"{detail['embeddings']} embeddings in {detail['seconds']:.1f} s"
    )


def _about_face(event: Event) -> str:
    detail = event.detail
    who = detail.get("name") or ("somebody" if event.kind in ("appeared", "lost") else "unknown")
    text = f"face {detail['track']}: {who}"
    if event.kind == "appeared":
        return f"{text} came"
    if event.kind == "lost":
        return f"{text} left after {detail['seconds']:.1f} s"
    return text + ("" if detail["similarity"] is None else f" (similarity {detail['similarity']:.3f})")


@contextmanager
def _stopped_by_signals(stream: FaceStream) -> Iterator[list[int]]:
    """End the stream in order on Ctrl-C and SIGTERM; gives what came."""
    came: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        came.append(number)
        stream.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _size(text: str) -> tuple[int, int]:
    width, separator, height = text.lower().partition("x")
    if not separator or not width.isdecimal() or not height.isdecimal() or not int(width) or not int(height):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 1280x720, got {text!r}")
    return int(width), int(height)


def _fourcc(text: str) -> str:
    if len(text) != 4 or not text.isascii():
        raise argparse.ArgumentTypeError(f"expected four letters such as MJPG, got {text!r}")
    return text


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _from_zero(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected at least 0, got {value}")
    return value
