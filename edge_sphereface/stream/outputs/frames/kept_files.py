"""Files of one stream in a folder, named by stream and time; only the newest are kept."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import SinkError
from edge_sphereface.storage.files import ensure_folder, may_write

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOMENT = "????????T?????????Z"
"""In names; without it, files of a stream whose name begins alike would be found too."""


class KeptFiles:
    """A folder, made with mode 0700, and the files that one stream has in it.

    Args:
        folder: may hold other files, which stay as they are.
        stream: name of the stream, as it can stand in names of files.
        suffixes: of its files.

    Raises:
        OutputError: the folder cannot be made.
        SinkError: it cannot be written, or others can replace files in it.
    """

    def __init__(self, folder: str | Path, stream: str, suffixes: Sequence[str]) -> None:
        self.folder = Path(folder)
        self._prefix, self._suffixes = f"{stream}-", tuple(suffixes)
        if not may_write(ensure_folder(self.folder, mode=0o700)):
            raise SinkError(
                f"Cannot write to {self.folder}: permission denied.", hint="the folder must be writable for this user"
            )

        self._require_safe()

    def _require_safe(self) -> None:
        """OpenCV opens videos by name alone: nobody else may put a link in the place of one."""
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
        """Beginning of a name, which sorts by time (UTC, in milliseconds)."""
        moment = datetime.fromtimestamp(unix_time, timezone.utc)
        return f"{self._prefix}{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03}Z"

    def names(self) -> list[str]:
        """Of all files, the oldest first."""
        found = self.folder.glob(f"{self._prefix}{_MOMENT}*")
        return sorted(path.name for path in found if path.suffix in self._suffixes)
