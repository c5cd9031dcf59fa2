"""Common interface of all file formats. Names and shapes are read on opening, values on request."""

from __future__ import annotations

import math
import mmap
from abc import ABC, abstractmethod
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from edge_sphereface.storage.files import sha256_of
from edge_sphereface.storage.regular_file import RegularFile
from export.checkpoint.caffe import index_caffe
from export.checkpoint.ckpt import index_ckpt
from export.checkpoint.entry import DTYPES, FileFormat, TensorInfo
from export.checkpoint.file_format import recognize_format
from export.checkpoint.onnx_network import read_onnx
from export.checkpoint.pytorch import index_pytorch
from export.checkpoint.safetensors import index_safetensors
from export.errors import CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from export.checkpoint.onnx_network import OnnxNetwork
    from export.checkpoint.onnx_source import SourceGraph
    from export.topology import Structure

_FILE = RegularFile(
    what="checkpoint", limit=64 << 30, error=CheckpointError, hint="python -m export fetch downloads a published one"
)
"""Limits of a checkpoint file. It is memory-mapped, not read."""


class Checkpoint(ABC):
    """An open file of weights. Made by :func:`open_checkpoint`.

    Attributes:
        path: path of the file.
        format: kind of the file.
        entries: parameters by their names in the file; of an ONNX graph, by their names in the network.
        structure: what the graph tells of the network beside its parameters; None for files of parameters alone.
        input_size: height and width of the crop in pixels, if the file tells.
        graph: what the file computes; None for files of parameters alone.
    """

    structure: Structure | None = None
    input_size: tuple[int, int] | None = None
    graph: SourceGraph | None = None

    def __init__(self, path: Path, file_format: FileFormat, entries: Mapping[str, TensorInfo]) -> None:
        self.path = path
        self.format = file_format
        self.entries = entries

    @property
    def is_mindspore(self) -> bool:
        """Whether MindSpore reads files of this format."""
        return self.format in ("MindSpore checkpoint", "safetensors file")

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file in hexadecimal. The first access reads the whole file."""
        return sha256_of(self.path)

    @abstractmethod
    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Read the values of a parameter in its stored type (bfloat16 as ``ml_dtypes.bfloat16``).

        Returns:
            An array of the parameter's shape.

        Raises:
            CheckpointError: the number of bytes does not match the shape, or the type has no numpy equivalent.
        """


class _MappedCheckpoint(Checkpoint):
    """A file whose parameters are parts of its bytes."""

    def __init__(
        self, path: Path, file_format: FileFormat, data: bytes | mmap.mmap, entries: Mapping[str, TensorInfo]
    ) -> None:
        super().__init__(path, file_format, entries)
        self._data = data

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Read the values of a parameter; see :meth:`Checkpoint.read`."""
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


class _GraphCheckpoint(Checkpoint):
    """An ONNX graph."""

    def __init__(self, path: Path, network: OnnxNetwork) -> None:
        super().__init__(path, "ONNX graph", network.entries)
        self.structure = network.structure
        self.input_size = network.input_size
        self.graph = network.graph
        self._parameters = network.parameters

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Read the values of a parameter; see :meth:`Checkpoint.read`."""
        return self._parameters[name]


def _in_order(values: np.ndarray[Any, Any], info: TensorInfo) -> np.ndarray[Any, Any]:
    """Shape the values as they are stored; those of a transposed tensor are in the order of its strides."""
    if not info.strides:
        return values.reshape(info.shape)
    order = sorted(range(len(info.shape)), key=lambda axis: -info.strides[axis])
    stored = values.reshape([info.shape[axis] for axis in order])
    return np.ascontiguousarray(stored.transpose(np.argsort(order)))


@contextmanager
def open_checkpoint(path: str | os.PathLike[str]) -> Iterator[Checkpoint]:
    """Open a file of weights by memory map. Its format is recognized by its content.

    Raises:
        CheckpointError: the file does not exist, or is empty, damaged, encrypted or of an unknown format.
        TopologyError: it is an ONNX graph of another network.
    """
    file = Path(path)
    with _FILE.open(file) as stream, _map(stream, file) as data:
        kind = recognize_format(file, data)
        if kind == "ONNX graph":
            yield _GraphCheckpoint(file, read_onnx(bytes(data)))
        else:
            yield _MappedCheckpoint(file, kind, data, _index(kind, file, data))


def format_of(path: str | os.PathLike[str]) -> FileFormat:
    """Recognize the format of a file of weights by its content, without reading more of it.

    Raises:
        CheckpointError: the file does not exist, is empty, or is of another kind that is known.
    """
    file = Path(path)
    with _FILE.open(file) as stream, _map(stream, file) as data:
        return recognize_format(file, data)


def _index(kind: FileFormat, file: Path, data: mmap.mmap) -> dict[str, TensorInfo]:
    match kind:
        case "safetensors file":
            return index_safetensors(file, data)
        case "PyTorch file":
            return index_pytorch(data)
        case "Caffe model":
            return index_caffe(data)
        case _:
            return index_ckpt(data)


@contextmanager
def _map(stream: IO[bytes], file: Path) -> Iterator[mmap.mmap]:
    try:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # what mmap says of an empty file
        raise CheckpointError(f"{file} is empty.", hint="download it again: python -m export fetch") from error
    with data:
        yield data
