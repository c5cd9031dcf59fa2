"""Files of one stream in a folder, named by stream and time; only the newest are kept."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import RetentionError, SinkError
from edge_sphereface.retention.folder_index import FolderIndex
from edge_sphereface.retention.moment import read_moment
from edge_sphereface.storage.files import ensure_folder, may_write

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from edge_sphereface.retention.moment import Moment

_MOMENT = "????????T?????????Z"
"""Pattern of the time in names; it excludes files of streams whose names have the same beginning."""


class KeptFiles:
    """The files of one stream in a folder, which is created with mode 0700, and the index of who is in them.

    Args:
        folder: the folder. Other files in it are not touched.
        stream: name of the stream, in the form for file names.
        suffixes: suffixes of its files.
        moment: gives the present moment.

    Raises:
        OutputError: the folder cannot be created.
        SinkError: the folder is not writable, or other users can replace files in it.
    """

    def __init__(
        self,
        folder: str | Path,
        stream: str,
        suffixes: Sequence[str],
        *,
        moment: Callable[[], Moment] = read_moment,
    ) -> None:
        self.folder = Path(folder)
        self._prefix, self._suffixes = f"{stream}-", tuple(suffixes)
        if not may_write(ensure_folder(self.folder, mode=0o700)):
            raise SinkError(
                f"Cannot write to {self.folder}: permission denied.", hint="the folder must be writable for this user"
            )

        self._require_safe()
        try:
            self.index = FolderIndex(self.folder, moment=moment)
        except RetentionError as error:
            raise SinkError(error.message, hint=error.hint) from error

    def _require_safe(self) -> None:
        """OpenCV opens videos by name, so no other user may replace one by a link."""
        status = self.folder.stat()
        if os.name != "posix":
            return
        by_others = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        of_others = status.st_uid not in (0, os.geteuid()) and os.geteuid() != 0
        if by_others or of_others:
            raise SinkError(
                f"Expected {self.folder} to be a folder in which only this user may replace files.",
                hint=f"chmod o-w {self.folder}" if by_others else "name a folder of this user",
            )

    def name(self, unix_time: float) -> str:
        """First part of a file name; names sort by time (UTC, with milliseconds)."""
        moment = datetime.fromtimestamp(unix_time, timezone.utc)
        return f"{self._prefix}{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03}Z"

    def names(self) -> list[str]:
        """Names of all files, the oldest first."""
        found = self.folder.glob(f"{self._prefix}{_MOMENT}*")
        return sorted(path.name for path in found if path.suffix in self._suffixes)

    def delete(self, names: Collection[str]) -> None:
        """Delete files, and forget who was in them."""
        if names:
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
            self.index.forget(names)
