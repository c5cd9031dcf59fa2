"""Rescales crops that were aligned by one kind of fit to the other.

Both fits rotate a face equally and map the mean of its landmarks to the same point (see docs/alignment.md). The scale
about that point differs by the likeness of the landmarks to the template, which does not depend on scale, rotation and
translation. The likeness can therefore be measured again on landmarks that a detector finds in the crop.
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
"""Factor by which a crop is enlarged for the detector, because MTCNN misses faces smaller than 40 pixels."""
_MARGIN = 0.25
"""Border around the crop for the detector, as a share of the crop's height: detectors expect context around the
face."""
_MIN_LIKENESS = 0.7
"""Landmarks of a smaller likeness are rejected. LFW's 10,249 photographs have at least 0.72."""
_MAX_DISTANCE = 0.5
"""Largest mean square distance between the aligned face's landmarks and the template, divided by the template's
variance."""


def refit_crop(crop: UInt8Array, detector: Detector, template: Points, *, cut_by: AlignmentFit) -> UInt8Array | None:
    """Rescale a crop to what the other kind of fit would have cut from the photograph, with one more interpolation.

    Args:
        crop: (H, W, 3) uint8 BGR.
        detector: finds the landmarks, whose likeness to the template gives the scale.
        template: five (x, y) in pixels of the crop.
        cut_by: kind of fit that the crop was aligned by.

    Returns:
        (H, W, 3) uint8 BGR. If the face shrinks, the border of the crop is repeated. None if the detector finds no face
        on the template.
    """
    import cv2

    target = np.asarray(template, dtype=np.float64)
    landmarks = find_landmarks(crop, detector, template)
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


def find_landmarks(crop: UInt8Array, detector: Detector, template: Points) -> Float64Array | None:
    """Find the landmarks of the face that a crop shows.

    Args:
        crop: (H, W, 3) uint8 BGR.
        detector: finds the landmarks.
        template: five (x, y) in pixels of the crop.

    Returns:
        (5, 2) in pixels of the crop; None if the detector finds no face on the template.
    """
    import cv2

    target = np.asarray(template, dtype=np.float64)
    enlarged = cv2.resize(crop, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_LINEAR)
    margin = round(_MARGIN * enlarged.shape[0])
    view = cv2.copyMakeBorder(enlarged, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    faces = detector.detect(np.asarray(view, dtype=np.uint8))
    found: list[Float64Array] = [(face.landmarks.astype(np.float64) - margin + 0.5) / _ENLARGED - 0.5 for face in faces]
    found = [points for points in found if alignable(points[None], target)[0]]
    distances = [float(np.square(points - target).sum()) for points in found]
    spread = float(np.square(target - target.mean(axis=0)).sum())
    if not found or min(distances) > _MAX_DISTANCE * spread:
        return None
    return found[int(np.argmin(distances))]
