"""Reading files that nobody vouches for: regular files only, of a known and bounded size, without ever blocking."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_sphereface.errors import EdgeSphereFaceError

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def open_regular(
    path: str | os.PathLike[str],
    *,
    limit: int,
    error: type[EdgeSphereFaceError],
    missing: type[EdgeSphereFaceError] | None = None,
    hint: str = "check the path",
) -> Iterator[IO[bytes]]:
    """Open a regular file for reading; symbolic links are followed.

    A named pipe, a device, a socket or a folder is refused before it is opened: opening one may block, or do
    something. The kind is checked again on the open file, in case another one took its place.

    Args:
        path: of the file.
        limit: bytes that it may have.
        error: class of what is raised.
        missing: class of what is raised where there is no file; None for ``error``.
        hint: what to do where the file cannot be read.

    Raises:
        EdgeSphereFaceError: of class ``error`` or ``missing``: there is no such file, it cannot be read, is not a
            regular file, or is too large.
    """
    file = Path(path)
    try:
        _require_regular(file, os.stat(file), limit, error)  # noqa: PTH116 -- the descriptor's stat below is os's too
        descriptor = os.open(file, _FLAGS)
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise (missing or error)(f"There is no file {file}.", hint=hint) from problem
    except (OSError, ValueError) as problem:  # ValueError: a zero byte in the path
        if isinstance(problem, error):
            raise
        reason = problem.strerror if isinstance(problem, OSError) else None
        raise error(f"Cannot read {file}: {reason or problem}.", hint=hint) from problem
    with os.fdopen(descriptor, "rb") as stream:
        _require_regular(file, os.fstat(descriptor), limit, error)
        yield stream


def read_regular(
    path: str | os.PathLike[str],
    *,
    limit: int,
    error: type[EdgeSphereFaceError],
    missing: type[EdgeSphereFaceError] | None = None,
    hint: str = "check the path",
) -> bytes:
    """The content of a regular file, as far as it had been written when it was opened.

    Raises:
        EdgeSphereFaceError: as :func:`open_regular`.
    """
    with open_regular(path, limit=limit, error=error, missing=missing, hint=hint) as stream:
        try:
            return stream.read(os.fstat(stream.fileno()).st_size)
        except OSError as problem:
            raise error(f"Cannot read {path}: {problem.strerror or problem}.", hint=hint) from problem


def read_regular_text(
    path: str | os.PathLike[str],
    *,
    limit: int,
    error: type[EdgeSphereFaceError],
    missing: type[EdgeSphereFaceError] | None = None,
    hint: str = "check the path",
) -> str:
    """The content of a regular file of text in UTF-8, with or without a byte order mark.

    Raises:
        EdgeSphereFaceError: as :func:`open_regular`, or the file is not text.
    """
    data = read_regular(path, limit=limit, error=error, missing=missing, hint=hint)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not text in UTF-8: byte {problem.start} does not fit.", hint=hint) from problem


def require_regular(
    path: str | os.PathLike[str],
    *,
    limit: int,
    error: type[EdgeSphereFaceError],
    missing: type[EdgeSphereFaceError] | None = None,
    hint: str = "check the path",
) -> int:
    """Check a file that a library will open by its path; gives its size in bytes.

    Raises:
        EdgeSphereFaceError: as :func:`open_regular`.
    """
    with open_regular(path, limit=limit, error=error, missing=missing, hint=hint) as stream:
        return os.fstat(stream.fileno()).st_size


def _require_regular(file: Path, status: os.stat_result, limit: int, error: type[EdgeSphereFaceError]) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise error(f"Expected a regular file, and {file} is {kind}.", hint="name a file; copy a stream to one first")
    if status.st_size > limit:
        raise error(f"{file} has {status.st_size} bytes; at most {limit} are read.", hint="is it the file you mean?")
