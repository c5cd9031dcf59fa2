"""Posts to one HTTP address: certificates verified, redirects not followed, answers bounded in size and time."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edge_sphereface.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from ssl import SSLContext

_PORTS = {"http": 80, "https": 443}
_MOST_ANSWER = 1 << 16
"""Bytes of an answer that are read; beyond, the connection is closed."""
_MOST_ADDRESS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAddress:
    """Where to post.

    Attributes:
        tls: whether the connection is encrypted.
        host: its name or address.
        port: default 80, with TLS 443.
        target: path and query, which may hold a token.
    """

    tls: bool
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, address: str) -> HttpAddress:
        """Read ``http[s]://host[:port][/path][?query]``.

        Raises:
            SinkError: another form. The message does not repeat the address.
        """
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
            (host or "").encode("idna")
        except ValueError:  # such as a port that is no number
            parts, host, port = urlsplit(""), None, None
        is_plain = address.isascii() and address.isprintable() and " " not in address
        is_short = len(address) <= _MOST_ADDRESS
        if parts.scheme not in _PORTS or not host or port == 0 or "#" in address or not is_plain or not is_short:
            raise SinkError(
                "Expected an address as https://host/path or http://host:port/path, got another form.",
                hint="ASCII without spaces and without #; escape other characters as %XX",
            )
        if parts.username is not None or parts.password is not None:
            raise SinkError(
                "Expected an address without user and password.",
                hint="the receiver tells us by the signature; a token may stand in path or query",
            )
        return cls(
            tls=parts.scheme == "https",
            host=host,
            port=port or _PORTS[parts.scheme],
            target=f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}",
        )

    @property
    def place(self) -> str:
        """Host and port, which may be printed."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What a receiver answered.

    Attributes:
        status: HTTP status, 200 to 299 for success.
        retry_after: text of the header ``Retry-After``; empty without one.
    """

    status: int
    retry_after: str = ""


class HttpPoster:
    """Posts to one address, over one connection until :meth:`rest`. For one thread; any may call :meth:`interrupt`.

    Args:
        address: where to.
        ca_file: certificates to trust, PEM; None for the system's.
        timeout_s: limit of a whole request, and of each of its waits.

    Raises:
        SinkError: the file holds no certificates.
    """

    def __init__(self, address: HttpAddress, *, ca_file: Path | None = None, timeout_s: float) -> None:
        self._address, self._timeout_s = address, timeout_s
        self._tls = _verifying(ca_file) if address.tls else None
        self._connection: HTTPConnection | None = None
        self._socket: socket.socket | None = None

    def send(self, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        """Post once.

        Raises:
            SinkError: no answer, or what is none of HTTP.
        """
        is_late = threading.Event()

        def give_up() -> None:
            is_late.set()
            self.interrupt()

        watch = threading.Timer(self._timeout_s, give_up)  # the socket's own limit begins anew with each byte
        watch.daemon = True
        watch.start()
        try:
            answer = self._answer(body, headers)
        except (HTTPException, OSError, ValueError) as error:  # ValueError: TLS of a connection that was interrupted
            self.rest()
            if not is_late.is_set():
                raise SinkError(f"no answer: {error or type(error).__name__}") from error
        else:
            if not is_late.is_set():
                return answer
        finally:
            watch.cancel()
        self.rest()  # what an interrupted wait returns looks like a short answer
        raise SinkError(f"no answer within {self._timeout_s:g} s")

    def rest(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._socket = None

    def interrupt(self) -> None:
        """End the waits of the request that is on its way."""
        waiting = self._socket
        if waiting is not None:
            with suppress(OSError):
                socket.socket.shutdown(waiting, socket.SHUT_RDWR)  # beside TLS, whose state is the other thread's

    def _answer(self, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        connection = self._connection = self._connection or self._made()
        if connection.sock is None:
            connection.connect()
        self._socket = connection.sock
        connection.request("POST", self._address.target, body=body, headers=dict(headers))
        response = connection.getresponse()
        answer = HttpAnswer(status=response.status, retry_after=response.headers.get("Retry-After", ""))
        with suppress(HTTPException, OSError, ValueError):  # the status is the answer; the rest is not needed
            response.read(_MOST_ANSWER)
        if not response.isclosed():
            response.close()
            self.rest()
        return answer

    def _made(self) -> HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._tls is not None:
            return HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        return HTTPConnection(host, port, timeout=self._timeout_s)


def _verifying(ca_file: Path | None) -> SSLContext:
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SinkError(f"Cannot use the certificates in {ca_file}: {error}.", hint="a PEM file?") from error
