"""Counters of a stream."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sphereface.stream.recognition.frame_processor import FrameResult
    from edge_sphereface.types import JsonObject

_SAMPLES = 4096
"""Latencies that quantiles are taken of, the newest; a bound, since streams run for months."""


@dataclass(slots=True)
class Totals:
    """Since the stream began, or since the last statistics.

    Attributes:
        frames: that were looked at.
        detections: of those, in which the detector looked for faces.
        embeddings: that were made.
        work_ms: that all of this took.
    """

    frames: int = 0
    detections: int = 0
    embeddings: int = 0
    work_ms: float = 0.0

    def add(self, result: FrameResult) -> None:
        """Count a frame."""
        self.frames += 1
        self.detections += result.detected
        self.embeddings += result.embedded
        self.work_ms += result.work_ms


@dataclass(slots=True)
class Statistics:
    """Counts of a stream.

    Attributes:
        total: since the stream began.
        recent: since the last statistics.
        ages_ms: of frames when work on them began.
        latencies_ms: from the reading of a frame to the end of the work on it.
        events: by kind.
    """

    total: Totals = field(default_factory=Totals)
    recent: Totals = field(default_factory=Totals)
    ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    events: dict[str, int] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    recent_began: float = field(default_factory=time.monotonic)

    def add(self, result: FrameResult, *, age_ms: float, latency_ms: float) -> None:
        """Count a frame."""
        self.total.add(result)
        self.recent.add(result)
        self.ages_ms.append(age_ms)
        self.latencies_ms.append(latency_ms)

    def describe(self) -> JsonObject:
        """The counts since the beginning, and rates since the last statistics."""
        now = time.monotonic()
        passed = max(now - self.recent_began, 1e-9)
        return {
            "seconds": round(now - self.began, 3),
            "frames": self.total.frames,
            "detections": self.total.detections,
            "embeddings": self.total.embeddings,
            "fps": round(self.recent.frames / passed, 2),
            "work_ms": _rounded(self.recent.work_ms / self.recent.frames if self.recent.frames else None),
            "age_ms": _quantiles(self.ages_ms),
            "latency_ms": _quantiles(self.latencies_ms),
        }

    def begin_interval(self) -> None:
        """Forget what was recent."""
        self.recent, self.recent_began = Totals(), time.monotonic()
        self.ages_ms.clear()
        self.latencies_ms.clear()


def _quantiles(samples: deque[float]) -> JsonObject:
    ordered = sorted(samples)
    if not ordered:
        return {"p50": None, "p99": None}
    return {
        "p50": _rounded(ordered[len(ordered) // 2]),
        "p99": _rounded(ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
