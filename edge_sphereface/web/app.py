"""The HTTP interface of the page, an ASGI application."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edge_sphereface.enrollment.person import best_crop
from edge_sphereface.errors import IdentityNotFoundError
from edge_sphereface.http_server.answer import answering
from edge_sphereface.json_output import json_text
from edge_sphereface.web.access import HOLDER, Access, lookalikes_for
from edge_sphereface.web.captures import CaptureEnrollRequest, CaptureRequest
from edge_sphereface.web.messages import (
    EnrollAnswer,
    EnrollRequest,
    FrameAnswer,
    NoFrame,
    PeopleAnswer,
    Person,
    RemoveAnswer,
    RemoveRequest,
    RequestError,
    ShownFace,
    ShownFrame,
    StateAnswer,
    StreamState,
)
from edge_sphereface.web.problems import exception_handlers, json_response, lacks_scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from edge_sphereface.audit import AuditLog
    from edge_sphereface.gallery import Enrollment, Gallery
    from edge_sphereface.http_server.answer import App, Receive, Scope, Send
    from edge_sphereface.http_server.connection_guard import ConnectionGuard
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.monitoring.health import MonitoringAnswers
    from edge_sphereface.stream.tracking.track import Track
    from edge_sphereface.web.access import Credentials
    from edge_sphereface.web.api import Api
    from edge_sphereface.web.live_view import Shown
    from edge_sphereface.web.shown_cameras import ShownCameras, WatchedCameras
    from edge_sphereface.web.tokens import Scope as TokenScope
    from edge_sphereface.web.tokens import TokenHolder

_PAGE = Path(__file__).parent / "page"
_WAIT_S = 5.0
"""Longest wait for a new frame; after it, the answer has none."""
_DESCRIBE_S = 0.5
_SMALL_SIDE = 480
"""Longer side of a small picture, in pixels."""
_MOST_PEOPLE = 1000
"""Maximum number of names that the page lists."""
_BODY_BYTES = 16 << 10
_NUMBER_DIGITS = 18
"""Maximum number of digits of a frame's number; centuries of frames have fewer."""
_ENROLL_S = 10.0


def make_app(
    *,
    credentials: Credentials,
    guard: ConnectionGuard,
    page: PageHandlers | None = None,
    api: Api | None = None,
    monitoring: MonitoringAnswers | None = None,
    is_secure: bool = False,
) -> App:
    """The application of one address.

    Args:
        credentials: see :class:`Access`; health and metrics of ``monitoring`` need none.
        guard: of the server that runs the application.
        page: handlers of the page; None without it.
        api: handlers of the HTTP interface; None without it.
        monitoring: answers for health and metrics; None where another server gives them, or nobody does.
        is_secure: whether the server speaks TLS.
    """
    paths = [*([] if api is None else api.routes()), *([] if page is None else page.routes())]
    # Before the files, which would answer other methods with 404
    routes: list[BaseRoute] = [Mount("/api", routes=paths)]
    if page is not None:
        routes.append(Mount("/", StaticFiles(directory=_PAGE, html=True)))
    hint = "" if api is None else "GET /api/openapi.json describes the interface"
    app = Starlette(routes=routes, exception_handlers=exception_handlers(hint=hint, routes=paths))
    guarded = Access(guard.admitting(app), credentials, is_secure=is_secure)
    return guard.timed(guarded if monitoring is None else _beside(guarded, monitoring))


def _beside(page: App, monitoring: MonitoringAnswers) -> App:
    """The page, with health and metrics at the paths that are theirs."""
    answers = answering(monitoring)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = answers if scope["path"] in monitoring.PATHS else page
        await chosen(scope, receive, send)

    return app


class PageHandlers:
    """Handlers of the page.

    Args:
        watched: the cameras.
        shown: their newest frames.
        side: longer side of a picture, in pixels.
        fps: maximum number of pictures per second that a viewer gets.
        audit: where enrollments and removals are recorded; None for nowhere.
        operations: of the HTTP interface, as far as the page uses them.
    """

    def __init__(
        self,
        watched: WatchedCameras,
        shown: ShownCameras,
        *,
        side: int,
        fps: float,
        audit: AuditLog | None = None,
        operations: Sequence[BaseRoute] = (),
    ) -> None:
        self._audit, self._operations = audit, operations
        self._watched, self._shown, self._side, self._interval_ms = watched, shown, side, round(1000 / fps)
        self._described: dict[str, tuple[float, StreamState]] = {}

    def routes(self) -> Sequence[BaseRoute]:
        """The paths below ``/api``."""
        return [
            Route("/frame", _for("read", self.frame)),
            Route("/state", _for("read", self.state)),
            Route("/gallery", _for("read", self.gallery)),
            Route("/portrait", _for("read", self.portrait)),
            Route("/enroll", _for("enroll", self.enroll), methods=["POST"]),
            Route("/remove", _for("enroll", self.remove), methods=["POST"]),
            Route("/capture", _for("enroll", self.capture), methods=["GET"]),
            Route("/capture", _for("enroll", self.begin_capture), methods=["POST"]),
            Route("/capture/crop", _for("enroll", self.capture_crop)),
            Route("/capture/enroll", _for("enroll", self.enroll_capture), methods=["POST"]),
            Route("/capture/cancel", _for("enroll", self.cancel_capture), methods=["POST"]),
            *self._operations,
        ]

    async def frame(self, request: Request) -> Response:
        """The newest frame of ``?camera=``: at once, or the next one that is not number ``?after=``.

        With ``?small=``, the picture is small, and a frame that is not there yet is not waited for.

        The body is the length of the JSON (4 bytes, big-endian), the JSON, and the JPEG file or nothing.
        """
        after = request.query_params.get("after", "")
        known = int(after) if after.isdecimal() and len(after) <= _NUMBER_DIGITS else 0
        is_small = "small" in request.query_params
        stream = self._stream(request.query_params.get("camera", ""))
        view = self._shown.view(stream.settings.name)
        shown = await view.newer(known, _WAIT_S if after and not is_small else 0.0)
        side = min(self._side, _SMALL_SIDE) if is_small else self._side
        jpeg = b"" if shown is None else await run_in_threadpool(shown.jpeg, side)
        about = FrameAnswer(
            frame=NoFrame() if shown is None else _about_frame(shown),
            stream=stream.settings.name,
            wait_ms=self._interval_ms,
            statistics=self._describe(stream),
        )
        head = json_text(about, ascii_only=True).encode()
        return Response(len(head).to_bytes(4, "big") + head + jpeg, media_type="application/octet-stream")

    async def state(self, _: Request) -> Response:
        """All cameras, what is wrong, and the latest decisions."""
        tiles = self._shown.tiles(self._watched)
        problems = tuple(self._watched.problems())
        self._described = {tile.name: self._described[tile.name] for tile in tiles if tile.name in self._described}
        return json_response(
            StateAnswer(
                cameras=tiles,
                problems=problems,
                recent=self._shown.sightings.decisions(),
                keeps_strangers=self._watched.strangers is not None,
            )
        )

    async def portrait(self, request: Request) -> Response:
        """The stored crop of ``?name=`` that is most alike the person's others, a PNG file."""
        gallery, name = self._watched.gallery, request.query_params.get("name", "")

        def crop() -> bytes | None:
            found = None if gallery is None else gallery.portrait(name)
            return None if gallery is None or found is None else best_crop(gallery, found)

        shown = await run_in_threadpool(crop)
        if shown is None:
            raise IdentityNotFoundError("No crop of that name is stored.", hint="keep crops when people are enrolled")
        return Response(shown, media_type="image/png")

    async def gallery(self, _: Request) -> Response:
        """The enrolled identities; null without a gallery."""
        gallery = self._watched.gallery
        if gallery is None:
            return json_response(PeopleAnswer(people=None))

        def people() -> tuple[Person, ...]:
            return tuple(
                Person(
                    name=person.name,
                    embeddings=person.embeddings,
                    crops=person.crops,
                    enrolled_at=person.enrolled_at,
                    ignored=person.ignored,
                    seen=self._shown.sightings.last(person.name),
                )
                for person in islice(gallery.identities(), _MOST_PEOPLE)
            )

        return json_response(
            PeopleAnswer(people=await run_in_threadpool(people), total=await run_in_threadpool(len, gallery))
        )

    async def enroll(self, request: Request) -> Response:
        """Enroll a face that ``?camera=`` tracks: ``{"track": 3, "name": "Ann"}``."""
        asked = EnrollRequest.from_json(await _body(request))
        stream = self._stream(request.query_params.get("camera", ""))
        enrollment = await asyncio.wait_for(
            asyncio.wrap_future(stream.enroll(asked.track, asked.name.strip())), _ENROLL_S
        )
        await self._record(request, "enroll", enrollment.name, enrollment.added)
        return self._enrolled(request, enrollment)

    async def begin_capture(self, request: Request) -> Response:
        """Begin a guided capture with ``?camera=``."""
        stream = self._stream(request.query_params.get("camera", ""))
        return json_response(await run_in_threadpool(self._shown.captures.begin, stream))

    async def capture(self, request: Request) -> Response:
        """How far the guided capture ``?id=`` is. One that nobody asks for is dropped."""
        return json_response(self._shown.captures.state(request.query_params.get("id", "")))

    async def capture_crop(self, request: Request) -> Response:
        """The picture of ``?pose=`` of the guided capture ``?id=``."""
        found = (request.query_params.get(name, "") for name in ("id", "pose"))
        return Response(await run_in_threadpool(self._shown.captures.crop, *found), media_type="image/jpeg")

    async def enroll_capture(self, request: Request) -> Response:
        """Enroll a complete guided capture: ``{"id": "…", "name": "Ann"}``."""
        asked, gallery = CaptureEnrollRequest.from_json(await _body(request)), self._gallery()
        enrollment = await run_in_threadpool(self._shown.captures.enroll, asked.id, asked.name.strip(), gallery)
        await self._record(request, "enroll", enrollment.name, enrollment.added)
        await self._reconsider()
        return self._enrolled(request, enrollment)

    async def cancel_capture(self, request: Request) -> Response:
        """Drop a guided capture with its pictures: ``{"id": "…"}``."""
        asked = CaptureRequest.from_json(await _body(request))
        self._shown.captures.cancel(asked.id)
        return Response(status_code=204)

    async def remove(self, request: Request) -> Response:
        """Remove an identity: ``{"name": "Ann"}``."""
        asked, gallery = RemoveRequest.from_json(await _body(request)), self._gallery()
        removed = await run_in_threadpool(gallery.remove, [asked.name])
        await self._record(request, "remove", asked.name, removed)
        await self._reconsider()
        return json_response(RemoveAnswer(removed=asked.name))

    async def _reconsider(self) -> None:
        """Let all cameras follow a change of the gallery."""
        asks = [asyncio.wrap_future(self._watched.stream(one.name).reconsider()) for one in self._watched.cameras()]
        if asks:
            _, waiting = await asyncio.wait(asks, timeout=_ENROLL_S)
            if len(waiting) == len(asks):  # one camera that hangs is no reason to refuse
                raise asyncio.TimeoutError

    @staticmethod
    def _enrolled(request: Request, enrollment: Enrollment) -> Response:
        alike = tuple(candidate.name for candidate in lookalikes_for(request.scope[HOLDER], enrollment))
        return json_response(EnrollAnswer(name=enrollment.name, embeddings=enrollment.embeddings, lookalikes=alike))

    def _gallery(self) -> Gallery:
        if self._watched.gallery is None:
            raise RequestError("Expected a gallery, but the program runs without one.")
        return self._watched.gallery

    async def _record(self, request: Request, action: str, name: str, embeddings: int) -> None:
        audit, by = self._audit, request.scope[HOLDER].name
        if audit is not None:
            detail = {"embeddings": embeddings}
            await run_in_threadpool(lambda: audit.record(action, subject=name, by=by, detail=detail))

    def _stream(self, camera: str) -> FaceStream:
        """The stream of a camera; the first where none is named."""
        cameras = self._watched.cameras()
        name = camera or next((one.name for one in cameras), "")
        if name not in {one.name for one in cameras}:
            raise RequestError("Expected the name of a camera, got one that there is not.")
        return self._watched.stream(name)

    def _describe(self, stream: FaceStream) -> StreamState:
        now, name = time.monotonic(), stream.settings.name
        at, state = self._described.get(name, (float("-inf"), None))
        if state is None or now - at > _DESCRIBE_S:
            state = _state(stream)
            self._described[name] = now, state
        return state


def _about_frame(shown: Shown) -> ShownFrame:
    height, width = shown.frame.image.shape[:2]
    return ShownFrame(
        number=shown.number,
        width=width,
        height=height,
        age_ms=shown.age_ms,
        faces=tuple(map(_about_track, shown.faces)),
    )


def _about_track(track: Track) -> ShownFace:
    left, top, right, bottom = track.face.box.tolist()
    return ShownFace(
        track=track.number,
        box=(left, top, right, bottom),
        standing=track.standing,
        name=track.name,
        similarity=track.similarity,
    )


def _state(stream: FaceStream) -> StreamState:
    return StreamState(statistics=stream.statistics(), health=stream.health())


async def _body(request: Request) -> bytes:
    data = b""
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > _BODY_BYTES:
                raise RequestError(f"Expected a body of at most {_BODY_BYTES} bytes.")
    except ClientDisconnect as error:
        raise RequestError("The client left before the end of the request.") from error
    return data


def _for(scope: TokenScope, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Any]:
    """A handler for those whose token has a scope."""

    async def guarded(request: Request) -> Response:
        holder: TokenHolder = request.scope[HOLDER]
        if not holder.may(scope):
            return lacks_scope(holder, scope)
        return await handler(request)

    return guarded
