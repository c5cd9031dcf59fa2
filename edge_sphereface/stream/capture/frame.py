"""A frame, and its times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sphereface.types import UInt8Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """A picture with its moment.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        number: of the frame in its source, from 0; those that were dropped count, and a source that is opened again
            goes on counting.
        time_s: moment on the stream's own clock, in seconds: of a camera the monotonic clock, of a file or folder the
            position. Everything that takes time in tracking is measured on it.
        read_at: when the image had been read, in seconds of the reader's clock, ``time.monotonic()`` by default.
        unix_time: ``time.time()`` at that moment.
    """

    image: UInt8Array
    number: int
    time_s: float
    read_at: float
    unix_time: float
