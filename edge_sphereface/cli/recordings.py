"""Reads the frames of videos and folders of pictures, one after the other."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_sphereface.stream.capture.source import FrameSource
    from edge_sphereface.types import UInt8Array

_VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"}
_VIDEO_FPS = 25.0
"""Of a video that does not say."""


def is_video(path: Path) -> bool:
    """Whether a path is named as a video."""
    return path.suffix.lower() in _VIDEOS


def frames_of(source: FrameSource) -> Iterator[tuple[float, UInt8Array]]:
    """Time in seconds and image (H, W, 3) uint8 BGR of each frame.

    Raises:
        SourceError: the recording cannot be read, or not all of it.
    """
    source.open()
    try:
        for number in count():
            image = source.read()
            if image is None:
                return
            yield number / (source.fps or _VIDEO_FPS), image
    finally:
        source.close()
