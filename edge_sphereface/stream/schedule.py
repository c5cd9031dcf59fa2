"""Schedules an action at a fixed rate."""

from __future__ import annotations

_EARLY_S = 0.005
"""A frame may be due this much early: cameras are not exact."""


class Schedule:
    """Keeps an average rate: a late frame does not delay those after it."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start again: the next frame is due."""
        self._next_s = self._before_s = float("-inf")

    def due(self, now_s: float, interval_s: float) -> bool:
        """Whether the action is due at a frame; if so, the next is due an interval later.

        Args:
            now_s: time of the frame on the stream's clock, in seconds. If it runs backwards, the schedule starts again.
            interval_s: interval between actions, in seconds; it may change from frame to frame.
        """
        if now_s < self._before_s:
            self.restart()
        self._before_s = now_s
        if now_s < self._next_s - _EARLY_S and self._next_s - now_s <= interval_s:
            return False
        following = self._next_s + interval_s
        self._next_s = following if following > now_s else now_s + interval_s  # do not catch up
        return True
