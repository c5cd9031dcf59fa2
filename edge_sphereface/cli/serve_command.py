"""The command ``serve``: the HTTP interface for pictures, without cameras."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    MODEL_VARIABLE,
    detector_options,
    gallery_options,
    json_option,
    liveness_options,
    named_gallery,
    open_named_gallery,
    open_pipeline,
    require_detector,
    session_options,
)
from edge_sphereface.cli.audit_command import audit_option, open_audit
from edge_sphereface.cli.hints import advice
from edge_sphereface.cli.http_parts import make_book, make_certificate
from edge_sphereface.cli.liveness_models import LivenessModels, require_liveness_model
from edge_sphereface.cli.option import option_parser, options_of, settings_from
from edge_sphereface.cli.runner import Outcome, note
from edge_sphereface.cli.threshold_warning import warn_uncalibrated
from edge_sphereface.cli.watch_options import address
from edge_sphereface.setting import nested, setting
from edge_sphereface.web.settings import HttpSettings

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands

PORT = 8081
_CLOSE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where and for whom ``serve`` serves. The fields' help describes them."""

    listen: tuple[str, int] = setting(
        ("127.0.0.1", PORT),
        read=address,
        metavar="[HOST:]PORT",
        help="address; other hosts than this machine need tokens",
    )
    http: HttpSettings = nested(HttpSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeReport:
    """What ``serve`` did until SIGTERM ended it.

    Attributes:
        url: address of the server.
        done: number of requests with pictures that were answered.
        refused: number of requests that were refused, because they would have waited too long.
    """

    url: str
    done: int
    refused: int


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "serve",
        parents=[
            json_option(),
            gallery_options(required=False),
            session_options(),
            detector_options(),
            liveness_options(),
            audit_option(),
            option_parser(options_of(ServeOptions, "server")),
        ],
        help="serve recognition of single pictures over HTTP",
        description="Answer requests to detect, embed, verify, identify and enroll faces, until Ctrl-C or SIGTERM. "
        "The document of the interface is at /api/openapi.json.",
        epilog="example: edge-sphereface serve model.onnx --gallery people.db --listen 0.0.0.0:8081 "
        "--tokens tokens.json",
    )
    parser.add_argument("model", nargs="?", type=Path, help=f"ONNX model (default: ${MODEL_VARIABLE})")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored crop: twice the work")
    parser.set_defaults(run=serve)


def serve(arguments: argparse.Namespace) -> Outcome:
    """Serve until a signal comes.

    Raises:
        UsageError: no model was named.
    """
    from edge_sphereface.inference.resident_memory import FreedMemory, release_loading_memory
    from edge_sphereface.web import HttpInterface
    from edge_sphereface.web.api import Parts
    from edge_sphereface.web.picture_service import PictureService

    options = settings_from(ServeOptions, vars(arguments))
    require_detector(arguments)
    book, certificate = make_book(options.http), make_certificate(options.http)
    ended = threading.Event()
    came: list[int] = []

    def stop(number: int, _: object) -> None:
        came.append(number)
        ended.set()

    with ExitStack() as stack:
        require_liveness_model(arguments)
        liveness = LivenessModels().of(arguments)
        pipeline = open_pipeline(arguments)
        gallery = None
        if named_gallery(arguments) is not None:
            gallery = stack.enter_context(open_named_gallery(arguments, pipeline.embedder, create=True))
            warn_uncalibrated(gallery)
        pictures = PictureService(pipeline, gallery, liveness=liveness, limits=options.http.pictures)
        stack.callback(pictures.close, _CLOSE_S)
        parts = Parts(gallery=gallery, pictures=pictures, audit=open_audit(arguments.audit), advise=advice)
        deadline_s = options.http.pictures.picture_deadline_s
        server = HttpInterface(parts, *options.listen, book=book, certificate=certificate, answer_s=deadline_s + 30)
        stack.enter_context(server)
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, stop))
        note(f"serving {server.url}api/; Ctrl-C ends")
        release_loading_memory()
        freed = FreedMemory()
        while not ended.wait(1.0):
            freed.look()
    if signal.SIGINT in came:
        raise KeyboardInterrupt
    report = ServeReport(url=server.url, done=pictures.queue.done, refused=pictures.queue.refused)
    return Outcome(report, f"{report.done} requests answered, {report.refused} refused")
