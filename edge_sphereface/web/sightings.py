"""Who was seen last, where and when, and the latest decisions, for the page. In memory alone."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING

from edge_sphereface.stream.events import DecisionEvent
from edge_sphereface.web.messages import Decision, Sighting

if TYPE_CHECKING:
    from edge_sphereface.stream.recognition.frame_processor import FrameResult

_MOST_NAMES = 10_000
_MOST_DECISIONS = 30


class Sightings:
    """Takes the results of all cameras, each in its own thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, Sighting] = {}
        self._decisions: deque[Decision] = deque(maxlen=_MOST_DECISIONS)
        self._numbers = itertools.count(1)

    def take(self, camera: str, result: FrameResult) -> None:
        """Note the people in a frame of a camera, and what was decided about them."""
        names = [track.name for track in result.in_sight if track.name is not None]
        decisions = [event for event in result.events if isinstance(event, DecisionEvent)]
        if not names and not decisions:
            return
        with self._lock:
            for name in names:
                self._last.pop(name, None)  # the newest name is the last one
                self._last[name] = Sighting(camera=camera, unix_time=result.frame.unix_time)
            while len(self._last) > _MOST_NAMES:
                del self._last[next(iter(self._last))]
            for event in decisions:
                self._decisions.append(
                    Decision(number=next(self._numbers), camera=camera, name=event.name, unix_time=event.unix_time)
                )

    def last(self, name: str) -> Sighting | None:
        """Where and when a person was seen last since the start; None if nowhere."""
        return self._last.get(name)

    def decisions(self) -> tuple[Decision, ...]:
        """The latest decisions, the oldest first."""
        with self._lock:
            return tuple(self._decisions)
