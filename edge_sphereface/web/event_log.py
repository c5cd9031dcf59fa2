"""Keeps the newest events for clients that follow them, and lets them resume after a break."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.stream.events import Event

_MOST_EVENTS = 2000
_MOST_BYTES = 1 << 20
_BLOCK = 100
"""Events that a client gets at a time."""


class LoggedEvent(NamedTuple):
    """An event in the log.

    Attributes:
        number: from 1, without gaps.
        kind: kind of the event.
        stream: name of its stream.
        line: the event as one line of JSON.
    """

    number: int
    kind: str
    stream: str
    line: str


class _Place(NamedTuple):
    """Where the JSON of an event is."""

    number: int
    kind: str
    stream: str
    start: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSlice:
    """Events that follow a position of the log.

    Attributes:
        missed: number of events before them that the log no longer holds.
        events: the events, oldest first.
        position: number of the last event that was looked at.
    """

    missed: int
    events: tuple[LoggedEvent, ...]
    position: int


class EventLog:
    """An output of events with bounded memory, read by any number of clients at their own pace.

    A client holds a position, not a queue: one that reads too slowly misses events, and is told how many.

    The JSON of all events is in one block, which has its memory from the start. As single strings they would lie
    between blocks that are freed, each of which keeps its page: several times their size in a process that runs for
    long.

    Args:
        most_events: number of newest events to keep.
        most_bytes: size of their JSON at most.
    """

    name = "http events"
    problem = ""
    dropped = 0

    def __init__(self, *, most_events: int = _MOST_EVENTS, most_bytes: int = _MOST_BYTES) -> None:
        self.run = secrets.token_hex(4)
        self._most_events, self._most_bytes = most_events, most_bytes
        self._lock = threading.Lock()
        self._places: deque[_Place] = deque()
        self._block = bytearray(b"\x01" * most_bytes)  # zeros would get their memory when they are written to
        self._bytes = self._last = self._end = 0
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._closed = False

    @property
    def last(self) -> int:
        """Number of the newest event; 0 before the first."""
        return self._last

    @property
    def first(self) -> int:
        """Number of the oldest event that is kept; that of the next one if there is none."""
        with self._lock:
            return self._places[0].number if self._places else self._last + 1

    def open(self) -> None:
        """See :meth:`~edge_sphereface.stream.outputs.events.dispatcher.EventSink.open`."""

    def write(self, event: Event) -> None:
        """Keep an event, in place of the oldest ones if the log is full."""
        line = event.line().encode()
        with self._lock:
            self._last += 1
            self._bytes += len(line)
            while self._places and (len(self._places) >= self._most_events or self._bytes > self._most_bytes):
                self._bytes -= self._places.popleft().length
            if self._bytes <= self._most_bytes and self._most_events:
                self._places.append(_Place(self._last, event.kind, event.stream, self._end, len(line)))
                self._end = self._put(line, self._end)
            else:
                self._bytes -= len(line)
            waiters, self._waiters = self._waiters, []
        _wake(waiters)

    def _put(self, line: bytes, start: int) -> int:
        """Write to the block, which is a ring; returns where it ends."""
        first = min(len(line), self._most_bytes - start)
        self._block[start : start + first] = line[:first]
        self._block[: len(line) - first] = line[first:]
        return (start + len(line)) % self._most_bytes

    def _at(self, place: _Place) -> LoggedEvent:
        number, kind, stream, start, length = place
        first = min(length, self._most_bytes - start)
        line = bytes(self._block[start : start + first]) + bytes(self._block[: length - first])
        return LoggedEvent(number, kind, stream, line.decode())

    def pending(self) -> int:
        """See :meth:`~edge_sphereface.stream.outputs.events.dispatcher.EventSink.pending`."""
        return 0

    def close(self) -> None:
        """End every client that follows the log."""
        with self._lock:
            self._closed = True
            waiters, self._waiters = self._waiters, []
        _wake(waiters)

    @property
    def closed(self) -> bool:
        """Whether no more events will come."""
        return self._closed

    def identifier(self, number: int) -> str:
        """Identifier of an event for ``Last-Event-ID``: the run of the program, and the number."""
        return f"{self.run}-{number}"

    def position_of(self, identifier: str) -> int | None:
        """Position of an identifier; None if it is of another run."""
        run, _, number = identifier.partition("-")
        if run != self.run or not number.isdecimal() or len(number) > 18:
            return None
        return min(int(number), self._last)

    def after(self, position: int, wanted: Callable[[LoggedEvent], bool] = lambda _: True) -> LogSlice:
        """The next events after a position.

        Args:
            position: number of the last event that the client has.
            wanted: tells the events that the client wants.
        """
        with self._lock:
            first = self._places[0].number if self._places else self._last + 1
            begin = max(position + 1, first)
            taken = []
            reached = max(position, self._last)
            for place in islice(self._places, begin - first, None):
                event = self._at(place)
                if wanted(event):
                    taken.append(event)
                if len(taken) == _BLOCK:
                    reached = event.number
                    break
            return LogSlice(missed=begin - position - 1, events=tuple(taken), position=reached)

    async def changed(self, position: int, timeout_s: float) -> bool:
        """Wait for an event after a position, or the end; returns whether one came within the time."""
        signal = asyncio.Event()
        with self._lock:
            if self._last > position or self._closed:
                return True
            waiter = asyncio.get_running_loop(), signal
            self._waiters.append(waiter)
        try:
            await asyncio.wait_for(signal.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        else:
            return True
        finally:
            with self._lock, suppress(ValueError):
                self._waiters.remove(waiter)


def _wake(waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    for loop, signal in waiters:
        with suppress(RuntimeError):  # its loop has ended
            loop.call_soon_threadsafe(signal.set)
