"""Frames of made cameras: rendered video of LFW, kept as JPEG files as cameras send them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge_sphereface.types import UInt8Array

SIZE = (640, 360)
"""Width and height of the frames in pixels."""
_EVERY = 2
"""One of this many rendered frames is taken."""


def render(lfw: Path, report: Callable[[int, int], None]) -> list[UInt8Array]:
    """Render a minute of people of LFW, as JPEG files.

    Args:
        lfw: folder with images/ and lfw_landmark.txt.
        report: progress function.
    """
    from benchmarks.stream.video import Video

    video = Video(lfw, rounds=1)
    files = []
    for number, (picture, _) in enumerate(islice(video.frames(), 0, len(video), _EVERY)):
        files.append(np.asarray(cv2.imencode(".jpg", cv2.resize(picture, SIZE))[1], dtype=np.uint8))
        report(number + 1, len(video) // _EVERY)
    return files


def pack(files: Sequence[UInt8Array], path: Path) -> None:
    """Write JPEG files into one file."""
    np.savez(path, data=np.concatenate(files), sizes=np.array([len(file) for file in files]))


def unpack(path: str) -> list[UInt8Array]:
    """The JPEG files that :func:`pack` wrote."""
    with np.load(path) as packed:
        return list(np.split(packed["data"], np.cumsum(packed["sizes"])[:-1]))
