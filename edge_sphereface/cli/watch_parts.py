"""Builds the parts of a stream from options: settings, event sinks, frame sinks."""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING

from edge_sphereface.cli.event_lines import json_line, plain_line
from edge_sphereface.cli.runner import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from edge_sphereface.stream import EventSink, FaceStream, FrameSink, StreamSettings
    from edge_sphereface.types import JsonObject
    from edge_sphereface.web import PageView

TOKEN_VARIABLE = "EDGE_SPHEREFACE_VIEW_TOKEN"  # noqa: S105 -- the name alone


def make_settings(arguments: argparse.Namespace) -> StreamSettings:
    """What was given; the rest as the settings' classes have it.

    Raises:
        UsageError: values that cannot work.
    """
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


def make_sinks(arguments: argparse.Namespace, settings: StreamSettings, left: Callable[[], None]) -> list[EventSink]:
    """Where events go.

    Args:
        arguments: of the command line.
        settings: of the stream.
        left: called when nobody reads stdout any more.
    """
    from edge_sphereface.stream import FileSink
    from edge_sphereface.stream.outputs.events.jsonl import StreamSink

    sinks: list[EventSink] = [StreamSink(sys.stdout, form=json_line if arguments.json else plain_line, left=left)]
    if arguments.events is not None:
        size = round(arguments.events_mib * (1 << 20))
        sinks.append(FileSink(arguments.events, max_bytes=size, keep=arguments.events_keep))
    if arguments.mqtt is not None:
        sinks.append(_mqtt(arguments, settings.file_name))
    return sinks


def make_page(arguments: argparse.Namespace) -> PageView | None:
    """The page, if it was asked for; with a token where others could open it, a new one if none was set."""
    if arguments.view is None:
        return None
    from edge_sphereface.web import PageView
    from edge_sphereface.web.loopback import is_loopback

    host, port = arguments.view
    token = os.environ.get(TOKEN_VARIABLE) or (None if is_loopback(host) else secrets.token_urlsafe(24))
    return PageView(host, port, token=token)


def make_frame_sinks(arguments: argparse.Namespace, page: PageView | None) -> list[FrameSink]:
    """Where frames go."""
    from edge_sphereface.stream import Snapshots, VideoRecorder

    sinks: list[FrameSink] = [] if page is None else [page]
    if arguments.snapshots is not None:
        sinks.append(Snapshots(arguments.snapshots, keep=arguments.snapshots_keep))
    if arguments.record is not None:
        sinks.append(
            VideoRecorder(
                arguments.record,
                fps=arguments.record_fps,
                minutes=arguments.record_minutes,
                keep=arguments.record_keep,
            )
        )
    return sinks


def make_endpoint(arguments: argparse.Namespace, stream: FaceStream) -> AbstractContextManager[object]:
    """Health and metrics, if they were asked for."""
    if arguments.metrics is None:
        return nullcontext()
    from edge_sphereface.stream.monitoring import HealthEndpoint

    return HealthEndpoint(stream, *arguments.metrics)


def _mqtt(arguments: argparse.Namespace, name: str) -> EventSink:
    from edge_sphereface.storage.cache import cache_folder
    from edge_sphereface.stream.outputs.events.mqtt import Broker, MqttSink

    return MqttSink(
        Broker.parse(arguments.mqtt, stream=name),
        spool=arguments.mqtt_spool or cache_folder() / "mqtt" / f"{name}.db",
        ca_file=arguments.mqtt_ca,
        certificate=arguments.mqtt_certificate,
        key=arguments.mqtt_key,
    )
