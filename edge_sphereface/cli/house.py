"""``watch`` with several cameras, which the ``[[camera]]`` tables of its settings name."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from edge_sphereface.cli.arguments import (
    named_gallery,
    open_embedder,
    open_named_detector,
    open_named_gallery,
    require_detector,
)
from edge_sphereface.cli.audit_command import open_audit
from edge_sphereface.cli.camera_tables import camera_from_json, camera_of, camera_options
from edge_sphereface.cli.liveness_models import LivenessModels
from edge_sphereface.cli.option import settings_from
from edge_sphereface.cli.problem_notes import ProblemNotes
from edge_sphereface.cli.runner import Outcome, UsageError, note
from edge_sphereface.cli.signals import stopped_by_signals
from edge_sphereface.cli.threshold_warning import warn_uncalibrated
from edge_sphereface.cli.watch_options import WatchOptions, watch_group
from edge_sphereface.cli.watch_parts import (
    announce_servers,
    are_same,
    make_entities,
    make_frame_sinks,
    make_http,
    make_images,
    make_page,
    make_parts,
    make_retention,
    make_sinks,
    make_strangers,
)
from edge_sphereface.errors import CameraError, EdgeSphereFaceError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from edge_sphereface.cameras import Camera, CameraGroup
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.retention.keeper import RetentionKeeper
    from edge_sphereface.strangers import StrangerKeeper
    from edge_sphereface.web import HttpInterface, PageView
    from edge_sphereface.web.api import Parts

T = TypeVar("T")


def cameras_of(arguments: argparse.Namespace, liveness: LivenessModels) -> list[Camera]:
    """The cameras that the settings name.

    Args:
        arguments: parsed arguments.
        liveness: opens the liveness models.

    Raises:
        UsageError: one of them has no name or no source, two of them have one name, or a single source was named
            beside them.
    """
    from edge_sphereface.cameras.camera import require_distinct_names

    values = vars(arguments)
    if arguments.source or arguments.named_source:
        raise UsageError(
            "Expected either one source or [[camera]] tables, got both.", hint="give each camera a table of its own"
        )
    cameras = [camera_of(table, values, liveness) for table in arguments.camera_tables]
    try:
        require_distinct_names(cameras)
    except CameraError as error:
        raise UsageError(error.message, hint=error.hint) from error
    return cameras


def watch_house(  # noqa: PLR0915 -- the parts of a house, in their order
    arguments: argparse.Namespace, read_again: Callable[[], argparse.Namespace]
) -> Outcome:
    """Watch all cameras until a signal stops them, or nothing more comes from any.

    Args:
        arguments: parsed arguments.
        read_again: parses the same words again, with the file as it is by then.
    """
    from edge_sphereface.cameras import CameraGroup
    from edge_sphereface.inference.resident_memory import FreedMemory, bound_heaps, release_loading_memory
    from edge_sphereface.stream.monitoring import SystemdNotifier
    from edge_sphereface.stream.outputs.events.home_assistant.state import Subject
    from edge_sphereface.web.event_log import EventLog

    bound_heaps()
    options, liveness = settings_from(WatchOptions, vars(arguments)), LivenessModels()
    cameras, of_pictures = cameras_of(arguments, liveness), liveness.of_names(arguments)
    require_detector(arguments)
    supervisor, log, audit = SystemdNotifier(), EventLog(), open_audit(options.audit)
    gallery: Gallery | None = None
    embedder: Embedder | None = None

    @cache
    def parts() -> Parts:
        return make_parts(
            options,
            group.pipeline("http", None if embedder is None else open_named_detector(arguments, threads=1)),
            gallery,
            of_pictures,
            events=log,
            cameras=group,
            strangers=group.strangers,
            read_camera=group.read,
            audit=audit,
            is_healthy=lambda: group.health().healthy,
            on_gallery_change=lambda: [stream.reconsider() for stream in group.streams],
        )

    page = make_page(options, lambda _: parts(), audit)
    keeper: RetentionKeeper | None = None
    strangers: StrangerKeeper | None = None
    notes = ProblemNotes(
        lambda: (
            *group.problems(),
            *group.failures(),
            *(part.problem for part in (keeper, strangers) if part and part.problem),
        )
    )
    asked_to_read = threading.Event()
    announced, freed = False, FreedMemory()

    def on_turn() -> None:
        nonlocal announced, arguments
        if not announced:
            announced = True
            _announce(group, page, http, options)
            release_loading_memory()
        supervisor.alive()
        notes.look()
        freed.look()
        if asked_to_read.is_set():
            asked_to_read.clear()
            arguments = reload(group, arguments, read_again, liveness)

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg reports every damaged frame
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # OpenCV reports every address that it cannot open, and so do we
    with ExitStack() as stack:
        if named_gallery(arguments) is not None:
            embedder = open_embedder(arguments)
            gallery = stack.enter_context(open_named_gallery(arguments, embedder))
        images = make_images(options)
        entities = make_entities(
            options,
            gallery,
            lambda: tuple(Subject(name=camera.name, mark=camera.source) for camera in group.cameras()),
            images,
        )
        sinks = make_sinks(
            options,
            lambda: group.stop(),  # noqa: PLW0108 -- bound when it is called
            entities,
            names_stream=True,
        )
        keeper = stack.enter_context(make_retention(options, sinks, audit))
        strangers = stack.enter_context(make_strangers(options, gallery, arguments.key_file, audit))
        group = CameraGroup(
            cameras,
            detector=open_named_detector(arguments),
            embedder=embedder,
            gallery=gallery,
            strangers=strangers,
            sinks=[*sinks, *([] if options.http is None else [log])],
            frame_sinks=lambda camera: make_frame_sinks(options, page and page.of(camera.name), images),
            budget_percent=options.shared_budget,
            on_turn=on_turn,
            read=lambda values: camera_from_json(values, vars(arguments), liveness),
        )
        stops = stack.enter_context(stopped_by_signals(group.stop, again=asked_to_read.set))
        stack.enter_context(_endpoint(options, group))
        http = stack.enter_context(make_http(options, parts))
        if page is not None:
            from edge_sphereface.stream.monitoring.health import MonitoringAnswers

            is_same = are_same(options.view, options.metrics)
            stack.enter_context(page.showing(group, monitoring=MonitoringAnswers(group) if is_same else None))
        group.run(until_ended=bool(cameras))  # none yet: they may come by signal or request
        supervisor.stopping()
    if group.undelivered:
        note(f"warning: {group.undelivered} events could not be delivered before the end")
    failed = [camera for camera in group.cameras() if camera.state == "failed"]
    for camera in failed:
        note(f"camera {camera.name!r} failed: {camera.reason}")
    if signal.SIGINT in stops:
        raise KeyboardInterrupt
    return Outcome(None, "", passed=not group.undelivered and (bool(stops) or not failed))


def reload(
    group: CameraGroup,
    before: argparse.Namespace,
    read_again: Callable[[], argparse.Namespace],
    liveness: LivenessModels,
) -> argparse.Namespace:
    """Make the cameras of a group those of the settings; equal ones go on untouched.

    Settings with a mistake change nothing, and it is said on stderr.

    Returns:
        The settings that count from now on.
    """
    try:
        after = read_again()
        if not hasattr(after, "camera_tables"):
            raise UsageError("No [[camera]] table is left.", hint="the cameras go on as they were")
        wanted = {camera.name: camera for camera in cameras_of(after, liveness)}
    except EdgeSphereFaceError as error:
        note(f"settings not changed: {error}")
        return before
    known = {camera.name: camera for camera in group.configured()}
    added = changed = removed = 0
    for name in known.keys() - wanted.keys():
        removed += _try(group.remove, name, name, "removed")
    for name, camera in wanted.items():
        if name not in known:
            added += _try(group.add, camera, name, "added")
        elif known[name] != camera:
            changed += _try(group.change, camera, name, "changed")
    note(f"settings read again: cameras added: {added}, changed: {changed}, removed: {removed}")
    later = _later(vars(before), vars(after))
    if later:
        note(f"these settings count from the next start: {', '.join(later)}")
    return after


def _try(step: Callable[[T], object], what: T, name: str, done: str) -> bool:
    """Change the cameras, or say why that was refused."""
    try:
        step(what)
    except EdgeSphereFaceError as error:
        note(f"camera {name!r} could not be {done}: {error}")
        return False
    note(f"camera {name!r}: {done}")
    return True


def _later(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of changed settings that no camera has of its own."""
    of_cameras = {option.attribute for option in camera_options()}
    return [
        option.name
        for option in watch_group()
        if option.attribute not in of_cameras and before.get(option.attribute) != after.get(option.attribute)
    ]


def _announce(group: CameraGroup, page: PageView | None, http: HttpInterface | None, options: WatchOptions) -> None:
    gallery, names = group.gallery, [camera.name for camera in group.configured()]
    known = "" if gallery is None else f", {len(gallery)} people known"
    note(f"watching {_listed(names)}{known}; Ctrl-C ends, SIGHUP reads the settings again")
    if gallery is not None and options.stream.recognition.threshold is None:
        warn_uncalibrated(gallery, tracks=True)
    announce_servers(page, http, options)


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} cameras ({', '.join(names)})" if len(names) != 1 else names[0]


def _endpoint(options: WatchOptions, group: CameraGroup) -> AbstractContextManager[object]:
    if options.metrics is None or are_same(options.view, options.metrics):
        return nullcontext()
    from edge_sphereface.stream.monitoring import HealthEndpoint

    return HealthEndpoint(group, *options.metrics)
