"""Alignment: the similarity transform that brings five landmarks onto the model's template.

References:
    S. Umeyama: Least-squares estimation of transformation parameters between two point patterns, IEEE Transactions on
    Pattern Analysis and Machine Intelligence 13(4), 1991.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edge_sphereface.errors import CropError, LandmarksError
from edge_sphereface.image import check_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from edge_sphereface.types import Float32Array, Float64Array, UInt8Array

    Points: TypeAlias = Sequence[Sequence[float]]

CROP_HEIGHT = 112
CROP_WIDTH = 96

LANDMARK_TEMPLATE = (
    (30.2946, 51.6963),
    (65.5318, 51.5014),
    (48.0252, 71.7366),
    (33.5493, 92.3655),
    (62.7299, 92.2041),
)
"""Left eye, right eye, nose, left and right corner of the mouth, in pixels of the 112 x 96 crop.

Source: mindspore-ai/models, research/cv/sphereface (the same numbers as wy1iu/sphereface).
"""

_POINTS = 5
_MIN_SPREAD_PX = 0.5
"""Landmarks closer together than this cannot tell scale and rotation."""
_ALIGNED_WITHIN_PX = 3.0
"""Landmarks of a crop of the model's size that lie this near the template were aligned before."""


def similarity_transform(landmarks: ArrayLike, template: ArrayLike = LANDMARK_TEMPLATE) -> Float64Array:
    """Rotation, scale and shift, without reflection, that bring landmarks nearest to the template by least squares.

    Args:
        landmarks: (N, 5, 2), x and y in pixels of the image.
        template: (5, 2), x and y in pixels of the crop.

    Returns:
        (N, 2, 3) float64, each mapping (x, y, 1) of the image to (x, y) of the crop.

    Raises:
        LandmarksError: another shape, NaN or infinite values, or points that nearly coincide.
    """
    source = _check_landmarks(landmarks)
    target = np.asarray(template, dtype=np.float64)
    source_mean, target_mean = source.mean(axis=1, keepdims=True), target.mean(axis=0)
    centered, target_centered = source - source_mean, target - target_mean
    variance = np.square(centered).sum(axis=(1, 2))
    # In two dimensions the best rotation without reflection has a closed form (no SVD): a = s cos(r), b = s sin(r).
    a = np.einsum("nkd,kd->n", centered, target_centered) / variance
    b = (centered[..., 0] @ target_centered[:, 1] - centered[..., 1] @ target_centered[:, 0]) / variance
    linear = np.stack([np.stack([a, -b], axis=-1), np.stack([b, a], axis=-1)], axis=1)
    shift = target_mean - np.einsum("nij,nj->ni", linear, source_mean[:, 0])
    return np.concatenate([linear, shift[..., None]], axis=2)


def align(
    image: UInt8Array,
    landmarks: ArrayLike,
    *,
    template: Points = LANDMARK_TEMPLATE,
    height: int = CROP_HEIGHT,
    width: int = CROP_WIDTH,
) -> UInt8Array:
    """Cut faces out of one image so that their landmarks lie on the template; outside the image is black.

    Args:
        image: (H, W, 3) uint8 BGR.
        landmarks: (N, 5, 2) or, for one face, (5, 2); x and y in pixels of the image.
        template: five (x, y) in pixels of the crop.
        height: of the crop, in pixels.
        width: of the crop, in pixels.

    Returns:
        (N, height, width, 3) uint8 BGR, N = 1 for one face.

    Raises:
        ImageError: not such an image.
        LandmarksError: not such landmarks, or degenerate ones.
        CropError: the image is an aligned crop already; aligning twice ruins the embedding.
    """
    import cv2

    check_image(image)
    points = np.asarray(landmarks, dtype=np.float64)
    points = points[None] if points.ndim == 2 else points
    transforms = similarity_transform(points, template)
    _refuse_aligned(image, points, template, (height, width))
    crops = np.empty((len(points), height, width, 3), dtype=np.uint8)
    for crop, transform in zip(crops, transforms, strict=True):
        cv2.warpAffine(image, transform, (width, height), dst=crop, flags=cv2.INTER_LINEAR)
    return crops


def stack_landmarks(landmarks: Sequence[Float32Array]) -> Float32Array:
    """Landmarks of several faces as one (N, 5, 2) array, also for none."""
    return np.stack(landmarks) if landmarks else np.empty((0, _POINTS, 2), dtype=np.float32)


def _check_landmarks(landmarks: ArrayLike) -> Float64Array:
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (_POINTS, 2):
        raise LandmarksError(f"Expected landmarks of shape (N, 5, 2), got {points.shape}.")
    if not np.isfinite(points).all():
        raise LandmarksError(
            "Expected finite landmarks, got NaN or infinite values.", hint="drop faces whose landmarks are not known"
        )
    spread = np.sqrt(np.square(points - points.mean(axis=1, keepdims=True)).sum(axis=2)).max(axis=1, initial=0.0)
    if (spread < _MIN_SPREAD_PX).any():
        raise LandmarksError(
            "Expected five distinct landmarks, got points that all lie within half a pixel: they tell no scale.",
            hint="drop the face, or check the unit (pixels, not fractions of the image)",
        )
    return points


def _refuse_aligned(image: UInt8Array, points: Float64Array, template: Points, size: tuple[int, int]) -> None:
    if image.shape[:2] != size:
        return
    distance = np.abs(points - np.asarray(template)).max(axis=(1, 2), initial=0.0)
    if len(points) and (distance < _ALIGNED_WITHIN_PX).any():
        raise CropError(
            f"The image has the crop's own size {size[0]} x {size[1]} and landmarks on the template: it is aligned "
            "already, and aligning twice blurs it.",
            hint="give the crop to Embedder.embed as it is",
        )
