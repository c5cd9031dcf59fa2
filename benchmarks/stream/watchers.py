"""Contenders of the economy benchmark: each looks at frames and says who is where."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.stream.video import middle_of
from edge_sphereface.alignment import align_for, stack_landmarks
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.finder import FaceFinder
from edge_sphereface.stream.scene import Scene
from edge_sphereface.stream.settings import TrackingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.detect import Detector
    from edge_sphereface.embed import Embedder
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.stream.frames import Frame
    from edge_sphereface.stream.settings import StreamSettings
    from edge_sphereface.types import Float32Array

_SIDE = TrackingSettings().detect_side


class Said(NamedTuple):
    """What a contender says of one face.

    Attributes:
        middle: (2,) of its landmarks.
        name: None where it gives none.
    """

    middle: Float32Array
    name: str | None


class EveryFace:
    """Detects in every frame, embeds every face, and takes the nearest identity above the threshold.

    Args:
        detector: finds faces, in pictures of the same size as the stream's.
        embedder: of the gallery.
        gallery: who is known.
        threshold: to reach.
    """

    def __init__(self, detector: Detector, embedder: Embedder, gallery: Gallery, threshold: float) -> None:
        self._finder, self._embedder, self._gallery = FaceFinder(detector), embedder, gallery
        self._threshold = threshold
        self.detections = self.embeddings = 0

    def look(self, frame: Frame) -> Sequence[Said]:
        """At one frame."""
        faces = self._finder.find(frame.image, _SIDE)
        self.detections += 1
        if not faces:
            return []
        faces = [self._finder.improve(frame.image, face) for face in faces]
        crops = align_for(self._embedder.spec, frame.image, stack_landmarks([face.landmarks for face in faces]))
        found = self._gallery.search(self._embedder.embed(crops), top=1)
        self.embeddings += len(faces)
        return [
            Said(middle_of(face.landmarks), best[0].name if best[0].similarity >= self._threshold else None)
            for face, best in zip(faces, found, strict=True)
        ]


class Watch:
    """The product's scene.

    Args:
        detector: finds faces.
        embedder: of the gallery.
        gallery: who is known.
        settings: of the stream.
    """

    def __init__(self, detector: Detector, embedder: Embedder, gallery: Gallery, settings: StreamSettings) -> None:
        self._scene = Scene(
            detector=detector, embedder=embedder, gallery=gallery, settings=settings, events=EventMaker("benchmark")
        )
        self.detections = self.embeddings = 0

    def look(self, frame: Frame) -> Sequence[Said]:
        """At one frame."""
        result = self._scene.step(frame)
        self.detections += result.detected
        self.embeddings += result.embedded
        return [Said(middle_of(track.face.landmarks), track.name) for track in result.tracks]
