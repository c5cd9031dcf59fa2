"""Guided captures of the page: one for each camera, in memory until it is enrolled, canceled or left."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_sphereface.enrollment.appraisal import POSES, Pose
from edge_sphereface.enrollment.guided_capture import GuidedCapture, Hint
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.json_output import rounded
from edge_sphereface.web.messages import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.gallery import Enrollment, Gallery
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.recognition.frame_processor import FrameResult

_LEFT_S = 10.0
"""Time without a question of its viewer after which a capture is dropped."""
_LOOK_S = 1.0
"""Time between two looks for captures that are over."""
_QUALITY = 90


class CaptureError(EdgeSphereFaceError):
    """A guided capture cannot begin or go on."""

    code = "capture"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest(Request):
    """Go on with a capture.

    Attributes:
        id: of the capture.
    """

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureEnrollRequest(Request):
    """Enroll the pictures of a complete capture.

    Attributes:
        id: of the capture.
        name: name of the person.
    """

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureState:
    """State of a capture.

    Attributes:
        id: of the capture.
        poses: all poses, in their order.
        taken: poses that were taken.
        wanted: the next pose; None if all were taken.
        hint: what the person should know.
        seconds_left: time until the capture is over.
    """

    id: str
    poses: tuple[Pose, ...] = POSES
    taken: tuple[Pose, ...]
    wanted: Pose | None
    hint: Hint
    seconds_left: float = field(metadata=rounded(1))


@dataclass(slots=True)
class _Session:
    id: str
    camera: str
    capture: GuidedCapture
    asked_at: float
    is_enrolling: bool = False


def _after(wait_s: float, run: Callable[[], None]) -> None:
    """Run something later, in a thread that does not keep the program from its end."""
    timer = threading.Timer(wait_s, run)
    timer.daemon = True
    timer.start()


class Captures:
    """The captures that are going on. Frames come in the threads of streams, questions in others.

    What is over is dropped by the clock, also if its camera gives no more frames and nobody asks.

    Args:
        clock: gives seconds that never run backwards.
        later: runs something after a time in seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], None] = _after,
    ) -> None:
        self._clock, self._later = clock, later
        self._lock = threading.Lock()
        self._is_looking = False
        self._sessions: dict[str, _Session] = {}

    def take(self, camera: str, result: FrameResult, stream: FaceStream | None) -> None:
        """Look at a frame of a camera, in the thread of its stream."""
        session = self._sessions.get(camera)
        if session is None:
            return
        if not self._is_going_on(session):
            self._drop(session)
        elif result.detected and stream is not None and stream.embedder is not None:
            faces = [track.face for track in result.in_sight]
            session.capture.look(result.frame.image, faces, stream.embedder)

    def begin(self, stream: FaceStream) -> CaptureState:
        """Begin a capture with a camera.

        Raises:
            CaptureError: another one is going on there, or the stream does not recognize anybody.
        """
        camera, gallery = stream.settings.name, stream.gallery
        if gallery is None or stream.embedder is None:
            raise CaptureError("The program runs without a gallery.", hint="start it with one")
        gallery.require_writable()
        threshold = stream.threshold
        with self._lock:
            other = self._sessions.get(camera)
            if other is not None and self._is_going_on(other):
                raise CaptureError(
                    f"Somebody is being enrolled with {camera!r:.80} already.", hint="wait, or use another camera"
                )
            capture = GuidedCapture(threshold, clock=self._clock)
            session = _Session(secrets.token_urlsafe(16), camera, capture, self._clock())
            self._sessions = {**self._sessions, camera: session}
            is_first, self._is_looking = not self._is_looking, True
        if is_first:
            self._later(_LOOK_S, self._look)
        return _state(session)

    def state(self, capture: str) -> CaptureState:
        """How far a capture is.

        Raises:
            CaptureError: there is none; it may be over.
        """
        session = self._find(capture)
        session.asked_at = self._clock()
        return _state(session)

    def crop(self, capture: str, pose: str) -> bytes:
        """The picture of a pose as a JPEG file.

        Raises:
            CaptureError: there is no such capture, or the pose was not taken.
        """
        import cv2

        for shot in self._find(capture).capture.shots:
            if shot.pose == pose:
                return cv2.imencode(".jpg", shot.crop, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        raise CaptureError("There is no picture of this pose.", hint="wait until it is taken")

    def enroll(self, capture: str, name: str, gallery: Gallery) -> Enrollment:
        """Enroll the pictures of a complete capture, which is then over.

        Raises:
            CaptureError: there is no such capture, it is not complete, or it is being enrolled already.
            GalleryError: the gallery refuses them; the capture goes on.
        """
        import numpy as np

        from edge_sphereface.gallery.crops import encode_crop

        session = self._find(capture)
        shots = session.capture.shots
        if session.capture.wanted is not None:
            raise CaptureError("Not all pictures were taken.", hint="go on, or cancel")
        with self._lock:
            if session.is_enrolling or self._sessions.get(session.camera) is not session:
                raise CaptureError("This capture is being enrolled, or was.", hint="begin again for another person")
            session.is_enrolling = True
        try:
            crops = [encode_crop(shot.crop) for shot in shots] if gallery.keep_crops else None
            enrollment = gallery.enroll(name, np.stack([shot.embedding for shot in shots]), crops=crops)
        except BaseException:
            session.is_enrolling = False
            raise
        self._drop(session)
        return enrollment

    def cancel(self, capture: str) -> None:
        """Drop a capture with its pictures; one that is over already is no error."""
        for session in self._sessions.values():
            if session.id == capture:
                self._drop(session)

    def _look(self) -> None:
        """Drop the captures whose time is over, with their pictures, again and again until none goes on."""
        with self._lock:
            self._sessions = {name: one for name, one in self._sessions.items() if self._is_going_on(one)}
            self._is_looking = is_looking = bool(self._sessions)
        if is_looking:
            self._later(_LOOK_S, self._look)

    def _find(self, capture: str) -> _Session:
        for session in self._sessions.values():
            if session.id == capture and self._is_going_on(session):
                return session
        raise CaptureError("This capture is over: its time has passed, or it was canceled.", hint="begin again")

    def _is_going_on(self, session: _Session) -> bool:
        return self._clock() - session.asked_at <= _LEFT_S and session.capture.seconds_left > 0

    def _drop(self, session: _Session) -> None:
        with self._lock:
            self._sessions = {name: other for name, other in self._sessions.items() if other is not session}


def _state(session: _Session) -> CaptureState:
    capture = session.capture
    return CaptureState(
        id=session.id,
        taken=tuple(shot.pose for shot in capture.shots),
        wanted=capture.wanted,
        hint=capture.hint,
        seconds_left=capture.seconds_left,
    )
