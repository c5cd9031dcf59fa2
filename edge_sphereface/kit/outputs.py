"""Reads what a device computed, from the files that tools of vendors write. No file is trusted."""

from __future__ import annotations

import io
import math
import re
import warnings
from tokenize import TokenError
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from edge_sphereface.errors import KitError
from edge_sphereface.storage.bounded_json import JsonError, parse_json, shown
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_sphereface.types import Float32Array, Float64Array

DType: TypeAlias = Literal["float32", "float16"]
MOST_ROWS, MOST_COLUMNS = 1024, 65536
SUFFIXES = (".npy", ".bin", ".txt", ".csv", ".jsonl")
"""Names of files that hold outputs."""

_HEADER_BYTES = 1 << 12
_TEXT_BYTES = 40
"""Characters that a number and its separator take at most, which bounds a text."""
_MOST_VALUES = 1 << 24
_MOST_FILES = 4096
_HINT = "give one output of the network for each golden crop, in their order"
_WORD = re.compile(r"[\s,;\[\]]+")
_KEYS = ("output", "outputs", "embedding", "values")
_DIGITS = re.compile(r"(\d+)")
_FLOATS = ("float16", "float32", "float64")


def read_outputs(places: Sequence[Path], *, count: int, size: int, dtype: DType | None = None) -> Float32Array:
    """Read raw outputs or embeddings of all golden crops.

    Args:
        places: files of outputs in the order of the crops, or one folder of them, which is read in the order of the
            numbers in their names. ``.npy``; ``.bin`` of little-endian numbers; ``.txt`` and ``.csv`` of numbers;
            ``.jsonl`` with a list, or an object that holds one, in each line.
        count: number N of golden crops.
        size: number D of components of an output of the network.
        dtype: type of the numbers in ``.bin`` files; None to tell it by their size.

    Returns:
        (N, C) float32. C differs from D if the outputs are those of another network, or a part of the network's. Values
        that are not finite are kept.

    Raises:
        KitError: a file cannot be read, or the files do not hold one output for each crop.
    """
    files = _files(places)
    kinds = {path.suffix.lower() for path in files}
    if len(kinds) > 1:
        raise KitError(f"Expected outputs of one kind, got {', '.join(sorted(kinds))}.", hint="name files of one kind")
    kind = kinds.pop()
    if kind not in SUFFIXES:
        raise KitError(
            f"Expected outputs as {', '.join(SUFFIXES)}, or a kit's result as .json, got {shown(files[0].name)}.",
            hint="convert them to one of those",
        )
    limit = max(_HEADER_BYTES + 16 * count * size, _TEXT_BYTES * count * size if kind not in (".npy", ".bin") else 0)
    source = RegularFile(what="file of outputs", limit=min(limit, 8 * _MOST_VALUES), error=KitError, hint=_HINT)
    if kind == ".bin":
        return _arranged(_numbers([source.read(path) for path in files], dtype, count * size), count, size)
    reader = {".npy": _npy, ".jsonl": _json_lines}.get(kind, _text)
    return _arranged([reader(source.read(path), path) for path in files], count, size)


def _files(places: Sequence[Path]) -> list[Path]:
    """The files of one folder in natural order, or the files as they were named."""
    if len(places) != 1 or not places[0].is_dir():
        if not places:
            raise KitError("Expected files of outputs, got none.", hint=_HINT)
        if len(places) > _MOST_FILES:
            raise KitError(f"Expected at most {_MOST_FILES} files, got {len(places)}.", hint=_HINT)
        return list(places)
    try:
        found = [path for path in places[0].iterdir() if path.suffix.lower() in SUFFIXES]
    except OSError as error:
        raise KitError(f"Cannot read the folder {places[0]}: {error.strerror}.", hint="check the path") from error
    if not found or len(found) > _MOST_FILES:
        raise KitError(
            f"Expected 1 to {_MOST_FILES} files of outputs ({', '.join(SUFFIXES)}) in {places[0]}, found {len(found)}.",
            hint=_HINT,
        )
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that takes numbers in a name as numbers."""
    parts = _DIGITS.split(path.name)
    return [(int(part), "") if number % 2 else (0, part) for number, part in enumerate(parts)]


def read_npy(
    data: bytes, name: str, *, dtypes: Sequence[str] = _FLOATS
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """Read an array from the content of a ``.npy`` file. Nothing is unpickled, and no more memory is taken than it has.

    Raises:
        KitError: the content is not an array of one of the types, or is larger or smaller than its header says.
    """
    stream = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on headers that Python 2 wrote
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version}")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, is_fortran, dtype = read(stream)
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, OverflowError, KeyError) as error:
        raise KitError(f"{name} is not a .npy file that can be read: {shown(str(error))}.", hint=_HINT) from error
    start = stream.tell()
    if dtype.hasobject or dtype.name not in dtypes or not all(0 <= side <= _MOST_VALUES for side in shape):
        raise KitError(f"{name}: expected an array of {' or '.join(dtypes)}, got {dtype} {shape}.", hint=_HINT)
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise KitError(
            f"{name}: its header says {shape} {dtype}, and {len(data) - start} bytes follow.",
            hint="the file is damaged or was not written to its end",
        )
    values = np.frombuffer(data, dtype, offset=start)
    return values.reshape(shape, order="F" if is_fortran else "C")


def _npy(data: bytes, path: Path) -> Float64Array:
    return _as_float(read_npy(data, shown(path.name)))


def _as_float(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Float64Array:
    return np.asarray(values, dtype=np.float64)


def _numbers(contents: Sequence[bytes], dtype: DType | None, expected: int) -> list[Float64Array]:
    """Numbers of ``.bin`` files, which say nothing of themselves."""
    total = sum(map(len, contents))
    kind = dtype or ("float16" if total == 2 * expected and _is_finite(contents, "<f2") else "float32")
    width = 2 if kind == "float16" else 4
    for content in contents:
        if not content or len(content) % width:
            raise KitError(
                f"Expected .bin files of {kind} numbers, got one of {len(content)} bytes.",
                hint="say what the numbers are; outputs of int8 must be converted to floats by the tool that made them",
            )
    return [_as_float(np.frombuffer(content, "<f2" if kind == "float16" else "<f4")) for content in contents]


def _is_finite(contents: Sequence[bytes], dtype: str) -> bool:
    """Whether all numbers are finite. Half of a file of float32, read as float16, is not."""
    return all(len(content) % 2 == 0 and np.isfinite(np.frombuffer(content, dtype)).all() for content in contents)


def _text(data: bytes, path: Path) -> Float64Array:
    """Numbers of a text, separated by spaces, commas, semicolons or lines. A first line of names is skipped."""
    try:
        lines = [line for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise KitError(f"{shown(path.name)} is not text: byte {error.start} does not fit.", hint=_HINT) from error
    rows: list[list[float]] = []
    for number, line in enumerate(lines):
        words = [word for word in _WORD.split(line) if word]
        try:
            row = [_float(word) for word in words]
        except ValueError as error:
            if number == 0 and len(lines) > 1:
                continue
            raise KitError(f"{shown(path.name)}, line {number + 1}: {error}.", hint=_HINT) from error
        if row:
            rows.append(row)
    return _rows(rows, path)


def _float(word: str) -> float:
    if len(word) > _TEXT_BYTES:
        raise ValueError(f"expected numbers, got a word of {len(word)} characters")
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"expected numbers, got {shown(word)!r}") from None


def _json_lines(data: bytes, path: Path) -> Float64Array:
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = parse_json(line, limit=_TEXT_BYTES * MOST_COLUMNS)
        except JsonError as error:
            raise KitError(f"{shown(path.name)}, line {number}: {error}.", hint=_HINT) from error
        if isinstance(values, dict):
            values = next((values[key] for key in _KEYS if key in values), None)
        if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
            raise KitError(
                f"{shown(path.name)}, line {number}: expected a list of numbers, or an object with one under "
                f"{', '.join(_KEYS)}.",
                hint=_HINT,
            )
        rows.append([float(value) for value in values])
    return _rows(rows, path)


def _rows(rows: list[list[float]], path: Path) -> Float64Array:
    """Rows of one length as an array; rows of several lengths, as tools wrap long lines, as one row."""
    if not any(rows):
        raise KitError(f"{shown(path.name)} holds no numbers.", hint=_HINT)
    if len({len(row) for row in rows}) == 1:
        return np.array(rows, dtype=np.float64)
    return np.array([value for row in rows for value in row], dtype=np.float64)


def _arranged(arrays: Sequence[Float64Array], count: int, size: int) -> Float32Array:
    """Arrange arrays as one row for each crop."""
    total = sum(array.size for array in arrays)
    squeezed = arrays[0].reshape([side for side in arrays[0].shape if side != 1])
    if total == count * size:
        rows = np.concatenate([array.reshape(-1) for array in arrays]).reshape(count, size)
    elif len(arrays) == count and len({array.size for array in arrays}) == 1 and total:
        rows = np.stack([array.reshape(-1) for array in arrays])
    elif len(arrays) == 1 and (squeezed.ndim == 1 or len(squeezed) == count) and total and total % count == 0:
        rows = squeezed.reshape(count, -1)
    else:
        found = f"{len(arrays)} files" if len(arrays) > 1 else f"an array of shape {arrays[0].shape}"
        raise KitError(
            f"Expected outputs of {count} crops, {size} numbers each; got {found} with {total} numbers.", hint=_HINT
        )
    if rows.shape[1] > MOST_COLUMNS:
        raise KitError(f"Expected {size} numbers for each crop, got {rows.shape[1]}.", hint=_HINT)
    with np.errstate(over="ignore", invalid="ignore"):  # values beyond float32 become infinite, which is reported
        return rows.astype(np.float32)
