"""Serves the page in its own thread."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from edge_sphereface.errors import ExtraError, SinkError
from edge_sphereface.http_server.connections import ConnectionCaps
from edge_sphereface.stream.monitoring.health import MonitoringAnswers, require_metrics
from edge_sphereface.web.live_view import LiveView
from edge_sphereface.web.loopback import is_loopback

if TYPE_CHECKING:
    from edge_sphereface.http_server.answer import Server
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.recognition.frame_processor import FrameResult

_LIBRARIES = ("starlette", "uvicorn")
_MOST_CONNECTIONS = 512
_REQUEST_S = 10.0
_ANSWER_S = 30.0
"""More than any answer takes here."""


class PageView:
    """The page, as a frame sink.

    Args:
        host: to listen on.
        port: to listen on; 0 takes any.
        token: that viewers must have; needed wherever ``host`` is not this machine alone.
        side: longer side of the picture that viewers get, in pixels.
        fps: maximum number of pictures per second that a viewer gets.
        metrics: also serve ``/health`` and ``/metrics``, as :class:`~edge_sphereface.stream.monitoring.HealthEndpoint`
            does: to whoever reaches the address, without the token.
        request_s: seconds for a request, from the beginning of the connection or the end of the last answer.
        answer_s: seconds for an answer, with the request's body.

    Raises:
        SinkError: no token where one is needed.
        ExtraError: the extra ``web`` is missing, or ``metrics`` where they are to be served.
    """

    def __init__(  # noqa: PLR0913 -- options of a server, by name
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        token: str | None = None,
        side: int = 960,
        fps: float = 15.0,
        metrics: bool = False,
        request_s: float = _REQUEST_S,
        answer_s: float = _ANSWER_S,
    ) -> None:
        missing = [name for name in _LIBRARIES if find_spec(name) is None]
        if missing:  # said at once, not when the camera is open
            raise ExtraError(
                f"The page needs {' and '.join(missing)}, not installed here.",
                hint="pip install 'edge-sphereface[web]'",
            )
        if metrics:
            require_metrics()
        if token is not None and len(token) < 8:
            raise SinkError("Expected a token of at least 8 characters.", hint="secrets.token_urlsafe() makes one")
        if token is None and not is_loopback(host):
            raise SinkError(f"Other machines can reach {host}.", hint="give the page a token")
        self.problem = ""
        self.host, self.port = host, port
        self._token, self._side, self._fps, self._has_metrics = token, side, fps, metrics
        self._request_s, self._answer_s = request_s, answer_s
        self._view = LiveView()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """Address of the page, without the token."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"

    @property
    def address(self) -> str:
        """Address of the page with the token, if there is one: a secret."""
        return self.url if self._token is None else f"{self.url}?token={self._token}"

    def open(self, stream: FaceStream) -> None:
        """Start the server; see :meth:`FrameSink.open`."""
        from edge_sphereface.http_server.asgi_server import AsgiServer
        from edge_sphereface.http_server.connection_guard import ConnectionGuard, Deadlines
        from edge_sphereface.web.app import make_app

        caps = ConnectionCaps.of_this_process(most=_MOST_CONNECTIONS)
        guard = ConnectionGuard(caps, Deadlines(request_s=self._request_s, answer_s=self._answer_s))
        app = make_app(
            stream,
            self._view,
            token=self._token,
            side=self._side,
            fps=self._fps,
            guard=guard,
            monitoring=MonitoringAnswers(stream) if self._has_metrics else None,
        )
        self._server = AsgiServer(app, guard, self.host, self.port, name="page-server", on_failure=self._failed)
        self.port = self._server.port
        self._server.start()

    def take(self, result: FrameResult) -> None:
        """See :meth:`FrameSink.take`."""
        self._view.take(result)

    def close(self, timeout_s: float) -> None:
        """End every connection; see :meth:`FrameSink.close`."""
        self._view.close()
        if self._server is not None:
            self._server.close(timeout_s)

    def _failed(self, error: Exception) -> None:
        self.problem = f"page: {type(error).__name__}: {error}"
