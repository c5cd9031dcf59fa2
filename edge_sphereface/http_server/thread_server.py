"""Serves answers with the standard library, a thread for each connection: where the extra ``web`` is missing."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from edge_sphereface.http_server.answer import SERVER_NAME, answer_to
from edge_sphereface.http_server.connections import Connections
from edge_sphereface.http_server.listener import listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.http_server.answer import Answer
    from edge_sphereface.http_server.connections import Connection, ConnectionCaps

_LOOK_S = 0.1


class ThreadServer:
    """One address; see :func:`edge_sphereface.http_server.answer_server`."""

    def __init__(
        self,
        answer: Callable[[str], Answer],
        host: str,
        port: int,
        *,
        caps: ConnectionCaps,
        deadline_s: float,
        name: str,
    ) -> None:
        self._server = _Server((host, port), _handler(answer, deadline_s), Connections(caps), deadline_s)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOK_S,), name=name, daemon=True)

    def start(self) -> None:
        """Answer."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End every connection; wait for the thread at most as long."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        connections: Connections,
        deadline_s: float,
    ) -> None:
        self._connections, self._deadline_s = connections, deadline_s
        self._open: dict[socket.socket, tuple[Connection, float]] = {}
        super().__init__(address, handler)

    def server_bind(self) -> None:
        self.socket.close()
        host, port = self.server_address[:2]
        self.socket = listen(str(host), int(port), is_dual_stack=True)
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """The socket listens already."""

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
        self._open[request] = connection, time.monotonic() + self._deadline_s
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


def _handler(answer: Callable[[str], Answer], deadline_s: float) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = deadline_s
        server_version = SERVER_NAME
        sys_version = ""

        def __getattr__(self, name: str) -> Callable[[], None]:
            if name.startswith("do_"):  # the class before this one answers methods without such a function itself
                return self._reply
            raise AttributeError(name)

        def _reply(self) -> None:
            found = answer_to(self.command, self.path.partition("?")[0], answer)
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else found.body)

        def log_message(self, *_: object) -> None:
            """Nothing: it is asked every few seconds for months."""

    return Handler
