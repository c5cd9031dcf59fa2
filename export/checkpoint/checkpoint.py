"""Common interface of all file formats. Names and shapes are read on opening, values on request."""

from __future__ import annotations

import math
import mmap
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from edge_sphereface.storage.files import sha256_of
from edge_sphereface.storage.regular_file import RegularFile
from export.checkpoint.ckpt import index_ckpt
from export.checkpoint.entry import DTYPES, FileFormat, TensorInfo
from export.checkpoint.safetensors import index_safetensors
from export.errors import CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

_FILE = RegularFile(
    what="checkpoint", limit=64 << 30, error=CheckpointError, hint="get the official one: python -m export fetch"
)
"""Limits of a checkpoint file. It is memory-mapped, not read."""
_SAFETENSORS_SUFFIX = ".safetensors"
_KNOWN_STARTS = {
    b"PK\x03\x04": "a zip archive, such as PyTorch saves",
    b"\x80\x02": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
    b"<!DO": "a web page",
    b"<htm": "a web page",
}


class Checkpoint:
    """An open checkpoint. Made by :func:`open_checkpoint`.

    Attributes:
        path: path of the file.
        format: kind of the file.
        entries: parameters by their names in the file.
    """

    def __init__(
        self, path: Path, file_format: FileFormat, data: bytes | mmap.mmap, entries: Mapping[str, TensorInfo]
    ) -> None:
        self.path = path
        self.format = file_format
        self.entries = entries
        self._data = data

    @property
    def is_mindspore(self) -> bool:
        """Whether MindSpore reads files of this format."""
        return self.format in ("MindSpore checkpoint", "safetensors file")

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file in hexadecimal. The first access reads the whole file."""
        return sha256_of(self.path)

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Read the values of a parameter in its stored type (bfloat16 as ``ml_dtypes.bfloat16``).

        Returns:
            A new array of the parameter's shape.

        Raises:
            CheckpointError: the number of bytes does not match the shape, or the type has no numpy equivalent.
        """
        info = self.entries[name]
        if not info.is_array:
            raise CheckpointError(f"Parameter {name!r} has type {info.dtype!r}, which has no array form.")
        if info.nbytes != info.expected_nbytes:
            raise CheckpointError(
                f"Parameter {name!r} of shape {info.shape} {info.dtype} needs {info.expected_nbytes} bytes, but the "
                f"file has {info.nbytes}.",
                hint="the file is damaged; download it again",
            )
        values = np.empty(math.prod(info.shape), dtype=DTYPES[info.dtype])
        target = values.view(np.uint8)
        position = 0
        for start, end in info.spans:
            target[position : position + end - start] = np.frombuffer(self._data, np.uint8, end - start, start)
            position += end - start
        return _in_order(values, info)


def _in_order(values: np.ndarray[Any, Any], info: TensorInfo) -> np.ndarray[Any, Any]:
    """Shape the values as they are stored; those of a transposed tensor are in the order of its strides."""
    if not info.strides:
        return values.reshape(info.shape)
    order = sorted(range(len(info.shape)), key=lambda axis: -info.strides[axis])
    stored = values.reshape([info.shape[axis] for axis in order])
    return np.ascontiguousarray(stored.transpose(np.argsort(order)))


@contextmanager
def open_checkpoint(path: str | os.PathLike[str]) -> Iterator[Checkpoint]:
    """Open a ``.ckpt`` or ``.safetensors`` file by memory map.

    Raises:
        CheckpointError: the file does not exist, or is empty, damaged, encrypted or of a different format.
    """
    file = Path(path)
    with _FILE.open(file) as stream, _map(stream, file) as data:
        if file.suffix.lower() == _SAFETENSORS_SUFFIX:
            yield Checkpoint(file, "safetensors file", data, index_safetensors(file, data))
        else:
            _refuse_known_strangers(data)
            yield Checkpoint(file, "MindSpore checkpoint", data, index_ckpt(data))


@contextmanager
def _map(stream: IO[bytes], file: Path) -> Iterator[mmap.mmap]:
    try:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # what mmap says of an empty file
        raise CheckpointError(f"{file} is empty.", hint="download it again: python -m export fetch") from error
    with data:
        yield data


def _refuse_known_strangers(data: mmap.mmap) -> None:
    for start, what in _KNOWN_STARTS.items():
        if data[: len(start)] == start:
            raise CheckpointError(
                f"Expected a MindSpore checkpoint, got {what}.", hint="use a .ckpt or .safetensors file of MindSpore"
            )
