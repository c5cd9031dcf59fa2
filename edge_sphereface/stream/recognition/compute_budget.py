"""Keeps the work per frame within a budget: detect less often, then in smaller images, then embed less often."""

from __future__ import annotations

from dataclasses import dataclass

_RARER = (1.0, 0.75, 0.5, 0.35, 0.25)
_SMALLER = (0.75, 0.5, 0.4)
_SMALLEST_SIDE = 160
_MOST_RARELY = 0.125
_FORGETTING = 0.1
"""Weight of the newest measurement in a mean that follows."""
_DECIDE_S = 1.0
"""Between changes of the level."""
_ROOM = 0.85
"""Share of the budget that the next better level must be expected to need before it is taken."""


@dataclass(frozen=True, slots=True)
class Level:
    """How much is done.

    Attributes:
        rate: detections, as a share of what was asked for.
        size: side of the picture for detection, likewise.
        slower: factor on the intervals between embeddings.
    """

    rate: float
    size: float
    slower: float


LEVELS = (
    *(Level(rate, 1.0, 1.0) for rate in _RARER),
    *(Level(_RARER[-1], size, 1.0) for size in _SMALLER),
    Level(_MOST_RARELY, _SMALLER[-1], 1.0),
    *(Level(_MOST_RARELY, _SMALLER[-1], slower) for slower in (2.0, 4.0, 8.0)),
)
"""From everything to the least that still finds faces."""


class ComputeBudget:
    """Measures what detection, embedding and the rest cost, and chooses the best level that the budget allows.

    Args:
        budget_ms: work per frame, on average; None for no limit.
        detect_fps: detections a second at the best level.
        detect_side: longer side of the picture for detection at the best level, in pixels.
    """

    def __init__(self, budget_ms: float | None, *, detect_fps: float, detect_side: int) -> None:
        self.budget_ms = budget_ms
        self._detect_fps, self._detect_side = detect_fps, detect_side
        self._level = 0
        self._decided_s = float("-inf")
        self._detect_ms_per_pixel: float | None = None
        self._rest_ms = self._embed_ms = 0.0
        self._frame_s: float | None = None
        self._before_s: float | None = None
        self.work_ms = 0.0

    @property
    def level(self) -> Level:
        """What to do now."""
        return LEVELS[self._level]

    @property
    def detect_interval_s(self) -> float:
        """Between detections."""
        return 1.0 / (self._detect_fps * self.level.rate)

    @property
    def detect_side(self) -> int:
        """Longer side of the picture for detection, in pixels."""
        return self._side(self.level)

    def account(self, now_s: float, *, detect_ms: float | None, embed_ms: float, rest_ms: float) -> None:
        """Take the work on one frame into account.

        Args:
            now_s: of the stream's clock.
            detect_ms: None if nothing was detected in it.
            embed_ms: 0 if nothing was embedded.
            rest_ms: following, drawing and the like.
        """
        if self._before_s is not None and now_s > self._before_s:
            self._frame_s = _mean(self._frame_s, now_s - self._before_s)
        self._before_s = now_s
        if detect_ms is not None:
            self._detect_ms_per_pixel = _mean(self._detect_ms_per_pixel, detect_ms / self.detect_side**2)
        self._embed_ms = self._embed_ms + (embed_ms * self.level.slower - self._embed_ms) * _FORGETTING / 4
        self._rest_ms = _mean(self._rest_ms or None, rest_ms)
        self.work_ms = _mean(self.work_ms or None, (detect_ms or 0.0) + embed_ms + rest_ms)
        if self.budget_ms is not None and now_s - self._decided_s >= _DECIDE_S:
            self._decided_s = now_s
            self._choose(self.budget_ms)

    def expected_ms(self, level: Level) -> float:
        """Work per frame at a level, by what was measured so far."""
        if self._detect_ms_per_pixel is None or self._frame_s is None:
            return 0.0
        share = min(self._frame_s * self._detect_fps * level.rate, 1.0)
        detect = self._detect_ms_per_pixel * self._side(level) ** 2 * share
        return detect + self._embed_ms / level.slower + self._rest_ms

    def _choose(self, budget_ms: float) -> None:
        fits = next((i for i, level in enumerate(LEVELS) if self.expected_ms(level) <= budget_ms), len(LEVELS) - 1)
        if fits > self._level:
            self._level = fits
        elif fits < self._level:  # upwards only with room to spare, or it would go up and down for ever
            room = next((i for i, level in enumerate(LEVELS) if self.expected_ms(level) <= budget_ms * _ROOM), None)
            if room is not None and room < self._level:
                self._level = room

    def _side(self, level: Level) -> int:
        return max(round(self._detect_side * level.size), min(_SMALLEST_SIDE, self._detect_side))


def _mean(before: float | None, value: float) -> float:
    return value if before is None else before + (value - before) * _FORGETTING
