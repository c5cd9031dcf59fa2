"""Keeps the work per frame within a budget: detect less often, then in smaller images, then embed less often."""

from __future__ import annotations

from dataclasses import dataclass

_RARER = (1.0, 0.75, 0.5, 0.35, 0.25)
_SMALLER = (0.75, 0.5, 0.4)
_SMALLEST_SIDE = 160
_MOST_RARELY = 0.125
_FORGETTING = 0.1
"""Weight of the newest measurement in an exponential mean."""
_DECIDE_S = 1.0
"""Interval between changes of the level."""
_ROOM = 0.85
"""A better level is chosen when it is expected to need at most this share of the budget."""


@dataclass(frozen=True, slots=True)
class Level:
    """An amount of work per frame.

    Attributes:
        rate: detections per second, as a share of the requested rate.
        size: side of the image for detection, as a share of the requested side.
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
"""From full work to the least that still finds faces."""


class ComputeBudget:
    """Measures the time of detection, embedding and the rest, and chooses the best level within the budget.

    Args:
        budget_ms: mean processing time per frame, in milliseconds; None for no limit.
        detect_fps: detections per second at the best level.
        detect_side: longer side of the image for detection at the best level, in pixels.
    """

    def __init__(self, budget_ms: float | None, *, detect_fps: float, detect_side: int) -> None:
        self.budget_ms = budget_ms
        self.inference_ms_per_s: float | None = None
        """Limit of detection and embedding in milliseconds per second, of a stream that shares them; None for none."""
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
        """The current level."""
        return LEVELS[self._level]

    @property
    def detect_interval_s(self) -> float:
        """Interval between detections, in seconds."""
        return 1.0 / (self._detect_fps * self.level.rate)

    @property
    def detect_side(self) -> int:
        """Longer side of the image for detection, in pixels."""
        return self._side(self.level)

    def account(self, now_s: float, *, detect_ms: float | None, embed_ms: float, rest_ms: float) -> None:
        """Record the processing times of one frame, in milliseconds.

        Args:
            now_s: time of the frame on the stream's clock, in seconds.
            detect_ms: detection; None if none was due.
            embed_ms: embedding; 0 if nothing was embedded.
            rest_ms: tracking and the rest.
        """
        if self._before_s is not None and now_s > self._before_s:
            self._frame_s = _mean(self._frame_s, now_s - self._before_s)
        self._before_s = now_s
        if detect_ms is not None:
            self._detect_ms_per_pixel = _mean(self._detect_ms_per_pixel, detect_ms / self.detect_side**2)
        self._embed_ms = self._embed_ms + (embed_ms * self.level.slower - self._embed_ms) * _FORGETTING / 4
        self._rest_ms = _mean(self._rest_ms or None, rest_ms)
        self.work_ms = _mean(self.work_ms or None, (detect_ms or 0.0) + embed_ms + rest_ms)
        is_limited = self.budget_ms is not None or self.inference_ms_per_s is not None
        if is_limited and now_s - self._decided_s >= _DECIDE_S:
            self._decided_s = now_s
            self._choose()

    @property
    def demand_ms_per_s(self) -> float:
        """Expected time of detection and embedding at the best level, in milliseconds per second."""
        return self._per_second(self._inference_ms(LEVELS[0]))

    def expected_ms(self, level: Level) -> float:
        """Expected processing time per frame at a level, in milliseconds."""
        return self._inference_ms(level) + self._rest_ms if self._is_known else 0.0

    @property
    def _is_known(self) -> bool:
        return self._detect_ms_per_pixel is not None and self._frame_s is not None

    def _inference_ms(self, level: Level) -> float:
        """Expected time of detection and embedding per frame at a level, in milliseconds."""
        if self._detect_ms_per_pixel is None or self._frame_s is None:
            return 0.0
        share = min(self._frame_s * self._detect_fps * level.rate, 1.0)
        return self._detect_ms_per_pixel * self._side(level) ** 2 * share + self._embed_ms / level.slower

    def _per_second(self, frame_ms: float) -> float:
        return frame_ms / self._frame_s if self._frame_s else 0.0

    def _fits(self, level: Level, room: float = 1.0) -> bool:
        """Whether the work at a level is within a share of the limits."""
        return (self.budget_ms is None or self.expected_ms(level) <= self.budget_ms * room) and (
            self.inference_ms_per_s is None
            or self._per_second(self._inference_ms(level)) <= self.inference_ms_per_s * room
        )

    def _choose(self) -> None:
        fits = next((i for i, level in enumerate(LEVELS) if self._fits(level)), len(LEVELS) - 1)
        if fits > self._level:
            self._level = fits
        elif fits < self._level:  # only with room to spare, so that it does not oscillate
            room = next((i for i, level in enumerate(LEVELS) if self._fits(level, _ROOM)), None)
            if room is not None and room < self._level:
                self._level = room

    def _side(self, level: Level) -> int:
        return max(round(self._detect_side * level.size), min(_SMALLEST_SIDE, self._detect_side))


def _mean(before: float | None, value: float) -> float:
    return value if before is None else before + (value - before) * _FORGETTING
