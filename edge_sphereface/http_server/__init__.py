"""HTTP servers in threads of their own, with limits and deadlines for every connection.

.. code-block:: text

    connections ─► connection_guard ─► asgi_server     uvicorn, with the extra ``web``: page, health, metrics
                └────────────────────► thread_server   the standard library alone: health and metrics
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from edge_sphereface.http_server.answer import answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.http_server.answer import Answer, Server
    from edge_sphereface.http_server.connections import ConnectionCaps


def answer_server(
    answer: Callable[[str], Answer], host: str, port: int, *, caps: ConnectionCaps, deadline_s: float, name: str
) -> Server:
    """A server that answers GET and HEAD requests, on uvicorn where it is installed.

    Args:
        answer: gives the answer to a path; must be quick.
        host: to listen on.
        port: to listen on; 0 takes any.
        caps: limits of the connections.
        deadline_s: seconds from the beginning of a connection to the end of its answer.
        name: of its thread.

    Raises:
        SinkError: the address cannot be listened on.
    """
    if find_spec("uvicorn") is None:
        from edge_sphereface.http_server.thread_server import ThreadServer

        return ThreadServer(answer, host, port, caps=caps, deadline_s=deadline_s, name=name)
    from edge_sphereface.http_server.asgi_server import AsgiServer
    from edge_sphereface.http_server.connection_guard import ConnectionGuard, Deadlines

    guard = ConnectionGuard(caps, Deadlines(request_s=deadline_s))
    return AsgiServer(guard.timed(answering(answer)), guard, host, port, name=name, is_dual_stack=True)
