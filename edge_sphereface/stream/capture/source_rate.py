"""The rate of a live source: when its next frame is expected, and whether it floods."""

from __future__ import annotations

from collections import deque

_CAMERA_FPS = 60.0
"""Cameras deliver at most so many frames a second, in the mean."""
_BACKLOG = 300.0
"""Frames that come at once after an interruption, such as those of 10 s at 30 frames a second."""
_IDLE_SHARE = 0.3
"""A source that lets its reader wait for a larger share of the time has a rate of its own."""
_WAITS = 3
"""Frames in a row that let their reader wait; on a busy machine a single one may."""
_AHEAD_S = 5.0
"""Positions that have run ahead of the time by so much are those of a film, not of a camera."""
_PACED_S = 60.0
"""Time after which it is judged anew whether a source never waits."""
_GAPS = 8
"""Number of frames by which the time of the next one is expected."""
_LONGEST_GAP_S = 1.0
"""A camera that stalled must not be expected to stall again."""


class SourceRate:
    """Notes the frames of a live source.

    A source floods if it delivers more frames than a camera; a backlog after an interruption is no flood (token
    bucket). One that floods and never lets its reader wait has no rate of its own: a film behind a URL, or a program
    that makes a frame whenever it is asked. Its next frame is there whenever it is read, so reading more of them than
    are used only takes the time of others. A camera of a high rate does let its reader wait, and so does one with a
    long backlog in the end. They must be read as fast as they deliver, or their frames would become old on their way.

    Args:
        now: time at which the source was opened, in seconds.

    Attributes:
        floods: whether the source delivers more frames than a camera.
        never_waits: whether it floods and has no rate of its own.
    """

    def __init__(self, now: float) -> None:
        self.floods = self.never_waits = False
        self._opened = self._came = self._judged = now
        self._first_position_s: float | None = None
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._tokens = _BACKLOG
        self._time_s = self._idle_s = 0.0
        self._waits = 0

    @property
    def mean_gap_s(self) -> float:
        """Mean time between the newest frames, in seconds; 0 before the first."""
        return sum(self._gaps) / len(self._gaps) if self._gaps else 0.0

    def note(self, now: float, *, idle_s: float, position_s: float | None = None) -> None:
        """Note a frame that was read or skipped.

        Args:
            now: time at which it was there, in seconds.
            idle_s: for how long before that the source let its reader wait, in seconds.
            position_s: its position in the stream, in seconds; None if that is not known.
        """
        gap_s, self._came = now - self._came, now
        self._gaps.append(min(gap_s, _LONGEST_GAP_S))
        if self._first_position_s is None:
            self._first_position_s = position_s
        if self.never_waits:
            self._waits = self._waits + 1 if idle_s >= 1 / _CAMERA_FPS else 0
            if self._waits < _WAITS and now - self._judged < _PACED_S:
                return
            self._tokens, self._waits = _BACKLOG, 0
        self._tokens = min(self._tokens + gap_s * _CAMERA_FPS, _BACKLOG)
        if self._tokens == _BACKLOG:
            self._time_s = self._idle_s = 0.0
        self._time_s += gap_s
        self._idle_s += idle_s
        self._tokens = max(self._tokens - 1, 0.0)
        self.floods = self._tokens == 0
        is_idle = self._idle_s >= _IDLE_SHARE * self._time_s
        self.never_waits = self.floods and not is_idle and self._may_be_a_film(now, position_s)
        self._judged = now

    def _may_be_a_film(self, now: float, position_s: float | None) -> bool:
        """Whether it is ahead of the time; a camera with a backlog is behind."""
        if position_s is None or self._first_position_s is None:
            return True
        return position_s - self._first_position_s > now - self._opened + _AHEAD_S
