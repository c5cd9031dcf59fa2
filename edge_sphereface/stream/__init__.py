"""Live recognition: reads a camera, tracks and recognizes faces, emits events.

.. code-block:: text

    source ─► reader ─► frame processor ─────────────► events ─► dispatcher ─► sink
              newest    detector and optical flow ─► tracks      one thread
              frame     quality ─► embedder ─► policy            per sink
"""

from edge_sphereface.stream.capture.factory import SourceOptions
from edge_sphereface.stream.capture.frame import Frame
from edge_sphereface.stream.capture.source import FrameSource
from edge_sphereface.stream.events import Event
from edge_sphereface.stream.face_stream import FaceStream
from edge_sphereface.stream.outputs.events.dispatcher import EventSink
from edge_sphereface.stream.outputs.events.jsonl import FileSink
from edge_sphereface.stream.outputs.frames.frame_output import FrameSink
from edge_sphereface.stream.outputs.frames.recorder import VideoRecorder
from edge_sphereface.stream.outputs.frames.snapshots import Snapshots
from edge_sphereface.stream.recognition.frame_processor import FrameResult
from edge_sphereface.stream.settings import RecognitionSettings, StreamSettings, TrackingSettings

__all__ = [
    "Event",
    "EventSink",
    "FaceStream",
    "FileSink",
    "Frame",
    "FrameResult",
    "FrameSink",
    "FrameSource",
    "RecognitionSettings",
    "Snapshots",
    "SourceOptions",
    "StreamSettings",
    "TrackingSettings",
    "VideoRecorder",
]
