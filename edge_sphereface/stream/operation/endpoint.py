"""``/health`` and ``/metrics`` over HTTP."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from edge_sphereface.errors import ExtraError, SinkError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from edge_sphereface.stream.face_stream import FaceStream

_TIMEOUT_S = 5.0


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
            from edge_sphereface.stream.operation.metrics import exposition, make_registry
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
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)

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

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        super().__init__(address, handler)


def _handler(stream: FaceStream, metrics: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_S
        server_version = "edge_sphereface"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/health":
                health = stream.health()
                self._answer(200 if health["healthy"] else 503, "application/json", json.dumps(health).encode())
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
