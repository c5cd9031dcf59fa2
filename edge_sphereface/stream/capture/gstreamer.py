"""GStreamer pipelines, run by ``gst-launch-1.0`` in a process of their own.

PyPI's OpenCV is built without GStreamer, and a pipeline that hangs inside this process could not be ended. The pipeline
writes YUV4MPEG2, whose header has the size of the frames.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import threading
from collections import deque
from contextlib import suppress
from typing import IO, TYPE_CHECKING, NoReturn, cast

from edge_sphereface.errors import SourceError
from edge_sphereface.redaction import redact_pipeline
from edge_sphereface.stream.capture.address import printable
from edge_sphereface.stream.capture.source import FrameSource
from edge_sphereface.stream.capture.y4m import Y4mError, Y4mReader

if TYPE_CHECKING:
    from io import BufferedReader

    from edge_sphereface.types import UInt8Array

LAUNCHER = "gst-launch-1.0"
_TAIL = (
    "queue max-size-buffers=1 leaky=downstream ! videoconvert ! video/x-raw,format=I420 ! y4menc ! "
    "fdsink fd=1 sync=false"
)
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
        self._frames: Y4mReader | None = None

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
        self._frames = Y4mReader(cast("BufferedReader", self._process.stdout))
        try:
            self._frames.read_header()
        except Y4mError as error:
            self._fail(error)
        self.fps = self._frames.fps

    def read(self) -> UInt8Array | None:
        """The next frame; see :meth:`FrameSource.read`."""
        if self._process is None or self._frames is None:
            raise SourceError(f"{self.name} is not open.")
        try:
            image = self._frames.read()
        except Y4mError as error:
            self._fail(error)
        self.fps = self._frames.fps
        if image is None and self._complaint():
            self._fail(Y4mError("broke off"))
        return image

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

    def _fail(self, error: Y4mError) -> NoReturn:
        complaint = "" if error.is_size else self._complaint()
        self.close()
        hint = f"try it alone: {LAUNCHER} -v PIPELINE ! fakesink"
        if error.is_size:
            hint = "add ' ! videoscale ! video/x-raw,width=640,height=480' to the pipeline"
        raise SourceError(
            f"The pipeline {self.name} {error}.{f' It said: {complaint}' if complaint else ''}", hint=hint
        ) from error


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
