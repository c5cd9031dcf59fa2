"""Finds the pictures and recordings of a folder, by the names that this program gives."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.errors import RetentionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STREAM_AND_TIME = r"\w{1,100}-[0-9]{8}T[0-9]{9}Z"
_PICTURE = rf"{_STREAM_AND_TIME}-[0-9a-f]{{8}}-[0-9]+\.jpg"
_NAME = re.compile(rf"{_PICTURE}|{_STREAM_AND_TIME}\.(?:mkv|avi)")
_UNFINISHED = re.compile(rf"\.{_PICTURE}\.\w+\.part")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file of this program.

    Attributes:
        path: its path.
        unix_s: when it was written last, by the calendar clock.
        is_unfinished: whether it is what a crash left of a picture.
    """

    path: Path
    unix_s: float
    is_unfinished: bool


def find_files(folder: Path) -> Iterator[FoundFile]:
    """The files of this program in a folder; links, folders and files with other names are left out.

    Raises:
        RetentionError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_unfinished = _UNFINISHED.fullmatch(entry.name) is not None
                if not is_unfinished and not _NAME.fullmatch(entry.name):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield FoundFile(path=folder / entry.name, unix_s=status.st_mtime, is_unfinished=is_unfinished)
    except OSError as error:
        raise RetentionError(
            f"Cannot read the folder {folder}: {error.strerror or error}.", hint="check the path"
        ) from error


def delete(path: Path) -> None:
    """Delete a file, which may be gone already.

    Raises:
        RetentionError: it cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RetentionError(
            f"Cannot delete {path}: {error.strerror or error}.", hint="its folder must be writable for this user"
        ) from error
