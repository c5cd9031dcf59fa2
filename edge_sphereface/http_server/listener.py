"""Opens listening sockets."""

from __future__ import annotations

import socket

from edge_sphereface.errors import SinkError

_QUEUE = 512
"""Connections that the system holds until they are taken; they cost this process nothing."""


class _Listener(socket.socket):
    def listen(self, _batch: int = 0, /) -> None:
        """Listen with a long queue: asyncio gives the number that it takes at a time."""
        super().listen(_QUEUE)


def listen(host: str, port: int, *, is_dual_stack: bool = False) -> socket.socket:
    """A listening socket.

    Args:
        host: to listen on.
        port: to listen on; 0 takes any.
        is_dual_stack: whether an IPv6 address also takes IPv4 connections.

    Raises:
        SinkError: the address cannot be listened on.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        both = is_dual_stack and family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        opened = socket.create_server((host, port), family=family, backlog=_QUEUE, dualstack_ipv6=both)
    except OSError as error:
        raise SinkError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}.",
            hint="another port may be free; page and metrics share one address only if both name the same host",
        ) from error
    return _Listener(fileno=opened.detach())
