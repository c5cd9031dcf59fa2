"""Images of faces for Home Assistant."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edge_sphereface.stream.outputs.frames.snapshots import encode_jpeg, surroundings

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.events import DecisionEvent
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.recognition.frame_processor import FrameResult
    from edge_sphereface.types import UInt8Array


class FaceImages:
    """A frame sink that keeps the image of the newest decided face of each camera, until it is asked for.

    One may serve the streams of several cameras. Nothing is written to the disk.
    """

    def __init__(self) -> None:
        self.problem = ""
        self._lock = threading.Lock()
        self._newest: dict[str, UInt8Array] = {}

    def open(self, stream: FaceStream) -> None:
        """Nothing to do; see :meth:`FrameSink.open`."""

    def take(self, result: FrameResult) -> None:
        """Nothing to do: images are taken of events, see :meth:`snapshot`."""

    def close(self, timeout_s: float) -> None:
        """Nothing to do; see :meth:`FrameSink.close`."""

    def snapshot(self, event: DecisionEvent, frame: Frame) -> None:
        """Keep the image of a face; see :meth:`SnapshotSink.snapshot`."""
        image = surroundings(frame.image, event.box)
        with self._lock:
            self._newest[event.stream] = image

    def take_newest(self) -> dict[str, bytes]:
        """JPEG images of the faces decided since the last call, by the name of the camera."""
        with self._lock:
            newest, self._newest = self._newest, {}
        return {camera: encode_jpeg(image) for camera, image in newest.items()}
