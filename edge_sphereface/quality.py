"""Face quality, 0 to 1, from size, sharpness, pose and light.

Checked against recognition by ``python -m benchmarks quality``; ``docs/enrollment.md`` has the figures. The length of
an embedding before normalization says more, but only after the embedding, and on a scale of each network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.alignment import CROP_HEIGHT, CROP_WIDTH

if TYPE_CHECKING:
    from edge_sphereface.types import Float32Array, UInt8Array

_EYES_PX = (5.0, 20.0)
"""Distance of the eyes in the frame, in pixels: quality 0 below the first, 1 above the second.

Measured with the trained checkpoint of half width on 400 photographs of 40 people of LFW, shrunk: similarity to
the own template 0.67 as they came (eyes 42 pixels apart), 0.56 at 10 pixels, 0.40 at 7, 0.24 at 5.
"""
_SHARPNESS = (0.004, 0.03)
"""Variance of the Laplacian divided by the variance of the crop's brightness: the same.

Measured on the same, blurred by a Gaussian: 0.116 and similarity 0.67 as they came; 0.014 and 0.58 at sigma 2;
0.008 and 0.44 at sigma 3; 0.006 and 0.33 at sigma 4; 0.005 and 0.20 at sigma 6.
"""
_TURNED = (0.25, 0.9)
"""Shift of the nose from the middle between the eyes, in half eye distances: frontal below, profile above."""
_NODDED = (0.12, 0.45)
"""Shift of the nose from the middle between eyes and mouth, as a share of their distance."""
USUAL_NOD = 0.04
"""Median nod of LFW's photographs: faces that look at the camera have it."""
_PER_TURNED, _PER_NODDED = 0.35, 0.8
"""How fast pose falls with either shift of the nose before the bounds above count.

These and the next follow a logistic regression of recognition errors on LFW, fitted to one half of the people and
checked on the other, and are smaller than its weights: the value of an ordinary face stays high.
"""
_PER_SIDE = 1.2
"""How fast light falls with the difference between the halves of the face. Brightness does not count: it would tell
people by their skin."""
_FINEST, _PER_SHARPNESS = 0.3, 0.05
"""Sharpness that nothing improves on, and the exponent of a smaller one."""
_PROPORTION = 1.15
"""Distance between eyes and mouth over that of the eyes, in the template."""
_MARGIN = (16, 112, 8, 88)
"""Top, bottom, left and right of the face in a crop of 112 x 96, without hair and background. Wider crops show as many
more pixels on either side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The factors of the quality of a face, each 0 to 1.

    Attributes:
        size: from the distance of the eyes in the frame.
        pose: from the position of the nose relative to the other landmarks; 1 is frontal.
        sharpness: from the crop.
        light: from the brightness of both halves of the crop; 1 is even.
    """

    size: float
    pose: float
    sharpness: float
    light: float

    @property
    def value(self) -> float:
        """The quality, 0 to 1: the product of the factors."""
        return self.size * self.pose * self.sharpness * self.light


class Direction(NamedTuple):
    """Where a face looks, and its size.

    Attributes:
        turned: shift of the nose from the middle between the eyes, in half eye distances; negative to the left of the
            picture. Infinite where the landmarks coincide.
        nodded: shift of the nose from the middle between eyes and mouth, as a share of their distance; negative
            upward. Infinite where the landmarks coincide.
        narrow: distance of the eyes over that of eyes and mouth, divided by the template's; 1 is frontal, less is
            turned.
        reach_px: distance of the eyes, or what it would be if the face were not turned, in pixels.
    """

    turned: float
    nodded: float
    narrow: float
    reach_px: float


def direction(landmarks: Float32Array) -> Direction:
    """Where a face looks, and its size, from landmarks (5, 2) in pixels."""
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks.astype(np.float64)
    across = right_eye - left_eye
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    down = mouth - eyes
    distance, height = float(np.hypot(*across)), float(np.hypot(*down))
    # A turned head brings the eyes together, so its height counts, too.
    reach_px = max(distance, height / _PROPORTION)
    if distance < 1.0 or height < 1.0:
        return Direction(math.inf, math.inf, 0.0, reach_px)
    return Direction(
        turned=float((nose - eyes) @ across) / (distance * distance) * 2,
        nodded=float((nose - eyes) @ down) / (height * height) - 0.5,
        narrow=distance * _PROPORTION / height,
        reach_px=reach_px,
    )


def geometry(landmarks: Float32Array) -> tuple[float, float]:
    """Size and pose, each 0 to 1, from landmarks (5, 2) in pixels of the frame."""
    found = direction(landmarks)
    pose = (
        _falling(abs(found.turned), _TURNED)
        * _falling(abs(found.nodded), _NODDED)
        * min(max((found.narrow - 0.3) / 0.4, 0.0), 1.0)
        * math.exp(-_PER_TURNED * abs(found.turned) - _PER_NODDED * abs(found.nodded - USUAL_NOD))
    )
    return _share_log(found.reach_px, _EYES_PX), pose


def assess(landmarks: Float32Array, crop: UInt8Array) -> Quality:
    """Assess the quality of a face.

    Args:
        landmarks: (5, 2) float32, in pixels of the frame.
        crop: (H, W, 3) uint8 BGR, aligned with these landmarks.
    """
    size, pose = geometry(landmarks)
    sharp = sharpness(crop)
    return Quality(
        size=size,
        pose=pose,
        sharpness=_share_log(sharp, _SHARPNESS) * min(sharp / _FINEST, 1.0) ** _PER_SHARPNESS,
        light=math.exp(-_PER_SIDE * abs(side_light(crop))),
    )


def sharpness(crop: UInt8Array) -> float:
    """Variance of the Laplacian of the face divided by that of its brightness: independent of contrast."""
    import cv2

    gray = _inner_gray(crop)
    _, deviation = cv2.meanStdDev(gray)
    _, edges = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S))
    return float(edges[0, 0] ** 2 / (deviation[0, 0] ** 2 + 1.0))


def side_light(crop: UInt8Array) -> float:
    """Brightness of the right half of the face less that of the left, as a share of their sum; 0 is even light."""
    gray = _inner_gray(crop)
    middle = gray.shape[1] // 2
    left, right = float(gray[:, :middle].mean()), float(gray[:, middle:].mean())
    return (right - left) / max(left + right, 1.0)


def _inner_gray(crop: UInt8Array) -> UInt8Array:
    """The face in a crop, without hair and background, in shades of gray."""
    import cv2

    height, width = crop.shape[:2]
    top, bottom, left, right = _MARGIN
    side = max(width - CROP_WIDTH * height // CROP_HEIGHT, 0) // 2
    left, right = (side + column * (width - 2 * side) // CROP_WIDTH for column in (left, right))
    inner = crop[top * height // CROP_HEIGHT : bottom * height // CROP_HEIGHT, left:right]
    return np.asarray(cv2.cvtColor(inner, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def _share_log(value: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    if value <= low:
        return 0.0
    return min(math.log(value / low) / math.log(high / low), 1.0)


def _falling(value: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return min(max((high - value) / (high - low), 0.0), 1.0)
