"""Face crops for proofs: cut out by the runtime's own detector and alignment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import align_for
from edge_sphereface.detection import open_detector
from edge_sphereface.image import find_images, load_image
from export.errors import ParityError

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, UInt8Array

_SEED = 5
_JITTER_PX = 3.0


def astronaut() -> UInt8Array:
    """Eileen Collins, 512 x 512 uint8 BGR: a NASA photograph in the public domain, shipped with scikit-image."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:, :, ::-1], dtype=np.uint8)


def face_crops(spec: ModelSpec, count: int, photos: Path | None = None) -> UInt8Array:
    """Aligned crops of real faces.

    Args:
        spec: size and template of the crops.
        count: how many; where the photographs show fewer faces, they are cut out again with landmarks moved by up to
            3 pixels.
        photos: a folder of photographs; without it, :func:`astronaut`. An image of a crop's size is a crop already, and
            is taken as it is.

    Returns:
        (count, H, W, 3) uint8 BGR, the same for the same photographs.

    Raises:
        ParityError: no face was found.
    """
    found: list[tuple[UInt8Array, Float32Array | None]] = []
    detector = open_detector()
    for image in [astronaut()] if photos is None else map(load_image, find_images(photos)):
        if image.shape == spec.crop_shape:
            found.append((image, None))
        else:
            found += [(image, face.landmarks) for face in detector.detect(image)]
        if len(found) >= count:
            break
    if not found:
        raise ParityError(f"No face was found in {photos or 'the built-in photograph'}.", hint="give other photographs")
    random = np.random.RandomState(_SEED)  # the same stream in every numpy
    crops = []
    for number in range(count):
        image, landmarks = found[number % len(found)]
        if landmarks is None:
            crops.append(image)
            continue
        moved = landmarks + (random.uniform(-_JITTER_PX, _JITTER_PX, (5, 2)) if number >= len(found) else 0)
        crops.append(align_for(spec, image, moved)[0])
    return np.stack(crops)
