"""Commands from other threads, executed by the stream's own thread."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from edge_sphereface.errors import TrackError

if TYPE_CHECKING:
    from collections.abc import Callable


class CommandQueue:
    """Functions to call between two frames, with their results."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._closed = threading.Event()

    def ask(self, function: Callable[[], Any]) -> Future[Any]:
        """Queue a function. May be called from any thread."""
        future: Future[Any] = Future()
        self._waiting.put((function, future))
        if self._closed.is_set():
            self.close()
        return future

    def serve(self) -> None:
        """Call the queued functions."""
        while not self._waiting.empty():
            function, future = self._waiting.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 -- it belongs to the caller
                future.set_exception(error)

    def close(self) -> None:
        """Refuse queued and later functions with a TrackError."""
        self._closed.set()
        while not self._waiting.empty():
            _, future = self._waiting.get()
            if future.set_running_or_notify_cancel():
                future.set_exception(TrackError("The stream has ended.", hint="start it again"))
