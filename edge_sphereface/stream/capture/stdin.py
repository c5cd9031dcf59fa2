"""Frames from standard input: what ``rpicam-vid``, ``ffmpeg`` and ``gst-launch-1.0`` write into a pipe.

References:
    ITU-T T.81, annex B: the markers of a JPEG file.
"""

from __future__ import annotations

import io
import os
import select
import sys
from threading import Event
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edge_sphereface.errors import ImageError, SourceError
from edge_sphereface.image import decode_image
from edge_sphereface.stream.capture.source import FrameSource
from edge_sphereface.stream.capture.y4m import MAGIC, MAX_PIXELS, Y4mError, Y4mReader, read_fully

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

    from edge_sphereface.types import UInt8Array

RAW_FORMATS = ("BGR3", "RGB3", "YU12", "NV12", "YUYV")
"""FourCCs of raw frames: packed BGR and RGB, planar and semi-planar 4:2:0, packed 4:2:2."""
_WHOLE_BYTES = {"BGR3": (3, 1), "RGB3": (3, 1), "YU12": (3, 2), "NV12": (3, 2), "YUYV": (2, 1)}
"""Bytes of a pixel, as a fraction."""
_JPEG_START = b"\xff\xd8"
_MAX_JPEG = 32 << 20
_CHUNK, _BUFFER = 1 << 16, 1 << 20
_LOOK_S = 0.2
_HINT = (
    "pipe MJPEG (rpicam-vid -t 0 --codec mjpeg -o -), YUV4MPEG2 (ffmpeg … -f yuv4mpegpipe -), or raw frames of a given "
    "size and pixel format"
)


class StdinSource(FrameSource):
    """Standard input, or another binary stream: MJPEG, YUV4MPEG2 or raw frames.

    Without a size, the first bytes tell MJPEG from YUV4MPEG2. Raw frames follow each other without padding: at the end
    of a row, too.

    Args:
        stream: from its beginning; None for standard input.
        size: (width, height) of raw frames in pixels; None for MJPEG and YUV4MPEG2.
        pixel_format: FourCC of raw frames, one of :data:`RAW_FORMATS`; None for ``BGR3``.

    Raises:
        SourceError: a pixel format that is not read here, or a size that it cannot have.
    """

    live = True
    name = "stdin"

    def __init__(
        self,
        stream: BufferedReader | None = None,
        *,
        size: tuple[int, int] | None = None,
        pixel_format: str | None = None,
    ) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._stopped = Event()
        self._read: Callable[[], UInt8Array | None] | None = None
        self._size, self._format = size, (pixel_format or "BGR3").upper()
        if size is not None:
            self._check_raw(*size)
        elif pixel_format is not None and self._format != "MJPG":
            raise SourceError(f"Raw frames in {pixel_format} need a size.", hint="give the size, such as 640x480")

    @property
    def reopens(self) -> bool:
        """False: a pipe ends once."""
        return False

    def open(self) -> None:
        """Wait for the first bytes; see :meth:`FrameSource.open`."""
        if self._stream is None:
            if sys.stdin is None or sys.stdin.isatty():
                raise SourceError("Expected a video on standard input, which is a terminal.", hint=_HINT)
            self._stream = io.BufferedReader(_Interruptible(sys.stdin.fileno(), self._stopped), _BUFFER)
        if self._size is not None:
            frame = np.empty(self._frame_bytes(*self._size), np.uint8)
            self._read = lambda: self._raw(frame)
            return
        start = self._stream.peek(len(MAGIC))[: len(MAGIC)]
        if start.startswith(_JPEG_START):
            self._read = self._jpeg
        elif start == MAGIC:
            frames = Y4mReader(self._stream)
            self._video(frames.read_header)
            self.fps = frames.fps
            self._read = lambda: self._video(frames.read)
        else:
            raise SourceError(f"Expected a video on standard input, got {start!r}.", hint=_HINT)

    def read(self) -> UInt8Array | None:
        """The next frame; see :meth:`FrameSource.read`."""
        if self._read is None:
            raise SourceError("stdin is not open.")
        return self._read()

    def close(self) -> None:
        """Nothing is held: standard input belongs to the process."""

    def interrupt(self) -> None:
        """Let a read that waits for a frame return."""
        self._stopped.set()

    def _raw(self, frame: UInt8Array) -> UInt8Array | None:
        import cv2

        if not read_fully(cast("BufferedReader", self._stream), memoryview(frame).cast("B")):
            return None
        width, height = cast("tuple[int, int]", self._size)
        if self._format == "BGR3":
            return frame.reshape(height, width, 3).copy()
        planar = self._format in {"YU12", "NV12"}
        shape = (height * 3 // 2, width) if planar else (height, width, 2 if self._format == "YUYV" else 3)
        code = {
            "RGB3": cv2.COLOR_RGB2BGR,
            "YU12": cv2.COLOR_YUV2BGR_I420,
            "NV12": cv2.COLOR_YUV2BGR_NV12,
            "YUYV": cv2.COLOR_YUV2BGR_YUYV,
        }[self._format]
        return cast("UInt8Array", cv2.cvtColor(frame.reshape(shape), code))

    def _jpeg(self) -> UInt8Array | None:
        """The next JPEG file; what stands between two is skipped."""
        stream = cast("BufferedReader", self._stream)
        while True:
            start = self._buffer.find(_JPEG_START)
            if start > 0:
                del self._buffer[:start]
            end = jpeg_end(self._buffer) if start >= 0 else None
            if end is not None:
                data = bytes(self._buffer[:end])
                del self._buffer[:end]
                return self._decoded(data)
            if len(self._buffer) > _MAX_JPEG:
                raise SourceError(f"A frame on standard input has more than {_MAX_JPEG >> 20} MiB.", hint=_HINT)
            more = stream.read1(_CHUNK)
            if not more:
                return None
            self._buffer += more

    def _decoded(self, data: bytes) -> UInt8Array:
        try:
            return decode_image(data, "a frame on standard input", max_pixels=MAX_PIXELS)
        except ImageError as error:
            raise SourceError(error.message, hint=error.hint) from error

    def _video(self, read: Callable[[], UInt8Array | None]) -> UInt8Array | None:
        try:
            return read()
        except Y4mError as error:
            raise SourceError(f"Standard input {error}.", hint=_HINT) from error

    def _check_raw(self, width: int, height: int) -> None:
        if self._format not in RAW_FORMATS:
            raise SourceError(
                f"Raw frames in {self._format} are not read; expected one of {', '.join(RAW_FORMATS)}.", hint=_HINT
            )
        odd = self._format not in {"BGR3", "RGB3"} and (width % 2 or height % 2)
        if not 0 < width * height <= MAX_PIXELS or odd:
            raise SourceError(
                f"Raw frames of {width} x {height} pixels in {self._format} are not read.",
                hint=f"expected at most {MAX_PIXELS} pixels, and even sides unless the format is BGR3 or RGB3",
            )

    def _frame_bytes(self, width: int, height: int) -> int:
        numerator, denominator = _WHOLE_BYTES[self._format]
        return width * height * numerator // denominator


class _Interruptible(io.RawIOBase):
    """A descriptor whose reads end when an event is set: a read of a pipe itself cannot be interrupted.

    Where the system cannot wait for a pipe (Windows), a read ends with the next bytes.
    """

    def __init__(self, descriptor: int, stopped: Event) -> None:
        self._descriptor, self._stopped = descriptor, stopped

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._stopped.is_set():
            if os.name != "posix" or select.select([self._descriptor], [], [], _LOOK_S)[0]:
                data = os.read(self._descriptor, len(buffer))
                buffer[: len(data)] = data
                return len(data)
        return 0


def jpeg_end(data: bytes | bytearray) -> int | None:
    """Where the JPEG file at the beginning of ``data`` ends; None if it does not end in it.

    Embedded files, such as thumbnails, are passed over with the segment that holds them.
    """
    place = len(_JPEG_START)
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return place  # damaged: the decoder tells
        kind = data[place + 1]
        if kind == 0xD9:
            return place + 2
        if kind == 0xFF:  # padding
            place += 1
        elif kind == 0x01 or 0xD0 <= kind <= 0xD8:  # without a length
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
            if kind == 0xDA:
                found = _scan_end(data, place)
                if found is None:
                    return None
                place = found
    return place + 2 if data[place : place + 2] == b"\xff\xd9" else None


def _scan_end(data: bytes | bytearray, place: int) -> int | None:
    """The marker after coded pixels, in which 0xFF is followed by 0 or by a restart marker."""
    while True:
        place = data.find(b"\xff", place)
        if place < 0 or place + 1 >= len(data):
            return None
        if data[place + 1] == 0 or 0xD0 <= data[place + 1] <= 0xD7:
            place += 2
        else:
            return place
