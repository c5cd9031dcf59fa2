"""Reading and writing files without surprises: whole or not at all, private where it must be, fingerprinted."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edge_sphereface.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PRIVATE = 0o600
"""Mode of files that hold faces or embeddings."""
SHARED = 0o644
"""Mode of files that hold nothing personal, such as models."""

_BLOCK = 1 << 20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, mode: int) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` that takes its place only if the block ends without an error.

    Args:
        path: where the result belongs; its folder must exist.
        mode: permissions of the result, ``PRIVATE`` or ``SHARED``.

    Yields:
        A binary file, written from its start; ``name`` is its path until it takes its place.

    Raises:
        OutputError: the folder is missing or read-only, or the disk is full. Nothing is left behind.
    """
    target = Path(path)
    with _explained(target):
        # delete=False: the name must outlive the file object, for the rename below.
        stream = tempfile.NamedTemporaryFile(  # noqa: SIM115 -- closed below, before the rename
            prefix=f".{target.name}.", suffix=".part", dir=target.parent, delete=False
        )
    temporary = Path(stream.name)
    try:
        try:
            yield stream
        except OSError as error:
            if error.errno in _DISK_FULL:  # what writing raises; any other is the caller's own
                raise _output_error(error, target) from error
            raise
        with _explained(target):
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()
            temporary.chmod(mode)
            temporary.replace(target)
    finally:
        with suppress(OSError):  # on a full disk, closing tries to write once more
            stream.close()
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _output_error(error, target) from error


def _output_error(error: OSError, target: Path) -> OutputError:
    return OutputError(f"Cannot write {target}: {error.strerror or error}.", hint=_hint(error, target))


def _hint(error: OSError, target: Path) -> str:
    if error.errno in _DISK_FULL:
        return "free some space or write elsewhere; nothing was left behind"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the folder {target.parent} must be writable for this user"
    if error.errno == errno.ENOENT:
        return f"create the folder {target.parent} first"
    if error.errno == errno.EISDIR or target.is_dir():
        return "name a file, not a folder"
    return "check the path and the disk"


def ensure_folder(path: str | os.PathLike[str], *, mode: int = 0o777) -> Path:
    """Create a folder and its parents if they are missing.

    Raises:
        OutputError: it cannot be created, or a file stands in its place.
    """
    folder = Path(path)
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot create the folder {folder}: {error.strerror or error}.", hint="choose one that this user may write"
        ) from error
    return folder


def may_write(path: Path) -> bool:
    """Whether this process may write a file, or make files in a folder."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def sync_folder(path: Path) -> None:
    """Put what was made, renamed or deleted in a folder on the disk, where folders can be synchronized."""
    if os.name != "posix":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sha256_of(path: str | os.PathLike[str], *, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file in hexadecimal, read in blocks of 1 MiB.

    Args:
        path: the file.
        progress: called with the number of bytes of each block.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()
