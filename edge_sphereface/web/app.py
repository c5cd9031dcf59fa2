"""The HTTP interface of the page, an ASGI application."""

from __future__ import annotations

import asyncio
import json
import time
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.http_server.answer import ALLOWED, answering
from edge_sphereface.json_output import json_object
from edge_sphereface.storage.bounded_json import JsonError, parse_json
from edge_sphereface.web.access import Access

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from edge_sphereface.http_server.answer import App, Receive, Scope, Send
    from edge_sphereface.http_server.connection_guard import ConnectionGuard
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.monitoring.health import MonitoringAnswers
    from edge_sphereface.stream.tracking.track import Track
    from edge_sphereface.types import JsonObject
    from edge_sphereface.web.live_view import LiveView

_PAGE = Path(__file__).parent / "page"
_WAIT_S = 5.0
"""Longest wait for a new frame; after it, the answer has none."""
_DESCRIBE_S = 0.5
_MOST_PEOPLE = 1000
"""Maximum number of names that the page lists."""
_BODY_BYTES = 16 << 10
_NUMBER_DIGITS = 18
"""Maximum number of digits of a frame's number; centuries of frames have fewer."""
_ENROLL_S = 10.0


def make_app(
    stream: FaceStream,
    view: LiveView,
    *,
    token: str | None,
    side: int,
    fps: float,
    guard: ConnectionGuard,
    monitoring: MonitoringAnswers | None,
) -> App:
    """The application.

    Args:
        stream: whose frames are shown.
        view: that gets them.
        token: see :class:`Access`; health and metrics need none.
        side: longer side of a picture, in pixels.
        fps: maximum number of pictures per second that a viewer gets.
        guard: of the server that runs the application.
        monitoring: answers for health and metrics; None where another server gives them, or nobody does.
    """
    handlers = _Handlers(stream, view, side=side, fps=fps)
    app = Starlette(
        routes=[
            Mount("/api", routes=handlers.routes()),  # before the files, which would answer other methods with 404
            Mount("/", StaticFiles(directory=_PAGE, html=True)),
        ],
        exception_handlers={
            EdgeSphereFaceError: _told,
            asyncio.TimeoutError: _busy,
            HTTPStatus.METHOD_NOT_ALLOWED: _not_allowed,
        },
    )
    page = Access(guard.admitting(app), token)
    return guard.timed(page if monitoring is None else _beside(page, monitoring))


def _beside(page: App, monitoring: MonitoringAnswers) -> App:
    """The page, with health and metrics at the paths that are theirs."""
    answers = answering(monitoring)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = answers if scope["path"] in monitoring.PATHS else page
        await chosen(scope, receive, send)

    return app


class _Handlers:
    def __init__(self, stream: FaceStream, view: LiveView, *, side: int, fps: float) -> None:
        self._stream, self._view, self._side, self._interval_ms = stream, view, side, round(1000 / fps)
        self._described, self._description = float("-inf"), _description(stream)

    def routes(self) -> Sequence[BaseRoute]:
        """The paths below ``/api``."""
        return [
            Route("/frame", self.frame),
            Route("/gallery", self.gallery),
            Route("/enroll", self.enroll, methods=["POST"]),
            Route("/remove", self.remove, methods=["POST"]),
        ]

    async def frame(self, request: Request) -> Response:
        """The newest frame: at once, or the next one that is not number ``?after=``.

        The body is the length of the JSON (4 bytes, big-endian), the JSON, and the JPEG file or nothing.
        """
        after = request.query_params.get("after", "")
        known = int(after) if after.isdecimal() and len(after) <= _NUMBER_DIGITS else 0
        shown = await self._view.newer(known, _WAIT_S if after else 0.0)
        jpeg = b"" if shown is None else await run_in_threadpool(shown.jpeg, self._side)
        about: JsonObject = {
            "number": 0,
            "stream": self._stream.settings.name,
            "wait_ms": self._interval_ms,
            "statistics": self._describe(),
        }
        if shown is not None:
            height, width = shown.frame.image.shape[:2]
            about.update(number=shown.number, width=width, height=height, age_ms=round(shown.age_ms, 1))
            about["faces"] = [_about_track(track) for track in shown.faces]
        head = json.dumps(about).encode()
        return Response(len(head).to_bytes(4, "big") + head + jpeg, media_type="application/octet-stream")

    async def gallery(self, _: Request) -> Response:
        """The enrolled identities; null without a gallery."""
        gallery = self._stream.gallery
        if gallery is None:
            return JSONResponse({"people": None})

        def people() -> list[JsonObject]:
            return [
                {"name": person.name, "embeddings": person.embeddings, "enrolled_at": person.enrolled_at}
                for person in islice(gallery.identities(), _MOST_PEOPLE)
            ]

        return JSONResponse({"people": await run_in_threadpool(people), "total": await run_in_threadpool(len, gallery)})

    async def enroll(self, request: Request) -> Response:
        """Enroll a tracked face: ``{"track": 3, "name": "Ann"}``."""
        asked = await _body(request)
        if asked is None or type(asked.get("track")) is not int or not isinstance(asked.get("name"), str):
            return _bad("Expected a track and a name.")
        enrollment = await asyncio.wait_for(
            asyncio.wrap_future(self._stream.enroll(asked["track"], asked["name"].strip())), _ENROLL_S
        )
        alike = [candidate.name for candidate in enrollment.lookalikes]
        return JSONResponse({"name": enrollment.name, "embeddings": enrollment.embeddings, "lookalikes": alike})

    async def remove(self, request: Request) -> Response:
        """Remove an identity: ``{"name": "Ann"}``."""
        asked, gallery = await _body(request), self._stream.gallery
        if asked is None or not isinstance(asked.get("name"), str) or gallery is None:
            return _bad("Expected a name.")
        await run_in_threadpool(gallery.remove, [asked["name"]])
        await asyncio.wait_for(asyncio.wrap_future(self._stream.reconsider()), _ENROLL_S)
        return JSONResponse({"removed": asked["name"]})

    def _describe(self) -> JsonObject:
        now = time.monotonic()
        if now - self._described > _DESCRIBE_S:
            self._described, self._description = now, _description(self._stream)
        return self._description


def _about_track(track: Track) -> JsonObject:
    return {
        "track": track.number,
        "box": [round(float(edge), 1) for edge in track.face.box],
        "standing": track.standing,
        "name": track.name,
        "similarity": None if track.similarity is None else round(track.similarity, 3),
    }


def _description(stream: FaceStream) -> JsonObject:
    return {**json_object(stream.statistics()), **json_object(stream.health())}


async def _body(request: Request) -> JsonObject | None:
    data = b""
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > _BODY_BYTES:
                return None
        found: Any = parse_json(data, limit=_BODY_BYTES)
    except (ClientDisconnect, JsonError):
        return None
    return found if isinstance(found, dict) else None


def _bad(text: str) -> Response:
    return JSONResponse({"error": {"code": "usage", "message": text}}, status_code=400)


async def _told(_: Request, error: Exception) -> Response:
    if not isinstance(error, EdgeSphereFaceError):  # Starlette gives no others
        raise error
    about = {"code": error.code, "message": error.message, "hint": error.hint}
    return JSONResponse({"error": about}, status_code=409)


async def _not_allowed(_: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None) or {"Allow": ALLOWED}  # Starlette names none for files
    about = {"code": "usage", "message": f"Expected {headers['Allow']}."}
    return JSONResponse({"error": about}, status_code=HTTPStatus.METHOD_NOT_ALLOWED, headers=headers)


async def _busy(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": {"code": "busy", "message": "The camera's thread did not answer."}}, status_code=503)
