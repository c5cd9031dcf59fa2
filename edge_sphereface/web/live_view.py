"""Holds the newest annotated frame for viewers."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from edge_sphereface.stream.outputs.frames.drawing import fitted

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.recognition.frame_processor import FrameResult
    from edge_sphereface.stream.tracking.track import Track

_QUALITY = 80


class Shown:
    """A frame for viewers, encoded once for each size, however many viewers there are, and not at all without any.

    Args:
        number: of the frame on this page, from 1.
        frame: the picture.
        faces: the faces in the frame.
    """

    def __init__(self, number: int, frame: Frame, faces: tuple[Track, ...]) -> None:
        self.number, self.frame, self.faces = number, frame, faces
        self._lock = threading.Lock()
        self._jpegs: dict[int, bytes] = {}

    @property
    def age_ms(self) -> float:
        """Milliseconds since the picture was read from the camera."""
        return (time.monotonic() - self.frame.read_at) * 1000

    def jpeg(self, side: int) -> bytes:
        """The picture as a JPEG file.

        Args:
            side: longer side of the picture, in pixels; a smaller picture keeps its size.
        """
        import cv2

        with self._lock:
            if side not in self._jpegs:
                picture, _ = fitted(self.frame.image, side)
                self._jpegs[side] = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
            return self._jpegs[side]


class LiveView:
    """Takes frames from the stream's thread and gives the newest one to tasks of event loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: Shown | None = None
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._numbers = itertools.count(1)
        self._closed = False

    def take(self, result: FrameResult) -> None:
        """Show a new frame."""
        self._wake(Shown(next(self._numbers), result.frame, result.in_sight))

    @property
    def faces(self) -> tuple[Track, ...]:
        """The faces in the newest frame."""
        return () if self._shown is None else self._shown.faces

    def close(self) -> None:
        """Show no more frames, and wake everyone who waits for one."""
        self._closed = True
        self._wake(self._shown)

    async def newer(self, than: int, timeout_s: float) -> Shown | None:
        """The newest frame, as soon as it differs from a known one; None if none comes in time.

        Args:
            than: number of the known frame.
            timeout_s: longest wait in seconds.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            event = asyncio.Event()
            with self._lock:
                shown = self._shown
                if shown is not None and shown.number != than:
                    return shown
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    return None
                self._waiters.append((asyncio.get_running_loop(), event))
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(event.wait(), left)

    def _wake(self, shown: Shown | None) -> None:
        with self._lock:
            self._shown = shown
            waiters, self._waiters = self._waiters, []
        for loop, event in waiters:
            with suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(event.set)
