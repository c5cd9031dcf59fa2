"""Labelled pairs of photographs: LFW's own files, a folder in that layout, or a CSV."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.errors import EdgeSphereFaceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_sphereface.types import Float64Array


class PairsError(EdgeSphereFaceError, ValueError):
    """A file of pairs or landmarks is not what it should be."""

    code = "pairs"


class Pair(NamedTuple):
    """Two photographs and whether they show the same person."""

    first: str
    second: str
    same: bool


def read_lfw_pairs(path: Path) -> list[Pair]:
    """LFW's ``pairs.txt``: a header, then name and two numbers (same) or name, number, name, number (different).

    Returns:
        Pairs with image paths such as ``Ann/Ann_0001.jpg``.

    Raises:
        PairsError: the file is missing or a line has another form.
    """
    pairs = []
    for number, line in enumerate(_lines(path)[1:], start=2):
        match line.split():
            case [name, first, second] if first.isdecimal() and second.isdecimal():
                pairs.append(Pair(_lfw_path(name, first), _lfw_path(name, second), same=True))
            case [name, first, other, second] if first.isdecimal() and second.isdecimal():
                pairs.append(Pair(_lfw_path(name, first), _lfw_path(other, second), same=False))
            case []:
                continue
            case _:
                raise PairsError(f"{path}, line {number}: expected NAME N M or NAME N NAME M, got {line!r}.")
    return _checked(pairs, path)


def read_csv_pairs(path: Path) -> list[Pair]:
    """A CSV with the columns ``image1_path``, ``image2_path``, ``label`` (1 same, 0 different).

    Raises:
        PairsError: the file is missing, a column is missing, or a label is neither.
    """
    pairs = []
    reader = csv.DictReader(_lines(path))
    for number, row in enumerate(reader, start=2):
        label = (row.get("label") or "").strip()
        if not row.get("image1_path") or not row.get("image2_path") or label not in ("0", "1"):
            raise PairsError(f"{path}, line {number}: expected image1_path, image2_path and label 0 or 1, got {row}.")
        pairs.append(Pair(row["image1_path"], row["image2_path"], same=label == "1"))
    return _checked(pairs, path)


def read_landmarks(path: Path) -> dict[str, Float64Array]:
    """A file of landmarks: image path and ten numbers (x, y of five points) per line, separated by tabs or spaces.

    Raises:
        PairsError: the file is missing or a line has another form.
    """
    landmarks = {}
    for number, line in enumerate(_lines(path), start=1):
        name, *values = line.split()
        try:
            landmarks[name] = np.array([float(value) for value in values]).reshape(5, 2)
        except ValueError as error:
            raise PairsError(f"{path}, line {number}: expected a path and ten numbers, got {line!r}.") from error
    return landmarks


def images_of(pairs: Sequence[Pair]) -> list[str]:
    """Every image of the pairs once, in order of appearance."""
    return list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))


def _lfw_path(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PairsError(f"Cannot read {path}: {error}.", hint="check the path") from error


def _checked(pairs: list[Pair], path: Path) -> list[Pair]:
    kinds = {pair.same for pair in pairs}
    if kinds != {True, False}:
        raise PairsError(f"Expected pairs of the same and of different people in {path}, got {len(pairs)} of one kind.")
    return pairs
