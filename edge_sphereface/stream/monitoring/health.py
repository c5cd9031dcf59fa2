"""``/health`` and ``/metrics`` over HTTP."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from edge_sphereface.errors import ExtraError, SinkError
from edge_sphereface.stream.connections import ConnectionCaps, Connections

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from edge_sphereface.stream.connections import Connection
    from edge_sphereface.stream.face_stream import FaceStream

_TIMEOUT_S = 5.0
"""From the beginning of a connection to the end of its answer, whatever comes in between."""
_CAPS = ConnectionCaps(pending=24, pending_per_address=16, accepted=0, accepted_per_address=0)
"""An answer takes milliseconds: whoever has waited longest gives way."""
_LOOK_S = 0.1


class HealthEndpoint:
    """Answers in threads of its own, also while the stream's thread hangs: that is when it is asked. A context manager.

    It gives names of streams and counts, no names of people; whoever can reach it may read it.

    Args:
        stream: that is told about.
        host: to listen on.
        port: likewise; 0 takes any.

    Raises:
        SinkError: the address cannot be listened on.
        ExtraError: the extra ``metrics`` is missing.
    """

    def __init__(self, stream: FaceStream, host: str = "127.0.0.1", port: int = 9464) -> None:
        try:
            from edge_sphereface.stream.monitoring.metrics import exposition, make_registry
        except ImportError as error:
            raise ExtraError(
                f"Metrics need {error.name}, which is not installed.", hint="pip install 'edge-sphereface[metrics]'"
            ) from error
        registry = make_registry(stream)
        try:
            self._server = _Server((host, port), _handler(stream, lambda: exposition(registry)))
        except OSError as error:
            raise SinkError(
                f"Cannot listen on {host}, port {port}: {error.strerror or error}.", hint="another port may be free"
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOK_S,), name="health", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        self._connections = Connections(_CAPS)
        self._open: dict[socket.socket, tuple[Connection, float]] = {}
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(_LOOK_S)  # no descriptor is left: the same connection is offered again at once
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        connection = self._connections.enter(client_address[0], lambda: _hang_up(request))
        if connection is None:
            self.shutdown_request(request)
            return
        self._open[request] = connection, time.monotonic() + _TIMEOUT_S
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        now = time.monotonic()
        for request, (_, deadline) in list(self._open.items()):
            if now > deadline:
                _hang_up(request)

    def shutdown_request(self, request: Any) -> None:
        connection, _ = self._open.pop(request, (None, 0.0))
        if connection is not None:
            self._connections.leave(connection)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # which says that the other end left, or was hung up on
            super().handle_error(request, client_address)


def _hang_up(request: socket.socket) -> None:
    """Wake the thread that waits for a connection, which closes it."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


def _handler(stream: FaceStream, metrics: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_S
        server_version = "edge_sphereface"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/health":
                health = stream.health()
                self._answer(200 if health.healthy else 503, "application/json", json.dumps(asdict(health)).encode())
            elif path == "/metrics":
                self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics())
            else:
                self._answer(404, "text/plain", b"/health or /metrics\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: it is asked every few seconds for months."""

    return Handler
