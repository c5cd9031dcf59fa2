"""Schedules an action at a fixed rate."""

from __future__ import annotations

_EARLY_S = 0.005
"""A frame that comes this little before its time counts: cameras are not exact."""


class Schedule:
    """Holds a rate on average: a frame that comes late does not delay those after it."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget the beat: the next frame is due."""
        self._next_s = self._before_s = float("-inf")

    def due(self, now_s: float, interval_s: float) -> bool:
        """Whether it is time, for a frame at this moment; then the next is due an interval later.

        Args:
            now_s: of the stream's clock. Where it runs backwards the beat begins anew.
            interval_s: between two; may change from frame to frame.
        """
        if now_s < self._before_s:
            self.restart()
        self._before_s = now_s
        if now_s < self._next_s - _EARLY_S and self._next_s - now_s <= interval_s:
            return False
        following = self._next_s + interval_s
        self._next_s = following if following > now_s else now_s + interval_s  # no burst to catch up
        return True
