"""The interfaces of outputs that take frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.events import DecisionEvent
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.recognition.frame_processor import FrameResult


class FrameSink(Protocol):
    """An output of frames with their tracks.

    Attributes:
        problem: why it does not work now; empty if it does.
    """

    problem: str

    def open(self, stream: FaceStream) -> None:
        """Start the output.

        Raises:
            SinkError: it cannot work as requested.
        """
        ...

    def take(self, result: FrameResult) -> None:
        """Accept one frame, in the stream's thread, before its events are delivered. It must be quick."""
        ...

    def close(self, timeout_s: float) -> None:
        """Finish within this time, in seconds, and close."""
        ...


@runtime_checkable
class SnapshotSink(Protocol):
    """A frame sink that saves an image for each decision on an identity, before any output sees the event."""

    def snapshot(self, event: DecisionEvent, frame: Frame) -> str | None:
        """Save an image of the face, in the stream's thread. It must be quick.

        Args:
            event: the decision.
            frame: the frame of the face.

        Returns:
            Name of the file, for the event; None if no image is saved.
        """
        ...
