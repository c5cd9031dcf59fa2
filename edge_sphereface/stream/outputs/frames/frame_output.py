"""The interface of a frame sink, and what it sees of each face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.events import DecisionEvent
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.recognition.frame_processor import FrameResult
    from edge_sphereface.stream.tracking.track import Standing
    from edge_sphereface.types import JsonObject


class FrameSink(Protocol):
    """Where frames go with their faces.

    Attributes:
        problem: why it does not work now; empty if it does.
    """

    problem: str

    def open(self, stream: FaceStream) -> None:
        """Begin.

        Raises:
            SinkError: it cannot work as it was asked to.
        """
        ...

    def take(self, result: FrameResult) -> None:
        """See one frame, in the stream's thread, before its events are delivered. It must be quick."""
        ...

    def close(self, timeout_s: float) -> None:
        """Finish what can be finished within this time."""
        ...


@runtime_checkable
class SnapshotSink(Protocol):
    """A frame sink that saves an image for each decision on an identity, before any output sees the event."""

    def snapshot(self, event: DecisionEvent, frame: Frame) -> str | None:
        """Save an image of the face, in the stream's thread. It must be quick.

        Args:
            event: the decision.
            frame: in which the face is.

        Returns:
            Name of the file, for the event; None if no image is saved.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A face as it was in one frame; its track goes on.

    Attributes:
        track: number of the face.
        box: left, top, right, bottom in pixels of the frame.
        standing: what was decided.
        name: if it is identified.
        similarity: to that name, else to the nearest; None before the first embedding.
    """

    track: int
    box: tuple[float, float, float, float]
    standing: Standing
    name: str | None
    similarity: float | None

    def as_json(self) -> JsonObject:
        """The same as plain JSON values."""
        return {
            "track": self.track,
            "box": [round(edge, 1) for edge in self.box],
            "standing": self.standing,
            "name": self.name,
            "similarity": None if self.similarity is None else round(self.similarity, 3),
        }


def sightings(result: FrameResult) -> tuple[Sighting, ...]:
    """The faces that are seen in a frame."""
    found = []
    for track in (track for track in result.tracks if track.in_sight):
        left, top, right, bottom = (float(edge) for edge in track.face.box)
        found.append(
            Sighting(
                track=track.number,
                box=(left, top, right, bottom),
                standing=track.standing,
                name=track.name,
                similarity=track.similarity,
            )
        )
    return tuple(found)
