"""The HTTP interface: pictures, people, cameras and events, below ``/api``."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import dropwhile, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from edge_sphereface._version import __version__
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.http_server.connection_guard import ANSWER
from edge_sphereface.json_output import json_object
from edge_sphereface.storage.bounded_json import JsonError, parse_json
from edge_sphereface.web.access import HOLDER, lookalikes_for
from edge_sphereface.web.api_messages import (
    CameraChanged,
    CameraList,
    CameraName,
    IgnoreRequest,
    InterfaceHealth,
    MergeRequest,
    PeoplePage,
    QueueState,
    RenameRequest,
)
from edge_sphereface.web.messages import RemoveAnswer, RemoveRequest, RequestError
from edge_sphereface.web.operations import OPERATIONS
from edge_sphereface.web.problems import json_response, lacks_scope, problem, retry_after
from edge_sphereface.web.rate_limit import RateLimit
from edge_sphereface.web.request_content import (
    JSON_BYTES,
    PictureBody,
    discard_body,
    read_body,
    unknown_parameter,
    value_of,
)
from edge_sphereface.web.stranger_desk import ForgottenStranger, StrangerDesk, StrangerName
from edge_sphereface.web.work_queue import BusyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from edge_sphereface.audit import AuditLog
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.pipeline import Selection
    from edge_sphereface.strangers import StrangerKeeper
    from edge_sphereface.types import JsonObject
    from edge_sphereface.web.camera_control import CameraControl
    from edge_sphereface.web.event_log import EventLog, LoggedEvent
    from edge_sphereface.web.operations import Operation
    from edge_sphereface.web.picture_service import PictureService
    from edge_sphereface.web.problems import Advise
    from edge_sphereface.web.tokens import TokenHolder

T = TypeVar("T")

_DOCUMENT = Path(__file__).parent / "openapi.json"
_ALL_FILES = 8
"""Bytes of the pictures of all requests, in sizes of the largest picture."""
_HEARTBEAT_S = 15.0
_MOST_FOLLOWERS, _MOST_FOLLOWERS_OF_ONE = 64, 8


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the interface gives access to; None where a program has no such part.

    Attributes:
        gallery: the enrolled people.
        pictures: for single pictures.
        events: for those who follow.
        cameras: a group of cameras.
        strangers: what keeps people without a name.
        read_camera: reads one of its cameras from the values of a ``[[camera]]`` table; None where cameras are only
            listed.
        audit: where changes of the gallery and look-ups are recorded.
        is_healthy: whether the streams beside the interface work.
        on_gallery_change: called after each change of the gallery, in a thread of the interface.
        advise: adds to a hint what to type for a remedy.
    """

    gallery: Gallery | None = None
    pictures: PictureService | None = None
    events: EventLog | None = None
    cameras: CameraControl | None = None
    strangers: StrangerKeeper | None = None
    read_camera: Callable[[JsonObject], Any] | None = None
    audit: AuditLog | None = None
    is_healthy: Callable[[], bool] | None = None
    on_gallery_change: Callable[[], object] | None = None
    advise: Advise | None = None


class Api:
    """Handlers of the operations.

    Args:
        parts: what they give access to.
        limit: of the requests of each token.
        heartbeat_s: seconds between signs of life to those who follow events.
    """

    def __init__(self, parts: Parts, *, limit: RateLimit | None = None, heartbeat_s: float = _HEARTBEAT_S) -> None:
        self._parts = parts
        self._limit = limit or RateLimit()
        self._heartbeat_s = heartbeat_s
        self._bytes = 0
        self._followers: dict[str, int] = {}

    def routes(self, below: str = "/") -> Sequence[BaseRoute]:
        """The paths below ``/api``, or below a part of it."""
        return [
            Route(operation.path, self._guarded(operation), methods=[operation.method])
            for operation in OPERATIONS
            if operation.path.startswith(below)
        ]

    def _guarded(self, operation: Operation) -> Callable[[Request], Any]:
        handler = getattr(self, f"_{operation.name}")

        async def endpoint(request: Request) -> Response:
            try:
                answer = self._refusal(request, operation)
                if answer is None:
                    values = {known.name: value_of(request, known) for known in operation.parameters}
                    given = {name: value for name, value in values.items() if value is not None}
                    return await handler(request, **given)  # type: ignore[no-any-return] # as every handler
            except (EdgeSphereFaceError, asyncio.TimeoutError):
                await discard_body(request)
                raise
            await discard_body(request)
            return answer

        return endpoint

    def _refusal(self, request: Request, operation: Operation) -> Response | None:
        """The answer to a request that its token does not permit; None for one that is permitted.

        Raises:
            RequestError: the query has a parameter that is none.
        """
        holder: TokenHolder = request.scope[HOLDER]
        if operation.scope is not None and not holder.may(operation.scope):
            return lacks_scope(holder, operation.scope, self._parts.advise)
        wait_s = self._limit.wait_s(holder)
        if wait_s:
            message = f"The token {holder.name!r} may make {holder.per_second:g} requests a second."
            return problem(429, "rate", message, hint="wait as Retry-After says", headers=retry_after(wait_s))
        names = [known.name for known in operation.parameters if known.place == "query"]
        unknown = set(request.query_params) - {*names, "token"}
        if unknown:
            raise unknown_parameter(min(unknown), names)
        return None

    # ---- pictures -------------------------------------------------------------------------------------------------

    async def _detect(self, request: Request) -> Response:
        pictures = self._pictures()
        async with PictureBody(request, self._room) as body:
            found = await self._done(pictures.detect(await body.picture(pictures)))
        return json_response(found)

    async def _embed(self, request: Request) -> Response:
        pictures = self._pictures()
        async with PictureBody(request, self._room) as body:
            found = await self._done(pictures.embed(await body.picture(pictures)))
        return json_response(found)

    async def _verify(self, request: Request, *, threshold: float | None = None) -> Response:
        pictures = self._pictures()
        async with PictureBody(request, self._room) as body:
            first, second = await body.pair(pictures)
            found = await self._done(pictures.verify(first, second, threshold=threshold))
        return json_response(found)

    async def _identify(
        self, request: Request, *, top: int = 5, threshold: float | None = None, margin: float = 0.0
    ) -> Response:
        pictures = self._pictures()
        pictures.require_gallery()
        may_list = request.scope[HOLDER].may("read")
        async with PictureBody(request, self._room) as body:
            picture = await body.picture(pictures)
            found = await self._done(
                pictures.identify(picture, top=top, threshold=threshold, margin=margin, matches_only=not may_list)
            )
        names = sorted({face.answer.name for face in found.faces if face.answer.name is not None})
        for name in names or [""]:
            await self._audit(request, "identify", name, {"faces": len(found.faces)})
        return json_response(found)

    # ---- people ---------------------------------------------------------------------------------------------------

    async def _people(self, _: Request, *, after: str = "", limit: int = 100) -> Response:
        gallery = self._gallery()

        def page() -> PeoplePage:
            later = dropwhile(lambda identity: identity.name <= after, gallery.identities())
            found = tuple(islice(later, limit + 1))
            more = len(found) > limit
            return PeoplePage(people=found[:limit], total=len(gallery), next=found[limit - 1].name if more else None)

        return json_response(await run_in_threadpool(page))

    async def _enroll(self, request: Request, *, name: str, select: str = "only") -> Response:
        pictures = self._pictures()
        pictures.require_gallery().require_writable()
        async with PictureBody(request, self._room) as body:
            files = await body.pictures(pictures)
            await self._prepare_audit()
            chosen: Selection = "largest" if select == "largest" else "only"
            enrolled = await self._done(pictures.enroll(name.strip(), files, select=chosen))
        enrollment = enrolled.enrollment
        await self._changed(request, "enroll", enrollment.name, {"embeddings": enrollment.added})
        alike = lookalikes_for(request.scope[HOLDER], enrollment)
        return json_response(replace(enrolled, enrollment=replace(enrollment, lookalikes=alike)))

    async def _rename(self, request: Request) -> Response:
        asked, gallery = RenameRequest.from_json(await read_body(request, JSON_BYTES)), self._gallery()
        await self._prepare_audit()
        identity = await run_in_threadpool(gallery.rename, asked.name, asked.to.strip())
        await self._changed(request, "rename", asked.name, {})
        return json_response(identity)

    async def _merge(self, request: Request) -> Response:
        asked, gallery = MergeRequest.from_json(await read_body(request, JSON_BYTES)), self._gallery()
        await self._prepare_audit()
        identity = await run_in_threadpool(gallery.merge, asked.name, asked.into)
        await self._changed(request, "merge", asked.name, {})
        return json_response(identity)

    async def _remove(self, request: Request) -> Response:
        asked, gallery = RemoveRequest.from_json(await read_body(request, JSON_BYTES)), self._gallery()
        await self._prepare_audit()
        removed = await run_in_threadpool(gallery.remove, [asked.name])
        await self._changed(request, "remove", asked.name, {"embeddings": removed})
        return json_response(RemoveAnswer(removed=asked.name))

    async def _ignore(self, request: Request) -> Response:
        asked, gallery = IgnoreRequest.from_json(await read_body(request, JSON_BYTES)), self._gallery()
        await self._prepare_audit()
        identity = await run_in_threadpool(gallery.set_ignored, asked.name, asked.ignored)
        await self._changed(request, "ignore" if asked.ignored else "unignore", asked.name, {})
        return json_response(identity)

    # ---- strangers ------------------------------------------------------------------------------------------------

    async def _strangers(self, _: Request, *, least: int = 1) -> Response:
        return json_response(await run_in_threadpool(self._desk().list, least))

    async def _stranger(self, _: Request, *, stranger: str) -> Response:
        return json_response(await run_in_threadpool(self._desk().show, stranger))

    async def _stranger_crop(self, _: Request, *, stranger: str) -> Response:
        return Response(await run_in_threadpool(self._desk().crop, stranger), media_type="image/jpeg")

    async def _name_stranger(self, request: Request, *, stranger: str) -> Response:
        return await self._enroll_stranger(request, stranger, ignored=False)

    async def _ignore_stranger(self, request: Request, *, stranger: str) -> Response:
        return await self._enroll_stranger(request, stranger, ignored=True)

    async def _enroll_stranger(self, request: Request, stranger: str, *, ignored: bool) -> Response:
        asked, desk = StrangerName.from_json(await read_body(request, JSON_BYTES)), self._desk()
        await self._prepare_audit()
        enrollment = await run_in_threadpool(lambda: desk.enroll(stranger, asked.name.strip(), ignored=ignored))
        detail: dict[str, str | float] = {"embeddings": enrollment.added, **({"ignored": "yes"} if ignored else {})}
        await self._changed(request, "enroll", enrollment.name, detail)
        alike = lookalikes_for(request.scope[HOLDER], enrollment)
        return json_response(replace(enrollment, lookalikes=alike))

    async def _forget_stranger(self, request: Request, *, stranger: str) -> Response:
        await self._prepare_audit()
        count = await run_in_threadpool(self._desk().forget, stranger)
        await self._audit(request, "remove", "", {"strangers": count})
        return json_response(ForgottenStranger(sightings=count))

    # ---- cameras --------------------------------------------------------------------------------------------------

    async def _cameras(self, _: Request) -> Response:
        found = await run_in_threadpool(self._control().cameras)
        return json_response(CameraList(cameras=tuple(map(json_object, found))))

    async def _add_camera(self, request: Request) -> Response:
        return await self._put_camera(request, self._control().add)

    async def _change_camera(self, request: Request) -> Response:
        return await self._put_camera(request, self._control().change)

    async def _put_camera(self, request: Request, put: Callable[[Any], object]) -> Response:
        try:
            values = parse_json(await read_body(request, JSON_BYTES))
        except JsonError as error:
            raise RequestError(f"The request is not JSON: {error}.") from error
        if not isinstance(values, dict):
            raise RequestError("Expected a JSON object with the settings of a camera.")
        if self._parts.read_camera is None:
            raise _AbsentError("The cameras of this program cannot be changed.", hint="change its settings")
        try:
            camera = self._parts.read_camera(values)
        except EdgeSphereFaceError as error:
            raise RequestError(error.message, hint=error.hint) from error
        await run_in_threadpool(put, camera)
        return json_response(CameraChanged(camera=str(values.get("name", ""))))

    async def _remove_camera(self, request: Request) -> Response:
        asked = CameraName.from_json(await read_body(request, JSON_BYTES))
        await run_in_threadpool(self._control().remove, asked.name)
        return json_response(CameraChanged(camera=asked.name))

    async def _snapshot(self, _: Request, *, name: str) -> Response:
        return Response(await run_in_threadpool(self._control().snapshot, name), media_type="image/jpeg")

    # ---- the rest -------------------------------------------------------------------------------------------------

    async def _openapi(self, _: Request) -> Response:
        return Response(_document(), media_type="application/json")

    async def _health(self, _: Request) -> Response:
        parts = self._parts
        queue = None if parts.pictures is None else parts.pictures.queue
        people = None if parts.gallery is None else await run_in_threadpool(len, parts.gallery)
        cameras = None if parts.cameras is None else len(await run_in_threadpool(parts.cameras.cameras))
        state = InterfaceHealth(
            healthy=parts.is_healthy is None or parts.is_healthy(),
            version=__version__,
            people=people,
            pictures=None
            if queue is None
            else QueueState(
                waiting=queue.waiting, work_ms=round(queue.work_ms, 1), done=queue.done, refused=queue.refused
            ),
            cameras=cameras,
        )
        return json_response(state, 200 if state.healthy else 503)

    async def _events(self, request: Request, *, stream: str | None = None, kind: str | None = None) -> Response:
        log, holder = self._parts.events, request.scope[HOLDER].name
        if log is None:
            raise _AbsentError("The program has no events.", hint="events come from cameras")
        mine = self._followers.get(holder, 0)
        if mine >= _MOST_FOLLOWERS_OF_ONE or sum(self._followers.values()) >= _MOST_FOLLOWERS:
            raise BusyError("Too many clients follow the events.", hint="end other connections", retry_s=_HEARTBEAT_S)
        kinds = None if kind is None else frozenset(kind.split(","))

        def wanted(event: LoggedEvent) -> bool:
            return (stream is None or event.stream == stream) and (kinds is None or event.kind in kinds)

        resumed = request.headers.get("last-event-id")
        position = log.last if resumed is None else log.position_of(resumed)
        request.scope[ANSWER].is_endless = True
        return StreamingResponse(
            self._follow(log, holder, position, wanted),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},  # nginx would hold events back
        )

    async def _follow(
        self, log: EventLog, holder: str, position: int | None, wanted: Callable[[LoggedEvent], bool]
    ) -> AsyncIterator[str]:
        """Events from a position on; from the oldest one that is kept if the position is of another run."""
        self._followers[holder] = self._followers.get(holder, 0) + 1
        try:
            yield "retry: 2000\n\n"
            if position is None:
                yield 'event: gap\ndata: {"missed": null}\n\n'
                position = max(log.first - 1, 0)
            while True:
                part = log.after(position, wanted)
                if part.missed:
                    yield f'event: gap\ndata: {{"missed": {part.missed}}}\n\n'
                for event in part.events:
                    yield f"id: {log.identifier(event.number)}\nevent: {event.kind}\ndata: {event.line}\n\n"
                position = part.position
                if log.closed:
                    return
                if not await log.changed(position, self._heartbeat_s):
                    yield ":\n\n"
        finally:
            self._followers[holder] -= 1
            if not self._followers[holder]:
                del self._followers[holder]

    def _pictures(self) -> PictureService:
        if self._parts.pictures is None:
            raise _AbsentError("The program takes no pictures.", hint="start it with a model")
        self._parts.pictures.queue.require_room()
        return self._parts.pictures

    def _gallery(self) -> Gallery:
        if self._parts.gallery is None:
            raise _AbsentError("The program runs without a gallery.", hint="start it with one")
        return self._parts.gallery

    def _control(self) -> CameraControl:
        if self._parts.cameras is None:
            raise _AbsentError(
                "The program has no group of cameras.", hint="start it with cameras in its file of settings"
            )
        return self._parts.cameras

    def _desk(self) -> StrangerDesk:
        if self._parts.strangers is None:
            raise _AbsentError(
                "The program keeps no strangers.", hint="start it with a file for them, and say how long"
            )
        return StrangerDesk(self._parts.strangers, self._gallery())

    async def _done(self, future: Future[T]) -> T:
        """The result of queued work, within the deadline; work that has not begun by then is not done."""
        assert self._parts.pictures is not None  # noqa: S101 -- which gave the future
        deadline_s = self._parts.pictures.limits.picture_deadline_s
        return await asyncio.wait_for(asyncio.wrap_future(future), deadline_s)

    async def _prepare_audit(self) -> None:
        if self._parts.audit is not None:
            await run_in_threadpool(self._parts.audit.prepare)

    async def _audit(self, request: Request, action: str, subject: str, detail: Mapping[str, str | float]) -> None:
        audit = self._parts.audit
        if audit is not None:
            by = request.scope[HOLDER].name
            await run_in_threadpool(lambda: audit.record(action, subject=subject, by=by, detail=detail))

    async def _changed(self, request: Request, action: str, subject: str, detail: Mapping[str, str | float]) -> None:
        """Record a change of the gallery, and let streams follow it."""
        await self._audit(request, action, subject, detail)
        if self._parts.on_gallery_change is not None:
            await run_in_threadpool(self._parts.on_gallery_change)

    @contextmanager
    def _room(self, size: int) -> Iterator[None]:
        """Count the bytes of a request while it is read and its work waits.

        Raises:
            BusyError: the requests that are being read have too many.
        """
        pictures = self._parts.pictures
        most = _ALL_FILES * (pictures.limits.file_bytes if pictures is not None else 0)
        if self._bytes and self._bytes + size > most:
            raise BusyError("Too many pictures are being sent.", hint="send fewer at a time")
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size


class _AbsentError(EdgeSphereFaceError):
    """The program has no such part."""

    code = "absent"


@cache
def _document() -> bytes:
    return _DOCUMENT.read_bytes()
