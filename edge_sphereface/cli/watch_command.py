"""The command ``watch``: live recognition."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sphereface.cli.arguments import (
    detector_options,
    gallery_options,
    liveness_options,
    model_option,
    named_gallery,
    open_embedder,
    open_named_detector,
    open_named_gallery,
    require_detector,
)
from edge_sphereface.cli.audit_command import open_audit
from edge_sphereface.cli.camera_tables import TABLE, camera_options
from edge_sphereface.cli.configuration import OPTION, read_configuration
from edge_sphereface.cli.liveness_models import LivenessModels, require_liveness_model
from edge_sphereface.cli.option import option_parser, settings_from
from edge_sphereface.cli.problem_notes import ProblemNotes
from edge_sphereface.cli.runner import Outcome, UsageError, note
from edge_sphereface.cli.signals import stopped_by_signals
from edge_sphereface.cli.threshold_warning import warn_uncalibrated
from edge_sphereface.cli.watch_options import WatchOptions, stream_group, watch_group
from edge_sphereface.cli.watch_parts import (
    announce_servers,
    make_endpoint,
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

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.retention.keeper import RetentionKeeper
    from edge_sphereface.strangers import StrangerKeeper
    from edge_sphereface.stream import FaceStream
    from edge_sphereface.web import HttpInterface, PageView
    from edge_sphereface.web.api import Parts


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "watch",
        parents=[
            gallery_options(required=False),
            model_option(),
            detector_options(),
            liveness_options(),
            option_parser(stream_group()),
        ],
        help="recognize the faces of a camera, stream or video as long as it runs",
        description="Track the faces of a camera, stream or video, identify them in a gallery, and print one line "
        "for each event. Runs until the source ends or Ctrl-C or SIGTERM stops it; a camera that fails is reopened, "
        "with growing waits. Without a gallery it reports faces appearing and leaving, without names.",
        epilog="examples: edge-sphereface watch 0 --gallery people.db --model model.onnx; "
        "edge-sphereface watch 0 --gallery people.db --view; edge-sphereface watch --config watch.toml --json",
    )

    def preset(words: list[str]) -> dict[str, Any]:
        values = read_configuration(watch_group(), words, {TABLE: camera_options()})
        return {**values, "read_again": lambda: parser.parse_args(words)} if "camera_tables" in values else values

    parser.preset = preset
    parser.add_argument(
        "source",
        nargs="?",
        help="camera number or /dev/video0, URL (rtsp, http, …), GStreamer pipeline, video file, folder of images",
    )
    parser.add_argument(
        OPTION,
        type=Path,
        metavar="FILE.toml",
        help="settings; each key is an option of this help without --, and each [[camera]] table is a camera",
    )
    parser.set_defaults(run=watch)


def watch(arguments: argparse.Namespace) -> Outcome:  # noqa: PLR0915 -- the parts of a stream, in their order
    """Watch the source until it ends or a signal stops it.

    Raises:
        UsageError: no source was named.
    """
    from edge_sphereface.inference.resident_memory import FreedMemory, release_loading_memory
    from edge_sphereface.pipeline import FacePipeline
    from edge_sphereface.stream import FaceStream
    from edge_sphereface.stream.monitoring import SystemdNotifier
    from edge_sphereface.stream.outputs.events.home_assistant.state import Subject
    from edge_sphereface.web.event_log import EventLog

    if hasattr(arguments, "camera_tables"):
        from edge_sphereface.cli.house import watch_house

        return watch_house(arguments, arguments.read_again)
    options = settings_from(WatchOptions, vars(arguments))
    source = arguments.source or options.named_source
    if source is None:
        raise UsageError("No source was named.", hint="edge-sphereface watch 0 opens the first camera")
    require_detector(arguments)
    supervisor = SystemdNotifier()
    log = EventLog()
    embedder: Embedder | None = None
    audit = open_audit(options.audit)
    require_liveness_model(arguments)
    liveness = LivenessModels().of_names(arguments)

    def parts(stream: FaceStream) -> Parts:
        return make_parts(
            options,
            # a detector of their own, because nothing else may use that of the stream
            None if embedder is None else FacePipeline(embedder, open_named_detector(arguments, threads=1)),
            stream.gallery,
            liveness,
            events=log,
            strangers=stream.strangers,
            audit=audit,
            is_healthy=lambda: stream.health().healthy,
            on_gallery_change=stream.reconsider,
        )

    page = make_page(options, parts, audit)
    keeper: RetentionKeeper | None = None
    strangers: StrangerKeeper | None = None
    notes = ProblemNotes(
        lambda: (*stream.health().problems, *(part.problem for part in (keeper, strangers) if part and part.problem))
    )

    announced, freed = False, FreedMemory()

    def on_turn() -> None:
        nonlocal announced
        if not announced:  # every output is open now
            announced = True
            _announce(stream, page, http, options)
            release_loading_memory()
        supervisor.alive()
        notes.look()
        freed.look()

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg reports every damaged frame
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # OpenCV reports every address that it cannot open, and so do we
    with ExitStack() as stack:
        gallery: Gallery | None = None
        if named_gallery(arguments) is not None:
            embedder = open_embedder(arguments)
            gallery = stack.enter_context(open_named_gallery(arguments, embedder))
        images = make_images(options)
        entities = make_entities(
            options, gallery, lambda: (Subject(name=options.stream.name, mark=stream.name),), images
        )
        sinks = make_sinks(options, lambda: stream.stop(), entities)  # noqa: PLW0108 -- bound when it is called
        keeper = stack.enter_context(make_retention(options, sinks, audit))
        strangers = stack.enter_context(make_strangers(options, gallery, arguments.key_file, audit))
        stream = FaceStream(
            source,
            detector=open_named_detector(arguments),
            embedder=embedder,
            gallery=gallery,
            liveness=liveness,
            strangers=strangers,
            settings=options.stream,
            sinks=[*sinks, *([] if options.http is None else [log])],
            frame_sinks=make_frame_sinks(options, page, images),
            on_turn=on_turn,
        )
        stops = stack.enter_context(stopped_by_signals(stream.stop))
        stack.enter_context(make_endpoint(options, stream))
        http = stack.enter_context(make_http(options, lambda: parts(stream)))
        kept = stream.run().events_pending - stream.undelivered
        supervisor.stopping()
    if stream.undelivered:
        why = "; ".join(stream.health().problems)
        note(f"warning: {stream.undelivered} events could not be delivered before the end{why and f': {why}'}")
    if kept:
        note(f"events kept on the disk: {kept}; the next run sends them")
    if signal.SIGINT in stops:
        raise KeyboardInterrupt
    return Outcome(None, "", passed=not stream.undelivered)


def _announce(stream: FaceStream, page: PageView | None, http: HttpInterface | None, options: WatchOptions) -> None:
    gallery = stream.gallery
    note(f"watching {stream.name}{'' if gallery is None else f', {len(gallery)} people known'}; Ctrl-C ends")
    if gallery is not None and options.stream.recognition.threshold is None:
        warn_uncalibrated(gallery, tracks=True)
    announce_servers(page, http, options)
