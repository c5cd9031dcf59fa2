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
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge_sphereface.types import Float32Array, Float64Array

DType: TypeAlias = Literal["float32", "float16", "float64"]
MOST_ROWS, MOST_COLUMNS = 1024, 65536
SUFFIXES = (".npy", ".bin", ".txt", ".csv", ".jsonl")
"""Names of files that hold outputs."""

_HEADER_BYTES = 1 << 12
_TEXT_BYTES = 40
"""Characters that a number and its separator take at most, which bounds a text."""
_MOST_VALUES = 1 << 24
_MOST_FILES = 4096
_HINT = "give one output of the network for each golden crop, in their order"
_HINT_OF_TEXT = "write a line of numbers for each crop in UTF-8, without names of files, quotes and decimal commas"
_HINT_OF_INTEGERS = "dequantize first: (value - zero point) * scale of the output, or let the runtime give floats"
_WORD = re.compile(r"[\s,;\[\]]+")
_KEYS = ("output", "outputs", "embedding", "values")
_DIGITS = re.compile(r"(\d+)")
_FLOATS = ("float16", "float32", "float64")
_MOST_SIDES = 32
_STORED: dict[DType, str] = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}
_SPREAD = 4.0
"""Spread of numbers, as a deviation of their binary logarithm, beyond which they are not what a network computes.
Normal numbers reach 1.6, and numbers that were read as another type more than 4."""
_DECIMAL_COMMA = re.compile(r"\d,\d")
_OTHER_SEPARATOR = re.compile(r"\d[;\s]+[-+.\d]")


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
    contents = _contents(files, min(limit, 8 * _MOST_VALUES))
    if kind == ".bin":
        return _arranged(_numbers([data for _, data in contents], dtype, count * size), count, size)
    if kind == ".npy":
        return _arranged([_npy(data, path) for path, data in contents], count, size)
    reader = _json_lines if kind == ".jsonl" else _text
    return _arranged([_unlabeled(reader(data, path), count, size) for path, data in contents], count, size)


def _contents(files: Sequence[Path], limit: int) -> Iterator[tuple[Path, bytes]]:
    """Files with their contents, of which all together may take as much memory as one may, besides their headers."""
    left = limit + _HEADER_BYTES * len(files)
    for path in files:
        source = RegularFile(what="file of outputs", limit=min(limit, left), error=KitError, hint=_HINT)
        data = source.read(path)
        left -= len(data)
        yield path, data


def _files(places: Sequence[Path]) -> list[Path]:
    """The files of one folder in natural order, or the files as they were named."""
    if len(places) != 1 or not places[0].is_dir():
        if not places:
            raise KitError("Expected files of outputs, got none.", hint=_HINT)
        if len(places) > _MOST_FILES:
            raise KitError(f"Expected at most {_MOST_FILES} files, got {len(places)}.", hint=_HINT)
        return list(places)
    try:
        found = [
            path
            for path in places[0].iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")  # macOS adds ._NAME to each NAME
        ]
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
    is_shape = len(shape) <= _MOST_SIDES and all(type(side) is int and 0 <= side <= _MOST_VALUES for side in shape)
    if dtype.hasobject or dtype.name not in dtypes or not is_shape:
        hint = _HINT_OF_INTEGERS if dtype.kind in "iu" and dtypes == _FLOATS else _HINT
        raise KitError(f"{name}: expected an array of {' or '.join(dtypes)}, got {dtype} {shape}.", hint=hint)
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
    with np.errstate(invalid="ignore"):  # a NaN that signals, as numbers in another byte order may be
        return np.asarray(values, dtype=np.float64)


def _numbers(contents: Sequence[bytes], dtype: DType | None, expected: int) -> list[Float64Array]:
    """Numbers of ``.bin`` files, which say nothing of themselves."""
    kind = dtype or _told_type(contents, expected)
    width = np.dtype(_STORED[kind]).itemsize
    for content in contents:
        if not content or len(content) % width:
            raise KitError(
                f"Expected .bin files of {kind} numbers, got one of {len(content)} bytes.",
                hint="say what the numbers are; outputs of int8 must be converted to floats by the tool that made them",
            )
    return [_as_float(np.frombuffer(content, _STORED[kind])) for content in contents]


def _told_type(contents: Sequence[bytes], expected: int) -> DType:
    """Type of the numbers of files, by their size; if two types fit it, the one whose numbers spread less.

    Raises:
        KitError: the files hold a byte for each number.
    """
    total = sum(map(len, contents))
    if total == 2 * expected and _spread(contents, "float16") <= _spread(contents, "float32"):
        return "float16"
    if total == 8 * expected and _spread(contents, "float64") <= _spread(contents, "float32"):
        return "float64"
    if total == expected and _spread(contents, "float32") > _SPREAD:
        raise KitError(
            f"Expected .bin files of {expected} floats, got as many bytes, which look like integers of int8.",
            hint="let the tool that made them convert them to floats, by the output's scale and zero point",
        )
    return "float32"


def _spread(contents: Sequence[bytes], kind: DType) -> float:
    """Deviation of the binary logarithm of numbers that are finite and not zero; infinite if the type does not fit."""
    width = np.dtype(_STORED[kind]).itemsize
    if any(len(content) % width for content in contents):
        return math.inf
    values = np.concatenate([np.frombuffer(content, _STORED[kind]) for content in contents])
    used = np.abs(values[np.isfinite(values) & (values != 0)].astype(np.float64))
    if not used.size:
        return 0.0 if np.isfinite(values).all() else math.inf
    return float(np.log2(used).std())


def _text(data: bytes, path: Path) -> Float64Array:
    """Numbers of a text, separated by spaces, commas, semicolons or lines. A first line of names is skipped."""
    try:
        lines = [line for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} does not fit"
        raise KitError(f"{shown(path.name)} is not text: {reason}.", hint=_HINT_OF_TEXT) from error
    rows: list[list[float]] = []
    for number, line in enumerate(lines):
        if "." not in line and _DECIMAL_COMMA.search(line) and _OTHER_SEPARATOR.search(line):
            raise KitError(
                f"{shown(path.name)}, line {number + 1}: a comma stands between digits, another mark between numbers.",
                hint="write numbers with a decimal point, not a decimal comma",
            )
        words = [word for word in _WORD.split(line) if word]
        try:
            row = [_float(word) for word in words]
        except ValueError as error:
            if number == 0 and len(lines) > 1:
                continue
            raise KitError(f"{shown(path.name)}, line {number + 1}: {error}.", hint=_HINT_OF_TEXT) from error
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
        while isinstance(values, list) and len(values) == 1 and isinstance(values[0], list):  # (1, D), as runtimes give
            values = values[0]
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


def _unlabeled(rows: Float64Array, count: int, size: int) -> Float64Array:
    """A table without the numbers of its columns and rows, which tools for tables add."""
    if rows.ndim == 1 and rows.size == size + count * (size + 1) and (rows[:size] == np.arange(size)).all():
        rows = rows[size:].reshape(count, size + 1)
    elif rows.shape == (count + 1, size) and (rows[0] == np.arange(size)).all():
        return rows[1:]
    if rows.shape == (count, size + 1) and any((rows[:, 0] == first + np.arange(count)).all() for first in (0, 1)):
        return rows[:, 1:]
    return rows


def _arranged(arrays: Sequence[Float64Array], count: int, size: int) -> Float32Array:
    """Arrange arrays as one row for each crop. An array may also hold a column for each."""
    total = sum(array.size for array in arrays)
    squeezed = arrays[0].reshape([side for side in arrays[0].shape if side != 1])
    if len(arrays) == 1 and squeezed.shape == (size, count) and count != size:
        rows = squeezed.T
    elif total == count * size:
        rows = np.concatenate([array.reshape(-1) for array in arrays]).reshape(count, size)
    elif len(arrays) == count and len({array.size for array in arrays}) == 1 and total:
        rows = np.stack([array.reshape(-1) for array in arrays])
    elif len(arrays) == 1 and (squeezed.ndim == 1 or squeezed.shape[:1] == (count,)) and total and total % count == 0:
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
