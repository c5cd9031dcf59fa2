"""Builds the parts of a stream from options: event sinks, frame sinks, page, endpoint for health and metrics."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from edge_sphereface.cli.event_lines import PlainLines, json_line
from edge_sphereface.stream.event_kinds import EVERY_KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from edge_sphereface.cli.watch_options import WatchOptions
    from edge_sphereface.stream import EventSink, FaceStream, FrameSink
    from edge_sphereface.web import PageView

TOKEN_VARIABLE = "EDGE_SPHEREFACE_VIEW_TOKEN"  # noqa: S105 -- only its name


def make_sinks(options: WatchOptions, left: Callable[[], None]) -> list[EventSink]:
    """The outputs of events.

    Args:
        options: of the command.
        left: called when the reader of stdout has left.
    """
    from edge_sphereface.stream import FileSink
    from edge_sphereface.stream.outputs.events.jsonl import StreamSink

    sinks: list[EventSink] = [StreamSink(sys.stdout, form=json_line if options.json else PlainLines(), left=left)]
    if options.events is not None:
        size = round(options.events_mib * (1 << 20))
        sinks.append(FileSink(options.events, max_bytes=size, keep=options.events_keep))
    if options.mqtt is not None:
        sinks.append(_mqtt(options, options.mqtt))
    if options.on_event is not None:
        sinks.append(_command_hook(options, options.on_event))
    if options.webhook is not None:
        sinks.append(_webhook(options, options.webhook))
    return sinks


def make_page(options: WatchOptions) -> PageView | None:
    """The page, if it was requested. Where other machines can open it, it has a token: a new one if none was set."""
    if options.view is None:
        return None
    import secrets

    from edge_sphereface.web import PageView
    from edge_sphereface.web.loopback import is_loopback

    host, port = options.view
    token = os.environ.get(TOKEN_VARIABLE) or (None if is_loopback(host) else secrets.token_urlsafe(24))
    return PageView(host, port, token=token, metrics=_are_same(options.view, options.metrics))


def make_frame_sinks(options: WatchOptions, page: PageView | None) -> list[FrameSink]:
    """The outputs of frames."""
    from edge_sphereface.stream import Snapshots, VideoRecorder

    sinks: list[FrameSink] = [] if page is None else [page]
    if options.snapshots is not None:
        sinks.append(Snapshots(options.snapshots, keep=options.snapshots_keep))
    if options.record is not None:
        sinks.append(
            VideoRecorder(
                options.record,
                fps=options.record_fps,
                minutes=options.record_minutes,
                keep=options.record_keep,
            )
        )
    return sinks


def make_endpoint(options: WatchOptions, stream: FaceStream) -> AbstractContextManager[object]:
    """The endpoint for health and metrics, if it was requested at another address than the page."""
    if options.metrics is None or _are_same(options.view, options.metrics):
        return nullcontext()
    from edge_sphereface.stream.monitoring import HealthEndpoint

    return HealthEndpoint(stream, *options.metrics)


def _are_same(one: tuple[str, int] | None, other: tuple[str, int] | None) -> bool:
    """Whether two addresses name the same port of the same interface."""
    if one is None or other is None or one[1] != other[1]:
        return False
    import socket

    try:
        first, second = (socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][4] for address in (one, other))
    except OSError:
        return False
    return first == second


def _mqtt(options: WatchOptions, address: str) -> EventSink:
    from edge_sphereface.storage.cache import cache_folder
    from edge_sphereface.stream.outputs.events.mqtt import Broker, MqttSink

    name = options.stream.file_name
    return MqttSink(
        Broker.parse(address, stream=name),
        spool=options.mqtt_spool or cache_folder() / "mqtt" / f"{name}.db",
        ca_file=options.mqtt_ca,
        certificate=options.mqtt_certificate,
        key=options.mqtt_key,
    )


def _command_hook(options: WatchOptions, command: Sequence[str]) -> EventSink:
    from edge_sphereface.stream.outputs.events.command_hook import CommandHook

    return CommandHook(
        command,
        kinds=options.on_event_kinds or EVERY_KIND,
        timeout_s=options.on_event_timeout_s,
        most_running=options.on_event_parallel,
    )


def _webhook(options: WatchOptions, address: str) -> EventSink:
    from edge_sphereface.storage.cache import cache_folder
    from edge_sphereface.stream.outputs.events.http_post import HttpAddress, HttpPoster
    from edge_sphereface.stream.outputs.events.webhook import TIMEOUT_S, WebhookSink
    from edge_sphereface.stream.outputs.events.webhook_signature import read_secret

    receiver = HttpAddress.parse(address)
    return WebhookSink(
        HttpPoster(receiver, ca_file=options.webhook_ca, timeout_s=TIMEOUT_S),
        place=receiver.place,
        secret=read_secret(options.webhook_secret, os.environ),
        spool=options.webhook_spool or cache_folder() / "webhook" / f"{options.stream.file_name}.db",
        kinds=options.webhook_kinds or EVERY_KIND,
    )
