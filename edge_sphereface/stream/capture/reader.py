"""Reads a source in a thread and keeps only the newest frame, so that a slow consumer never lags behind."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.errors import SourceError
from edge_sphereface.redaction import redact
from edge_sphereface.stream.capture.frame import Frame
from edge_sphereface.stream.capture.source_rate import SourceRate

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.stream.capture.source import FrameSource
    from edge_sphereface.types import UInt8Array

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
"""Waits between attempts to open a source, in seconds; they double from the first to the longest."""
_AT_ONCE_S = 0.002
"""A skipped frame that takes less time did not come from a camera."""
_GOOD_RUN_S = 10.0
"""Time with frames after which the waits start from the first again, in seconds."""
_INTERRUPTED_S = 3.0
"""Time for a blocked read to return after it was interrupted, in seconds."""
_MAX_STUCK = 3
"""Number of threads that may hang in a library before the stream ends, so that a supervisor restarts the process."""
_JOIN_S = 0.6
_DEFAULT_FPS = 25.0
_CATCH_UP_S = 1 / 150
"""Least time from one frame to the next of a source that floods and never lets its reader wait: a long backlog must
end, and a camera of 120 frames a second must not fall behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChange:
    """A change of the state of a source.

    Attributes:
        up: whether the source delivers frames now.
        reason: why it does not; empty if it does.
        hint: what to do about it; empty if nothing is known.
        retry_s: seconds until it is reopened; None if it is not.
        width: width of its frames, in pixels; 0 while it is down.
        height: height of its frames, in pixels; 0 while it is down.
    """

    up: bool
    reason: str = ""
    hint: str = ""
    retry_s: float | None = None
    width: int = 0
    height: int = 0


@dataclass(slots=True)
class ReaderCounts:
    """Counts of the frames of a source.

    Attributes:
        read: number of frames that it delivered.
        dropped: number of those that a newer one replaced before they were taken.
        openings: how often it was opened with success.
    """

    read: int = 0
    dropped: int = 0
    openings: int = 0


class FrameReader:
    """Reads a source in a thread of its own.

    Only the newest frame of a live source, or of a paced recording, is kept. Otherwise the reader waits until each
    frame is taken. A live source that ends, fails or stalls is reopened, with growing waits. One that floods is decoded
    as rarely as it is limited. If it never lets its reader wait, at most 150 frames a second are read while they may
    be a backlog, of a minute at most, and then no more than are decoded (:class:`~.source_rate.SourceRate`).

    Args:
        make_source: returns a source that is not open; called again after a read that cannot be ended.
        pace: deliver the frames of a recording at its own rate.
        stall_s: seconds without a frame after which a live source has stalled.
        fps: maximum number of frames per second to decode; the others are skipped. None for all.
        flood_fps: the same while a live source delivers more frames than a camera; None for no further limit.
        reopen: reopen a live source that ends.
        first_wait_s: seconds before the second attempt to open it.
        longest_wait_s: limit of the growing waits, in seconds.
        clock: gives seconds; frames are stamped and stalls are measured with it.
        work_clock: gives the processor time of the calling thread in seconds.
        pause: lets the reading thread sleep for some seconds; None for a sleep that :meth:`stop` ends.
    """

    def __init__(  # noqa: PLR0913 -- all but the first are options, by name
        self,
        make_source: Callable[[], FrameSource],
        *,
        pace: bool = True,
        stall_s: float = 10.0,
        fps: float | None = None,
        flood_fps: float | None = None,
        reopen: bool = True,
        first_wait_s: float = FIRST_WAIT_S,
        longest_wait_s: float = LONGEST_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
        work_clock: Callable[[], float] = time.thread_time,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._clock, self._work_clock = clock, work_clock
        self._make_source = make_source
        self._source = make_source()
        self._pace, self._stall_s, self._reopen = pace, stall_s, reopen
        self._interval_s = 0.0 if fps is None else 1.0 / fps
        self._flood_interval_s = max(self._interval_s, 0.0 if flood_fps is None else 1.0 / flood_fps)
        self._waits = (first_wait_s, longest_wait_s)
        self._condition = threading.Condition()
        self._stopping = threading.Event()
        self._pause = pause or self._stopping.wait
        self._frame: Frame | None = None
        self._changes: deque[SourceChange] = deque(maxlen=100)
        self._thread: threading.Thread | None = None
        self._generation = 0
        self._last_sign = 0.0
        self._blocked = False
        self._stuck = 0
        self._error: BaseException | None = None
        self.counts = ReaderCounts()
        self.ended = False
        self.up = False

    @property
    def name(self) -> str:
        """Name of the source, without credentials."""
        return self._source.name

    @property
    def newest_only(self) -> bool:
        """Whether frames may be dropped."""
        return self._source.live or self._pace

    def start(self) -> None:
        """Start reading."""
        self._last_sign = self._clock()
        self._thread = threading.Thread(
            target=self._run, args=(self._source, self._generation), name="frame-reader", daemon=True
        )
        self._thread.start()

    def next(self, timeout_s: float) -> Frame | None:
        """The newest frame that was not taken yet; None if none arrives in time, or the source has ended.

        Raises:
            SourceError: a recording cannot be read, or a source hangs and cannot be reopened.
            BaseException: a source made of an iterator raised it to end the program, as KeyboardInterrupt.
        """
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while self._frame is None and not self.ended and not self._stopping.is_set():
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
            frame, self._frame = self._frame, None
            self._condition.notify_all()
        if frame is None:
            if self._error is not None:
                raise self._error
            self._watch_for_stall()
        return frame

    def changes(self) -> list[SourceChange]:
        """The changes of the source since the last call."""
        found = []
        with suppress(IndexError):
            while True:
                found.append(self._changes.popleft())
        return found

    def stop(self) -> bool:
        """Stop reading. Returns whether the thread has ended; one that hangs in a library does not."""
        self._stopping.set()
        with self._condition:
            self._condition.notify_all()
        if self._thread is None:
            return True
        self._thread.join(_JOIN_S / 2)
        if self._thread.is_alive():
            self._source.interrupt()
            self._thread.join(_JOIN_S / 2)
        return not self._thread.is_alive()

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _run(self, source: FrameSource, generation: int) -> None:
        wait_s = self._waits[0]
        while self._current(generation):
            began = self._clock()
            reason, hint, error = "the source ended", "", None
            self._last_sign, self._blocked = began, True
            try:
                source.open()
                self._read_all(source, generation)
            except SourceError as broken:
                reason, hint, error = redact(broken.message), redact(broken.hint), broken
            except Exception as broken:  # noqa: BLE001 -- an iterator may raise anything
                error = SourceError(redact(f"{source.name} failed: {type(broken).__name__}: {broken}"))
                reason = error.message
            except BaseException as stop:  # noqa: BLE001 -- an iterator asks the program to end, from this thread
                self._end(stop, type(stop).__name__, "")
                return
            finally:
                with suppress(Exception):  # a source that failed may fail again
                    source.close()
            if not self._current(generation):
                return
            self._blocked = False
            if not (source.reopens and self._reopen):
                self._end(error, reason, hint)
                return
            if self.up and self._clock() - began > _GOOD_RUN_S:
                wait_s = self._waits[0]
            self._down(reason, hint, wait_s)
            self._stopping.wait(wait_s)
            wait_s = min(wait_s * 2, self._waits[1])

    def _read_all(self, source: FrameSource, generation: int) -> None:
        """Read until the source ends."""
        start, index, shape, due = self._clock(), 0, (0, 0), float("-inf")
        first_position: float | None = None
        moment, began = 0.0, start
        rate = SourceRate(start)
        while self._current(generation):
            if rate.never_waits:
                least_s = max(_CATCH_UP_S, self._flood_interval_s if rate.has_no_rate else 0.0)
                self._pause(max(began + least_s - self._clock(), 0.0))
            self._last_sign = began = self._clock()
            worked = self._work_clock()
            following = self._last_sign + 1.5 * rate.mean_gap_s if source.live else _following(source, index, moment)
            if following < due:
                if not source.skip():
                    return
                self._note(source, rate, worked)
                if not source.live:
                    moment = _position(source, index)
                    first_position = moment if first_position is None else first_position
                self.counts.read += 1
                index += 1
                self._rest_after_skipping(source)
                continue
            image = source.read()
            if image is None or not self._current(generation):
                return
            self._note(source, rate, worked)
            now = self._last_sign = self._clock()
            if image.shape[:2] != shape:
                shape = image.shape[:2]
                self.counts.openings += not self.up
                self._up(shape)
            moment = now
            if not source.live:
                moment = _position(source, index)
                first_position = moment if first_position is None else first_position
                if self._pace:
                    self._pause(max(start + moment - first_position - now, 0.0))
                    now = self._last_sign = self._clock()
            beat = now if source.live else moment
            interval_s = self._flood_interval_s if source.live and rate.floods else self._interval_s
            on_time = abs(beat - due) < interval_s  # otherwise the schedule starts again
            due = (due if on_time else beat) + interval_s
            self._deliver(image, moment, now)
            index += 1

    def _note(self, source: FrameSource, rate: SourceRate, worked: float) -> None:
        """Note a frame that came since :attr:`_last_sign`, when the thread had worked for so many seconds."""
        if source.live:
            now = self._clock()
            rate.note(now, idle_s=now - self._last_sign - (self._work_clock() - worked))

    def _rest_after_skipping(self, source: FrameSource) -> None:
        """Pause if the frame came at once: a source that never waits would keep a processor busy."""
        if source.live and self._clock() - self._last_sign < _AT_ONCE_S:
            self._pause(_AT_ONCE_S)

    def _deliver(self, image: UInt8Array, moment: float, now: float) -> None:
        frame = Frame(image=image, number=self.counts.read, time_s=moment, read_at=now, unix_time=time.time())
        self.counts.read += 1
        with self._condition:
            if not self.newest_only:
                while self._frame is not None and not self._stopping.is_set():
                    self._condition.wait(0.5)
                    self._last_sign = self._clock()  # the consumer is slow, not the source
            self.counts.dropped += self._frame is not None
            self._frame = frame
            self._condition.notify_all()

    def _up(self, shape: tuple[int, ...]) -> None:
        self.up = True
        self._changes.append(SourceChange(up=True, height=int(shape[0]), width=int(shape[1])))

    def _down(self, reason: str, hint: str, retry_s: float | None) -> None:
        self.up = False
        self._changes.append(SourceChange(up=False, reason=reason, hint=hint, retry_s=retry_s))

    def _end(self, error: BaseException | None, reason: str, hint: str) -> None:
        if self.counts.read == 0 and error is None:
            error = SourceError(f"{self._source.name} gave no frame.", hint="is it a video?")
        with self._condition:
            self._error = error
            self._down(reason, hint, None)
            self.ended = True
            self._condition.notify_all()

    # ---- what keeps it alive -------------------------------------------------------------------------------------

    def _current(self, generation: int) -> bool:
        return not self._stopping.is_set() and generation == self._generation

    def _watch_for_stall(self) -> None:
        """Interrupt a read that takes too long, and replace its thread if it does not return."""
        if self._source.is_waiting:
            self._last_sign = self._clock()
        silent_s = self._clock() - self._last_sign
        if not self._blocked or not self._source.live or silent_s < self._stall_s or self._stopping.is_set():
            return
        self._source.interrupt()
        if silent_s < self._stall_s + _INTERRUPTED_S:
            return
        self._stuck += 1
        if self._stuck > _MAX_STUCK or not (self._source.reopens and self._reopen):
            raise SourceError(
                f"{self.name} hangs, and cannot be opened again in this process.", hint="start the process again"
            )
        self._generation += 1  # the hanging thread ends silently if it ever returns
        self._down(f"no frame for {silent_s:.0f} s", "", 0.0)
        self._source = self._make_source()
        self.start()


def _following(source: FrameSource, index: int, moment: float) -> float:
    """Latest expected position of the next frame of a recording, in seconds, with half a frame of tolerance."""
    return moment + 1.5 / (source.fps or _DEFAULT_FPS) if index else 0.0


def _position(source: FrameSource, index: int) -> float:
    """Position of a frame in a recording, in seconds; counted if the file's own times do not increase."""
    counted = index / (source.fps or _DEFAULT_FPS)
    position = source.position_s()
    return counted if position is None or position <= 0 else position
