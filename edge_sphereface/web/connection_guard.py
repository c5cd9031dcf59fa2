"""Keeps viewers who are slow, idle or too many from holding the page's connections.

uvicorn closes idle connections, and waits for ever for the rest of a request that has begun and for the reader of an
answer. Here each connection has a deadline, which only whole requests and whole answers put off.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from edge_sphereface.stream.connections import Connection, Connections

_REQUEST_S = 10.0
"""From the beginning of a connection, or the end of an answer, to the end of the next request's headers."""
_ANSWER_S = 30.0
"""From there to the end of the answer, with the request's body: more than any answer takes here."""


class _Visit:
    """A connection with its deadline; used in the event loop's thread alone."""

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        self.connection = connection
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, seconds: float) -> None:
        """End the connection after as long, unless this is called again."""
        self.leave()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def leave(self) -> None:
        """Expect nothing more."""
        if self._timer is not None:
            self._timer.cancel()


class ConnectionGuard:
    """Counts and times the connections of one server.

    Args:
        connections: their caps.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._visits: dict[tuple[str, int], _Visit] = {}

    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn makes of each connection."""
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

    def timed(self, app: ASGIApp) -> ASGIApp:
        """Give every request its time; goes around everything else."""

        async def timed(scope: Scope, receive: Receive, send: Send) -> None:
            visit = self._of(scope)
            if visit is None:
                return

            async def told(message: Message) -> None:
                await send(message)
                if message["type"] == "http.response.body" and not message.get("more_body", False):
                    visit.expect(_REQUEST_S)

            visit.expect(_ANSWER_S)
            await app(scope, receive, told)

        return timed

    def admitting(self, app: ASGIApp) -> ASGIApp:
        """Keep the connections of those who came as far as ``app``, up to a cap; goes behind whatever refuses."""

        async def admitting(scope: Scope, receive: Receive, send: Send) -> None:
            visit = self._of(scope)
            if visit is not None and self._connections.accept(visit.connection):
                await app(scope, receive, send)
                return
            about = {"code": "busy", "message": "Too many viewers. Close other pages, or try again later."}
            refusal = JSONResponse({"error": about}, status_code=503, headers={"Connection": "close"})
            await refusal(scope, receive, send)

        return admitting

    def _enter(self, transport: asyncio.Transport) -> bool:
        peer = transport.get_extra_info("peername")
        if not peer:  # gone before it was here
            return False
        loop = asyncio.get_running_loop()
        connection = self._connections.enter(peer[0], lambda: loop.call_soon(transport.abort))
        if connection is None:
            return False
        visit = self._visits[peer[0], peer[1]] = _Visit(connection, transport)
        visit.expect(_REQUEST_S)
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
