"""Choose labeled photographs from a folder with one folder for each person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.pipeline.worker import Photograph
from edge_sphereface.errors import PairsError
from edge_sphereface.image import find_images, save_image
from edge_sphereface.storage.files import ensure_folder
from export.orl.faces import read_orl
from export.orl.photographs import file_of

if TYPE_CHECKING:
    from pathlib import Path

MOST_EACH = 10
"""Largest number of photographs of one person, so that no person dominates the pairs."""
LEAST_PEOPLE = 5
"""Least number of people: their pairs fill the ten folds of the protocol."""


def write_orl_faces(folder: Path) -> None:
    """Write the ORL faces as PNG files, one folder for each person.

    Raises:
        ExtraError: the package that contains the photographs is not installed.
    """
    for photograph in read_orl():
        path = folder / file_of(photograph.person, photograph.number)
        ensure_folder(path.parent)
        save_image(path, photograph.image)


def choose_photographs(folder: Path, count: int) -> list[Photograph]:
    """Choose random people and up to ten photographs of each, the same ones in each run.

    Args:
        folder: folder with ``PERSON/photo.jpg``.
        count: largest number of photographs.

    Returns:
        The first photograph of each person, to enroll, and then the others in random order.

    Raises:
        ImageError: there is no such folder.
        PairsError: fewer than five people have two photographs.
    """
    people: dict[str, list[str]] = {}
    for path in find_images(folder):
        if path.parent.parent == folder:
            people.setdefault(path.parent.name, []).append(f"{path.parent.name}/{path.name}")
    several = [paths[:MOST_EACH] for paths in people.values() if len(paths) > 1]
    random = np.random.RandomState(0)  # the same stream in every numpy
    enrolled: list[str] = []
    probes: list[str] = []
    for index in random.permutation(len(several)):
        room = count - len(enrolled) - len(probes)
        if room < 2:
            break
        first, *others = several[index][:room]
        enrolled.append(first)
        probes += others
    if len(enrolled) < LEAST_PEOPLE:
        raise PairsError(
            f"Expected at least {LEAST_PEOPLE} people with two photographs below {folder}, got {len(enrolled)}.",
            hint="give a folder with one folder for each person, and enough photographs",
        )
    mixed = [probes[index] for index in random.permutation(len(probes))]
    return [
        *(Photograph(path=path, enrolled=True) for path in enrolled),
        *(Photograph(path=path, enrolled=False) for path in mixed),
    ]
