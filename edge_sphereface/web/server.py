"""Serves the page and the HTTP interface in threads of their own."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edge_sphereface.errors import ExtraError, SinkError
from edge_sphereface.extras import install_command
from edge_sphereface.http_server.connections import ConnectionCaps
from edge_sphereface.stream.monitoring.health import MonitoringAnswers, require_metrics
from edge_sphereface.web.loopback import is_loopback
from edge_sphereface.web.shown_cameras import CameraView, OneCamera, ShownCameras

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from edge_sphereface.audit import AuditLog
    from edge_sphereface.http_server.answer import Server
    from edge_sphereface.http_server.certificate import Certificate
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.recognition.frame_processor import FrameResult
    from edge_sphereface.web.api import Parts
    from edge_sphereface.web.shown_cameras import WatchedCameras
    from edge_sphereface.web.tokens import TokenBook

_LIBRARIES = ("starlette", "uvicorn")
_MOST_CONNECTIONS = 512
_REQUEST_S = 10.0
_ANSWER_S = 30.0
"""More than any answer takes here."""
_CLOSE_S = 2.0


class PageView:
    """The page: as a frame sink, of one stream; with :meth:`showing` and :meth:`of`, of a group of cameras.

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
        book: tokens of a file that are accepted as well, each for its scopes.
        parts: makes of the stream, or of the group, what the HTTP interface at the same address gives access to; None
            without it.
        certificate: for TLS; None serves plain HTTP.
        audit: where enrollments and removals by viewers are recorded; None for nowhere.

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
        book: TokenBook | None = None,
        parts: Callable[[Any], Parts] | None = None,
        certificate: Certificate | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        _require_libraries("The page")  # said at once, not when the camera is open
        if metrics:
            require_metrics()
        if token is not None and len(token) < 8:
            raise SinkError("Expected a token of at least 8 characters.", hint="secrets.token_urlsafe() makes one")
        if token is None and book is None and not is_loopback(host):
            raise SinkError(f"Other machines can reach {host}.", hint="give the page a token")
        if certificate is not None:
            certificate.require()
        self.problem = ""
        self.host, self.port = host, port
        self._token, self._side, self._fps, self._has_metrics = token, side, fps, metrics
        self._request_s, self._answer_s = request_s, answer_s
        self._book, self._parts, self._certificate, self._audit = book, parts, certificate, audit
        self._shown = ShownCameras()
        self._only: CameraView | None = None
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """Address of the page, without the token."""
        return _url(self.host, self.port, is_secure=self._certificate is not None)

    @property
    def address(self) -> str:
        """Address of the page with the token, if there is one: a secret."""
        return self.url if self._token is None else f"{self.url}?token={self._token}"

    def of(self, camera: str) -> CameraView:
        """The frame sink of one camera of a group."""
        return CameraView(self._shown, camera)

    @contextmanager
    def showing(self, group: WatchedCameras, *, monitoring: MonitoringAnswers | None = None) -> Iterator[None]:
        """Serve a page of several cameras until the block ends.

        Args:
            group: the cameras, whose frame sinks :meth:`of` makes.
            monitoring: answers for health and metrics; None where they are not served here.

        Raises:
            SinkError: the address cannot be listened on.
        """
        self._serve(group, monitoring, None if self._parts is None else self._parts(group))
        try:
            yield
        finally:
            self.close(_CLOSE_S)

    def open(self, stream: FaceStream) -> None:
        """Start the server; see :meth:`FrameSink.open`."""
        self._only = self.of(stream.settings.name)
        self._only.open(stream)
        self._serve(
            OneCamera(stream),
            MonitoringAnswers(stream) if self._has_metrics else None,
            None if self._parts is None else self._parts(stream),
        )

    def take(self, result: FrameResult) -> None:
        """See :meth:`FrameSink.take`."""
        if self._only is not None:
            self._only.take(result)

    def close(self, timeout_s: float) -> None:
        """End every connection; see :meth:`FrameSink.close`."""
        self._shown.close()
        if self._server is not None:
            self._server.close(timeout_s)

    def _serve(self, watched: WatchedCameras, monitoring: MonitoringAnswers | None, parts: Parts | None) -> None:
        from edge_sphereface.http_server.asgi_server import AsgiServer
        from edge_sphereface.http_server.connection_guard import ConnectionGuard, Deadlines
        from edge_sphereface.web.access import Credentials
        from edge_sphereface.web.api import Api, Parts
        from edge_sphereface.web.app import PageHandlers, make_app

        of_page = Parts(
            gallery=watched.gallery,
            strangers=watched.strangers,
            audit=self._audit,
            on_gallery_change=lambda: [watched.stream(one.name).reconsider() for one in watched.cameras()],
        )
        operations = Api(of_page).routes(below="/strangers")
        caps = ConnectionCaps.of_this_process(most=_MOST_CONNECTIONS)
        guard = ConnectionGuard(caps, Deadlines(request_s=self._request_s, answer_s=self._answer_s))
        app = make_app(
            credentials=Credentials(token=self._token, book=self._book),
            guard=guard,
            page=PageHandlers(
                watched, self._shown, side=self._side, fps=self._fps, audit=self._audit, operations=operations
            ),
            api=None if parts is None else Api(parts),
            monitoring=monitoring,
            is_secure=self._certificate is not None,
        )
        self._server = AsgiServer(
            app, guard, self.host, self.port, name="page-server", on_failure=self._failed, certificate=self._certificate
        )
        self.port = self._server.port
        self._server.start()

    def _failed(self, error: Exception) -> None:
        self.problem = f"page: {type(error).__name__}: {error}"


class HttpInterface:
    """The HTTP interface without a page. A context manager.

    Args:
        parts: what it gives access to.
        host: to listen on.
        port: to listen on; 0 takes any.
        book: tokens that are accepted; needed wherever ``host`` is not this machine alone.
        certificate: for TLS; None serves plain HTTP.
        request_s: seconds for the headers of a request, from the beginning of the connection or the end of the last
            answer.
        answer_s: seconds for an answer, with the request's body.

    Attributes:
        port: that it listens on.

    Raises:
        SinkError: no tokens where they are needed, the address cannot be listened on, or the certificate cannot be
            used.
        ExtraError: the extra ``web`` is missing.
    """

    def __init__(
        self,
        parts: Parts,
        host: str = "127.0.0.1",
        port: int = 8081,
        *,
        book: TokenBook | None = None,
        certificate: Certificate | None = None,
        request_s: float = _REQUEST_S,
        answer_s: float = _ANSWER_S,
    ) -> None:
        _require_libraries("The HTTP interface")
        if book is None and not is_loopback(host):
            raise SinkError(
                f"Other machines can reach {host}.", hint="give the interface a file of tokens", remedy="use-tokens"
            )
        from edge_sphereface.http_server.asgi_server import AsgiServer
        from edge_sphereface.http_server.connection_guard import ConnectionGuard, Deadlines
        from edge_sphereface.web.access import Credentials
        from edge_sphereface.web.api import Api
        from edge_sphereface.web.app import make_app

        guard = ConnectionGuard(
            ConnectionCaps.of_this_process(most=_MOST_CONNECTIONS), Deadlines(request_s=request_s, answer_s=answer_s)
        )
        app = make_app(
            credentials=Credentials(book=book), guard=guard, api=Api(parts), is_secure=certificate is not None
        )
        self._server = AsgiServer(app, guard, host, port, name="http-interface", certificate=certificate)
        self.port = self._server.port
        self.url = _url(host, self.port, is_secure=certificate is not None)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close(_CLOSE_S)


def _require_libraries(what: str) -> None:
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise ExtraError(f"{what} needs {' and '.join(missing)}, not installed here.", hint=install_command("web"))


def _url(host: str, port: int, *, is_secure: bool) -> str:
    return f"http{'s' if is_secure else ''}://{f'[{host}]' if ':' in host else host}:{port}/"
