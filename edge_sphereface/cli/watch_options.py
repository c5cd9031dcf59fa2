"""Options of ``watch``. Their defaults are those of the settings classes; an omitted option is None."""

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
    group.add_argument("--size", type=_size, metavar="WxH", help="request this size from a camera")
    group.add_argument(
        "--pixel-format", type=_fourcc, metavar="FOURCC", help="request this format from a camera, such as MJPG"
    )
    group.add_argument("--camera-fps", type=above_zero, metavar="N", help="request this frame rate from a camera")
    group.add_argument(
        "--folder-fps", type=above_zero, metavar="N", help="frame rate of a folder of images (default: 25)"
    )
    group.add_argument("--fps", type=above_zero, metavar="N", help="maximum number of frames to process per second")
    group.add_argument("--fast", action="store_true", help="process every frame of a recording, as fast as possible")
    group.add_argument(
        "--once",
        action="store_true",
        help="exit when a camera or stream ends instead of reopening it; recordings and folders always end",
    )
    group.add_argument(
        "--stall-s",
        type=above_zero,
        metavar="S",
        help="reopen a camera or stream after S seconds without a frame (default: 10)",
    )
    group = parser.add_argument_group("work")
    group.add_argument(
        "--budget-ms",
        type=above_zero,
        metavar="MS",
        help="average processing time per frame; kept by detecting less often and in smaller images, then by embedding "
        "less often",
    )
    group.add_argument(
        "--detect-fps", type=above_zero, metavar="N", help="maximum number of detections per second (default: 8)"
    )
    group.add_argument(
        "--detect-side", type=positive, metavar="PX", help="longer side of the image for detection (default: 640)"
    )
    group.add_argument("--min-face-px", type=above_zero, metavar="PX", help="ignore smaller faces (default: 20)")
    group.add_argument(
        "--max-faces", type=positive, metavar="N", help="track at most the N largest faces (default: 32)"
    )
    group.add_argument(
        "--lost-after-s",
        type=above_zero,
        metavar="S",
        help="drop a face that was not detected for S seconds (default: 1)",
    )
    group = parser.add_argument_group("recognition")
    group.add_argument(
        "--threshold",
        type=cosine,
        metavar="COSINE",
        help="similarity required for a name (default: the gallery's threshold)",
    )
    group.add_argument(
        "--margin", type=cosine, metavar="COSINE", help="minimum lead of the best identity over the second (default: 0)"
    )
    group.add_argument(
        "--hysteresis",
        type=cosine,
        metavar="COSINE",
        help="margin below the threshold before a name is dropped (default: 0.05)",
    )
    group.add_argument(
        "--refresh-s",
        type=from_zero,
        metavar="S",
        help="seconds between embeddings of an identified face (default: 10)",
    )
    group = parser.add_argument_group("events")
    group.add_argument("--events", type=Path, metavar="FILE.jsonl", help="append events to a file (mode 0600)")
    group.add_argument(
        "--events-mib", type=above_zero, default=10.0, metavar="MIB", help="rotate the file at this size (default: 10)"
    )
    group.add_argument(
        "--events-keep", type=count, default=5, metavar="N", help="number of rotated files to keep (default: 5)"
    )
    group.add_argument(
        "--mqtt", metavar="URL", help="mqtt[s]://[user@]host[:port][/topic]; password in $EDGE_SPHEREFACE_MQTT_PASSWORD"
    )
    group.add_argument(
        "--mqtt-spool",
        type=Path,
        metavar="FILE",
        help="keep events here while the broker is unreachable (default: in the cache)",
    )
    group.add_argument(
        "--mqtt-ca", type=Path, metavar="FILE.pem", help="trusted CA certificates (default: the system's)"
    )
    group.add_argument("--mqtt-certificate", type=Path, metavar="FILE.pem", help="client certificate")
    group.add_argument("--mqtt-key", type=Path, metavar="FILE.pem", help="key of the client certificate")
    group.add_argument(
        "--statistics-s", type=from_zero, metavar="S", help="seconds between statistics events (default: 10; 0: none)"
    )
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--view",
        nargs="?",
        type=address,
        const=("127.0.0.1", VIEW_PORT),
        metavar="[HOST:]PORT",
        help=f"serve a page with live video and the gallery (default: 127.0.0.1:{VIEW_PORT}); other hosts than this "
        "machine need a token, in $EDGE_SPHEREFACE_VIEW_TOKEN or made and printed",
    )
    group.add_argument(
        "--snapshots", type=Path, metavar="FOLDER", help="save an image of each identified or unknown face"
    )
    group.add_argument(
        "--snapshots-keep",
        type=positive,
        default=1000,
        metavar="N",
        help="number of newest snapshots to keep (default: 1000)",
    )
    group.add_argument("--record", type=Path, metavar="FOLDER", help="record video with boxes and names, in segments")
    group.add_argument(
        "--record-fps", type=above_zero, default=10.0, metavar="N", help="frame rate of the recording (default: 10)"
    )
    group.add_argument(
        "--record-minutes", type=above_zero, default=10.0, metavar="MIN", help="length of a segment (default: 10)"
    )
    group.add_argument(
        "--record-keep", type=positive, default=6, metavar="N", help="number of newest segments to keep (default: 6)"
    )
    group = parser.add_argument_group("operation")
    group.add_argument(
        "--metrics",
        type=address,
        metavar="[HOST:]PORT",
        help="serve /health and /metrics (Prometheus) over HTTP (default HOST: this machine only)",
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
