"""Runs the stream of one camera in a thread of its own, and starts it again when it fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edge_sphereface.cameras.camera import CameraHealth, CameraStatus
from edge_sphereface.errors import SinkError, SourceError
from edge_sphereface.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.cameras.camera import Camera, CameraState
    from edge_sphereface.cameras.shared_inference import CameraShare
    from edge_sphereface.stream.face_stream import FaceStream

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
"""Waits before a stream is started again, in seconds; they double from the first to the longest."""


class CameraRunner:
    """Runs one camera. Whatever its stream raises ends only this camera.

    Args:
        camera: the camera.
        share: of the shared detector and model.
        make_stream: makes its stream; called again when that failed.
        first_wait_s: seconds before a stream that failed is started again.

    Raises:
        EdgeSphereFaceError: the stream cannot be made.
    """

    def __init__(
        self,
        camera: Camera,
        share: CameraShare,
        make_stream: Callable[[], FaceStream],
        *,
        first_wait_s: float = _FIRST_WAIT_S,
    ) -> None:
        self.camera, self.share = camera, share
        self._make_stream = make_stream
        self.stream = make_stream()
        self._wait_s = first_wait_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera-{camera.name}", daemon=True)
        self._state: CameraState | None = None
        self._reason = ""
        self._restarts = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; see :meth:`join`."""
        self._stopping.set()
        self.stream.stop()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end. Returns whether it came; a thread that hangs in a library has none."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes from this camera."""
        return self._state in ("ended", "failed")

    @property
    def failure(self) -> str:
        """Why the camera failed for good; empty if it did not."""
        return self._reason if self._state == "failed" else ""

    def status(self) -> CameraStatus:
        """What there is to tell. May be called from any thread."""
        return CameraStatus(
            name=self.camera.name,
            source=self.stream.name,
            state=self._current_state(),
            reason=self._current_reason(),
            restarts=self._restarts,
            inference_s=round(self.share.used_s, 3),
            waited_s=round(self.share.waited_s, 3),
            health=self.stream.health(),
            statistics=self.stream.statistics(),
        )

    def health(self) -> CameraHealth:
        """Whether the camera works. May be called from any thread."""
        health = self.stream.health()
        return CameraHealth(
            name=self.camera.name,
            state=self._current_state(),
            healthy=health.healthy and not self.is_over,
            reason=self._current_reason(),
            frame_s=health.frame_s,
            problems=health.problems,
        )

    def _current_state(self) -> CameraState:
        if self._state is not None:
            return self._state
        if self.stream.source_up:
            return "up"
        return "down" if self.stream.source_reason else "starting"

    def _current_reason(self) -> str:
        return self._reason or self.stream.source_reason

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._state, self._reason = None, ""
            try:
                self.stream.run()
            except (SourceError, SinkError) as error:  # a hanging source, a recording that cannot be read, a full port
                self._reason, self._state = redact(error.message), "failed"
                return
            except Exception as error:  # noqa: BLE001 -- the other cameras go on
                self._reason = redact(f"it failed: {type(error).__name__}: {error}")
                self._state = "down"
            else:
                self._state = "ended"
                return
            self._make_again()

    def _make_again(self) -> None:
        """Wait, and make another stream, until that succeeds."""
        while not self._stopping.wait(self._wait_s):
            self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)
            try:
                self.stream = self._make_stream()
            except Exception as error:  # noqa: BLE001 -- a gallery that is busy now, for instance
                self._reason = redact(f"it failed: {type(error).__name__}: {error}")
                continue
            self._restarts += 1
            if self._stopping.is_set():
                self.stream.stop()
            return
