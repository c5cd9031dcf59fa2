"""Alignment: the similarity transform that brings five landmarks onto the model's template.

Two kinds of fit are in use. They produce crops of different scale: see docs/alignment.md.

References:
    S. Umeyama: Least-squares estimation of transformation parameters between two point patterns, IEEE Transactions on
    Pattern Analysis and Machine Intelligence 13(4), 1991.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from edge_sphereface.errors import CropError, LandmarksError
from edge_sphereface.image import check_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import BoolArray, Float32Array, Float64Array, UInt8Array

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

AlignmentFit: TypeAlias = Literal["cp2tform", "umeyama"]
FIT_CP2TFORM: AlignmentFit = "cp2tform"
"""Least squares from the template to the photograph, inverted: MATLAB's nonreflective similarity.

Source: mindspore-ai/models, research/cv/sphereface, src/model_utils/matlab_cp2tform.py.
"""
FIT_UMEYAMA: AlignmentFit = "umeyama"
"""Least squares from the photograph to the template, as scikit-image's SimilarityTransform estimates it."""
ALIGNMENT_FITS = (FIT_CP2TFORM, FIT_UMEYAMA)

_POINTS = 5
_MIN_SPREAD_PX = 0.5
"""Landmarks closer together than this, in pixels, do not determine scale and rotation."""
_MIN_LIKENESS = 0.25
"""Smallest share of the landmarks' variance that the best similarity must explain; 1 is the template's own shape.

Measured on LFW's 10,249 photographs: at least 0.72; 0.04 (median) to 0.31 if the face is mirrored or left and right
are exchanged. The ``cp2tform`` scale grows without bound as the share approaches 0.
"""
_SHRINKS_FROM = 2.0
"""Image pixels per crop pixel above which the image is averaged over areas first: bilinear interpolation skips pixels.

Up to this ratio, crops equal those of the original bit for bit. LFW's faces have 0.70 to 1.97, 1.13 in the median.
"""
_ALIGNED_WITHIN_PX = 6.0
"""Mean distance of landmarks from the template, in pixels, below which an image of the crop's size counts as aligned.

A detector does not find a crop's landmarks exactly where alignment put them. Measured on 200 photographs of LFW: the
mean distance is below this limit for 198 (YuNet) and 200 (MTCNN) crops that were cut by the detector's own landmarks,
and for 196 and 195 crops that were cut by the landmarks published with LFW. Of 600 photographs of 112 x 96 pixels that
were not aligned (whole pictures, random and centered cuts around the head), YuNet finds none below it, MTCNN one.
"""


def similarity_transform(
    landmarks: ArrayLike, template: ArrayLike = LANDMARK_TEMPLATE, *, fit: AlignmentFit = FIT_CP2TFORM
) -> Float64Array:
    """Fit rotation, scale and translation, without reflection, from landmarks to the template by least squares.

    Both fits have the same rotation and map the landmarks' mean to the template's mean. They differ in scale:
    ``umeyama`` measures distances in the crop, and shrinks a face more the less its landmarks resemble the template.

    Args:
        landmarks: (N, 5, 2), x and y in pixels of the image.
        template: (5, 2), x and y in pixels of the crop.
        fit: ``cp2tform``, the fit of the original SphereFace, or ``umeyama``.

    Returns:
        (N, 2, 3) float64; each matrix maps (x, y, 1) of the image to (x, y) of the crop.

    Raises:
        LandmarksError: the landmarks have another shape, hold NaN or infinity, nearly coincide, or do not resemble the
            template, such as those of a mirrored face.
        ValueError: the fit is unknown.
    """
    if fit not in ALIGNMENT_FITS:
        raise ValueError(f"Expected the kind of fit as one of {', '.join(ALIGNMENT_FITS)}, got {fit!r}.")
    source = _check_landmarks(landmarks)
    target = np.asarray(template, dtype=np.float64)
    source_mean, target_mean = source.mean(axis=1, keepdims=True), target.mean(axis=0)
    a, b, spread, target_spread = _correlation(source, target)
    shared = a * a + b * b
    if (shared <= _MIN_LIKENESS * spread * target_spread).any():
        raise LandmarksError(
            "Expected landmarks in the order left eye, right eye, nose, left and right corner of the mouth as seen in "
            "the image, got points that no rotation brings near the template.",
            hint="left and right may be exchanged, or the points are not those of a face",
        )
    scale = 1.0 / spread if fit == FIT_UMEYAMA else target_spread / shared
    a, b = a * scale, b * scale
    linear = np.stack([np.stack([a, -b], axis=-1), np.stack([b, a], axis=-1)], axis=1)
    shift = target_mean - np.einsum("nij,nj->ni", linear, source_mean[:, 0])
    return np.concatenate([linear, shift[..., None]], axis=2)


def alignable(landmarks: ArrayLike, template: ArrayLike = LANDMARK_TEMPLATE) -> BoolArray:
    """Which faces :func:`similarity_transform` accepts. A detector may return landmarks that no face can have.

    Args:
        landmarks: (N, 5, 2), x and y in pixels of the image.
        template: (5, 2), x and y in pixels of the crop.

    Returns:
        (N,) bool, True for landmarks that can be aligned.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    usable: BoolArray = np.asarray(np.isfinite(points).all(axis=(1, 2)))
    usable[usable] = _spread_px(points[usable]) >= _MIN_SPREAD_PX
    a, b, spread, target_spread = _correlation(points[usable], np.asarray(template, dtype=np.float64))
    usable[usable] = a * a + b * b > _MIN_LIKENESS * spread * target_spread
    return usable


def likeness(landmarks: ArrayLike, template: ArrayLike = LANDMARK_TEMPLATE) -> Float64Array:
    """Share of the landmarks' variance that the best similarity explains.

    It equals the scale of ``umeyama`` divided by the scale of ``cp2tform``.

    Args:
        landmarks: (N, 5, 2), x and y in pixels; their scale, rotation and shift do not matter.
        template: (5, 2), x and y in pixels of the crop.

    Returns:
        (N,) float64, 0 to 1; 1 for the template's own shape.

    Raises:
        LandmarksError: the landmarks have another shape, hold NaN or infinity, or nearly coincide.
    """
    a, b, spread, target_spread = _correlation(_check_landmarks(landmarks), np.asarray(template, dtype=np.float64))
    return (a * a + b * b) / (spread * target_spread)


def align(
    image: UInt8Array,
    landmarks: ArrayLike,
    *,
    template: Points = LANDMARK_TEMPLATE,
    height: int = CROP_HEIGHT,
    width: int = CROP_WIDTH,
    fit: AlignmentFit = FIT_CP2TFORM,
) -> UInt8Array:
    """Cut faces out of an image so that their landmarks lie on the template. Pixels outside the image are black.

    The defaults are those of the original SphereFace. For crops to embed with a model, use :func:`align_for`.

    Args:
        image: (H, W, 3) uint8 BGR.
        landmarks: (N, 5, 2) or, for one face, (5, 2); x and y in pixels of the image.
        template: five (x, y) in pixels of the crop.
        height: height of the crop in pixels.
        width: width of the crop in pixels.
        fit: kind of fit, as for :func:`similarity_transform`.

    Returns:
        (N, height, width, 3) uint8 BGR; N = 1 for one face.

    Raises:
        ImageError: the image has another shape or type.
        LandmarksError: the landmarks have another shape or are degenerate.
        CropError: the image is already an aligned crop; aligning it twice ruins the embedding.
        ValueError: the fit is unknown.
    """
    check_image(image)
    points = np.asarray(landmarks, dtype=np.float64)
    points = points[None] if points.ndim == 2 else points
    transforms = similarity_transform(points, template, fit=fit)
    _refuse_aligned(image, points, template, (height, width))
    crops = np.empty((len(points), height, width, 3), dtype=np.uint8)
    for crop, transform in zip(crops, transforms, strict=True):
        _cut(image, transform, crop)
    return crops


def align_for(spec: ModelSpec, image: UInt8Array, landmarks: ArrayLike) -> UInt8Array:
    """Cut faces out for a model, with the template, the size and the kind of fit of its specification.

    Args:
        spec: specification of the model, such as ``Embedder.spec``.
        image: (H, W, 3) uint8 BGR.
        landmarks: (N, 5, 2) or, for one face, (5, 2); x and y in pixels of the image.

    Returns:
        (N, H, W, 3) uint8 BGR, each of ``spec.crop_shape``; N = 1 for one face.

    Raises:
        EdgeSphereFaceError: as :func:`align` does.
    """
    return align(
        image,
        landmarks,
        template=spec.landmark_template,
        height=spec.input_height,
        width=spec.input_width,
        fit=spec.alignment_fit,
    )


def stack_landmarks(landmarks: Sequence[Float32Array]) -> Float32Array:
    """Landmarks of N faces as one (N, 5, 2) float32 array; N may be 0."""
    return np.stack(landmarks) if landmarks else np.empty((0, _POINTS, 2), dtype=np.float32)


def _cut(image: UInt8Array, transform: Float64Array, crop: UInt8Array) -> None:
    """Fill a crop (H, W, 3) by the original's warp, after averaging over areas if the warp would skip pixels."""
    import cv2

    height, width = crop.shape[:2]
    shrink = 1.0 / float(np.hypot(*transform[:, 0]))
    if shrink > _SHRINKS_FROM:
        image, transform = _shrunk(image, transform, (height, width), shrink)
    cv2.warpAffine(image, transform, (width, height), dst=crop, flags=cv2.INTER_LINEAR)


def _shrunk(
    image: UInt8Array, transform: Float64Array, size: tuple[int, int], shrink: float
) -> tuple[UInt8Array, Float64Array]:
    """The part of an image that a crop shows, averaged over areas to the crop's scale, and the transform for it."""
    import cv2

    height, width = size
    linear, shift = transform[:, :2], transform[:, 2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    seen = (corners - shift) @ np.linalg.inv(linear).T
    bounds = np.array([image.shape[1], image.shape[0]])
    left, top = np.clip(np.floor(seen.min(axis=0) - 2 * shrink), 0, bounds).astype(int)
    right, bottom = np.clip(np.ceil(seen.max(axis=0) + 2 * shrink), 0, bounds).astype(int)
    if right <= left or bottom <= top:  # the face lies outside the image
        return image, transform
    part = image[top:bottom, left:right]
    smaller = (max(round((right - left) / shrink), 1), max(round((bottom - top) / shrink), 1))
    averaged = cv2.resize(part, smaller, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    # Centers of pixels: x of the image is (x + 0.5) * step - 0.5 + left of the averaged part.
    steps = np.array([(right - left) / smaller[0], (bottom - top) / smaller[1]])
    shift = linear @ (0.5 * steps - 0.5 + [left, top]) + shift
    return averaged, np.column_stack([linear * steps, shift])


def _correlation(source: Float64Array, target: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array, float]:
    """Correlation of centered points (N, 5, 2) with the centered template (5, 2), and the sums of squares of both.

    In two dimensions, the best rotation without reflection has a closed form (no SVD): a = s cos(r), b = s sin(r).
    """
    centered, target_centered = source - source.mean(axis=1, keepdims=True), target - target.mean(axis=0)
    a = np.einsum("nkd,kd->n", centered, target_centered)
    b = centered[..., 0] @ target_centered[:, 1] - centered[..., 1] @ target_centered[:, 0]
    return a, b, np.square(centered).sum(axis=(1, 2)), float(np.square(target_centered).sum())


def _spread_px(points: Float64Array) -> Float64Array:
    """(N,) largest distance of a landmark from the mean of its face, in pixels."""
    distances = np.sqrt(np.square(points - points.mean(axis=1, keepdims=True)).sum(axis=2))
    largest: Float64Array = distances.max(axis=1, initial=0.0)
    return largest


def _check_landmarks(landmarks: ArrayLike) -> Float64Array:
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (_POINTS, 2):
        raise LandmarksError(f"Expected landmarks of shape (N, 5, 2), got {points.shape}.")
    if not np.isfinite(points).all():
        raise LandmarksError(
            "Expected finite landmarks, got NaN or infinite values.", hint="drop faces whose landmarks are not known"
        )
    if (_spread_px(points) < _MIN_SPREAD_PX).any():
        raise LandmarksError(
            "Expected five distinct landmarks, got points that all lie within half a pixel: they tell no scale.",
            hint="drop the face, or check the unit (pixels, not fractions of the image)",
        )
    return points


def _refuse_aligned(image: UInt8Array, points: Float64Array, template: Points, size: tuple[int, int]) -> None:
    if image.shape[:2] != size:
        return
    distances = np.hypot(*np.moveaxis(points - np.asarray(template), 2, 0)).mean(axis=1)
    if (distances < _ALIGNED_WITHIN_PX).any():
        raise CropError(
            f"The image has the crop's own size {size[0]} x {size[1]} and landmarks on the template: it is aligned "
            "already, and aligning twice shifts and blurs it.",
            hint="give the crop to Embedder.embed as it is",
        )
