"""Crops that were cut by one kind of fit, brought to the scale of the other.

Both fits turn a face alike and bring its landmarks' mean to the same place (see docs/alignment.md). They differ in the
scale about that place: by the likeness of the landmarks to the template, which scale, rotation and shift do not change.
It can be measured again on landmarks that a detector finds in the crop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import FIT_UMEYAMA, alignable, likeness

if TYPE_CHECKING:
    from edge_sphereface.alignment import AlignmentFit, Points
    from edge_sphereface.detection import Detector
    from edge_sphereface.types import Float64Array, UInt8Array

_ENLARGED = 2
"""How much larger a detector sees the crop: MTCNN overlooks faces of fewer than 40 pixels."""
_MARGIN = 0.25
"""Of the crop's height, around it: detectors expect more than the face in the picture."""
_MIN_LIKENESS = 0.7
"""Below it landmarks are not believed. LFW's 10,249 photographs have at least 0.72."""
_MAX_DISTANCE = 0.5
"""Mean square distance of landmarks from the template, by the template's own variance, of the face that was aligned."""


def refit_crop(crop: UInt8Array, detector: Detector, template: Points, *, cut_by: AlignmentFit) -> UInt8Array | None:
    """The crop as the other kind of fit would have cut it from the photograph, but for one more interpolation.

    Args:
        crop: (H, W, 3) uint8 BGR.
        detector: finds the landmarks, whose likeness to the template gives the scale.
        template: five (x, y) in pixels of the crop.
        cut_by: the kind of fit that the crop was cut by.

    Returns:
        (H, W, 3) uint8 BGR. Where a smaller face shows more than the crop holds, its border is repeated. None if the
        detector finds no face on the template.
    """
    import cv2

    target = np.asarray(template, dtype=np.float64)
    landmarks = _find(crop, detector, target)
    if landmarks is None:
        return None
    alike = float(likeness(landmarks[None], target)[0])
    if alike < _MIN_LIKENESS:
        return None
    scale = 1.0 / alike if cut_by == FIT_UMEYAMA else alike
    transform = np.column_stack([scale * np.eye(2), (1.0 - scale) * target.mean(axis=0)])
    refitted: UInt8Array = np.empty_like(crop)
    size = (crop.shape[1], crop.shape[0])
    cv2.warpAffine(crop, transform, size, dst=refitted, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return refitted


def _find(crop: UInt8Array, detector: Detector, template: Float64Array) -> Float64Array | None:
    """Landmarks (5, 2) in the crop of the face that lies on the template."""
    import cv2

    enlarged = cv2.resize(crop, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_LINEAR)
    margin = round(_MARGIN * enlarged.shape[0])
    view = cv2.copyMakeBorder(enlarged, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    faces = detector.detect(np.asarray(view, dtype=np.uint8))
    found: list[Float64Array] = [(face.landmarks.astype(np.float64) - margin + 0.5) / _ENLARGED - 0.5 for face in faces]
    found = [points for points in found if alignable(points[None], template)[0]]
    distances = [float(np.square(points - template).sum()) for points in found]
    spread = float(np.square(template - template.mean(axis=0)).sum())
    if not found or min(distances) > _MAX_DISTANCE * spread:
        return None
    return found[int(np.argmin(distances))]
