"""Delivers events to a sink in its own thread, so that a slow sink never blocks the stream."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from edge_sphereface.stream.events import Event

_MOST_WAITING = 10_000
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0


class EventSink(Protocol):
    """Where events go.

    Attributes:
        name: to be printed; without credentials.
    """

    name: str

    @property
    def problem(self) -> str:
        """Why events that were taken do not get where they belong; empty if they do."""
        ...

    @property
    def dropped(self) -> int:
        """Events that were taken and given up."""
        ...

    def open(self) -> None:
        """Begin.

        Raises:
            SinkError: it cannot work as it was asked to.
        """
        ...

    def write(self, event: Event) -> None:
        """Take one event.

        Raises:
            OSError: not now; it will be given again after a while.
            Exception: any other: never; it is dropped and counted.
        """
        ...

    def pending(self) -> int:
        """Events that were taken and are not yet where they belong."""
        ...

    def close(self) -> None:
        """Bring away what can be brought away within half a second."""
        ...


class EventDispatcher:
    """One sink with its queue.

    Args:
        sink: where events go; it is opened at once, so that what cannot work is said at the start.

    Raises:
        SinkError: the sink cannot work as it was asked to.
    """

    def __init__(self, sink: EventSink) -> None:
        self.sink = sink
        self._problem = self._left_out = ""
        self._dropped = 0
        self._waiting: deque[Event] = deque()
        self._condition = threading.Condition()
        self._closing = False
        sink.open()
        self._thread = threading.Thread(target=self._run, name=f"events-{type(sink).__name__}", daemon=True)
        self._thread.start()

    def give(self, event: Event) -> None:
        """Queue an event; the oldest is dropped, and counted, where ten thousand wait."""
        with self._condition:
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(event)
            self._condition.notify()

    def pending(self) -> int:
        """Events that are not yet where they belong."""
        return len(self._waiting) + self.sink.pending()

    @property
    def problem(self) -> str:
        """Why events do not get where they belong; empty if they do."""
        problem = self._problem or self.sink.problem or self._left_out
        return problem and f"{self.sink.name}: {problem}"

    @property
    def dropped(self) -> int:
        """Events that are lost."""
        return self._dropped + self.sink.dropped

    def close(self, timeout_s: float) -> int:
        """Bring away what waits; gives how many events could not be."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(timeout_s)
        return len(self._waiting)

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            with self._condition:
                while not self._waiting and not self._closing:
                    self._condition.wait()
                event = self._waiting[0] if self._waiting else None
            if event is None:
                break
            try:
                self.sink.write(event)
                self._problem, wait_s = "", _FIRST_WAIT_S
            except OSError as error:
                self._problem = str(error)
                if self._closing:
                    break
                with self._condition:
                    self._condition.wait_for(lambda: self._closing, wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
                continue
            except Exception as error:  # noqa: BLE001 -- one bad event must not end this thread
                self._dropped += 1
                self._left_out = f"an event was left out: {error or type(error).__name__}"
            with self._condition:
                if self._waiting and self._waiting[0] is event:  # else it was dropped meanwhile
                    self._waiting.popleft()
        try:
            self.sink.close()
        except Exception as error:  # noqa: BLE001 -- the end is not held up
            self._problem = f"it did not close: {error or type(error).__name__}"
