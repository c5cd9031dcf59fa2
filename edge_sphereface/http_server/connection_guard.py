"""Keeps peers that are slow, idle or too many from holding the connections of a uvicorn server.

uvicorn closes idle connections, but waits without limit for the rest of a request that has begun and for the reader of
an answer. Here each connection has a deadline, which only complete requests and complete answers extend.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_sphereface.http_server.connections import Connections

if TYPE_CHECKING:
    from edge_sphereface.http_server.answer import App, Message, Receive, Scope, Send
    from edge_sphereface.http_server.connections import Connection, ConnectionCaps


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a peer may take.

    Attributes:
        request_s: seconds from the beginning of a connection, or the end of an answer, to the end of the next request's
            headers.
        answer_s: seconds from there to the end of the answer, with the request's body; None where ``request_s`` covers
            the answer as well.
    """

    request_s: float
    answer_s: float | None = None


ANSWER = "edge_sphereface.answer"
"""Key of a request's scope with its :class:`AnswerDeadline`."""


@dataclass(slots=True)
class AnswerDeadline:
    """How the deadline of an answer counts.

    Attributes:
        is_endless: whether each part of the answer that the peer takes begins the deadline anew, as for an answer
            without an end.
    """

    is_endless: bool = False


_BUSY = json.dumps(
    {"error": {"code": "busy", "message": "Too many viewers. Close other pages, or try again later."}}
).encode()


class _Visit:
    """A connection with its deadline; used only in the event loop's thread."""

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        self.connection = connection
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, seconds: float) -> None:
        """Close the connection after this time, unless the deadline is set again or removed."""
        self.leave()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def leave(self) -> None:
        """Remove the deadline."""
        if self._timer is not None:
            self._timer.cancel()


class ConnectionGuard:
    """Limits the number and the duration of the connections of one server.

    Args:
        caps: limits of the connections.
        deadlines: of their requests and answers.

    Attributes:
        batch: connections to take at a time.
    """

    def __init__(self, caps: ConnectionCaps, deadlines: Deadlines) -> None:
        self.batch = caps.batch
        self._connections, self._deadlines = Connections(caps), deadlines
        self._visits: dict[tuple[str, int], _Visit] = {}

    def protocol(self) -> type[asyncio.Protocol]:
        """The class that uvicorn makes an object of for each connection."""
        guard = self

        class Protocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
                self._is_inside = guard._enter(transport)
                if self._is_inside:
                    super().connection_made(transport)
                else:
                    transport.abort()

            def connection_lost(self, exc: Exception | None) -> None:
                if self._is_inside:
                    guard._leave(self.transport)
                    super().connection_lost(exc)

        return Protocol

    def timed(self, app: App) -> App:
        """Give each request its deadlines; the outermost part of an application."""

        async def timed(scope: Scope, receive: Receive, send: Send) -> None:
            visit = self._of(scope)
            if visit is None:
                return

            answer = scope[ANSWER] = AnswerDeadline()

            async def told(message: Message) -> None:
                await send(message)  # waits while the peer reads nothing
                if message["type"] != "http.response.body":
                    return
                if not message.get("more_body", False):
                    visit.expect(self._deadlines.request_s)
                elif answer.is_endless and self._deadlines.answer_s is not None:
                    visit.expect(self._deadlines.answer_s)

            if self._deadlines.answer_s is not None:
                visit.expect(self._deadlines.answer_s)
            await app(scope, receive, told)

        return timed

    def admitting(self, app: App) -> App:
        """Keep connections whose request reaches ``app``, up to a cap; stands behind all that refuses requests."""

        async def admitting(scope: Scope, receive: Receive, send: Send) -> None:
            visit = self._of(scope)
            if visit is not None and self._connections.accept(visit.connection):
                await app(scope, receive, send)
                return
            headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
            headers.append((b"content-length", str(len(_BUSY)).encode()))
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": _BUSY})

        return admitting

    def _enter(self, transport: asyncio.Transport) -> bool:
        peer = transport.get_extra_info("peername")
        if not peer:  # it ended before it was taken
            return False
        loop = asyncio.get_running_loop()
        connection = self._connections.enter(peer[0], lambda: loop.call_soon(transport.abort))
        if connection is None:
            return False
        visit = self._visits[peer[0], peer[1]] = _Visit(connection, transport)
        visit.expect(self._deadlines.request_s)
        return True

    def _leave(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        visit = self._visits.pop((peer[0], peer[1]), None)
        if visit is not None:
            visit.leave()
            self._connections.leave(visit.connection)

    def _of(self, scope: Scope) -> _Visit | None:
        client: Any = scope.get("client")
        return None if client is None else self._visits.get((client[0], client[1]))
