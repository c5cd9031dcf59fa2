"""Index the tensors of a PyTorch file, in both of its formats, without PyTorch.

Since PyTorch 1.6, a file is a zip archive: ``NAME/data.pkl`` describes the tensors, ``NAME/data/KEY`` holds the values
of a storage. Before, a file was five pickles (magic number, version of the format, properties of the machine, the
tensors, the keys of the storages), followed by the number of values and the values of each storage.

Source: PyTorch 2.13, torch/serialization.py.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from edge_sphereface.storage.bounded_json import shown
from export.checkpoint.ckpt import MAX_PARAMETERS
from export.checkpoint.entry import DTYPES, TensorInfo
from export.checkpoint.state_pickle import ForeignNameError, PickleError, StoredTensor, read_pickle
from export.checkpoint.zip_index import ZipError, index_zip
from export.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from mmap import mmap

    Spans = Mapping[str, tuple[int, int]]

ZIP_START = b"PK\x03\x04"
OLD_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""A pickle of the magic number 0x1950a86a20f9469cfc6c."""

_OLD_VERSION = 1001
_COUNT_BYTES = 8
_NESTED = ("state_dict", "model_state_dict", "model", "backbone", "net", "network")
"""Keys under which training programs store the parameters of the network, beside others."""
_MAX_NESTING = 3
_MAX_RANK = 8
_MAX_SIZE = (1 << 63) - 1
_ALONE_HINT = "save the parameters alone: torch.save(network.state_dict(), FILE)"
_DAMAGED_HINT = "the file is damaged, truncated or of a different kind; compare its SHA-256 with its source"


def index_pytorch(data: bytes | mmap) -> dict[str, TensorInfo]:
    """Return the tensors of a file by name, in its order.

    Args:
        data: the whole file, memory-mapped.

    Raises:
        CheckpointError: the file is damaged, holds more than tensors in dictionaries, or none.
    """
    try:
        value, spans = _read_zip(data) if data[: len(ZIP_START)] == ZIP_START else _read_old(data)
        entries = {name: _info(name, tensor, spans) for name, tensor in _tensors(value).items()}
    except ForeignNameError as error:
        raise CheckpointError(
            f"Expected a PyTorch file of tensors in dictionaries, but this one needs {error.name}.",
            hint=error.hint or f"where that is installed, {_ALONE_HINT}",
        ) from error
    except PickleError as error:
        raise CheckpointError(
            f"Expected a PyTorch file of parameters as torch.save writes it, but this is none: {error}."
            if error.hint
            else f"This is not an intact PyTorch file of parameters: {error}.",
            hint=error.hint or _DAMAGED_HINT,
        ) from error
    except ZipError as error:
        raise CheckpointError(
            f"This is not an intact PyTorch file of parameters: {error}.", hint=_DAMAGED_HINT
        ) from error
    if sum(info.nbytes for info in entries.values()) > len(data):
        raise CheckpointError(
            "The parameters of this PyTorch file share their values, which is not supported.",
            hint="save a copy of each: {name: tensor.clone() for name, tensor in state_dict.items()}",
        )
    return entries


def _read_zip(data: bytes | mmap) -> tuple[Any, Spans]:
    members = index_zip(data)
    found = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        raise ZipError(f"it has {len(found) or 'no'} data.pkl, so that PyTorch did not write it")
    folder = found[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in members:
        raise ForeignNameError("the program of a TorchScript module")
    start, end = members.get(f"{folder}byteorder", (0, 0))
    if bytes(data[start:end]) not in (b"", b"little"):
        raise PickleError("its values are not in little-endian order")
    prefix = f"{folder}data/"
    spans = {name.removeprefix(prefix): span for name, span in members.items() if name.startswith(prefix)}
    return read_pickle(data, *members[found[0]]).value, spans


def _read_old(data: bytes | mmap) -> tuple[Any, Spans]:
    position = len(OLD_START)
    pickles = []
    for _ in range(4):
        pickles.append(read_pickle(data, position, len(data)))
        position = pickles[-1].end
    version, machine, content, keys = pickles
    if version.value != _OLD_VERSION:  # not shown: to print a tuple of tuples can take forever
        raise PickleError(f"its format has another version than {_OLD_VERSION}")
    if type(machine.value) is not dict or machine.value.get("little_endian") is not True:
        raise PickleError("its values are not in little-endian order")
    if type(keys.value) is not list:
        raise PickleError("the list of its storages is missing")
    spans: dict[str, tuple[int, int]] = {}
    for key in keys.value:
        if type(key) is not str or key not in content.storages or key in spans:
            raise PickleError("the list of its storages does not fit its tensors")
        count = int.from_bytes(data[position : position + _COUNT_BYTES], "little")
        start = position + _COUNT_BYTES
        position = start + count * DTYPES[content.storages[key]].itemsize
        if position > len(data):
            raise PickleError(f"it ends inside the values of storage {shown(key)}")
        spans[key] = (start, position)
    return content.value, spans


def _tensors(value: Any) -> dict[str, StoredTensor]:
    """Tensors by name: those of the dictionary itself, or of the one in it that holds the network."""
    for _ in range(_MAX_NESTING):
        if type(value) is not dict:
            raise PickleError(f"it holds a {type(value).__name__} where a dictionary of tensors is expected")
        nested = [value[key] for key in _NESTED if type(value.get(key)) is dict] or _only_tensors(value)
        if not nested:
            break
        value = nested[0]
    found = {name: tensor for name, tensor in value.items() if type(tensor) is StoredTensor}
    if not found:
        keys = ", ".join(f"{key!r:.40}" for key in list(value)[:10])  # texts and numbers, see read_pickle
        raise PickleError(f"it holds no tensors, but {keys or 'nothing'}", hint=_ALONE_HINT)
    if len(found) > MAX_PARAMETERS:
        raise PickleError(f"it has more than {MAX_PARAMETERS} tensors")
    if not all(type(name) is str for name in found):
        raise PickleError("its tensors have names that are no text")
    return found


def _only_tensors(value: dict[Any, Any]) -> list[dict[Any, Any]]:
    """The dictionary of tensors beside which a program saved nothing else that holds any."""
    holding = [part for part in value.values() if type(part) is dict and _has_tensors(part)]
    return [] if _has_tensors(value) or len(holding) != 1 else holding


def _has_tensors(value: dict[Any, Any]) -> bool:
    return any(type(part) is StoredTensor for part in value.values())


def _info(name: str, tensor: StoredTensor, spans: Spans) -> TensorInfo:
    storage, offset, shape, strides = tensor
    if not (_is_sizes(shape) and _is_sizes(strides) and _is_sizes((offset,)) and len(shape) == len(strides)):
        raise PickleError(f"tensor {shown(name)} has an impossible shape")
    order = _order(name, shape, strides)  # an expanded tensor has fewer values than its shape says
    count, size = math.prod(shape), DTYPES[storage.dtype].itemsize
    start, end = spans.get(storage.key, (0, 0))
    if (storage.first + storage.length) * size > end - start or count > storage.length - offset:
        raise PickleError(f"tensor {shown(name)} of shape {shape} needs more values than the file has")
    first = start + (storage.first + offset) * size
    return TensorInfo(storage.dtype, shape, ((first, first + count * size),), order)


def _is_sizes(values: Any) -> bool:
    is_short = type(values) is tuple and len(values) <= _MAX_RANK
    return is_short and all(type(size) is int and 0 <= size <= _MAX_SIZE for size in values)


def _order(name: str, shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a tensor without gaps; () if its values are in the order of its shape."""
    expected, tidy = 1, list(strides)
    for axis in sorted(range(len(shape)), key=lambda axis: (strides[axis], shape[axis], -axis)):
        if shape[axis] > 1 and strides[axis] != expected:
            if 0 in shape:
                return ()
            raise PickleError(
                f"tensor {shown(name)} is a view with gaps or repetitions",
                hint="save a copy of each: {name: tensor.clone() for name, tensor in state_dict.items()}",
            )
        tidy[axis] = expected
        expected *= shape[axis]
    is_in_order = all(before >= after for before, after in pairwise(tidy))
    return () if is_in_order else tuple(tidy)
