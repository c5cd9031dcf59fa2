"""Who was seen last, where and when, and the latest decisions, for the page. In memory alone."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING

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
        self._known: dict[str, dict[int, str | None]] = {}
        """What was decided of the tracks of each camera."""
        self._decisions: deque[Decision] = deque(maxlen=_MOST_DECISIONS)
        self._numbers = itertools.count(1)

    def take(self, camera: str, result: FrameResult) -> None:
        """Note the people in a frame of a camera, and what was decided about them since the frame before."""
        known = self._known.get(camera, {})
        now = {track.number: track.name for track in result.tracks if track.standing in ("identified", "unknown")}
        new = [name for number, name in now.items() if number not in known or known[number] != name]
        names = [track.name for track in result.in_sight if track.name is not None]
        self._known[camera] = now
        if not names and not new:
            return
        unix_time = result.frame.unix_time
        with self._lock:
            for name in names:
                self._last.pop(name, None)  # the newest name is the last one
                self._last[name] = Sighting(camera=camera, unix_time=unix_time)
            while len(self._last) > _MOST_NAMES:
                del self._last[next(iter(self._last))]
            for name_or_none in new:
                number = next(self._numbers)
                self._decisions.append(Decision(number=number, camera=camera, name=name_or_none, unix_time=unix_time))

    def last(self, name: str) -> Sighting | None:
        """Where and when a person was seen last since the start; None if nowhere."""
        return self._last.get(name)

    def decisions(self) -> tuple[Decision, ...]:
        """The latest decisions, the oldest first."""
        with self._lock:
            return tuple(self._decisions)
