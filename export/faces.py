"""Face crops for proofs, made by the detector and the alignment of the runtime."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import align_for
from edge_sphereface.detection.detector import choose_installed, open_detector
from edge_sphereface.errors import ExtraError
from edge_sphereface.image import find_images, load_image
from export.errors import ParityError

if TYPE_CHECKING:
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, UInt8Array

_SEED = 5
_JITTER_PX = 3.0


def astronaut() -> UInt8Array:
    """Portrait of Eileen Collins, (512, 512, 3) uint8 BGR: a public-domain NASA photograph from scikit-image.

    Raises:
        ExtraError: the package that contains it is not installed; its code does not run.
    """
    found = find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise ExtraError("The built-in photograph comes with scikit-image.", hint="pip install --group export")
    return load_image(Path(found.submodule_search_locations[0]) / "data" / "astronaut.png")


@cache
def _built_in(detector: str) -> tuple[UInt8Array, tuple[Float32Array, ...]]:
    """Return the built-in photograph and the landmarks (5, 2) of its faces, which every proof asks for.

    Args:
        detector: name of the detector that finds them.
    """
    image = astronaut()
    faces = tuple(face.landmarks for face in open_detector(detector).detect(image))
    image.flags.writeable = False
    for landmarks in faces:
        landmarks.flags.writeable = False
    return image, faces


def face_crops(spec: ModelSpec, count: int, photos: Path | None = None) -> UInt8Array:
    """Aligned crops of real faces.

    Args:
        spec: specification of the model; gives the size and the landmark template.
        count: number of crops. If there are fewer faces, they are aligned again with landmarks moved by up to 3 pixels.
        photos: folder of photographs; None for :func:`astronaut`. An image that has the size of a crop is used without
            alignment.

    Returns:
        (count, H, W, 3) uint8 BGR; deterministic.

    Raises:
        ParityError: no face was found.
    """
    found: list[tuple[UInt8Array, Float32Array | None]] = []
    if photos is None:
        image, faces = _built_in(choose_installed().name)
        found += [(image, landmarks) for landmarks in faces]
    else:
        detector = open_detector()
        for image in map(load_image, find_images(photos)):
            if image.shape == spec.crop_shape:
                found.append((image, None))
            else:
                found += [(image, face.landmarks) for face in detector.detect(image)]
            if len(found) >= count:
                break
    if not found:
        raise ParityError(
            f"No face was found in {photos or 'the built-in photograph'}.", hint="use photographs that show a face"
        )
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
