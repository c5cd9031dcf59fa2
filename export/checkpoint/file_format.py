"""Recognize the format of a file of weights by its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.storage.protobuf_wire import BYTES, VARINT, WireError, read_fields
from export.checkpoint.caffe import LAYER, OLD_LAYER
from export.checkpoint.ckpt import ENCRYPTED_MAGIC
from export.checkpoint.pytorch import OLD_START, ZIP_START
from export.errors import CheckpointError

if TYPE_CHECKING:
    from mmap import mmap
    from pathlib import Path

    from export.checkpoint.entry import FileFormat

_SAFETENSORS_SUFFIX = ".safetensors"
_UNPACK = "it is packed: unpack it, and name the file in it"
_STRANGERS = {
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it, and name the file in it: 7z x FILE, or bsdtar -xf FILE"),
    b"\x1f\x8b": ("a gzip archive", _UNPACK),
    b"BZh": ("a bzip2 archive", _UNPACK),
    b"\xfd7zXZ": ("an xz archive", _UNPACK),
    b"Rar!": ("a rar archive", _UNPACK),
    b"\x89HDF": ("an HDF5 file, such as Keras saves", "use one of the formats named in docs/weights.md"),
    b"\x93NUMPY": ("a numpy array", "use one of the formats named in docs/weights.md"),
    b"<!DO": ("a web page", "download the file again, with its link instead of its page"),
    b"<htm": ("a web page", "download the file again, with its link instead of its page"),
    b"version https://git-lfs": ("a pointer of Git LFS", "get the file itself: git lfs pull"),
    **{
        b"\x80" + bytes([protocol]): (
            "a Python pickle without PyTorch's header",
            "save the parameters as PyTorch does by itself: torch.save(state_dict, FILE)",
        )
        for protocol in range(2, 6)
    },
}
"""Other files that people name here, by their first bytes: what they are, and what to do."""
_KINDS = "a MindSpore checkpoint, a safetensors file, a PyTorch file, a Caffe model or an ONNX graph"
_GRAPH = 7
_MAX_FIELDS = 10_000


def recognize_format(path: Path, data: bytes | mmap) -> FileFormat:
    """Recognize the format of a file; a MindSpore checkpoint if it has no mark of another one.

    Args:
        path: path of the file.
        data: the whole file, memory-mapped.

    Raises:
        CheckpointError: it is a file of another kind that is known.
    """
    if path.suffix.lower() == _SAFETENSORS_SUFFIX or bytes(data[8:10]) == b'{"':
        return "safetensors file"
    if bytes(data[: len(ZIP_START)]) == ZIP_START or bytes(data[: len(OLD_START)]) == OLD_START:
        return "PyTorch file"
    for start, (what, hint) in _STRANGERS.items():
        if bytes(data[: len(start)]) == start:
            raise CheckpointError(f"Expected {_KINDS}, and {path} is {what}.", hint=hint)
    return "MindSpore checkpoint" if bytes(data[:4]) in ENCRYPTED_MAGIC else _protobuf_format(data)


def _protobuf_format(data: bytes | mmap) -> FileFormat:
    """Tell the three formats in protobuf apart by the fields that only one of them has."""
    try:
        for count, field in enumerate(read_fields(data, 0, len(data))):
            if field.number in (LAYER, OLD_LAYER) and field.kind == BYTES:
                return "Caffe model"
            if (field.number, field.kind) in ((_GRAPH, BYTES), (1, VARINT)):
                return "ONNX graph"
            if count == _MAX_FIELDS:
                break
    except WireError:
        pass  # the reader of a checkpoint says what is wrong
    return "MindSpore checkpoint"
