"""Answers to GET and HEAD requests, and how a server of them is used."""

from __future__ import annotations

from http import HTTPStatus
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
ALLOWED = "GET, HEAD"
"""Methods that are answered; see RFC 9110, 9.1."""


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
        """Headers of the answer; those to HEAD are those to GET."""
        headers = {
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        return headers if self.status != HTTPStatus.METHOD_NOT_ALLOWED else {**headers, "Allow": ALLOWED}


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


def answer_to(method: str, path: str, answer: Callable[[str], Answer]) -> Answer:
    """The answer to a request, whose body belongs to GET alone; 405 for methods other than GET and HEAD."""
    if method in ALLOWED.split(", "):
        return answer(path)
    return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", f"expected {ALLOWED}\n".encode())


def answering(answer: Callable[[str], Answer]) -> App:
    """An ASGI application of answers to GET and HEAD requests.

    Args:
        answer: gives the answer to a path; it runs in the event loop and must be quick.
    """

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        found = answer_to(scope["method"], scope["path"], answer)
        headers = {**found.headers, "Server": SERVER_NAME}
        start = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": found.status, "headers": start})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else found.body})

    return app
