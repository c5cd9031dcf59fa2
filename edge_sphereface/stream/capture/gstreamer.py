"""GStreamer pipelines, run by ``gst-launch-1.0`` in a process of their own.

PyPI's OpenCV is built without GStreamer, and a pipeline that hangs inside this process could not be ended. The pipeline
writes YUV4MPEG2. Its header has the size of the frames; another header announces a new size.

References:
    yuv4mpeg(5) of the MJPEG tools.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import threading
from collections import deque
from contextlib import suppress
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from edge_sphereface.errors import SourceError
from edge_sphereface.redaction import redact_pipeline
from edge_sphereface.stream.capture.address import printable
from edge_sphereface.stream.capture.source import FrameSource

if TYPE_CHECKING:
    from edge_sphereface.types import UInt8Array

LAUNCHER = "gst-launch-1.0"
_TAIL = (
    "queue max-size-buffers=1 leaky=downstream ! videoconvert ! video/x-raw,format=I420 ! y4menc ! "
    "fdsink fd=1 sync=false"
)
_MAGIC = b"YUV4MPEG2 "
_FRAME = b"FRAME"
_MAX_LINE = 256
_MAX_PIXELS = 1 << 26
_END_S = 1.0
"""Time for a pipeline to end by itself, in seconds."""


class PipelineSource(FrameSource):
    """A pipeline of ``gst-launch-1.0``, such as ``libcamerasrc ! video/x-raw,width=640,height=480``.

    A sink at its end (``appsink``, as OpenCV expects it) is replaced.

    Args:
        pipeline: elements between exclamation marks; the last must deliver ``video/x-raw`` in system memory.
    """

    live = True

    def __init__(self, pipeline: str) -> None:
        self.name = printable(pipeline)
        self._words = command_words(pipeline)
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: deque[str] = deque(maxlen=3)
        self._listener: threading.Thread | None = None
        self._buffer: UInt8Array | None = None
        self._size = (0, 0)

    def open(self) -> None:
        """Start the pipeline; see :meth:`FrameSource.open`."""
        self.close()
        launcher = shutil.which(LAUNCHER)
        if launcher is None:
            raise SourceError(f"There is no {LAUNCHER} on this machine.", hint="apt install gstreamer1.0-tools")
        self._complaints.clear()
        self._process = subprocess.Popen(  # noqa: S603 -- the user's own pipeline, and no shell
            [launcher, "--quiet", *self._words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # this process handles Ctrl-C
        )
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stderr,), name="gstreamer-messages", daemon=True
        )
        self._listener.start()
        line = self._line()
        if not line.startswith(_MAGIC):
            self._fail(f"gave no video{f', but {line[:40]!r}' if line else ''}")
        self._header(line)

    def read(self) -> UInt8Array | None:
        """The next frame; see :meth:`FrameSource.read`."""
        import cv2

        line = self._line()
        while line.startswith(_MAGIC):  # the size of frames changed
            self._header(line)
            line = self._line()
        if not line:
            if self._complaint():
                self._fail("broke off")
            return None
        if not line.startswith(_FRAME) or self._buffer is None:
            self._fail(f"gave {line[:40]!r} where a frame should begin")
        stream, view = self._stdout(), memoryview(cast("UInt8Array", self._buffer)).cast("B")
        got = 0
        while got < len(view):
            count = stream.readinto(view[got:])  # type: ignore[attr-defined] # a BufferedReader has it
            if not count:
                return None
            got += count
        width, height = self._size
        planes = cast("UInt8Array", self._buffer).reshape(height * 3 // 2, width)
        return cast("UInt8Array", cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420))

    def close(self) -> None:
        """End the pipeline, by force if necessary."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._listener is not None:
            self._listener.join(_END_S)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def interrupt(self) -> None:
        """End the process, which ends a blocked read."""
        process = self._process
        if process is not None:
            with suppress(OSError):
                process.kill()

    def _stdout(self) -> IO[bytes]:
        if self._process is None or self._process.stdout is None:
            raise SourceError(f"{self.name} is not open.")
        return self._process.stdout

    def _line(self) -> bytes:
        return self._stdout().readline(_MAX_LINE)

    def _header(self, line: bytes) -> None:
        words = {word[:1]: word[1:] for word in line[len(_MAGIC) :].split()}
        try:
            width, height = int(words[b"W"]), int(words[b"H"])
        except (KeyError, ValueError):
            width = height = 0
        if width < 2 or height < 2 or width * height > _MAX_PIXELS:
            self._fail(f"announced a video of {width} x {height} pixels")
        if width % 8 or height % 2:
            self._fail(
                f"gives {width} x {height} pixels, and a width that 8 divides and an even height are needed",
                hint="add ' ! videoscale ! video/x-raw,width=640,height=480' to the pipeline",
            )
        rate = re.fullmatch(rb"(\d+):(\d+)", words.get(b"F", b""))
        self.fps = int(rate[1]) / int(rate[2]) if rate and int(rate[1]) and int(rate[2]) else None
        self._size = (width, height)
        self._buffer = np.empty(width * height * 3 // 2, dtype=np.uint8)

    def _listen(self, stream: IO[bytes]) -> None:
        """Keep the last messages for a later error; a pipe that is not read would block the process."""
        with suppress(OSError, ValueError):
            for line in stream:
                text = redact_pipeline(line.decode(errors="replace").strip())
                if "ERROR" in text or "erroneous" in text:
                    self._complaints.append(text[:300])

    def _complaint(self) -> str:
        if self._listener is not None:
            self._listener.join(_END_S)
        return " ".join(self._complaints)

    def _fail(self, what: str, *, hint: str = "") -> None:
        complaint = self._complaint() if not hint else ""
        self.close()
        raise SourceError(
            f"The pipeline {self.name} {what}.{f' It said: {complaint}' if complaint else ''}",
            hint=hint or f"try it alone: {LAUNCHER} -v PIPELINE ! fakesink",
        )


def command_words(pipeline: str) -> list[str]:
    """The arguments of the command for a pipeline with our own sink.

    Raises:
        SourceError: a quote is not closed, or nothing stands before the sink.
    """
    try:
        words = shlex.split(pipeline)
    except ValueError as error:
        raise SourceError(f"The pipeline {printable(pipeline)} cannot be read: {error}.") from error
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "!":
            parts.append([])
        else:
            parts[-1].append(word)
    if parts[-1] and parts[-1][0].endswith("sink"):
        parts.pop()
    if not parts or not all(parts):
        raise SourceError(
            f"The pipeline {printable(pipeline)} has an empty element.", hint="elements stand between ' ! '"
        )
    return [word for part in parts for word in (*part, "!")] + shlex.split(_TAIL)
