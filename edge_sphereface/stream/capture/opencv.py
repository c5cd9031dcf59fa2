"""Cameras, network streams and video files through OpenCV."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from edge_sphereface.errors import SourceError
from edge_sphereface.stream.capture.address import SourceKind, kind_of, printable
from edge_sphereface.stream.capture.knock import require_answer
from edge_sphereface.stream.capture.source import FrameSource

if TYPE_CHECKING:
    from edge_sphereface.types import UInt8Array

_PLAUSIBLE_FPS = (0.5, 480.0)
_BAD_FRAMES = 250
"""Consecutive damaged frames after which a recording ends; past its end FFmpeg fails in microseconds."""
_UNCERTAIN = 0.01
"""Tolerance of the number of frames that a container states, as a share."""
_DECODER_THREADS = 1
"""FFmpeg's threads for a stream: each further one delays the video by a frame."""
_PATIENCE_S = 30.0
_opening = threading.Lock()
"""OpenCV opens one stream of FFmpeg at a time (see :mod:`.knock`). One that waits here does not hang."""


class CaptureSource(FrameSource):
    """A camera, URL or video file.

    Args:
        address: number of a camera, ``/dev/video*``, URL or path.
        size: (width, height) in pixels to request from a camera; it may deliver another size.
        pixel_format: FourCC to request from a camera, such as ``MJPG``.
        camera_fps: frames per second to request from a camera.
        timeout_s: seconds without data after which a network stream has ended.
    """

    def __init__(
        self,
        address: str,
        *,
        size: tuple[int, int] | None = None,
        pixel_format: str | None = None,
        camera_fps: float | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._address = address.strip()
        self._kind = kind_of(address)
        self._size, self._pixel_format, self._camera_fps = size, pixel_format, camera_fps
        self._timeout_ms = max(int(timeout_s * 1000), 1)
        self._capture: Any = None
        self._frames = self._announced = 0
        self._is_damaged = False
        self.name = printable(address)
        self.live = self._kind is not SourceKind.FILE

    def open(self) -> None:
        """Connect; see :meth:`FrameSource.open`."""
        import cv2

        self.close()
        self._capture = self._camera(cv2) if self._kind is SourceKind.CAMERA else self._in_turn(cv2)
        if not self._capture.isOpened():
            self.close()
            which = f"camera {self.name}" if self._kind is SourceKind.CAMERA else self.name
            raise SourceError(f"Cannot open {which}.", hint=_HINTS[self._kind])
        self._frames, self._is_damaged = 0, False
        self._announced = int(max(self._capture.get(cv2.CAP_PROP_FRAME_COUNT), 0))
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1] else None

    def read(self) -> UInt8Array | None:
        """The next frame; those of a recording that cannot be decoded are skipped. See :meth:`FrameSource.read`."""
        if not self._advance():
            return None
        there, image = self._require().retrieve()
        if not there or image is None:
            return None
        if image.ndim == 2:  # an infrared camera
            import cv2

            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return cast("UInt8Array", image)

    def skip(self) -> bool:
        """Decode the next frame, without converting its colors."""
        return self._advance()

    def _advance(self) -> bool:
        """Advance to the next frame; False at the end.

        Raises:
            SourceError: at the end of a recording with missing frames.
        """
        capture = self._require()
        if self._kind is not SourceKind.FILE:
            return bool(capture.grab())
        for failures in range(_BAD_FRAMES):
            if capture.grab():
                self._is_damaged |= failures > 0
                self._frames += 1
                return True
            if self._announced and self._frames >= self._announced:
                break
        missing = self._announced - self._frames
        if self._frames and (self._is_damaged or missing > max(2, self._announced * _UNCERTAIN)):
            which = f"{missing} of {self._announced}" if missing > 0 else "some"
            raise SourceError(
                f"{self.name} is damaged: {which} frames could not be read.", hint="the others were; copy it again"
            )
        return False

    def position_s(self) -> float | None:
        """Position in a file, in seconds; None for another source."""
        if self._kind is not SourceKind.FILE:
            return None
        import cv2

        return float(self._require().get(cv2.CAP_PROP_POS_MSEC)) / 1000.0

    def close(self) -> None:
        """Release the device or the connection."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _require(self) -> Any:
        if self._capture is None:
            raise SourceError(f"{self.name} is not open.")
        return self._capture

    def _in_turn(self, cv2: Any) -> Any:
        """Open FFmpeg's decoder, once the camera answers and no other source is being opened, or has been for too long.

        Raises:
            SourceError: the camera does not answer.
        """
        self.is_waiting = True
        try:
            if self._kind is SourceKind.NETWORK:
                require_answer(self._address, self._timeout_ms / 1000)
            is_alone = _opening.acquire(timeout=_PATIENCE_S)
        except SourceError as error:
            raise SourceError(f"Cannot open {self.name}.", hint=f"{error.message}; {_HINTS[self._kind]}") from error
        finally:
            self.is_waiting = False
        try:
            return self._decoder(cv2)
        finally:
            if is_alone:
                _opening.release()

    def _camera(self, cv2: Any) -> Any:
        device = int(self._address) if self._address.isdecimal() else self._address
        wanted: list[int] = []
        if self._pixel_format is not None:
            wanted += [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._pixel_format)]
        if self._size is not None:
            wanted += [cv2.CAP_PROP_FRAME_WIDTH, self._size[0], cv2.CAP_PROP_FRAME_HEIGHT, self._size[1]]
        if self._camera_fps is not None:
            wanted += [cv2.CAP_PROP_FPS, round(self._camera_fps)]
        capture = cv2.VideoCapture(device, cv2.CAP_ANY)
        for name, value in zip(wanted[::2], wanted[1::2], strict=True):
            capture.set(name, value)  # a camera ignores a format that it does not support
        return capture

    def _decoder(self, cv2: Any) -> Any:
        """Only FFmpeg: other backends of OpenCV would print the address with its password."""
        options = []
        if self._kind is SourceKind.NETWORK:
            options = [
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, self._timeout_ms),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, self._timeout_ms),
                *(cv2.CAP_PROP_N_THREADS, _DECODER_THREADS),
            ]
        return cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, options)


_HINTS = {
    SourceKind.CAMERA: "is it plugged in, free, and is this user in the group 'video'? "
    "`v4l2-ctl --list-devices` lists cameras",
    SourceKind.NETWORK: "check host, path, user and password, for instance with `ffprobe URL`; in a password, write "
    "/ as %2F, # as %23, ? as %3F and @ as %40",
    SourceKind.FILE: "is the path right, and is it a video?",
}
