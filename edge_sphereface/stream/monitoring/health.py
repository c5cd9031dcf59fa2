"""``/health`` and ``/metrics`` over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edge_sphereface.errors import ExtraError
from edge_sphereface.extras import install_command
from edge_sphereface.http_server import answer_server
from edge_sphereface.http_server.answer import Answer
from edge_sphereface.http_server.connections import ConnectionCaps
from edge_sphereface.json_output import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any, ClassVar, Self

    from edge_sphereface.stream.face_stream import FaceStream

_DEADLINE_S = 5.0
"""From the beginning of a connection to the end of its answer."""
_CAPS = ConnectionCaps(pending=24, pending_per_address=16, accepted=0, accepted_per_address=0)
"""An answer takes milliseconds, so the connection that has waited longest gives way."""
_CLOSE_S = 0.5


class Health(Protocol):
    """A record of whether something works."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def healthy(self) -> bool:
        """Whether it works."""
        ...


class Monitored(Protocol):
    """What can be monitored: a stream, or a group of cameras."""

    @property
    def streams(self) -> Sequence[FaceStream]:
        """The streams whose metrics are told."""
        ...

    def health(self) -> Health:
        """Whether it works."""
        ...


class MonitoringAnswers:
    """Answers to requests for the health and the metrics of a stream, or of a group of cameras.

    They hold names of streams and counts, no names of people.

    Args:
        stream: whose state is told; asked from the server's thread.

    Raises:
        ExtraError: the extra ``metrics`` is missing.
    """

    PATHS: ClassVar = ("/health", "/metrics")

    def __init__(self, stream: Monitored) -> None:
        require_metrics()
        from edge_sphereface.stream.monitoring.metrics import exposition, make_registry

        self._stream, self._registry, self._exposition = stream, make_registry(stream), exposition

    def __call__(self, path: str) -> Answer:
        """The answer to a path: 503 for a stream that is not healthy, 404 for other paths."""
        if path == "/health":
            health = self._stream.health()
            return Answer(
                200 if health.healthy else 503, "application/json", json_text(health, ascii_only=True).encode()
            )
        if path == "/metrics":
            return Answer(200, "text/plain; version=0.0.4; charset=utf-8", self._exposition(self._registry))
        return Answer(404, "text/plain", b"/health or /metrics\n")


class HealthEndpoint:
    """Serves health and metrics from a thread of its own, also while the stream's thread hangs. A context manager.

    Whoever can reach the address may read them. It is served by uvicorn where the extra ``web`` is installed, and by
    the standard library otherwise.

    Args:
        stream: whose state is told.
        host: to listen on.
        port: to listen on; 0 takes any.
        deadline_s: seconds from the beginning of a connection to the end of its answer.

    Raises:
        SinkError: the address cannot be listened on.
        ExtraError: the extra ``metrics`` is missing.
    """

    def __init__(
        self, stream: Monitored, host: str = "127.0.0.1", port: int = 9464, *, deadline_s: float = _DEADLINE_S
    ) -> None:
        self._server = answer_server(
            MonitoringAnswers(stream), host, port, caps=_CAPS, deadline_s=deadline_s, name="health"
        )
        self.port = self._server.port

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close(_CLOSE_S)


def require_metrics() -> None:
    """Refuse to go on without the extra ``metrics``.

    Raises:
        ExtraError: it is missing.
    """
    try:
        import edge_sphereface.stream.monitoring.metrics  # noqa: F401
    except ImportError as error:
        raise ExtraError(
            f"Metrics need {error.name}, which is not installed.", hint=install_command("metrics")
        ) from error
