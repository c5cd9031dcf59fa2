"""A frame and its times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sphereface.types import UInt8Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """A frame of a source.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        number: number of the frame in its source, from 0. Dropped frames count, and a source that is reopened
            continues to count.
        time_s: time on the stream's clock, in seconds: monotonic for a camera, the position for a file or folder.
            Tracking measures all times with it.
        read_at: when the image was read, in seconds of the reader's clock, ``time.monotonic()`` by default.
        unix_time: when the image was read, in seconds since 1970.
    """

    image: UInt8Array
    number: int
    time_s: float
    read_at: float
    unix_time: float
