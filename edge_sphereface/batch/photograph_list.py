"""The list of photographs in the metadata of a result: which files were read, in which version, with how many faces.

It is compressed JSON in base64, part of the Parquet file, so that rows and list are replaced together.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, NamedTuple

from edge_sphereface.batch.versions import FileVersion
from edge_sphereface.errors import OutputError
from edge_sphereface.storage.bounded_json import JsonError, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_ENCODED = 64 << 20
"""Largest size of the list in the file, in bytes; about 1.5 million photographs. Arrow reads texts up to 100 MB."""
_MAX_JSON = 512 << 20
_HINT = "write the result anew, which replaces it"
_COLUMNS: dict[str, tuple[type, ...]] = {
    "path": (str,),
    "bytes": (int,),
    "modified_ns": (int,),
    "faces": (int,),
    "error": (str, type(None)),
}


class ListedPhotograph(NamedTuple):
    """What a result knows of a photograph.

    Attributes:
        version: version of the file that was read.
        faces: number of its faces.
        error: why it could not be read; None if it was read.
    """

    version: FileVersion
    faces: int
    error: str | None


def encode_list(photographs: Mapping[str, ListedPhotograph]) -> bytes | None:
    """Encode a list by path; None if there are too many photographs for the metadata of a file."""
    columns = [
        list(photographs),
        [photograph.version.bytes for photograph in photographs.values()],
        [photograph.version.modified_ns for photograph in photographs.values()],
        [photograph.faces for photograph in photographs.values()],
        [photograph.error for photograph in photographs.values()],
    ]
    text = json.dumps(dict(zip(_COLUMNS, columns, strict=True)), ensure_ascii=False, separators=(",", ":"))
    encoded = base64.b64encode(zlib.compress(text.encode()))
    return encoded if len(encoded) <= _MAX_ENCODED else None


def decode_list(encoded: bytes, name: str) -> dict[str, ListedPhotograph]:
    """Decode a list by path.

    Args:
        encoded: as :func:`encode_list` made it.
        name: name of the file, for messages.

    Raises:
        OutputError: the list is damaged.
    """
    try:
        decompressor = zlib.decompressobj()
        text = decompressor.decompress(base64.b64decode(encoded, validate=True), _MAX_JSON)
        if not decompressor.eof:
            raise _damaged(name)
        columns = parse_json(text, limit=_MAX_JSON)
    except (JsonError, ValueError, zlib.error) as problem:
        raise _damaged(name) from problem
    if not isinstance(columns, dict) or columns.keys() != _COLUMNS.keys():
        raise _damaged(name)
    for key, kinds in _COLUMNS.items():
        if not isinstance(columns[key], list) or len(columns[key]) != len(columns["path"]):
            raise _damaged(name)
        if not all(isinstance(value, kinds) and not isinstance(value, bool) for value in columns[key]):
            raise _damaged(name)
    if min(columns["faces"], default=0) < 0 or len(set(columns["path"])) != len(columns["path"]):
        raise _damaged(name)
    return {
        path: ListedPhotograph(FileVersion(size, modified_ns), faces, error)
        for path, size, modified_ns, faces, error in zip(*(columns[key] for key in _COLUMNS), strict=True)
    }


def _damaged(name: str) -> OutputError:
    return OutputError(f"The list of photographs in {name} is damaged.", hint=_HINT, remedy="overwrite")
