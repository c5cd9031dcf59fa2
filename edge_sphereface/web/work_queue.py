"""A queue of pictures in front of one worker, bounded by the time that they would wait.

A queue bounded by a count alone fills under overload, and everyone then waits for all of it. Here a request is refused
at once if its *predicted* wait is too long. A burst may wait for ``patience_s``. Once something was refused, the load
is more than a burst: until it has been quiet for a while, only what waits for at most half of one picture's work is
admitted, so that the answers of those admitted come almost as fast as without load.

References:
    Nichols, Jacobson: Controlling Queue Delay (CoDel), ACM Queue 10(5), 2012: a good queue absorbs bursts; a bad one
    only adds delay.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from edge_sphereface.errors import EdgeSphereFaceError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_FIRST_WORK_S = 0.1
"""Work of a picture that is assumed before the first was measured, in seconds."""
_NEWEST = 0.1
"""Share of the newest picture in the mean."""
_STRICT_SHARE = 0.5
_QUIET_S = 10.0
"""Time without a refusal after which bursts are admitted again, in seconds."""
_NICE = 10
"""A thread of this niceness gets a tenth of the time that another one gets, where both want to run."""
_MOST_WAITING = 256
"""Requests that wait at most, whatever is predicted."""


class BusyError(EdgeSphereFaceError, TimeoutError):
    """There is more work than this machine can do.

    Attributes:
        retry_s: seconds after which the request may succeed.
    """

    code = "busy"

    def __init__(self, message: str, *, hint: str = "try again later", retry_s: float = 1.0, **options: Any) -> None:
        super().__init__(message, hint=hint, **options)
        self.retry_s = retry_s


class DeadlineError(EdgeSphereFaceError, TimeoutError):
    """A request was not answered within its time."""

    code = "deadline"


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[], Any]
    units: int
    deadline: float
    future: Future[Any] = field(default_factory=Future)


class WorkQueue:
    """Runs work in one thread, in order, and refuses what would wait too long. Safe to use from several threads.

    Args:
        patience_s: longest predicted wait in a burst, in seconds.
        has_low_priority: whether other threads of this process go first (Linux).
        clock: gives seconds that never run backwards.
        name: of the thread.
    """

    def __init__(
        self,
        *,
        patience_s: float = 1.0,
        has_low_priority: bool = False,
        clock: Callable[[], float] = time.monotonic,
        name: str = "pictures",
    ) -> None:
        self._patience_s, self._clock = patience_s, clock
        self._has_low_priority = has_low_priority
        self._condition = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._running: tuple[int, float] | None = None  # units, and when they began
        self._mean_s, self._is_measured = _FIRST_WORK_S, False
        self._refused_at = float("-inf")
        self._closing = False
        self.done = self.refused = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return len(self._waiting)

    @property
    def work_ms(self) -> float:
        """Mean work on a picture, in milliseconds."""
        return self._mean_s * 1000

    def require_room(self) -> None:
        """Refuse a request before its pictures are read.

        Raises:
            BusyError: it would wait too long.
        """
        with self._condition:
            self._require_room()

    def submit(self, work: Callable[[], T], *, pictures: int, deadline_s: float) -> Future[T]:
        """Queue work.

        Args:
            work: called in the worker's thread.
            pictures: number of pictures that it works on.
            deadline_s: seconds within which it must begin.

        Returns:
            Its result. Canceling it removes work that has not begun.

        Raises:
            BusyError: it would wait too long.
        """
        with self._condition:
            self._require_room()
            job = _Job(work, pictures, self._clock() + deadline_s)
            self._waiting.append(job)
            self._condition.notify()
        return job.future

    def close(self, timeout_s: float) -> None:
        """Refuse all that waits; wait for the running work at most as long."""
        with self._condition:
            self._closing = True
            while self._waiting:
                self._waiting.popleft().future.cancel()
            self._condition.notify()
        self._thread.join(timeout_s)

    def _require_room(self) -> None:
        now = self._clock()
        wait_s = self._predicted_wait_s(now)
        is_burst = now - self._refused_at > _QUIET_S
        bound_s = self._patience_s if is_burst else min(_STRICT_SHARE * self._mean_s, self._patience_s)
        if self._closing or len(self._waiting) >= _MOST_WAITING or wait_s > bound_s:
            self._refused_at = now
            self.refused += 1
            raise BusyError(
                f"There are more pictures than this machine can process: a new one would wait for {wait_s:.1f} s.",
                hint="send fewer at a time; wait as Retry-After says",
                retry_s=wait_s + self._mean_s,
            )

    def _predicted_wait_s(self, now: float) -> float:
        units = sum(job.units for job in self._waiting if not job.future.cancelled())
        rest_s = 0.0
        if self._running is not None:
            running, began = self._running
            rest_s = abs(running * self._mean_s - (now - began))  # what has taken longer may take as long again
        return units * self._mean_s + rest_s

    def _run(self) -> None:
        if self._has_low_priority and sys.platform == "linux":  # elsewhere it would be that of the whole process
            with suppress(OSError):  # a process that runs at a lower one already
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            with self._condition:
                while not self._waiting and not self._closing:
                    self._condition.wait()
                if not self._waiting:
                    return
                job = self._waiting.popleft()
                began = self._clock()
                self._running = job.units, began
            answer: Callable[[], None] = _nothing
            if job.future.set_running_or_notify_cancel():
                answer = self._work(job, began)
            with self._condition:
                self._running = None
            answer()  # last: whoever waits for it may ask again at once

    def _work(self, job: _Job, began: float) -> Callable[[], None]:
        """Work; returns what tells the result."""
        if began > job.deadline:
            late = DeadlineError("The request waited longer than its deadline.", hint="send fewer pictures at a time")
            return partial(job.future.set_exception, late)
        try:
            result = job.work()
        except BaseException as error:  # noqa: BLE001 -- it belongs to whoever waits for the result
            return partial(job.future.set_exception, error)
        self._measure((self._clock() - began) / job.units)
        return partial(job.future.set_result, result)

    def _measure(self, seconds: float) -> None:
        with self._condition:
            share = _NEWEST if self._is_measured else 1.0
            self._mean_s += share * (seconds - self._mean_s)
            self._is_measured = True
            self.done += 1


def _nothing() -> None:
    """Nobody waits for the result."""
