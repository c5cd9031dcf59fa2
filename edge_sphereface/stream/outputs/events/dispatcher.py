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
    """An output of events.

    Attributes:
        name: name in messages, without credentials.
    """

    name: str

    @property
    def problem(self) -> str:
        """Why accepted events are not delivered; empty if they are."""
        ...

    @property
    def dropped(self) -> int:
        """Number of accepted events that were lost."""
        ...

    def open(self) -> None:
        """Start the output.

        Raises:
            SinkError: it cannot work as requested.
        """
        ...

    def write(self, event: Event) -> None:
        """Accept one event.

        Raises:
            OSError: it cannot be accepted now; the dispatcher tries again later.
            Exception: any other: it cannot be accepted at all; the dispatcher drops and counts it.
        """
        ...

    def pending(self) -> int:
        """Number of accepted events that are not delivered yet."""
        ...

    def close(self) -> None:
        """Deliver what can be delivered within half a second, and close."""
        ...


class EventDispatcher:
    """Delivers events to one sink, through a queue and a thread.

    Args:
        sink: the output. It is opened at once, so that errors appear at the start.

    Raises:
        SinkError: the sink cannot work as requested.
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
        """Queue an event. If ten thousand are queued, the oldest is dropped and counted."""
        with self._condition:
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(event)
            self._condition.notify()

    def pending(self) -> int:
        """Number of events that are not delivered yet."""
        return len(self._waiting) + self.sink.pending()

    @property
    def problem(self) -> str:
        """Why events are not delivered, with the name of the sink; empty if they are."""
        problem = self._problem or self.sink.problem or self._left_out
        return problem and f"{self.sink.name}: {problem}"

    @property
    def dropped(self) -> int:
        """Number of lost events."""
        return self._dropped + self.sink.dropped

    def close(self, timeout_s: float) -> int:
        """Deliver the queued events and close; returns the number of those that could not be delivered."""
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
            except Exception as error:  # noqa: BLE001 -- one bad event must not end the thread
                self._dropped += 1
                self._left_out = f"an event was left out: {error or type(error).__name__}"
            with self._condition:
                if self._waiting and self._waiting[0] is event:  # otherwise it was dropped meanwhile
                    self._waiting.popleft()
        try:
            self.sink.close()
        except Exception as error:  # noqa: BLE001 -- it must not delay the end
            self._problem = f"it did not close: {error or type(error).__name__}"
