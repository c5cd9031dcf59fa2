"""The rate of a live source: when its next frame is expected, and whether it floods."""

from __future__ import annotations

from collections import deque

_CAMERA_FPS = 60.0
"""Cameras deliver at most so many frames a second, in the mean."""
_BACKLOG = 300.0
"""Frames that come at once after an interruption, such as those of 10 s at 30 frames a second."""
_IDLE_SHARE = 0.3
"""A source that lets its reader wait for a larger share of the time has a rate of its own."""
_BUSY_IDLE_SHARE = 0.15
"""A source without a rate of its own lets its reader wait for less than this share, even where threads wait for a
processor. A fast camera whose decoding takes most of its period lets it wait for more."""
_LONGEST_BACKLOG = 60 * _CAMERA_FPS
"""Frames by which such a source leads a fast camera before it has no rate of its own."""
_GAPS = 8
"""Number of frames by which the time of the next one is expected."""
_LONGEST_GAP_S = 1.0
"""A camera that stalled must not be expected to stall again."""


class SourceRate:
    """Notes the frames of a live source.

    A source floods if it delivers more frames than a camera; a backlog after an interruption is no flood (token
    bucket). One that floods and never lets its reader wait has a long backlog, or no rate of its own, such as a film
    behind a URL or a program that makes a frame whenever it is asked. Nothing but the length tells them apart.

    Args:
        now: time at which the source was opened, in seconds.

    Attributes:
        floods: whether the source delivers more frames than a camera.
        never_waits: whether it floods without letting its reader wait.
        has_no_rate: whether it delivered more than any backlog without a wait; it stays so until it is opened again.
    """

    def __init__(self, now: float) -> None:
        self.floods = self.never_waits = self.has_no_rate = False
        self._came = now
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._tokens = _BACKLOG
        self._time_s = self._idle_s = self._lead = 0.0

    @property
    def mean_gap_s(self) -> float:
        """Mean time between the newest frames, in seconds; 0 before the first."""
        return sum(self._gaps) / len(self._gaps) if self._gaps else 0.0

    def note(self, now: float, *, idle_s: float) -> None:
        """Note a frame that was read or skipped.

        Args:
            now: time at which it was there, in seconds.
            idle_s: for how long before that the source let its reader wait, in seconds.
        """
        gap_s, self._came = now - self._came, now
        self._gaps.append(min(gap_s, _LONGEST_GAP_S))
        if self.has_no_rate:
            return
        self._tokens = min(self._tokens + gap_s * _CAMERA_FPS, _BACKLOG)
        if self._tokens == _BACKLOG:
            self._time_s = self._idle_s = 0.0
        self._time_s += gap_s
        self._idle_s += idle_s
        self._tokens = max(self._tokens - 1, 0.0)
        self.floods = self._tokens == 0
        self.never_waits = self.floods and self._idle_s < _IDLE_SHARE * self._time_s
        is_ready = self.floods and self._idle_s < _BUSY_IDLE_SHARE * self._time_s
        self._lead = max(self._lead + 1 - gap_s * _CAMERA_FPS, 0.0) if is_ready else 0.0
        self.has_no_rate = self._lead > _LONGEST_BACKLOG
