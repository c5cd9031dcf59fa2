"""Serves the page in its own thread."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edge_sphereface.errors import ExtraError, SinkError
from edge_sphereface.stream.connections import ConnectionCaps, Connections
from edge_sphereface.web.live_view import LiveView
from edge_sphereface.web.loopback import is_loopback

if TYPE_CHECKING:
    import uvicorn

    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.recognition.frame_processor import FrameResult

_LIBRARIES = ("starlette", "uvicorn")
_MOST_CONNECTIONS = 512
_BATCH = 32
"""Connections that are taken before the next look at those that exist: each holds a descriptor at once."""
_QUEUE = 512
"""Connections that the system holds until they are taken; they cost this process nothing."""


class PageView:
    """The page, as a frame sink.

    Args:
        host: to listen on.
        port: likewise; 0 takes any.
        token: that viewers must have; needed wherever ``host`` is not this machine alone.
        side: pixels that the longer side of the picture is shrunk to.
        fps: pictures a second that a viewer gets, at most.

    Raises:
        SinkError: no token where one is needed.
        ExtraError: the extra ``web`` is missing.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 8080, *, token: str | None = None, side: int = 960, fps: float = 15.0
    ) -> None:
        missing = [name for name in _LIBRARIES if find_spec(name) is None]
        if missing:  # said at once, not when the camera is open
            raise ExtraError(
                f"The page needs {' and '.join(missing)}, not installed here.",
                hint="pip install 'edge-sphereface[web]'",
            )
        if token is not None and len(token) < 8:
            raise SinkError(
                "Expected a token of at least 8 characters.", hint="python -c 'import secrets; …' makes one"
            )
        if token is None and not is_loopback(host):
            raise SinkError(f"{host} can be reached by others.", hint="give the page a token")
        self.problem = ""
        self.host, self.port = host, port
        self._token, self._side, self._fps = token, side, fps
        self._view = LiveView()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"

    @property
    def address(self) -> str:
        """The same with the token, if there is one: a secret."""
        return self.url if self._token is None else f"{self.url}?token={self._token}"

    def open(self, stream: FaceStream) -> None:
        """Listen; see :meth:`FrameSink.open`."""
        import uvicorn

        from edge_sphereface.web.app import make_app
        from edge_sphereface.web.connection_guard import ConnectionGuard

        guard = ConnectionGuard(Connections(ConnectionCaps.of_this_process(most=_MOST_CONNECTIONS)))
        listener = _listen(self.host, self.port)
        self.port = int(listener.getsockname()[1])
        app = make_app(stream, self._view, token=self._token, side=self._side, fps=self._fps, guard=guard)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                access_log=False,  # it would hold the token
                log_level="error",
                lifespan="off",
                ws="none",
                http=guard.protocol(),
                loop="asyncio",
                server_header=False,
                proxy_headers=False,  # the peer is the peer: any program may write X-Forwarded-For
                backlog=_BATCH,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=self._serve, args=(self._server, listener), name="page-server", daemon=True
        )
        self._thread.start()

    def take(self, result: FrameResult) -> None:
        """See :meth:`FrameSink.take`."""
        self._view.take(result)

    def close(self, timeout_s: float) -> None:
        """Let everybody go; see :meth:`FrameSink.close`."""
        self._view.close()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout_s)

    def _serve(self, server: uvicorn.Server, listener: socket.socket) -> None:
        try:
            server.run(sockets=[listener])
        except Exception as error:  # noqa: BLE001 -- the camera goes on without its page
            self.problem = f"page: {type(error).__name__}: {error}"
        finally:
            with suppress(OSError):
                listener.close()


class _Listener(socket.socket):
    def listen(self, _batch: int = 0, /) -> None:
        """Listen with a long queue: asyncio gives the number that it takes at a time."""
        super().listen(_QUEUE)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = _Listener(fileno=socket.create_server((host, port), family=family).detach())
    except OSError as error:
        raise SinkError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}.", hint="another port may be free"
        ) from error
    listener.setblocking(False)
    return listener
