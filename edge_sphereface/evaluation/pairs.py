"""Reads labeled pairs of photographs (LFW's format or CSV) and the landmarks of their faces."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.errors import PairsError
from edge_sphereface.pipeline import select_face
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edge_sphereface.detection import Detector
    from edge_sphereface.types import Float64Array, UInt8Array

_FILE = RegularFile(what="list", limit=64 << 20, error=PairsError)
_MAX_LINES = 1_000_000
_MAX_DIGITS = 9
_MAX_COORDINATE = 1e6
"""Largest absolute coordinate of a landmark in pixels."""
_MAX_PATH = 4096
"""Largest length of a photograph's path in characters, which is the limit of Linux."""


class Pair(NamedTuple):
    """Two photographs and whether they show the same person."""

    first: str
    second: str
    same: bool


class LabeledPairs(NamedTuple):
    """Labeled pairs and the location of their photographs.

    Attributes:
        pairs: labeled pairs in the order of the file.
        folder: folder of the photographs.
        landmarks: landmarks (5, 2) of each photograph in pixels, by path; None to detect them.
    """

    pairs: list[Pair]
    folder: Path
    landmarks: dict[str, Float64Array] | None


def read_lfw(folder: Path) -> LabeledPairs:
    """Read Labeled Faces in the Wild: a folder with ``images/``, ``pairs.txt`` and the original's ``lfw_landmark.txt``.

    Raises:
        PairsError: a file is missing or has another format.
    """
    landmarks = read_landmarks(folder / "lfw_landmark.txt")
    return LabeledPairs(read_lfw_pairs(folder / "pairs.txt"), folder / "images", landmarks)


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs from a file: CSV if its suffix is ``.csv``, else LFW's format.

    Raises:
        PairsError: the file is missing or has another format.
    """
    return read_csv_pairs(path) if path.suffix.lower() == ".csv" else read_lfw_pairs(path)


def read_lfw_pairs(path: Path) -> list[Pair]:
    """Read LFW's ``pairs.txt``.

    After a header, a line holds a name and two numbers (same person) or name, number, name, number (different people).

    Returns:
        Pairs with image paths such as ``Ann/Ann_0001.jpg``.

    Raises:
        PairsError: the file is missing or a line has another format.
    """
    pairs = []
    for number, line in enumerate(_lines(path)[1:], start=2):
        match line.split():
            case [name, first, second] if _is_number(first) and _is_number(second):
                pairs.append(Pair(_lfw_path(name, first), _lfw_path(name, second), same=True))
            case [name, first, other, second] if _is_number(first) and _is_number(second):
                pairs.append(Pair(_lfw_path(name, first), _lfw_path(other, second), same=False))
            case []:
                continue
            case _:
                raise PairsError(f"{path}, line {number}: expected NAME N M or NAME N NAME M, got {line!r:.200}.")
    return _checked(pairs, path)


def read_csv_pairs(path: Path) -> list[Pair]:
    """Read a CSV file with the columns ``image1_path``, ``image2_path`` and ``label`` (1 same, 0 different).

    Raises:
        PairsError: the file or a column is missing, or a label is neither 0 nor 1.
    """
    pairs = []
    reader = csv.DictReader(_lines(path))
    try:
        for number, row in enumerate(reader, start=2):
            label = (row.get("label") or "").strip()
            first, second = row.get("image1_path") or "", row.get("image2_path") or ""
            # the csv module's limit of a field is global, and other libraries raise it
            if label not in ("0", "1") or not all(0 < len(name) <= _MAX_PATH for name in (first, second)):
                raise PairsError(
                    f"{path}, line {number}: expected image1_path, image2_path and label 0 or 1, got {row!r:.200}."
                )
            pairs.append(Pair(first, second, same=label == "1"))
    except csv.Error as error:
        raise PairsError(
            f"{path}, line {reader.line_num}, is not CSV: {error}.", hint="is a quote left open?"
        ) from error
    return _checked(pairs, path)


def read_landmarks(path: Path) -> dict[str, Float64Array]:
    """Read landmarks: an image path and ten numbers (x, y of five points) per line, separated by tabs or spaces.

    Returns:
        Landmarks (5, 2) float64 in pixels, by image path.

    Raises:
        PairsError: the file is missing or a line has another format.
    """
    landmarks = {}
    for number, line in enumerate(_lines(path), start=1):
        name, *values = line.split() or [""]
        if not name:
            continue
        try:
            points = np.array([float(value) for value in values]).reshape(5, 2)
        except ValueError:
            points = np.full((5, 2), np.nan)
        if not (np.abs(points) <= _MAX_COORDINATE).all():
            raise PairsError(f"{path}, line {number}: expected a path and ten numbers, got {line!r:.200}.")
        landmarks[name] = points
    return landmarks


def given_landmarks(landmarks: Mapping[str, Float64Array]) -> Callable[[str, UInt8Array], Float64Array | None]:
    """Provide landmarks (5, 2) that were read from a file."""
    return lambda name, _: landmarks.get(name)


def detected_landmarks(detector: Detector) -> Callable[[str, UInt8Array], Float64Array | None]:
    """Provide the landmarks (5, 2) of the face nearest the center of the image, which is the labeled face in LFW."""

    def locate(_: str, image: UInt8Array) -> Float64Array | None:
        faces = detector.detect(image)
        return select_face(faces, image, "center").landmarks.astype(np.float64) if faces else None

    return locate


def images_of(pairs: Sequence[Pair]) -> list[str]:
    """Paths of all images of the pairs, each once, in order of first use."""
    return list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))


def _lfw_path(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MAX_DIGITS


def _lines(path: Path) -> list[str]:
    lines = _FILE.read_text(path).splitlines()
    if len(lines) > _MAX_LINES:
        raise PairsError(f"{path} has {len(lines)} lines; at most {_MAX_LINES} are read.", hint="split the file")
    return lines


def _checked(pairs: list[Pair], path: Path) -> list[Pair]:
    kinds = {pair.same for pair in pairs}
    if kinds != {True, False}:
        raise PairsError(f"Expected pairs of the same and of different people in {path}, got {len(pairs)} of one kind.")
    return pairs
