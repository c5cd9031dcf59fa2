"""Guided capture: five poses of one person before a camera, each taken as soon as it is good enough.

The frontal picture comes first, and the others are judged by how far the face has moved from it: the nod of a frontal
face differs from person to person, and with the height of the camera. Reports about photographs know nothing of that,
and have wider bounds.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from edge_sphereface.alignment import align_for, alignable
from edge_sphereface.enrollment.appraisal import POSES, Pose, pose_by
from edge_sphereface.quality import USUAL_NOD, assess, direction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.inference.embedder import CropEmbedder
    from edge_sphereface.types import Face, Float32Array, UInt8Array

Hint: TypeAlias = Literal["nobody", "several", "closer", "turn", "more", "less", "still", "other-person", "taken"]
"""What the person should know: nobody or several people are there, come closer, show the wanted pose, move
more toward it, turned or nodded too far, hold still, this is another person than before, or a picture was taken."""

LEAST_EYES_PX = 30.0
"""Distance of the eyes in the frame from which a face is large enough."""
_LEAST_SHARPNESS = 0.6
"""Sharpness of :class:`~edge_sphereface.quality.Quality` from which a crop is good enough."""
_LEAST_POSE = 0.1
"""Pose of the same below which a face is turned or nodded too far, however it looks from the front."""
_FRONTAL_TURN, _FRONTAL_NOD = 0.2, 0.25
"""Turn, and difference from the usual nod, below which a first picture is frontal; see :class:`Bearing`."""
_LEAST_TURN, _LEAST_NOD = 0.22, 0.08
"""Change of either from the frontal picture from which a pose is another."""
_MOST_TURN, _MOST_NOD = 0.8, 0.25
"""Change of either beyond which it is too far."""
_HELD_S = 0.3
"""Time for which a pose must be held."""
_LONG_S = 4.0
"""Time without the wanted pose after which a larger movement is asked for."""
_PAUSE_S = 0.8
"""Time after a picture in which none is taken, so that the person can follow."""
_DIFFERENT_PERSON = 0.1
"""Margin below the threshold of identification: pictures of a moment are more similar than two photographs."""
TIMEOUT_S = 90.0
"""Time without a new picture after which a capture is over."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """A picture that was taken.

    Attributes:
        pose: where the face looks.
        crop: (H, W, 3) uint8 BGR, aligned.
        embedding: (D,) float32 of length one.
    """

    pose: Pose
    crop: UInt8Array
    embedding: Float32Array


class Bearing(NamedTuple):
    """Where the nose is, in coordinates of eyes and mouth, which a rotation of the picture does not change.

    For a flat face with a nose, seen from afar, either is the tangent of the angle by which the camera looks past the
    face, times how far the nose stands out. A turn does not change the nod, whatever the height of the camera.

    Attributes:
        turned: from the middle between the eyes, in half eye distances; negative to the left of the picture.
        nodded: from halfway between eyes and mouth, as a share of their distance; negative upward.
    """

    turned: float
    nodded: float

    @classmethod
    def of(cls, landmarks: Float32Array) -> Bearing:
        """The bearing of landmarks (5, 2); infinite where eyes and mouth lie on one line."""
        left_eye, right_eye, nose, left_mouth, right_mouth = landmarks.astype(np.float64)
        eyes = (left_eye + right_eye) / 2
        axes = np.column_stack([(right_eye - left_eye) / 2, (left_mouth + right_mouth) / 2 - eyes])
        try:
            turned, nodded = np.linalg.solve(axes, nose - eyes).tolist()
        except np.linalg.LinAlgError:
            return cls(np.inf, np.inf)
        return cls(turned, nodded - 0.5)


class GuidedCapture:
    """Takes five pictures of one person, the frontal one first, the others in any order. Nothing leaves the memory.

    One thread gives frames; others may read what was found.

    Args:
        threshold: cosine similarity from which two photographs show one person.
        timeout_s: time without a new picture after which it is over.
        clock: gives seconds that never run backwards.
    """

    def __init__(
        self, threshold: float, *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._least_similarity, self._timeout_s, self._clock = threshold - _DIFFERENT_PERSON, timeout_s, clock
        self._lock = threading.Lock()
        self._shots: dict[Pose, Shot] = {}
        self._frontal = Bearing(0.0, USUAL_NOD)
        self._hint: Hint = "nobody"
        self._held: Pose | None = None
        self._held_since = self._progress_at = self._turn_since = clock()
        self._paused_until = float("-inf")

    @property
    def hint(self) -> Hint:
        """What the person should know now."""
        return self._hint

    @property
    def shots(self) -> tuple[Shot, ...]:
        """The pictures so far, in the order of the poses."""
        with self._lock:
            return tuple(self._shots[pose] for pose in POSES if pose in self._shots)

    @property
    def wanted(self) -> Pose | None:
        """The next pose; None if all were taken."""
        return next((pose for pose in POSES if pose not in self._shots), None)

    @property
    def seconds_left(self) -> float:
        """Time until it is over, 0 once it is. A complete one waits as long for a name."""
        return max(self._progress_at + self._timeout_s - self._clock(), 0.0)

    def look(self, image: UInt8Array, faces: Sequence[Face], embedder: CropEmbedder) -> None:
        """Look at a frame, and take a picture if it is good enough.

        Args:
            image: (H, W, 3) uint8 BGR.
            faces: all faces in it.
            embedder: the model of the gallery.
        """
        now = self._clock()
        if self.wanted is None or not self.seconds_left or now < self._paused_until:
            return
        hint = self._judged(image, faces, embedder, now)
        if hint != "turn":
            self._turn_since = now
        is_long = bool(self._shots) and now - self._turn_since >= _LONG_S
        self._hint = "more" if hint == "turn" and is_long else hint

    def _judged(self, image: UInt8Array, faces: Sequence[Face], embedder: CropEmbedder, now: float) -> Hint:
        refused = self._missing(faces)
        if refused is not None:
            self._held = None
            return refused
        landmarks = faces[0].landmarks
        pose = self._pose(landmarks)
        if pose != self._held:
            self._held, self._held_since = pose, now
        if not alignable(landmarks[None], embedder.spec.landmark_template)[0]:
            return "less"
        crop = align_for(embedder.spec, image, landmarks)[0]
        quality = assess(landmarks, crop)
        if quality.pose < _LEAST_POSE or self._is_far(landmarks):
            return "less"
        if quality.sharpness < _LEAST_SHARPNESS or now - self._held_since < _HELD_S:
            return "still"
        shot = Shot(pose=pose, crop=crop.copy(), embedding=embedder.embed(crop[None])[0])
        return self._take(shot, Bearing.of(landmarks), now)

    def _missing(self, faces: Sequence[Face]) -> Hint | None:
        """What is missing for a picture, whatever its crop is like: one large face in a pose that was not taken."""
        if len(faces) != 1:
            return "several" if faces else "nobody"
        if direction(faces[0].landmarks).reach_px < LEAST_EYES_PX:
            return "closer"
        pose = self._pose(faces[0].landmarks)
        return "turn" if pose in self._shots or (not self._shots and pose != "frontal") else None

    def _pose(self, landmarks: Float32Array) -> Pose:
        """The pose, by the frontal picture once there is one."""
        least_turn, least_nod = (_LEAST_TURN, _LEAST_NOD) if self._shots else (_FRONTAL_TURN, _FRONTAL_NOD)
        return pose_by(*self._moved(landmarks), turned_from=least_turn, nodded_from=least_nod)

    def _is_far(self, landmarks: Float32Array) -> bool:
        turned, nodded = self._moved(landmarks)
        return abs(turned) > _MOST_TURN or abs(nodded) > _MOST_NOD

    def _moved(self, landmarks: Float32Array) -> Bearing:
        found, frontal = Bearing.of(landmarks), self._frontal
        return Bearing(found.turned - frontal.turned, found.nodded - frontal.nodded)

    def _take(self, shot: Shot, bearing: Bearing, now: float) -> Hint:
        self._paused_until, self._held = now + _PAUSE_S, None
        before = self.shots
        if before:
            mean = np.mean([each.embedding for each in before], axis=0)
            if float(shot.embedding @ mean) / max(float(np.linalg.norm(mean)), 1e-9) < self._least_similarity:
                return "other-person"
        with self._lock:
            self._shots[shot.pose] = shot
        if not before:
            self._frontal = bearing
        self._progress_at = now
        return "taken"
