"""Assigns detections to tracks by box overlap and landmark motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.stream.tracking.optical_flow import LandmarkFlow
from edge_sphereface.stream.tracking.track import TrackState
from edge_sphereface.types import Face

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.settings import TrackingSettings
    from edge_sphereface.types import Float32Array

_MIN_OVERLAP = 0.2
"""Intersection over union from which two boxes may be one face."""
_NEAR = 0.6
"""Distance of the middles of the landmarks, in widths of the face, up to which likewise."""
_MEETING = 0.05
"""Overlap of two faces from which either may be taken for the other afterwards."""
_HIDDEN_S = 0.4
"""A face that was not seen for as long may be another when something is seen in its place."""
_LATE = 1.5
"""The same, in intervals between detections, where they are rarer than that."""
_SLOWER = 0.9
"""Speed of a hidden face, frame by frame."""
_LONG_STEP_S = 0.2
"""Nobody can tell where a hidden face went in more."""
_SIZE_CHANGE = 1.8
"""Ratio of the widths of two detections that are one face."""
_UNCONFIRMED_S = 0.5
"""A face that was seen too rarely to be one is forgotten after this time."""


class Tracker:
    """Keeps the tracks of a stream.

    Args:
        settings: how faces are followed.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.tracks: list[TrackState] = []
        self._settings = settings
        self._motion = LandmarkFlow()
        self._next_number = 1
        self._last_s = 0.0

    @property
    def expecting(self) -> bool:
        """Whether a face was seen in the newest detection that too few have shown so far to be one."""
        return any(not track.confirmed and not track.misses for track in self.tracks)

    def follow(self, frame: Frame) -> None:
        """Move every face as its landmarks moved since the frame before."""
        passed_s = frame.time_s - self._last_s
        self._last_s = frame.time_s
        if not self.tracks:
            self._motion.look(frame.image)
            return
        for track, moved in zip(
            self.tracks, self._motion.follow(frame.image, [track.face for track in self.tracks]), strict=True
        ):
            if moved is not None and track.in_sight:
                track.move(moved, frame.time_s)
                if passed_s > _HIDDEN_S:  # in such a time one person may take another's place unseen
                    track.doubt()
            else:  # on as it went, ever slower
                track.doubt()
                track.velocity *= np.float32(_SLOWER)
                track.face = _shifted(track.face, track.velocity * np.float32(min(max(passed_s, 0.0), _LONG_STEP_S)))

    def update(self, frame: Frame, faces: Sequence[Face], *, interval_s: float = 0.0) -> list[TrackState]:
        """Take the detections of a frame into account, after :meth:`follow`.

        Args:
            frame: what the detector looked at.
            faces: what it found.
            interval_s: between detections, as they are scheduled now.

        Returns:
            Tracks that the detector sees in this frame.
        """
        found = [face for face in faces if _side(face) >= self._settings.min_face_px]
        found = sorted(found, key=lambda face: -face.area)[: self._settings.max_faces]
        pairs = _match(self.tracks, found, frame.time_s)
        seen = []
        for index, face in enumerate(found):
            track = pairs.get(index)
            if track is None:
                track = TrackState(number=self._next_number, face=face, began_s=frame.time_s, seen_s=frame.time_s)
                self._next_number += 1
                self.tracks.append(track)
            else:
                if frame.time_s - track.seen_s > max(_HIDDEN_S, _LATE * interval_s):
                    track.doubt()
                track.see(face, frame.time_s)
            seen.append(track)
        for track in self.tracks:
            if track not in seen:
                track.misses += 1
        self._mark_meetings()
        return seen

    def drop_lost(self, now_s: float) -> list[TrackState]:
        """Take out the tracks that were not seen for too long; gives those that had been confirmed."""
        lost = [
            track for track in self.tracks if track.misses > 1 and now_s - track.seen_s > self._patience(track)
        ]  # where detections are rare, one that fails is no sign
        self.tracks = [track for track in self.tracks if track not in lost]
        return [track for track in lost if track.confirmed]

    def renew(self, track: TrackState, now_s: float) -> TrackState:
        """Begin a new track where one turned out to be another person by now."""
        fresh = TrackState(
            number=self._next_number,
            face=track.face,
            began_s=now_s,
            seen_s=now_s,
            detections=self._settings.confirm,
            velocity=track.velocity,
        )
        self._next_number += 1
        self.tracks[self.tracks.index(track)] = fresh
        return fresh

    def clear(self) -> list[TrackState]:
        """Forget every track, as when the source is gone; gives those that had been confirmed."""
        gone, self.tracks = self.tracks, []
        self._motion = LandmarkFlow()
        return [track for track in gone if track.confirmed]

    def meeting(self, track: TrackState) -> bool:
        """Whether another face overlaps this one now, so that what is seen may be either."""
        return any(other is not track and _overlap(track.face.box, other.face.box) > _MEETING for other in self.tracks)

    def _patience(self, track: TrackState) -> float:
        return self._settings.lost_after_s if track.confirmed else min(_UNCONFIRMED_S, self._settings.lost_after_s)

    def _mark_meetings(self) -> None:
        for track in self.tracks:
            if self.meeting(track):
                track.doubt()


def _match(tracks: Sequence[TrackState], faces: Sequence[Face], now_s: float) -> dict[int, TrackState]:
    """The best pairs first, each track and each face once."""
    costs = []
    for track in tracks:
        hidden_s = now_s - track.seen_s
        for index, face in enumerate(faces):
            overlap = _overlap(track.face.box, face.box)
            width = max(_width(track.face), _width(face), 1.0)
            away = float(np.linalg.norm(track.face.landmarks.mean(axis=0) - face.landmarks.mean(axis=0))) / width
            near = _NEAR * (1.0 + min(hidden_s, 1.0))  # who was hidden may have gone farther
            ratio = _width(track.face) / max(_width(face), 1e-6)
            if (overlap >= _MIN_OVERLAP or away <= near) and 1 / _SIZE_CHANGE <= ratio <= _SIZE_CHANGE:
                shape = float(np.abs(_shape(track.face) - _shape(face)).mean())
                costs.append((1.0 - overlap + away + shape, track.number, index, track))
    matched: dict[int, TrackState] = {}
    taken: set[int] = set()
    for _, number, index, track in sorted(costs, key=lambda cost: cost[:3]):
        if number not in taken and index not in matched:
            matched[index] = track
            taken.add(number)
    return matched


def _shape(face: Face) -> Float32Array:
    """Landmarks relative to the box: two faces that meet are told apart by how they are turned."""
    corner, size = face.box[:2], np.maximum(face.box[2:] - face.box[:2], 1.0)
    shape: Float32Array = (face.landmarks - corner) / size
    return shape


def _overlap(one: Float32Array, other: Float32Array) -> float:
    """Intersection over union of two boxes."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    shared = max(float(right - left), 0.0) * max(float(bottom - top), 0.0)
    if shared == 0.0:
        return 0.0
    areas = sum(float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other))
    return shared / (areas - shared)


def _side(face: Face) -> float:
    return float(min(face.box[2] - face.box[0], face.box[3] - face.box[1]))


def _width(face: Face) -> float:
    return float(face.box[2] - face.box[0])


def _shifted(face: Face, shift: Float32Array) -> Face:
    return Face(box=face.box + np.tile(shift, 2), landmarks=face.landmarks + shift, score=face.score)
