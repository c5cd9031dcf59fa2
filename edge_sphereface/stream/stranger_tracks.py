"""Highest similarities of strangers' tracks, from which the threshold of ``watch`` is calibrated."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge_sphereface.errors import GalleryError
from edge_sphereface.stream.capture.frame import Frame
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.recognition.frame_processor import FrameProcessor
from edge_sphereface.stream.recognition.policy import decide_identity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.stream.settings import StreamSettings
    from edge_sphereface.stream.tracking.track import Standing, TrackState
    from edge_sphereface.types import UInt8Array

_OUT_OF_REACH = 2.0
"""A threshold that no cosine reaches: every face is treated as a stranger."""


def track_scores(
    frames: Iterable[tuple[float, UInt8Array]],
    *,
    detector: Detector,
    embedder: Embedder,
    gallery: Gallery,
    settings: StreamSettings,
) -> list[float]:
    """The highest threshold at which each track of a sequence would get a name at some time.

    Args:
        frames: time in seconds and image (H, W, 3) uint8 BGR of each frame, in order; nobody in them is enrolled.
        detector: finds faces.
        embedder: the model of the gallery.
        gallery: the known identities.
        settings: settings of the stream. Their threshold, or the gallery's, only decides when a track has become
            another person.

    Returns:
        A cosine for each track with enough evidence for a name.

    Raises:
        ThresholdError: neither the settings nor the gallery have a threshold.
        GalleryError: the gallery failed.
    """
    scores: dict[int, float] = {}
    processor = _StrangerProcessor(scores, detector=detector, embedder=embedder, gallery=gallery, settings=settings)
    for number, (moment, image) in enumerate(frames):
        processor.step(Frame(image=image, number=number, time_s=moment, read_at=time.monotonic(), unix_time=moment))
        if processor.gallery_problem:
            raise GalleryError(processor.gallery_problem, hint="run the calibration again")
    return list(scores.values())


class _StrangerProcessor(FrameProcessor):
    """A frame processor that gives no names and records the scores.

    Args:
        scores: receives the highest similarity of each track that could have given it a name, by its number.
        detector: finds faces.
        embedder: the model of the gallery.
        gallery: the known identities.
        settings: settings of the stream.
    """

    def __init__(
        self,
        scores: dict[int, float],
        *,
        detector: Detector,
        embedder: Embedder,
        gallery: Gallery,
        settings: StreamSettings,
    ) -> None:
        super().__init__(
            detector=detector, embedder=embedder, gallery=gallery, settings=settings, events=EventMaker("calibration")
        )
        self._scores = scores

    def _identify(self, track: TrackState) -> tuple[Standing, str | None]:
        recognition = self._settings.recognition
        best, *others = [found.similarity for found in track.candidates] or [-1.0]
        if track.weight >= recognition.enough_evidence and best - max(others, default=-1.0) >= recognition.margin:
            self._scores[track.number] = max(best, self._scores.get(track.number, -1.0))
        return decide_identity(track, track.candidates, _OUT_OF_REACH, recognition)
