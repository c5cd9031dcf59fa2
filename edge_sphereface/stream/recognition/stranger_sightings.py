"""Hands tracks without a name to the keeper of strangers, and tells who was seen before."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edge_sphereface.strangers.records import Sighting

if TYPE_CHECKING:
    from edge_sphereface.strangers import StrangerKeeper
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.settings import RecognitionSettings
    from edge_sphereface.stream.tracking.track import TrackState

_LEAST_QUALITY = 0.3
"""Quality of the best crop from which a track without a name is kept as a sighting."""


class StrangerSightings:
    """The strangers before one camera.

    Args:
        keeper: keeps the sightings.
        camera: name of the stream.
        settings: amounts of evidence.
    """

    def __init__(self, keeper: StrangerKeeper, camera: str, settings: RecognitionSettings) -> None:
        self._keeper, self._camera, self._settings = keeper, camera, settings

    def reconsider(self) -> None:
        """Look for strangers who have a name by now, after a change of the gallery."""
        self._keeper.reconsider()

    def recognize(self, track: TrackState) -> None:
        """Note in a track which stranger it shows again."""
        template = track.template if track.standing == "unknown" else None
        track.stranger = None if template is None else self._keeper.recognize(template)

    def end(self, track: TrackState, frame: Frame, threshold: float) -> None:
        """Keep a track that has ended, if it is a sighting of a stranger.

        Args:
            track: the track.
            frame: the newest frame.
            threshold: minimum cosine similarity for a name.
        """
        self.recognize(track)
        template, crop = track.template, track.crop
        if template is None or crop is None or not self._is_sighting(track, threshold):
            return
        end = frame.unix_time - (frame.time_s - track.seen_s)
        start = end - (track.seen_s - track.began_s)
        self._keeper.take(
            Sighting(
                camera=self._camera,
                start=datetime.fromtimestamp(start, timezone.utc),
                end=datetime.fromtimestamp(end, timezone.utc),
                quality=track.best_quality,
                embedding=template,
                crop=crop,
            )
        )

    def _is_sighting(self, track: TrackState, threshold: float) -> bool:
        """Whether a track was seen well enough, and resembles nobody enough for a name.

        A face that lost its name to a more similar one in the same frame is no stranger, nor is a picture of a face.
        """
        return (
            track.standing == "unknown"
            and track.weight >= self._settings.enough_doubt
            and track.best_quality >= _LEAST_QUALITY
            and (track.similarity is None or track.similarity < threshold)
            and track.liveness != "spoof"
        )
