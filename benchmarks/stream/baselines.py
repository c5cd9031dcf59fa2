"""Contenders of the command ``economy``: each processes frames and returns named faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.stream.video import middle_of
from edge_sphereface.alignment import align_for, stack_landmarks
from edge_sphereface.detection.scaled_detector import ScaledDetector
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.recognition.frame_processor import FrameProcessor
from edge_sphereface.stream.schedule import Schedule
from edge_sphereface.stream.settings import TrackingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.settings import StreamSettings
    from edge_sphereface.types import Face, Float32Array

_SIDE = TrackingSettings().detect_side
_DETECT_FPS = TrackingSettings().detect_fps
_LOST_S = TrackingSettings().lost_after_s
_NEAR_WIDTHS = 0.6
"""Largest distance between a detection and the expected position of its track, in widths of the face."""


class Said(NamedTuple):
    """Answer of a contender for one face.

    Attributes:
        middle: (2,) mean of the landmarks in pixels.
        name: name of the identity; None for an unknown face.
    """

    middle: Float32Array
    name: str | None


class EveryFace:
    """Detects in every frame, embeds every face, and returns the nearest identity above the threshold.

    Args:
        detector: finds faces, in images of the same size as the stream's.
        embedder: embedder of the gallery.
        gallery: enrolled identities.
        threshold: least cosine similarity of a match.
    """

    def __init__(self, detector: Detector, embedder: Embedder, gallery: Gallery, threshold: float) -> None:
        self._finder, self._embedder, self._gallery = ScaledDetector(detector), embedder, gallery
        self._threshold = threshold
        self.detections = self.embeddings = 0

    def look(self, frame: Frame) -> Sequence[Said]:
        """Return the answers for one frame."""
        faces = self._finder.find(frame.image, _SIDE)
        self.detections += 1
        if not faces:
            return []
        found = self._gallery.search(_embed(frame, faces, self._finder, self._embedder), top=1)
        self.embeddings += len(faces)
        return [
            Said(middle_of(face.landmarks), best[0].name if best[0].similarity >= self._threshold else None)
            for face, best in zip(faces, found, strict=True)
        ]


@dataclass(slots=True)
class _Follow:
    """Track of the ordinary tracker."""

    face: Face
    seen_s: float
    velocity: Float32Array
    sum: Float32Array
    name: str | None = None


class OrdinaryTracker:
    """Detects as often as `watch`, embeds every detected face, and names each track by the mean of its embeddings.

    Each detection is assigned to the nearest track. Between detections, tracks move at their last speed. This is the
    common design in its strongest simple form.

    Args:
        detector: finds faces, in images of the same size as the stream's.
        embedder: embedder of the gallery.
        gallery: enrolled identities.
        threshold: least cosine similarity of a match.
    """

    def __init__(self, detector: Detector, embedder: Embedder, gallery: Gallery, threshold: float) -> None:
        self._finder, self._embedder, self._gallery = ScaledDetector(detector), embedder, gallery
        self._threshold = threshold
        self._schedule, self._tracks = Schedule(), list[_Follow]()
        self.detections = self.embeddings = 0

    def look(self, frame: Frame) -> Sequence[Said]:
        """Return the answers for one frame."""
        if self._schedule.due(frame.time_s, 1 / _DETECT_FPS):
            self._detect(frame)
        return [Said(self._middle(track, frame.time_s), track.name) for track in self._tracks]

    def _detect(self, frame: Frame) -> None:
        faces = self._finder.find(frame.image, _SIDE)
        self.detections += 1
        self.embeddings += len(faces)
        rows = _embed(frame, faces, self._finder, self._embedder) if faces else ()
        matched = self._match(faces, frame.time_s)
        for index, (face, row) in enumerate(zip(faces, rows, strict=True)):
            track = matched.get(index)
            if track is None:
                track = _Follow(face, frame.time_s, np.zeros(2, np.float32), np.zeros_like(row))
                self._tracks.append(track)
            else:
                shift = middle_of(face.landmarks) - middle_of(track.face.landmarks)
                track.velocity = shift / np.float32(frame.time_s - track.seen_s)
                track.face, track.seen_s = face, frame.time_s
            track.sum = track.sum + row
            (best, *_) = self._gallery.search(track.sum / np.linalg.norm(track.sum), top=1)[0]
            track.name = best.name if best.similarity >= self._threshold else None
        self._tracks = [track for track in self._tracks if frame.time_s - track.seen_s < _LOST_S]

    def _match(self, faces: Sequence[Face], now_s: float) -> dict[int, _Follow]:
        costs = []
        for number, track in enumerate(self._tracks):
            where = self._middle(track, now_s)
            for index, face in enumerate(faces):
                width = max(float(box[2] - box[0]) for box in (track.face.box, face.box))
                away = float(np.linalg.norm(middle_of(face.landmarks) - where)) / width
                if away < _NEAR_WIDTHS:
                    costs.append((away, number, index))
        matched: dict[int, _Follow] = {}
        taken: set[int] = set()
        for _, number, index in sorted(costs):
            if number not in taken and index not in matched:
                matched[index] = self._tracks[number]
                taken.add(number)
        return matched

    @staticmethod
    def _middle(track: _Follow, now_s: float) -> Float32Array:
        return middle_of(track.face.landmarks) + track.velocity * np.float32(now_s - track.seen_s)


class Watch:
    """The frame processor of `watch`.

    Args:
        detector: finds faces.
        embedder: embedder of the gallery.
        gallery: enrolled identities.
        settings: settings of the stream.
    """

    def __init__(self, detector: Detector, embedder: Embedder, gallery: Gallery, settings: StreamSettings) -> None:
        self._processor = FrameProcessor(
            detector=detector, embedder=embedder, gallery=gallery, settings=settings, events=EventMaker("benchmark")
        )
        self.detections = self.embeddings = 0

    def look(self, frame: Frame) -> Sequence[Said]:
        """Return the answers for one frame."""
        result = self._processor.step(frame)
        self.detections += result.detected
        self.embeddings += result.embedded
        return [Said(middle_of(track.face.landmarks), track.name) for track in result.tracks]


def _embed(frame: Frame, faces: Sequence[Face], finder: ScaledDetector, embedder: Embedder) -> Float32Array:
    landmarks = stack_landmarks([face.landmarks for face in finder.improve(frame.image, faces)])
    return embedder.embed(align_for(embedder.spec, frame.image, landmarks))
