"""Live recognition: a camera is read, faces are followed and recognized, events are told.

.. code-block:: text

    source ─► reader ─► scene ─────────────────────────────────► events ─► courier ─► sink
              newest    tracker (finder, motion) ─► quality ─►             a thread each
              frame     embed what pays ─► evidence
"""

from edge_sphereface.stream.events import Event
from edge_sphereface.stream.face_stream import FaceStream
from edge_sphereface.stream.frame_sinks.frame_sink import FrameSink
from edge_sphereface.stream.frame_sinks.recorder import VideoRecorder
from edge_sphereface.stream.frame_sinks.snapshots import Snapshots
from edge_sphereface.stream.frames import Frame
from edge_sphereface.stream.scene import FrameResult
from edge_sphereface.stream.settings import RecognitionSettings, StreamSettings, TrackingSettings
from edge_sphereface.stream.sinks.courier import EventSink
from edge_sphereface.stream.sinks.lines import FileSink
from edge_sphereface.stream.sources.opening import SourceOptions
from edge_sphereface.stream.sources.source import FrameSource

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
