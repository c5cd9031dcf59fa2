"""Statistics and health of a stream: the counters that it keeps, and the records that it reports."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge_sphereface.stream.recognition.frame_processor import FrameResult

_SAMPLES = 4096
"""Latencies that quantiles are taken of, the newest; a bound, since streams run for months."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Quantiles of times since the last statistics; null without a frame.

    Attributes:
        p50: the median, in milliseconds.
        p99: the 99th percentile, in milliseconds.
    """

    p50: float | None
    p99: float | None

    @classmethod
    def of(cls, samples: Iterable[float]) -> Quantiles:
        """Quantiles of samples in milliseconds."""
        ordered = sorted(samples)
        if not ordered:
            return cls(p50=None, p99=None)
        last = len(ordered) - 1
        return cls(p50=round(ordered[len(ordered) // 2], 2), p99=round(ordered[min(len(ordered) * 99 // 100, last)], 2))


@dataclass(frozen=True, kw_only=True)
class StreamStatistics:  # without slots, so that the event of the statistics can be both an event and these
    """Counts since the start of a stream, and rates and times since its last statistics.

    Attributes:
        seconds: time since the start, in seconds.
        frames: number of processed frames.
        detections: number of frames in which faces were detected; in the others they were tracked by optical flow.
        embeddings: number of embedded faces.
        fps: processed frames per second, since the last statistics.
        work_ms: mean processing time of a frame, in milliseconds, since the last statistics; None without a frame.
        age_ms: age of a frame when its processing begins, since the last statistics.
        latency_ms: time from reading a frame to the end of its processing, since the last statistics.
        read: number of frames that the source delivered.
        dropped: number of frames that a newer one replaced before they were processed.
        source_up: whether the source delivers frames.
        openings: how often the source was opened with success.
        faces: number of faces in sight, without those of ignored people.
        ignored: number of faces in sight of ignored people.
        detect_fps: detections per second that the budget allows.
        detect_side: longer side of the image for detection that the budget allows, in pixels.
        events: number of events so far, without this one.
        events_pending: number of events that have not reached every output yet.
        events_dropped: number of events that an output lost.
        problems: what is wrong besides the source, as sentences; it does not stop the stream.
    """

    seconds: float
    frames: int
    detections: int
    embeddings: int
    fps: float
    work_ms: float | None
    age_ms: Quantiles
    latency_ms: Quantiles
    read: int
    dropped: int
    source_up: bool
    openings: int
    faces: int
    ignored: int
    detect_fps: float
    detect_side: int
    events: int
    events_pending: int
    events_dropped: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHealth:
    """Whether a stream works.

    Attributes:
        healthy: whether frames come and are processed in time.
        source_up: whether the source delivers frames.
        turn_s: seconds since the stream's thread last gave a sign; None before the first.
        frame_s: seconds since the last frame was processed; None before the first.
        problems: what is wrong besides the source, as sentences; it does not make the stream unhealthy.
    """

    healthy: bool
    source_up: bool
    turn_s: float | None
    frame_s: float | None
    problems: tuple[str, ...]


@dataclass(slots=True)
class Totals:
    """Since the stream began, or since the last statistics.

    Attributes:
        frames: that were processed.
        detections: of those, in which the detector looked for faces.
        embeddings: that were made.
        work_ms: processing time of all of them.
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

    @property
    def mean_work_ms(self) -> float | None:
        """Mean processing time of a frame; None without a frame."""
        return round(self.work_ms / self.frames, 2) if self.frames else None


class Counters:
    """Counters of a stream.

    Args:
        clock: gives seconds.

    Attributes:
        total: since the stream began.
        recent: since the last statistics.
        ages_ms: of frames when their processing began.
        latencies_ms: from reading a frame to the end of its processing.
        events: number of events by kind.
        began: when the stream began, on the clock.
        recent_began: when the last statistics were reported, on the clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.total = Totals()
        self.recent = Totals()
        self.ages_ms: deque[float] = deque(maxlen=_SAMPLES)
        self.latencies_ms: deque[float] = deque(maxlen=_SAMPLES)
        self.events: dict[str, int] = {}
        self.began = self.recent_began = clock()

    def add(self, result: FrameResult, *, age_ms: float, latency_ms: float) -> None:
        """Count a frame."""
        self.total.add(result)
        self.recent.add(result)
        self.ages_ms.append(age_ms)
        self.latencies_ms.append(latency_ms)

    def begin_interval(self) -> None:
        """Forget what was recent."""
        self.recent, self.recent_began = Totals(), self._clock()
        self.ages_ms.clear()
        self.latencies_ms.clear()
