"""Live recognition: reads a camera, tracks and recognizes faces, emits events.

.. code-block:: text

    source ─► reader ─► frame processor ─────────────► events ─► dispatcher ─► sink
              newest    detector and optical flow ─► tracks      one thread
              frame     quality ─► embedder ─► policy            per sink

Each public name loads what it needs when it is first used, so that settings alone need neither numpy nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.factory import SourceOptions
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.capture.source import FrameSource
    from edge_sphereface.stream.events import (
        Event,
        FaceAppeared,
        FaceIdentified,
        FaceLost,
        FaceUnknown,
        SourceDown,
        SourceUp,
        StatisticsReported,
    )
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.outputs.events.dispatcher import EventSink
    from edge_sphereface.stream.outputs.events.jsonl import FileSink
    from edge_sphereface.stream.outputs.frames.frame_output import FrameSink
    from edge_sphereface.stream.outputs.frames.recorder import VideoRecorder
    from edge_sphereface.stream.outputs.frames.snapshots import Snapshots
    from edge_sphereface.stream.recognition.frame_processor import FrameResult
    from edge_sphereface.stream.settings import RecognitionSettings, StreamSettings, TrackingSettings
    from edge_sphereface.stream.statistics import StreamHealth, StreamStatistics
    from edge_sphereface.stream.tracking.track import Track

__all__ = [
    "Event",
    "EventSink",
    "FaceAppeared",
    "FaceIdentified",
    "FaceLost",
    "FaceStream",
    "FaceUnknown",
    "FileSink",
    "Frame",
    "FrameResult",
    "FrameSink",
    "FrameSource",
    "RecognitionSettings",
    "Snapshots",
    "SourceDown",
    "SourceOptions",
    "SourceUp",
    "StatisticsReported",
    "StreamHealth",
    "StreamSettings",
    "StreamStatistics",
    "Track",
    "TrackingSettings",
    "VideoRecorder",
]

_HOME = {
    "Event": "events",
    "EventSink": "outputs.events.dispatcher",
    "FaceAppeared": "events",
    "FaceIdentified": "events",
    "FaceLost": "events",
    "FaceStream": "face_stream",
    "FaceUnknown": "events",
    "FileSink": "outputs.events.jsonl",
    "Frame": "capture.frame",
    "FrameResult": "recognition.frame_processor",
    "FrameSink": "outputs.frames.frame_output",
    "FrameSource": "capture.source",
    "RecognitionSettings": "settings",
    "Snapshots": "outputs.frames.snapshots",
    "SourceDown": "events",
    "SourceOptions": "capture.factory",
    "SourceUp": "events",
    "StatisticsReported": "events",
    "StreamHealth": "statistics",
    "StreamSettings": "settings",
    "StreamStatistics": "statistics",
    "Track": "tracking.track",
    "TrackingSettings": "settings",
    "VideoRecorder": "outputs.frames.recorder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
