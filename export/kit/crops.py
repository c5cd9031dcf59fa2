"""Golden crops of a kit: the seeded ones of every certificate, and real faces if they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import align_for
from edge_sphereface.detection import open_detector
from edge_sphereface.errors import ImageError, LandmarksError, NoFaceError
from edge_sphereface.evaluation.labeled_photos import person_of
from edge_sphereface.image import find_images, load_image
from edge_sphereface.kit.manifest import MAX_CROPS
from edge_sphereface.model.certificate import golden_crops
from edge_sphereface.pipeline import select_face
from export.errors import CalibrationError
from export.orl.faces import read_orl
from export.quantization.crops import crop_of

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import UInt8Array

SEEDED = ("seeded noise", "seeded noise", "seeded blocks", "seeded blocks")
ORL_PEOPLE, ORL_EACH = 10, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCrop:
    """A crop and where it comes from.

    Attributes:
        pixels: (H, W, 3) uint8 BGR.
        source: origin in words.
        person: person that the crop shows; None if unknown.
    """

    pixels: UInt8Array
    source: str
    person: str | None = None


def seeded_crops(spec: ModelSpec) -> list[GoldenCrop]:
    """The crops of the model's certificate, which show whether colors, rows and columns are where they should be."""
    return [GoldenCrop(pixels=crop, source=source) for crop, source in zip(golden_crops(spec), SEEDED, strict=True)]


def orl_crops(spec: ModelSpec) -> list[GoldenCrop]:
    """Three photographs of each of ten people of the ORL faces, aligned; they are gray.

    Raises:
        ExtraError: the package that contains the photographs is not installed.
        NoFaceError: the detector found no face in a photograph.
    """
    detector = open_detector()
    made = []
    for person, number, image in read_orl():
        if person > ORL_PEOPLE or number > ORL_EACH:
            continue
        faces = detector.detect(image)
        if not faces:
            raise NoFaceError(
                f"No face was found in photograph {number} of person {person} by {detector.name}.",
                hint="try another detector",
            )
        landmarks = select_face(faces, image, "largest").landmarks
        crop = align_for(spec, image, landmarks)[0]
        made.append(GoldenCrop(pixels=crop, source="ORL faces", person=f"person {person}"))
    return made


def folder_crops(folder: Path, spec: ModelSpec) -> list[GoldenCrop]:
    """Crops of the photographs in a folder, a subfolder for each person.

    Args:
        folder: photographs, or crops of the model's input size, as ``FOLDER/PERSON/photo.jpg`` or without people.
        spec: specification of the model.

    Raises:
        CalibrationError: there is no photograph, there are too many, or one shows no usable face.
    """
    paths = find_images(folder)
    if not 0 < len(paths) <= MAX_CROPS - len(SEEDED):
        raise CalibrationError(
            f"Expected 1 to {MAX_CROPS - len(SEEDED)} photographs in {folder} for the kit, found {len(paths)}.",
            hint="a few photographs of a few people are enough",
        )
    detector, made = open_detector(), []
    numbers: dict[str, int] = {}  # the kit leaves the house, so names of people do not go into it
    for path in paths:
        try:
            crop = crop_of(load_image(path), spec, detector)
        except (ImageError, LandmarksError) as error:
            raise CalibrationError(f"{path}: {error.message}", hint="leave this photograph out") from error
        person = None
        if path.parent != folder:
            person = f"person {numbers.setdefault(person_of(path, folder), len(numbers) + 1)}"
        made.append(GoldenCrop(pixels=np.ascontiguousarray(crop), source="photograph", person=person))
    return made
