"""Reads YUV4MPEG2, the uncompressed video that GStreamer's ``y4menc`` and ffmpeg's ``yuv4mpegpipe`` write.

References:
    yuv4mpeg(5) of the MJPEG tools.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from io import BufferedReader

    from edge_sphereface.types import UInt8Array

MAGIC = b"YUV4MPEG2 "
MAX_PIXELS = 1 << 26
_FRAME = b"FRAME"
_MAX_LINE = 256
_LAYOUTS = (b"", b"420", b"420jpeg", b"420mpeg2", b"420paldv")


class Y4mError(Exception):
    """The stream is not what is read here. The message completes a sentence about the source.

    Attributes:
        is_size: whether the video is sound and only its size or layout cannot be used.
    """

    def __init__(self, what: str, *, is_size: bool = False) -> None:
        super().__init__(what)
        self.is_size = is_size


class Y4mReader:
    """The frames of a stream. A header before a frame announces another size.

    Args:
        stream: from its beginning.

    Attributes:
        fps: frames per second that the header announces; None if it announces none.
    """

    fps: float | None = None

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self._size = (0, 0)
        self._buffer: UInt8Array | None = None

    def read_header(self) -> None:
        """Read the first line.

        Raises:
            Y4mError: it is no header, or announces a video that cannot be read.
        """
        line = self._line()
        if not line.startswith(MAGIC):
            raise Y4mError(f"gave no video{f', but {line[:40]!r}' if line else ''}")
        self._parse(line)

    def read(self) -> UInt8Array | None:
        """The next frame, (H, W, 3) uint8 BGR; None at the end, also within a frame.

        Raises:
            Y4mError: no frame begins here.
        """
        import cv2

        line = self._line()
        while line.startswith(MAGIC):
            self._parse(line)
            line = self._line()
        if not line:
            return None
        if not line.startswith(_FRAME) or self._buffer is None:
            raise Y4mError(f"gave {line[:40]!r} where a frame should begin")
        view = memoryview(self._buffer).cast("B")
        if not read_fully(self._stream, view):
            return None
        width, height = self._size
        planes = self._buffer.reshape(height * 3 // 2, width)
        return cast("UInt8Array", cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420))

    def _line(self) -> bytes:
        return self._stream.readline(_MAX_LINE)

    def _parse(self, line: bytes) -> None:
        words = {word[:1]: word[1:] for word in line[len(MAGIC) :].split()}
        try:
            width, height = int(words[b"W"]), int(words[b"H"])
        except (KeyError, ValueError):
            width = height = 0
        if width < 2 or height < 2 or width * height > MAX_PIXELS:
            raise Y4mError(f"announced a video of {width} x {height} pixels")
        if width % 8 or height % 2:
            raise Y4mError(
                f"gives {width} x {height} pixels, and a width that 8 divides and an even height are needed",
                is_size=True,
            )
        if words.get(b"C", b"") not in _LAYOUTS:
            raise Y4mError(f"gives the layout {words[b'C'].decode(errors='replace')}, expected 4:2:0", is_size=True)
        rate = re.fullmatch(rb"(\d+):(\d+)", words.get(b"F", b""))
        self.fps = int(rate[1]) / int(rate[2]) if rate and int(rate[1]) and int(rate[2]) else None
        self._size = (width, height)
        self._buffer = np.empty(width * height * 3 // 2, dtype=np.uint8)


def read_fully(stream: BufferedReader, view: memoryview) -> bool:
    """Fill a buffer; False if the stream ends before."""
    got = 0
    while got < len(view):
        count = stream.readinto(view[got:])
        if not count:
            return False
        got += count
    return True
