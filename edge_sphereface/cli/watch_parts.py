"""Builds the parts of a stream from options: event sinks, frame sinks, page, endpoint for health and metrics."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from edge_sphereface.cli.event_lines import PlainLines, json_line
from edge_sphereface.cli.hints import advice
from edge_sphereface.cli.http_parts import make_book, make_certificate
from edge_sphereface.cli.runner import UsageError, note
from edge_sphereface.stream.event_kinds import EVERY_KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edge_sphereface.audit import AuditLog
    from edge_sphereface.cli.watch_options import WatchOptions
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.liveness import LivenessChecker
    from edge_sphereface.pipeline import FacePipeline
    from edge_sphereface.retention.keeper import RetentionKeeper
    from edge_sphereface.strangers import StrangerKeeper
    from edge_sphereface.stream import EventSink, FaceStream, FrameSink
    from edge_sphereface.stream.outputs.events.home_assistant.images import FaceImages
    from edge_sphereface.stream.outputs.events.home_assistant.sink import HomeAssistantSink
    from edge_sphereface.stream.outputs.events.home_assistant.state import Subject
    from edge_sphereface.stream.outputs.events.retained import RetainedTopics
    from edge_sphereface.web import HttpInterface, PageView
    from edge_sphereface.web.api import Parts

TOKEN_VARIABLE = "EDGE_SPHEREFACE_VIEW_TOKEN"  # noqa: S105 -- only its name


def make_sinks(
    options: WatchOptions,
    left: Callable[[], None],
    entities: HomeAssistantSink | None = None,
    *,
    names_stream: bool = False,
) -> list[EventSink]:
    """The outputs of events.

    Args:
        options: of the command.
        left: called when the reader of stdout has left.
        entities: for Home Assistant, from :func:`make_entities`.
        names_stream: whether the lines of events name their streams.
    """
    from edge_sphereface.stream import FileSink
    from edge_sphereface.stream.outputs.events.jsonl import StreamSink

    form = json_line if options.json else PlainLines(names_stream=names_stream)
    sinks: list[EventSink] = [StreamSink(sys.stdout, form=form, left=left)]
    if options.events is not None:
        size = round(options.events_mib * (1 << 20))
        sinks.append(FileSink(options.events, max_bytes=size, keep=options.events_keep))
    if entities is not None:
        sinks.append(entities)  # before the connection that sends its last messages
    if options.mqtt is not None:
        retained = None if entities is None else entities.retained
        sinks.append(_mqtt(options, options.mqtt, retained))
    if options.on_event is not None:
        sinks.append(_command_hook(options, options.on_event))
    if options.webhook is not None:
        sinks.append(_webhook(options, options.webhook))
    return sinks


def make_entities(
    options: WatchOptions,
    gallery: Gallery | None,
    cameras: Callable[[], Sequence[Subject]],
    images: FaceImages | None,
) -> HomeAssistantSink | None:
    """The entities for Home Assistant, if they were requested.

    Args:
        options: of the command.
        gallery: the enrolled people; None to announce cameras alone.
        cameras: gives the cameras, with their addresses without credentials.
        images: from :func:`make_images`.

    Raises:
        UsageError: no broker was named.
    """
    if options.entities.home_assistant is None:
        return None
    if options.mqtt is None:
        raise UsageError("Home Assistant is told over MQTT, and no broker was named.", hint="add --mqtt URL")
    from edge_sphereface.storage.cache import cache_folder
    from edge_sphereface.stream.outputs.events.home_assistant.sink import HomeAssistantSink, people_of
    from edge_sphereface.stream.outputs.events.home_assistant.state import state_name
    from edge_sphereface.stream.outputs.events.mqtt import Broker

    topic = Broker.parse(options.mqtt, stream=options.stream.file_name).topic
    return HomeAssistantSink(
        options.entities,
        topic=topic,
        state=options.entities.home_assistant_state or cache_folder() / "home-assistant" / state_name(topic),
        cameras=cameras,
        people=None if gallery is None else people_of(gallery),
        images=images,
    )


def make_images(options: WatchOptions) -> FaceImages | None:
    """The images for Home Assistant, if they were requested."""
    if options.entities.home_assistant is None or not options.entities.home_assistant_images:
        return None
    from edge_sphereface.stream.outputs.events.home_assistant.images import FaceImages

    return FaceImages()


def make_page(
    options: WatchOptions, parts: Callable[[FaceStream], Parts] | None = None, audit: AuditLog | None = None
) -> PageView | None:
    """The page, if it was requested. Where other machines can open it, it has a token: a new one if none was set.

    Args:
        options: of the command.
        parts: makes what the HTTP interface gives access to, where it is at the address of the page; None without it.
        audit: where enrollments and removals by viewers are recorded.
    """
    if options.view is None:
        return None
    import secrets

    from edge_sphereface.web import PageView
    from edge_sphereface.web.loopback import is_loopback

    host, port = options.view
    token = os.environ.get(TOKEN_VARIABLE) or (None if is_loopback(host) else secrets.token_urlsafe(24))
    return PageView(
        host,
        port,
        token=token,
        metrics=are_same(options.view, options.metrics),
        book=make_book(options.server),
        certificate=make_certificate(options.server),
        parts=parts if are_same(options.view, options.http) else None,
        answer_s=_answer_s(options),
        audit=audit,
    )


def make_parts(
    options: WatchOptions,
    pipeline: FacePipeline | None,
    gallery: Gallery | None,
    liveness: LivenessChecker | None,
    **others: Any,
) -> Parts:
    """What the HTTP interface beside streams gives access to.

    Args:
        options: of the command.
        pipeline: for pictures, used by nothing else; without one no pictures are taken.
        gallery: the enrolled people.
        liveness: checks whether faces of pictures are live; None to check nothing.
        others: the other parts, by their names.
    """
    from edge_sphereface.web.api import Parts
    from edge_sphereface.web.picture_service import PictureService

    pictures = None
    if pipeline is not None:
        pictures = PictureService(
            pipeline,
            gallery,
            threshold=options.stream.recognition.threshold,
            liveness=liveness,
            limits=options.server.pictures,
            yields_to_streams=True,
        )
    return Parts(gallery=gallery, pictures=pictures, advise=advice, **others)


def make_http(options: WatchOptions, parts: Callable[[], Parts]) -> AbstractContextManager[HttpInterface | None]:
    """The HTTP interface, if it was requested at another address than the page.

    Args:
        options: of the command.
        parts: makes what it gives access to.
    """
    if options.http is None or are_same(options.view, options.http):
        return nullcontext()
    from edge_sphereface.web import HttpInterface

    return HttpInterface(
        parts(),
        *options.http,
        book=make_book(options.server),
        certificate=make_certificate(options.server),
        answer_s=_answer_s(options),
    )


def _answer_s(options: WatchOptions) -> float:
    """Longest time for an answer: that of the pictures, and of sending them."""
    return options.server.pictures.picture_deadline_s + 30.0


def announce_servers(page: PageView | None, http: HttpInterface | None, options: WatchOptions) -> None:
    """Print the addresses of the page, with its token if it is a new one, and of the HTTP interface."""
    at = http or (page if are_same(options.view, options.http) else None)
    if at is not None:
        note(f"serving {_reachable(at.url)}api/")
    if page is None:
        return
    note(f"live picture: {_reachable(page.url)}")
    if TOKEN_VARIABLE not in os.environ and page.address != page.url:  # a new token, known nowhere else
        print(f"with its token: {_reachable(page.address)}", file=sys.stderr, flush=True)


def make_frame_sinks(options: WatchOptions, *others: FrameSink | None) -> list[FrameSink]:
    """The outputs of frames: ``others``, then those of the options."""
    from edge_sphereface.stream import Snapshots, VideoRecorder

    sinks = [sink for sink in others if sink is not None]
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


def make_retention(
    options: WatchOptions, sinks: list[EventSink], audit: AuditLog | None
) -> AbstractContextManager[RetentionKeeper | None]:
    """What deletes old files and events, if a limit was given; with one for events it adds a sink.

    Args:
        options: of the command.
        sinks: the outputs of events.
        audit: gets a line for each turn that deleted something.
    """
    if options.retention.shortest_s is None:
        return nullcontext()
    from edge_sphereface.retention.keeper import EventTimes, ExpiringQueue, RetentionKeeper

    queues = [sink for sink in sinks if isinstance(sink, ExpiringQueue)]
    times = None if options.retention.keep_events is None else _folder_of_times(options)
    if times is not None:
        sinks.append(EventTimes(times))
    folders = [folder for folder in (options.snapshots, options.record) if folder is not None]
    return RetentionKeeper(
        options.retention,
        folders=folders,
        events=options.events,
        queues=queues,
        times=times,
        audit=audit,
        by="edge-sphereface watch",
    )


def make_strangers(
    options: WatchOptions, gallery: Gallery | None, key_file: Path | None, audit: AuditLog | None
) -> AbstractContextManager[StrangerKeeper | None]:
    """What keeps strangers, if it was requested.

    Args:
        options: of the command.
        gallery: the known identities.
        key_file: file of the gallery's key; None for the environment's.
        audit: gets a line when sightings were removed because of their age.

    Raises:
        UsageError: no limit was given, or there is no gallery.
    """
    if options.strangers is None:
        return nullcontext()
    keep_s = options.retention.keep_strangers
    if keep_s is None:
        raise UsageError("It was not said how long strangers are kept.", hint="add --keep-strangers 168h")
    if gallery is None:
        raise UsageError("Without a gallery everybody is a stranger.", hint="add --gallery")
    from edge_sphereface.gallery import read_key
    from edge_sphereface.strangers import StrangerKeeper

    return StrangerKeeper(
        options.strangers,
        gallery=gallery,
        key=read_key(key_file) if gallery.encrypted else None,
        keep_s=keep_s,
        threshold=options.stream.recognition.threshold,
        most=options.strangers_most,
        audit=audit,
        by="edge-sphereface watch",
    )


def make_endpoint(options: WatchOptions, stream: FaceStream) -> AbstractContextManager[object]:
    """The endpoint for health and metrics, if it was requested at another address than the page."""
    if options.metrics is None or are_same(options.view, options.metrics):
        return nullcontext()
    from edge_sphereface.stream.monitoring import HealthEndpoint

    return HealthEndpoint(stream, *options.metrics)


def _folder_of_times(options: WatchOptions) -> Path:
    """Where it is written down how far the clock is off: beside the event file, or in the cache without one."""
    from edge_sphereface.storage.cache import cache_folder
    from edge_sphereface.storage.files import destination, ensure_folder, is_special

    place = None if options.events is None else destination(options.events)
    if place is None or isinstance(place, int) or is_special(place):
        return ensure_folder(cache_folder() / "events", mode=0o700)
    return place.parent


def are_same(one: tuple[str, int] | None, other: tuple[str, int] | None) -> bool:
    """Whether two addresses name the same port of the same interface."""
    if one is None or other is None or one[1] != other[1]:
        return False
    import socket

    try:
        first, second = (socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][4] for address in (one, other))
    except OSError:
        return False
    return first == second


def _mqtt(options: WatchOptions, address: str, retained: RetainedTopics | None) -> EventSink:
    from edge_sphereface.storage.cache import cache_folder
    from edge_sphereface.stream.outputs.events.mqtt import Broker, MqttSink

    name = options.stream.file_name
    return MqttSink(
        Broker.parse(address, stream=name),
        spool=options.mqtt_spool or cache_folder() / "mqtt" / f"{name}.db",
        ca_file=options.mqtt_ca,
        certificate=options.mqtt_certificate,
        key=options.mqtt_key,
        retained=retained,
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


def _reachable(url: str) -> str:
    """The address with this machine's name where it listens on every address, which a browser cannot open."""
    import socket

    for every in ("//0.0.0.0:", "//[::]:"):
        url = url.replace(every, f"//{socket.gethostname()}:")
    return url
