"""Render photographs as moving heads: a face is mapped to an ellipsoid, rotated, scaled, blurred and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_sphereface.alignment import FIT_UMEYAMA, LANDMARK_TEMPLATE, align

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import BoolArray, Float32Array, Float64Array, UInt8Array

LANDMARKS = np.array(LANDMARK_TEMPLATE)
MIDDLE = np.array([48.0, 56.0])
"""Center of a head whose landmarks are those of the model's template. All lengths are in pixels of that template."""
WIDE, HIGH = 46.0, 66.0
"""Semi-axes of the ellipsoid; its depth equals its width."""
_DETAIL = 1.25
"""Pixels of a texture per pixel of the template, the resolution of LFW's photographs."""
_SOFT = 0.1
"""Share of the radius over which a head fades into the background."""
_SIDE = (round(2 * HIGH * _DETAIL), round(2 * WIDE * _DETAIL))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Pose of a head.

    Attributes:
        x: horizontal center of the head in pixels of the image.
        y: vertical center of the head in pixels of the image.
        scale: pixels of the image per pixel of the template.
        yaw: rotation to the side in degrees; beyond 90, the back of the head is visible.
        roll: tilt in degrees.
        blur: standard deviation of the blur in pixels of the image.
        look: number of the photograph; fractions blend two photographs.
    """

    x: float
    y: float
    scale: float = 1.0
    yaw: float = 0.0
    roll: float = 0.0
    blur: float = 0.0
    look: float = 0.0


def texture_of(photograph: UInt8Array, landmarks: Float64Array) -> UInt8Array:
    """Align a face to the texture of a head, (165, 115, 3) uint8 BGR."""
    template = (LANDMARKS - MIDDLE + [WIDE, HIGH]) * _DETAIL
    points = tuple((float(x), float(y)) for x, y in template)
    # Landmarks nearest to where the ground truth says they are, in pixels of the head: not a matter of the model.
    crops = align(photograph, landmarks[None], template=points, height=_SIDE[0], width=_SIDE[1], fit=FIT_UMEYAMA)
    return np.asarray(crops[0], dtype=np.uint8)


def draw(picture: UInt8Array, looks: Sequence[UInt8Array], pose: Pose) -> None:
    """Draw a head into an image, in place.

    Args:
        picture: (H, W, 3) uint8 BGR.
        looks: textures of one person.
        pose: pose of the head.
    """
    height, width = picture.shape[:2]
    reach = HIGH * pose.scale + 3 * pose.blur + 2
    left, right = max(int(pose.x - reach), 0), min(int(pose.x + reach) + 1, width)
    top, bottom = max(int(pose.y - reach), 0), min(int(pose.y + reach) + 1, height)
    if left >= right or top >= bottom:
        return
    columns, rows = np.meshgrid(np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32))
    sine, cosine = np.sin(np.radians(pose.roll)), np.cos(np.radians(pose.roll))
    across = ((columns - pose.x) * cosine + (rows - pose.y) * sine) / pose.scale
    down = ((rows - pose.y) * cosine - (columns - pose.x) * sine) / pose.scale
    look, behind = _unturned(looks, pose, across, down)
    back = looks[0][4:10, 40:-40].reshape(-1, 3).mean(axis=0)  # of its own hair
    head = np.where(behind[..., None], np.float32(back), look)
    opacity = np.clip((1 - np.hypot(across / WIDE, down / HIGH)) / _SOFT, 0, 1)[..., None].astype(np.float32)
    if pose.blur > 0.1:
        head = np.asarray(cv2.GaussianBlur(head * opacity, (0, 0), pose.blur), dtype=np.float32)
        opacity = np.asarray(cv2.GaussianBlur(opacity, (0, 0), pose.blur), dtype=np.float32)[..., None]
    else:
        head = head * opacity
    area = picture[top:bottom, left:right]
    area[:] = np.clip(area * (1 - opacity) + head, 0, 255).astype(np.uint8)


def landmarks_at(pose: Pose) -> Float32Array:
    """Return the five landmarks of a head, (5, 2) in pixels of the image."""
    across, down = (LANDMARKS - MIDDLE).T
    radius = WIDE * np.sqrt(np.maximum(1 - (down / HIGH) ** 2, 0))
    depth = np.sqrt(np.maximum(radius**2 - across**2, 0))
    yaw, roll = np.radians(pose.yaw), np.radians(pose.roll)
    turned = across * np.cos(yaw) + depth * np.sin(yaw)
    x = pose.x + pose.scale * (turned * np.cos(roll) - down * np.sin(roll))
    y = pose.y + pose.scale * (turned * np.sin(roll) + down * np.cos(roll))
    return np.stack([x, y], axis=1).astype(np.float32)


def _unturned(
    looks: Sequence[UInt8Array], pose: Pose, across: Float32Array, down: Float32Array
) -> tuple[Float32Array, BoolArray]:
    """Return the colors at points of a rotated head, and whether the points are on its back."""
    radius = WIDE * np.sqrt(np.maximum(1 - (down / HIGH) ** 2, 0))
    depth = np.sqrt(np.maximum(radius**2 - across**2, 0))
    sine, cosine = np.float32(np.sin(np.radians(pose.yaw))), np.float32(np.cos(np.radians(pose.yaw)))
    source_x = ((across * cosine - depth * sine) + WIDE) * _DETAIL
    source_y = (down + HIGH) * _DETAIL
    index, share = int(pose.look), pose.look % 1
    first = looks[index % len(looks)]
    texture = first if not share else cv2.addWeighted(first, 1 - share, looks[(index + 1) % len(looks)], share, 0)
    colors = cv2.remap(
        texture,
        source_x.astype(np.float32),
        source_y.astype(np.float32),
        cv2.INTER_AREA if pose.scale < 0.5 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return colors.astype(np.float32), across * sine + depth * cosine < 0
