"""Serves an ASGI application with uvicorn: extra ``web``."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from edge_sphereface.http_server.listener import listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.http_server.answer import App
    from edge_sphereface.http_server.certificate import Certificate
    from edge_sphereface.http_server.connection_guard import ConnectionGuard


class AsgiServer:
    """One address; see :class:`~edge_sphereface.http_server.answer.Server`.

    Args:
        app: the application.
        guard: of the connections; it is part of the application.
        host: to listen on.
        port: to listen on; 0 takes any.
        name: of the thread.
        is_dual_stack: whether an IPv6 address also takes IPv4 connections.
        on_failure: called with the error that ends the server; None leaves it to ``threading.excepthook``.
        certificate: of this server, for TLS; None serves plain HTTP.

    Attributes:
        port: that it listens on.

    Raises:
        SinkError: the address cannot be listened on, or the certificate cannot be used.
    """

    def __init__(  # noqa: PLR0913 -- options of a server, by name
        self,
        app: App,
        guard: ConnectionGuard,
        host: str,
        port: int,
        *,
        name: str,
        is_dual_stack: bool = False,
        on_failure: Callable[[Exception], object] | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self._on_failure = on_failure
        if certificate is not None:
            certificate.require()
        self._listener = listen(host, port, is_dual_stack=is_dual_stack)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                access_log=False,  # it would hold the page's token
                log_level="error",
                lifespan="off",
                ws="none",
                http=guard.protocol(),
                loop="asyncio",
                server_header=False,
                proxy_headers=False,  # the peer is the peer: any program may write X-Forwarded-For
                backlog=guard.batch,  # taken at a time
                timeout_graceful_shutdown=1,
                ssl_certfile=None if certificate is None else certificate.file,
                ssl_keyfile=None if certificate is None else certificate.key,
            )
        )
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Answer."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End every connection; wait for the thread at most as long."""
        self._server.should_exit = True
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except Exception as error:
            if self._on_failure is None:
                raise
            self._on_failure(error)
        finally:
            with suppress(OSError):
                self._listener.close()
