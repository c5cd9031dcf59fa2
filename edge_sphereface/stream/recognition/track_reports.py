"""Which events of tracks are reported: those of ignored people are not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge_sphereface.stream.events import EarlierDecision

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.events import Event, EventMaker
    from edge_sphereface.stream.tracking.track import Standing, TrackState

_PATIENCE_S = 3.0
"""Longest time that a face that is not decided is held back, because it may be of an ignored person. Somebody who is
seen too badly to be decided is reported, late."""


class TrackReports:
    """Makes the events of tracks.

    An event of an ignored person cannot be taken back, so a face is reported once it is known to be of somebody else.
    A face that was reported, and turns out to be of an ignored person, is reported lost.

    Args:
        events: makes and numbers them.
    """

    def __init__(self, events: EventMaker) -> None:
        self._events = events

    def appeared(self, track: TrackState, frame: Frame) -> list[Event]:
        """A face is there, unless that was reported before."""
        if track.reported:
            return []
        track.reported = True
        return [self._events.appeared(track.snapshot(), frame)]

    def unless_ignored(self, track: TrackState, frame: Frame, threshold: float, *, may_be: bool) -> list[Event]:
        """A confirmed face is there, unless it may still turn out to be of an ignored person.

        Args:
            track: the track.
            frame: the newest frame.
            threshold: minimum cosine similarity for a decision.
            may_be: whether there are ignored people at all.
        """
        nearest = track.candidates[0] if track.candidates else None
        leaning = nearest is not None and bool(nearest.ignored) and nearest.similarity >= threshold
        waiting = may_be and frame.time_s - track.began_s < _PATIENCE_S
        if track.standing == "ignored" or (track.standing == "undecided" and (leaning or waiting)):
            return []
        return self.appeared(track, frame)

    def decided(self, track: TrackState, before: tuple[Standing, str | None], frame: Frame) -> list[Event]:
        """The identity of a face was decided, for the first time or anew.

        Args:
            track: the track with its new decision.
            before: its standing and name before.
            frame: the newest frame.
        """
        if track.standing == "ignored":
            if not track.reported:
                return []
            track.reported = False
            known_as = replace(track.snapshot(), standing=before[0], name=before[1])
            return [self._events.lost(known_as, frame)]
        earlier = EarlierDecision(name=before[1]) if before[0] in ("identified", "unknown") else None
        return [*self.appeared(track, frame), self._events.decided(track.snapshot(), frame, earlier)]

    def lost(self, track: TrackState, frame: Frame, threshold: float) -> list[Event]:
        """A face left: reported if it was, or if nothing says that it was of an ignored person."""
        first = self.unless_ignored(track, frame, threshold, may_be=False)
        return [*first, self._events.lost(track.snapshot(), frame)] if track.reported else []
