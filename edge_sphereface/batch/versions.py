"""Tells whether a photograph changed, by the size of its file and the time of its last modification."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class FileVersion(NamedTuple):
    """Version of a file. A file that is rewritten gets another one.

    Attributes:
        bytes: size of the file; -1 if the file could not be read.
        modified_ns: time of the last modification, in nanoseconds since 1970; -1 if the file could not be read.
    """

    bytes: int
    modified_ns: int


NO_VERSION = FileVersion(-1, -1)
"""Version of a file that could not be read. It equals that of no file."""


def version_of(path: Path) -> FileVersion:
    """Version of a file, :data:`NO_VERSION` if the system does not tell it."""
    try:
        status = path.stat()
    except OSError:
        return NO_VERSION
    return FileVersion(status.st_size, status.st_mtime_ns)
