"""Events over HTTP, at least once and in order: they lie on the disk until the receiver has accepted them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from edge_sphereface._version import __version__
from edge_sphereface.errors import SinkError
from edge_sphereface.stream.event_kinds import EVERY_KIND
from edge_sphereface.stream.outputs.events.outbox import Outbox
from edge_sphereface.stream.outputs.events.webhook_signature import signed_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from edge_sphereface.stream.events import Event
    from edge_sphereface.stream.outputs.events.http_post import HttpAnswer

TIMEOUT_S = 10.0
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_LONGEST_REQUESTED_S = 600.0
"""Longest wait that a receiver can ask for."""
_MOST_REFUSALS = 5
_LATER = (408, 425, 429)
"""Statuses of a client's error that ask for another attempt."""
_LOOK_S = 1.0
_FLUSH_S = 0.3
_LEAVE_S = 0.2


class Poster(Protocol):
    """Posts to the receiver; see :class:`~edge_sphereface.stream.outputs.events.http_post.HttpPoster`."""

    def send(self, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        """Post once.

        Raises:
            SinkError: there is no answer.
        """
        ...

    def rest(self) -> None:
        """Close the connection until the next request."""
        ...

    def interrupt(self) -> None:
        """End the request that is on its way; any thread may ask."""
        ...


class DeliverySchedule:
    """Decides after each attempt whether a message is finished, and how long to wait. For one thread.

    No answer, an error of the server and a request to come later are tried again without end, after 1, 2, 4, … 60 s or
    the time that the receiver names. A message that is refused, by a client's error or a redirect, is given up at the
    fifth attempt; the waits stay long until one is accepted, so that a wrong address does not empty the outbox.

    Attributes:
        problem: why the last attempt failed; empty if it did not.
        given_up: number of refused messages that were given up.
    """

    def __init__(self) -> None:
        self.problem = ""
        self.given_up = 0
        self._refusals = 0
        self._wait_s = 0.0

    def unanswered(self, reason: str) -> float:
        """There was no answer; returns the seconds to wait."""
        self.problem = reason
        return self._longer()

    def answered(self, answer: HttpAnswer) -> tuple[bool, float]:
        """There was an answer; returns whether the message is finished, and the seconds to wait."""
        status = answer.status
        if 200 <= status < 300:
            self.problem, self._refusals, self._wait_s = "", 0, 0.0
            return True, 0.0
        if status in _LATER or status >= 500:
            self.problem = f"it answers HTTP {status}; events are kept"
            return False, max(self._longer(), _requested_s(answer.retry_after))
        self._refusals += 1
        what = f"redirects (HTTP {status}), which is not followed" if status < 400 else f"refuses (HTTP {status})"
        is_given_up = self._refusals >= _MOST_REFUSALS
        if is_given_up:
            self._refusals = 0
            self.given_up += 1
        lost = f"; {self.given_up} events were given up" if self.given_up else ""
        self.problem = f"it {what}{lost}"
        return is_given_up, self._longer()

    def _longer(self) -> float:
        self._wait_s = min(max(self._wait_s * 2, _FIRST_WAIT_S), _LONGEST_WAIT_S)
        return self._wait_s


class WebhookSink:
    """Posts each event as JSON, signed, one after the other; a reader tells what comes twice by ``webhook-id``.

    Args:
        poster: posts to the receiver.
        place: the receiver's host and port, for messages.
        secret: signs the events.
        spool: file that keeps events while the receiver is away, and over a restart.
        kinds: kinds of events to pass on.
        most: events that the file holds; beyond, the oldest are dropped and counted.
        unix_clock: seconds since 1970, for signatures.
        clock: monotonic, in seconds; tells when deleted events leave the file.
    """

    def __init__(  # noqa: PLR0913 -- settings and two clocks, by name
        self,
        poster: Poster,
        *,
        place: str,
        secret: bytes,
        spool: Path,
        kinds: Collection[str] = EVERY_KIND,
        most: int = 500_000,
        unix_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"webhook {place}"
        self._poster, self._secret, self._kinds = poster, secret, frozenset(kinds)
        self._spool_path, self._most, self._unix_clock, self._clock = spool, most, unix_clock, clock
        self._schedule = DeliverySchedule()
        self._disk_problem = ""
        self._spool: Outbox | None = None
        self._wake, self._leaving = threading.Event(), threading.Event()
        self._pump: threading.Thread | None = None

    def open(self) -> None:
        """Begin to send what the file holds; a receiver that is away is waited for. See :meth:`EventSink.open`."""
        spool = self._spool = Outbox(self._spool_path, most=self._most, clock=self._clock)
        self._pump = threading.Thread(target=self._run, args=(spool,), name="webhook-pump", daemon=True)
        self._pump.start()

    def write(self, event: Event) -> None:
        """Keep an event on the disk, to be sent; see :meth:`EventSink.write`."""
        if event.kind not in self._kinds:
            return
        if self._spool is None:
            raise SinkError(f"{self.name} is not open.")
        self._spool.put(event.line())
        self._wake.set()

    @property
    def problem(self) -> str:
        """Why events do not arrive; empty if they do."""
        return self._disk_problem or self._schedule.problem

    @property
    def dropped(self) -> int:
        """Events that the receiver refused for good, or for which the file had no room any more."""
        return self._schedule.given_up + (0 if self._spool is None else self._spool.dropped)

    def pending(self) -> int:
        """Events that the receiver has not accepted."""
        return 0 if self._spool is None else len(self._spool)

    def expire(self, is_old: Callable[[str], bool]) -> int:
        """Delete the oldest events on the disk that are too old; see :meth:`Outbox.expire`."""
        return 0 if self._spool is None else self._spool.expire(is_old)

    def close(self) -> None:
        """Wait a moment for what is on its way, and go. What is not accepted stays on the disk."""
        spool, pump = self._spool, self._pump
        if spool is None or pump is None:
            return
        end = time.monotonic() + _FLUSH_S
        while self.pending() and not self.problem and time.monotonic() < end:
            time.sleep(0.01)
        self._leaving.set()
        self._wake.set()
        self._poster.interrupt()
        pump.join(_LEAVE_S)
        spool.close()
        self._pump = None

    def _run(self, spool: Outbox) -> None:
        wait_s = 0.0
        while not self._leaving.wait(min(wait_s, _LOOK_S)):
            try:
                spool.settle()
                wait_s = wait_s - _LOOK_S if wait_s > _LOOK_S else self._turn(spool)
                self._disk_problem = ""
            except SinkError as error:  # of the disk: the next turn tries again
                self._disk_problem, wait_s = str(error), _FIRST_WAIT_S
            except Exception as error:  # noqa: BLE001 -- a thread that ends would say nothing
                self._disk_problem, wait_s = f"sending failed: {type(error).__name__}: {error}", _LONGEST_WAIT_S
        self._poster.rest()

    def _turn(self, spool: Outbox) -> float:
        """Send the oldest message, or wait for one; returns the seconds until the next turn."""
        self._wake.clear()
        oldest = spool.after(0, 1)
        if not oldest:
            self._poster.rest()
            self._wake.wait(_LOOK_S)
            return 0.0
        ((number, line),) = oldest
        body = line.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"edge-sphereface/{__version__}",
            **signed_headers(body, secret=self._secret, unix_time=self._unix_clock()),
        }
        try:
            answer = self._poster.send(body, headers)
        except SinkError as error:
            self._poster.rest()
            return self._schedule.unanswered(str(error))
        is_finished, wait_s = self._schedule.answered(answer)
        if is_finished:
            spool.forget([number])
        return wait_s


def _requested_s(retry_after: str) -> float:
    """Seconds of the header ``Retry-After``; a date counts as none."""
    is_number = retry_after.isascii() and retry_after.isdecimal() and len(retry_after) <= len("999999999")
    return min(float(retry_after), _LONGEST_REQUESTED_S) if is_number else 0.0
