"""What ``watch`` can be told. Defaults stand in the settings' own classes; what is left out is None."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_sphereface.cli.arguments import above_zero, cosine, count, from_zero, positive
from edge_sphereface.cli.runner import Parser

VIEW_PORT = 8080


def stream_options() -> Parser:
    """What a stream can be told. Defaults stand in the settings' own classes; what is left out is None."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("source")
    group.add_argument("--source", dest="named_source", metavar="SOURCE", help="the same, for --config")
    group.add_argument("--name", metavar="TEXT", help="of the stream, in its events (default: camera)")
    group.add_argument("--size", type=_size, metavar="WxH", help="to ask of a camera")
    group.add_argument("--pixel-format", type=_fourcc, metavar="FOURCC", help="to ask of a camera, such as MJPG")
    group.add_argument("--camera-fps", type=above_zero, metavar="N", help="frames a second to ask of a camera")
    group.add_argument("--folder-fps", type=above_zero, metavar="N", help="of a folder of pictures (default: 25)")
    group.add_argument("--fps", type=above_zero, metavar="N", help="frames a second to look at, at most")
    group.add_argument("--fast", action="store_true", help="every frame of a recording, as fast as possible")
    group.add_argument(
        "--once",
        action="store_true",
        help="end when a camera or stream ends, instead of opening it again; a recording or folder always ends",
    )
    group.add_argument(
        "--stall-s",
        type=above_zero,
        metavar="S",
        help="open a camera or stream again after this many seconds without a frame (default: 10)",
    )
    group = parser.add_argument_group("work")
    group.add_argument(
        "--budget-ms",
        type=above_zero,
        metavar="MS",
        help="work per frame on average; kept by detecting more rarely, in smaller pictures, by embedding more rarely",
    )
    group.add_argument("--detect-fps", type=above_zero, metavar="N", help="detections a second, at most (default: 8)")
    group.add_argument(
        "--detect-side", type=positive, metavar="PX", help="longer side of the picture for detection (default: 640)"
    )
    group.add_argument("--min-face-px", type=above_zero, metavar="PX", help="smaller faces are left out (default: 20)")
    group.add_argument("--max-faces", type=positive, metavar="N", help="at a time, the largest (default: 32)")
    group.add_argument(
        "--lost-after-s", type=above_zero, metavar="S", help="without a sign, a face is gone (default: 1)"
    )
    group = parser.add_argument_group("recognition")
    group.add_argument("--threshold", type=cosine, metavar="COSINE", help="to reach (default: the gallery's)")
    group.add_argument("--margin", type=cosine, metavar="COSINE", help="by which the best must lead (default: 0)")
    group.add_argument(
        "--hysteresis", type=cosine, metavar="COSINE", help="by which a name must fail to be taken back (default: 0.05)"
    )
    group.add_argument(
        "--refresh-s", type=from_zero, metavar="S", help="between embeddings of who is identified (default: 10)"
    )
    group = parser.add_argument_group("events")
    group.add_argument("--events", type=Path, metavar="FILE.jsonl", help="append them to a file, mode 0600")
    group.add_argument("--events-mib", type=above_zero, default=10.0, metavar="MIB", help="begin another (default: 10)")
    group.add_argument("--events-keep", type=count, default=5, metavar="N", help="older files to keep (default: 5)")
    group.add_argument(
        "--mqtt", metavar="URL", help="mqtt[s]://[user@]host[:port][/topic]; password in $EDGE_SPHEREFACE_MQTT_PASSWORD"
    )
    group.add_argument(
        "--mqtt-spool", type=Path, metavar="FILE", help="keeps events while the broker is away (default: in the cache)"
    )
    group.add_argument("--mqtt-ca", type=Path, metavar="FILE.pem", help="certificates to trust (default: the system's)")
    group.add_argument("--mqtt-certificate", type=Path, metavar="FILE.pem", help="of this client")
    group.add_argument("--mqtt-key", type=Path, metavar="FILE.pem", help="of that certificate")
    group.add_argument("--statistics-s", type=from_zero, metavar="S", help="between statistics (default: 10; 0: none)")
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--view",
        nargs="?",
        type=address,
        const=("127.0.0.1", VIEW_PORT),
        metavar="[HOST:]PORT",
        help=f"a page with the live picture and the gallery (default: 127.0.0.1:{VIEW_PORT}); another HOST than this "
        "machine needs a token, in $EDGE_SPHEREFACE_VIEW_TOKEN or made and printed",
    )
    group.add_argument("--snapshots", type=Path, metavar="FOLDER", help="a picture of who is identified or unknown")
    group.add_argument("--snapshots-keep", type=positive, default=1000, metavar="N", help="the newest (default: 1000)")
    group.add_argument("--record", type=Path, metavar="FOLDER", help="video with boxes and names, in pieces")
    group.add_argument("--record-fps", type=above_zero, default=10.0, metavar="N", help="of the video (default: 10)")
    group.add_argument(
        "--record-minutes", type=above_zero, default=10.0, metavar="MIN", help="of a piece (default: 10)"
    )
    group.add_argument("--record-keep", type=positive, default=6, metavar="N", help="newest pieces (default: 6)")
    group = parser.add_argument_group("operation")
    group.add_argument(
        "--metrics",
        type=address,
        metavar="[HOST:]PORT",
        help="/health and /metrics (Prometheus) over HTTP; HOST is this machine alone, if left out",
    )
    return parser


def address(text: str) -> tuple[str, int]:
    """HOST:PORT, or PORT of this machine alone."""
    host, separator, port = text.rpartition(":")
    host = host.strip("[]") if separator else "127.0.0.1"
    if not host or not port.isdecimal() or len(port) > 5 or not 0 < int(port) < 1 << 16:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT or PORT, 1 to 65535, got {text!r:.80}")
    return host, int(port)


def _size(text: str) -> tuple[int, int]:
    width, separator, height = text.lower().partition("x")
    if not separator:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 1280x720, got {text!r:.80}")
    return positive(width), positive(height)


def _fourcc(text: str) -> str:
    if len(text) != 4 or not text.isascii():
        raise argparse.ArgumentTypeError(f"expected four letters such as MJPG, got {text!r}")
    return text
