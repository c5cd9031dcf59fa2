"""Options of ``watch``: fields from which its command line and its file of settings are derived."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_sphereface.cli.arguments import detector_group, gallery_group, liveness_group, model_group
from edge_sphereface.cli.option import Option, options_of
from edge_sphereface.retention.limits import RetentionLimits
from edge_sphereface.setting import Range, nested, setting
from edge_sphereface.stream.event_kinds import EventKinds
from edge_sphereface.stream.outputs.events.command_hook import parse_command
from edge_sphereface.stream.outputs.events.home_assistant.settings import HomeAssistantSettings
from edge_sphereface.stream.settings import StreamSettings
from edge_sphereface.web.settings import HttpSettings

VIEW_PORT = 8080
_ABOVE_ZERO = Range(least=0, is_open=True)
_FROM_ONE = Range(least=1, is_whole=True)


def address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, or ``PORT`` of this machine alone.

    Raises:
        ValueError: the text has another form.
    """
    host, separator, port = text.rpartition(":")
    host = host.strip("[]") if separator else "127.0.0.1"
    if not host or not port.isdecimal() or len(port) > 5 or not 0 < int(port) < 1 << 16:
        raise ValueError(f"expected HOST:PORT or PORT, 1 to 65535, got {text!r:.80}")
    return host, int(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """Everything that ``watch`` is told about its source and its outputs. The fields' help describes them."""

    json: bool = setting(
        False,
        read=None,
        help="print one JSON object for each event on stdout",
    )
    named_source: str | None = setting(
        None, name="source", metavar="SOURCE", group="source", help="the same as the positional source, for --config"
    )
    events: Path | None = setting(
        None, read=Path, metavar="FILE.jsonl", group="events", help="append events to a file (mode 0600)"
    )
    events_mib: float = setting(
        10.0, permitted=Range(least=0.001), metavar="MIB", group="events", help="rotate the file at this size"
    )
    events_keep: int = setting(
        5,
        permitted=Range(least=0, is_whole=True),
        metavar="N",
        group="events",
        help="number of rotated files to keep",
    )
    mqtt: str | None = setting(
        None,
        metavar="URL",
        group="events",
        help="mqtt[s]://[user@]host[:port][/topic]; password in $EDGE_SPHEREFACE_MQTT_PASSWORD",
    )
    mqtt_spool: Path | None = setting(
        None,
        read=Path,
        metavar="FILE",
        group="events",
        help="keep events here while the broker is unreachable (default: in the cache)",
    )
    mqtt_ca: Path | None = setting(
        None, read=Path, metavar="FILE.pem", group="events", help="trusted CA certificates (default: the system's)"
    )
    mqtt_certificate: Path | None = setting(
        None, read=Path, metavar="FILE.pem", group="events", help="client certificate"
    )
    mqtt_key: Path | None = setting(
        None, read=Path, metavar="FILE.pem", group="events", help="key of the client certificate"
    )
    on_event: tuple[str, ...] | None = setting(
        None,
        read=parse_command,
        metavar="COMMAND",
        group="notifications",
        help="run a command for each event, without a shell; it gets the event as JSON on its standard input",
    )
    on_event_kinds: frozenset[str] | None = setting(
        None,
        permitted=EventKinds(),
        metavar="KIND,…",
        group="notifications",
        help="only events of these kinds, such as identified,unknown (default: all)",
    )
    on_event_timeout_s: float = setting(
        30.0,
        permitted=Range(least=0.1, most=86_400),
        metavar="S",
        group="notifications",
        help="kill a command, and the processes it started, after this time",
    )
    on_event_parallel: int = setting(
        4,
        permitted=Range(least=1, most=64, is_whole=True),
        metavar="N",
        group="notifications",
        help="number of commands that may run at the same time; other events wait",
    )
    webhook: str | None = setting(
        None,
        metavar="URL",
        group="notifications",
        help="post each event as JSON, signed with the secret in $EDGE_SPHEREFACE_WEBHOOK_SECRET",
    )
    webhook_kinds: frozenset[str] | None = setting(
        None,
        permitted=EventKinds(),
        metavar="KIND,…",
        group="notifications",
        help="only events of these kinds (default: all)",
    )
    webhook_secret: Path | None = setting(
        None, read=Path, metavar="FILE", group="notifications", help="the secret in a file of mode 0600 instead"
    )
    webhook_spool: Path | None = setting(
        None,
        read=Path,
        metavar="FILE",
        group="notifications",
        help="keep events here until the receiver has accepted them (default: in the cache)",
    )
    webhook_ca: Path | None = setting(
        None,
        read=Path,
        metavar="FILE.pem",
        group="notifications",
        help="trusted CA certificates (default: the system's)",
    )
    entities: HomeAssistantSettings = nested(HomeAssistantSettings)
    view: tuple[str, int] | None = setting(
        None,
        read=address,
        bare=("127.0.0.1", VIEW_PORT),
        metavar="[HOST:]PORT",
        group="pictures",
        help=f"serve a page with live video and the gallery (default: 127.0.0.1:{VIEW_PORT}); other hosts than this "
        "machine need a token, in $EDGE_SPHEREFACE_VIEW_TOKEN or made and printed",
    )
    snapshots: Path | None = setting(
        None, read=Path, metavar="FOLDER", group="pictures", help="save an image of each identified or unknown face"
    )
    snapshots_keep: int = setting(
        1000, permitted=_FROM_ONE, metavar="N", group="pictures", help="number of newest snapshots to keep"
    )
    record: Path | None = setting(
        None, read=Path, metavar="FOLDER", group="pictures", help="record video with boxes and names, in segments"
    )
    record_fps: float = setting(
        10.0, permitted=Range(least=0.1, most=240), metavar="N", group="pictures", help="frame rate of the recording"
    )
    record_minutes: float = setting(
        10.0, permitted=_ABOVE_ZERO, metavar="MIN", group="pictures", help="length of a segment"
    )
    record_keep: int = setting(
        6, permitted=_FROM_ONE, metavar="N", group="pictures", help="number of newest segments to keep"
    )
    metrics: tuple[str, int] | None = setting(
        None,
        read=address,
        metavar="[HOST:]PORT",
        group="operation",
        help="serve /health and /metrics (Prometheus) over HTTP (default HOST: this machine only)",
    )
    strangers: Path | None = setting(
        None,
        read=Path,
        metavar="FILE",
        group="retention",
        help="keep faces without a name in this file, as long as --keep-strangers says, and tell when one is seen "
        "again; encrypted as the gallery is",
    )
    strangers_most: int = setting(
        2000,
        permitted=Range(least=50, most=5000, is_whole=True),
        metavar="N",
        group="retention",
        help="number of newest sightings to keep",
    )
    retention: RetentionLimits = nested(RetentionLimits)
    audit: Path | None = setting(
        None,
        read=Path,
        metavar="FILE",
        group="retention",
        help="append what is deleted to this audit file, without names (default: $EDGE_SPHEREFACE_AUDIT, or none)",
    )
    shared_budget: float = setting(
        75.0,
        permitted=Range(least=1, most=100),
        metavar="PERCENT",
        group="work",
        help="with several cameras: share of the time in which detector and model work, for all of them together",
    )
    http: tuple[str, int] | None = setting(
        None,
        read=address,
        metavar="[HOST:]PORT",
        group="http",
        help="serve the HTTP interface: pictures, people, events (default HOST: this machine only); together with the "
        "page if the address is the same",
    )
    server: HttpSettings = nested(HttpSettings, group="http")
    stream: StreamSettings = nested(StreamSettings)


_GROUPS = (
    "",
    "source",
    "work",
    "recognition",
    "events",
    "home assistant",
    "notifications",
    "pictures",
    "retention",
    "http",
    "operation",
)


def stream_group() -> list[Option]:
    """The options of :class:`WatchOptions`, by the groups of the help."""
    return sorted(options_of(WatchOptions), key=lambda option: _GROUPS.index(option.group))


def watch_group() -> list[Option]:
    """Every option that the command line and a file of settings share."""
    return [*gallery_group(required=False), *model_group(), *detector_group(), *liveness_group(), *stream_group()]
