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

_FARTHEST_PX = 1e6
"""Largest coordinate of a detection: far beyond every frame, and safe in all arithmetic with it."""
_MIN_OVERLAP = 0.2
"""Intersection over union from which two boxes may be the same face."""
_NEAR = 0.6
"""Distance of the centers of the landmarks, in face widths, up to which they may be the same face."""
_MEETING = 0.05
"""Intersection over union of two faces from which they may be confused afterwards."""
_HIDDEN_S = 0.4
"""Time without a detection after which another person may be in the same place, in seconds."""
_LATE = 1.5
"""The same in intervals between detections, if those are longer."""
_SLOWER = 0.9
"""Factor on the velocity of a hidden face, per frame."""
_LONG_STEP_S = 0.2
"""Longest step for which a hidden face is extrapolated, in seconds."""
_SIZE_CHANGE = 1.8
"""Largest ratio of the widths of two detections of the same face."""
_UNCONFIRMED_S = 0.5
"""Time after which an unconfirmed face is dropped, in seconds."""


class Tracker:
    """Holds the tracks of a stream.

    Args:
        settings: how faces are detected and tracked.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.tracks: list[TrackState] = []
        self._settings = settings
        self._flow = LandmarkFlow()
        self._next_number = 1
        self._last_s = 0.0

    @property
    def expecting(self) -> bool:
        """Whether the newest detection found a face that is not confirmed yet."""
        return any(not track.confirmed and not track.misses for track in self.tracks)

    def follow(self, frame: Frame) -> None:
        """Move every track by the optical flow since the frame before."""
        passed_s = frame.time_s - self._last_s
        self._last_s = frame.time_s
        for track, moved in zip(
            self.tracks, self._flow.follow(frame.image, [track.face for track in self.tracks]), strict=True
        ):
            if moved is not None and track.in_sight:
                track.move(moved, frame.time_s)
                if passed_s > _HIDDEN_S:  # long enough for another person to take its place
                    track.doubt()
            else:  # extrapolate with decreasing velocity
                track.doubt()
                track.velocity *= np.float32(_SLOWER)
                track.face = _shifted(track.face, track.velocity * np.float32(min(max(passed_s, 0.0), _LONG_STEP_S)))

    def update(self, frame: Frame, faces: Sequence[Face], *, interval_s: float = 0.0) -> list[TrackState]:
        """Assign the detections of a frame to tracks, after :meth:`follow`.

        Args:
            frame: the frame.
            faces: its detected faces.
            interval_s: current interval between detections, in seconds.

        Returns:
            The tracks that were detected in this frame.
        """
        found = [face for face in faces if _is_possible(face) and _side(face) >= self._settings.min_face_px]
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
        self._mark_meetings(frame.time_s)
        return seen

    def drop_lost(self, now_s: float) -> list[TrackState]:
        """Remove the tracks that were not detected for too long; returns the confirmed ones."""
        lost = [
            track for track in self.tracks if track.misses > 1 and now_s - track.seen_s > self._patience(track)
        ]  # with rare detections a single miss means little
        self.tracks = [track for track in self.tracks if track not in lost]
        return [track for track in lost if track.confirmed]

    def look(self, frame: Frame) -> None:
        """Use a frame as the start of the next :meth:`follow`, after all changes of the tracks."""
        self._flow.look(frame.image, [track.face for track in self.tracks])

    def renew(self, track: TrackState, now_s: float) -> TrackState:
        """Replace a track that has become another person by a new one."""
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
        """Remove all tracks, as when the source ends; returns the confirmed ones."""
        gone, self.tracks = self.tracks, []
        self._flow = LandmarkFlow()
        return [track for track in gone if track.confirmed]

    def meeting(self, track: TrackState) -> bool:
        """Whether another face overlaps this one, so that the crop may show either."""
        return any(other is not track and _overlap(track.face.box, other.face.box) > _MEETING for other in self.tracks)

    def _patience(self, track: TrackState) -> float:
        return self._settings.lost_after_s if track.confirmed else min(_UNCONFIRMED_S, self._settings.lost_after_s)

    def _mark_meetings(self, now_s: float) -> None:
        for track in self.tracks:
            if self.meeting(track):
                track.doubt()
                track.met_s = min(track.met_s, now_s)
            else:
                track.met_s = np.inf


def _match(tracks: Sequence[TrackState], faces: Sequence[Face], now_s: float) -> dict[int, TrackState]:
    """Assign tracks to faces, the best pairs first; keys are indices of faces."""
    costs = []
    for track in tracks:
        hidden_s = now_s - track.seen_s
        for index, face in enumerate(faces):
            overlap = _overlap(track.face.box, face.box)
            width = max(_width(track.face), _width(face), 1.0)
            away = float(np.linalg.norm(track.face.landmarks.mean(axis=0) - face.landmarks.mean(axis=0))) / width
            near = _NEAR * (1.0 + min(hidden_s, 1.0))  # a hidden face may have moved farther
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
    """Landmarks relative to the box: two faces that meet differ in pose."""
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


def _is_possible(face: Face) -> bool:
    """Whether a detection is made of numbers, and near a frame."""
    places = np.concatenate([face.box, face.landmarks.ravel()])
    return bool(np.isfinite(face.score) and (np.abs(places) < _FARTHEST_PX).all())


def _side(face: Face) -> float:
    return float(min(face.box[2] - face.box[0], face.box[3] - face.box[1]))


def _width(face: Face) -> float:
    return float(face.box[2] - face.box[0])


def _shifted(face: Face, shift: Float32Array) -> Face:
    return Face(box=face.box + np.tile(shift, 2), landmarks=face.landmarks + shift, score=face.score)
