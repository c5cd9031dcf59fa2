"""What a photograph of a face is like: size, sharpness, pose and light."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_sphereface.gallery.crops import decode_crop
from edge_sphereface.gallery.refit import find_landmarks
from edge_sphereface.json_output import rounded
from edge_sphereface.quality import USUAL_NOD, assess, direction, sharpness, side_light

if TYPE_CHECKING:
    from edge_sphereface.alignment import Points
    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery import Portrait
    from edge_sphereface.model.fingerprint import Fingerprint
    from edge_sphereface.types import Float32Array, UInt8Array

Pose: TypeAlias = Literal["frontal", "left", "right", "up", "down"]
Light: TypeAlias = Literal["even", "from the left", "from the right"]

POSES: tuple[Pose, ...] = ("frontal", "left", "right", "up", "down")
"""Poses that the photographs of a person should show; left and right are those of the picture."""
LIGHTS: tuple[Light, ...] = ("even", "from the left", "from the right")
"""Light that the photographs of a person should show; left and right are those of the picture."""
_TURNED = 0.45
"""Shift of the nose from the middle between the eyes, in half eye distances, from which a face is turned."""
_NODDED = 0.2
"""Further shift of the nose than usual between eyes and mouth, as a share of their distance, from which it is nodded.

Within these bounds are 81 % of 300 photographs of LFW, with the landmarks that YuNet finds in their crops: people look
at whoever takes their picture, and the nod that landmarks show depends on the face, too."""
_SIDE = 0.15
"""Difference of the brightness of both halves of the face, as a share of their sum, from which light is from a side: a
fifth of LFW's photographs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What a photograph of a face is like.

    Attributes:
        quality: quality of the face, 0 to 1; None where only the crop is left.
        eyes_px: distance between the eyes in the photograph, in pixels; None where only the crop is left.
        sharpness: variance of the Laplacian of the face divided by that of its brightness.
        pose: where the face looks: frontal, or to the left or the right of the picture, up or down; None if no
            landmarks were found.
        light: even, or from a side of the picture. Its brightness does not count, which depends on the skin.
    """

    quality: float | None = field(metadata=rounded(3))
    eyes_px: float | None = field(metadata=rounded(1))
    sharpness: float = field(metadata=rounded(4))
    pose: Pose | None
    light: Light


def appraise(landmarks: Float32Array, crop: UInt8Array, template: Points, *, detector: Detector | None) -> Appraisal:
    """Appraise a photograph.

    The pose is that of the crop, whose landmarks differ a little from the photograph's: a later report about the
    gallery has only the crop, and says the same.

    Args:
        landmarks: (5, 2) float32, in pixels of the photograph.
        crop: (H, W, 3) uint8 BGR, aligned with these landmarks.
        template: five (x, y) in pixels of the crop, to which the face was aligned.
        detector: finds the landmarks in the crop, which give the pose; None for no pose.
    """
    return replace(
        appraise_crop(crop, template, detector=detector),
        quality=assess(landmarks, crop).value,
        eyes_px=direction(landmarks).reach_px,
    )


def appraise_crop(crop: UInt8Array, template: Points, *, detector: Detector | None) -> Appraisal:
    """Appraise a photograph of which only the aligned crop is left; its size is lost.

    Args:
        crop: (H, W, 3) uint8 BGR.
        template: five (x, y) in pixels of the crop, to which the face was aligned.
        detector: finds the landmarks again, which give the pose; None for no pose.
    """
    landmarks = None if detector is None else find_landmarks(crop, detector, template)
    return Appraisal(
        quality=None,
        eyes_px=None,
        sharpness=sharpness(crop),
        pose=None if landmarks is None else pose_of(landmarks.astype("float32")),
        light=light_in(crop),
    )


def kept_crops(portrait: Portrait, fingerprint: Fingerprint) -> list[UInt8Array | None]:
    """The crops (H, W, 3) uint8 BGR that a gallery keeps of a person; None for one that was not kept.

    Raises:
        CropError: a crop is damaged.
    """
    shape = (fingerprint.crop_height, fingerprint.crop_width, 3)
    return [None if crop is None else decode_crop(crop, shape) for crop in portrait.crops]


def pose_of(landmarks: Float32Array) -> Pose:
    """Where a face looks, from landmarks (5, 2)."""
    found = direction(landmarks)
    return pose_by(found.turned, found.nodded - USUAL_NOD, turned_from=_TURNED, nodded_from=_NODDED)


def pose_by(turned: float, nodded: float, *, turned_from: float, nodded_from: float) -> Pose:
    """Where a face looks.

    Args:
        turned: shift of the nose to the side, as in :class:`~edge_sphereface.quality.Direction`, from a frontal face's.
        nodded: likewise, down.
        turned_from: shift from which a face is turned.
        nodded_from: shift from which it is nodded.
    """
    sideways, upward = abs(turned) / turned_from, abs(nodded) / nodded_from
    if max(sideways, upward) < 1:
        return "frontal"
    if sideways >= upward:
        return "left" if turned < 0 else "right"
    return "up" if nodded < 0 else "down"


def light_in(crop: UInt8Array) -> Light:
    """The light of an aligned crop (H, W, 3) uint8 BGR."""
    side = side_light(crop)
    if abs(side) < _SIDE:
        return "even"
    return "from the left" if side < 0 else "from the right"
