"""Answers to GET requests, and how a server of them is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

Scope: TypeAlias = "MutableMapping[str, Any]"
Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
App: TypeAlias = "Callable[[Scope, Receive, Send], Awaitable[None]]"
"""An ASGI application."""

SERVER_NAME = "edge_sphereface"


class Answer(NamedTuple):
    """An answer, after which the connection ends.

    Attributes:
        status: HTTP status.
        content_type: media type of the body.
        body: the content.
    """

    status: int
    content_type: str
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            "Connection": "close",
        }


class Server(Protocol):
    """A server in a thread of its own. It listens from the beginning, and answers after :meth:`start`.

    Attributes:
        port: that it listens on.
    """

    port: int

    def start(self) -> None:
        """Answer."""

    def close(self, timeout_s: float) -> None:
        """End every connection; wait for the thread at most as long."""


def answering(answer: Callable[[str], Answer]) -> App:
    """An ASGI application of answers to GET requests.

    Args:
        answer: gives the answer to a path; it runs in the event loop and must be quick.
    """

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        found = answer(scope["path"]) if scope["method"] == "GET" else Answer(501, "text/plain", b"expected GET\n")
        headers = {**found.headers, "Server": SERVER_NAME}
        start = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": found.status, "headers": start})
        await send({"type": "http.response.body", "body": found.body})

    return app
