"""Covers parts of faces in photographs: stand-ins for masks, sunglasses, and a half in the dark of a hand or door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from edge_sphereface.types import Float32Array, Float64Array, UInt8Array

Cover: TypeAlias = Literal["mask", "sunglasses", "half"]
COVERS: tuple[Cover, ...] = ("mask", "sunglasses", "half")
_COLORS: dict[Cover, tuple[int, int, int]] = {
    "mask": (220, 200, 190),
    "sunglasses": (25, 25, 25),
    "half": (110, 140, 190),
}
"""Colors, BGR."""
_NOISE, _SLOPE = 4.0, 15.0
"""Noise and shading of a cover, in levels."""


def cover(kind: Cover, image: UInt8Array, landmarks: Float32Array, random: np.random.Generator) -> UInt8Array:
    """Cover a part of a face.

    Args:
        kind: ``mask`` covers nose and mouth, ``sunglasses`` the eyes, ``half`` the left or the right half.
        image: (H, W, 3) uint8 BGR.
        landmarks: (5, 2) float32, in pixels.
        random: chooses the half, and makes the noise.
    """
    import cv2

    left, right = landmarks[:2].astype(np.float64)
    across = right - left
    down = np.array([-across[1], across[0]])
    middle = (left + right) / 2
    mask = np.zeros(image.shape[:2], np.uint8)

    def at(x: float, y: float) -> Float64Array:
        """A point in eye distances from the middle between the eyes."""
        point: Float64Array = middle + x * across + y * down
        return point

    if kind == "sunglasses":
        size = float(np.hypot(*across))
        angle = float(np.degrees(np.arctan2(across[1], across[0])))
        for eye in (left, right):
            axes = (round(0.45 * size), round(0.32 * size))
            cv2.ellipse(mask, _pixel(eye), axes, angle, 0, 360, 1, -1)
        cv2.line(mask, _pixel(left), _pixel(right), 1, max(round(0.1 * size), 1))
    else:
        side = random.choice([-1.0, 1.0])
        outline = {
            "mask": [at(-1.05, 0.45), at(0, 0.35), at(1.05, 0.45), at(0.8, 1.5), at(0, 1.9), at(-0.8, 1.5)],
            "half": [at(0.05 * side, -1.2), at(0.05 * side, 2.2), at(1.6 * side, 2.2), at(1.6 * side, -1.2)],
        }[kind]
        cv2.fillPoly(mask, [np.array(outline).astype(np.int32)], 1)
    share = np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0))[:, :, None]
    shading = np.linspace(-_SLOPE, _SLOPE, image.shape[1])[None, :, None]
    painted = np.array(_COLORS[kind], np.float32) + random.normal(0, _NOISE, image.shape) + shading
    return np.clip(image * (1 - share) + painted * share, 0, 255).astype(np.uint8)


def _pixel(point: Float64Array) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
