"""Atomic and private file writing, and digests."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import time
import warnings
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
_OTHERS = 0o077
_OTHERS_WRITE = 0o022
_NO_MODES = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EROFS)
"""Errors of changing a file's mode on file systems without modes, such as FAT, exFAT and CIFS."""
_MOST_LINKS = 40
_TURN_S = 0.02
_DATABASE = b"SQLite format 3\0"
"""First bytes of every gallery file, which this package never replaces or appends to."""
_DESCRIPTOR = re.compile(r"(?:/dev|/proc/self)/fd/(\d{1,9})")


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, mode: int) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces ``path`` only if the block ends without an error.

    If ``path`` is a descriptor of this process (``/dev/stdout``, ``/dev/fd/3``), a device or a FIFO, the content is
    written to it at the end. A symbolic link to a regular file stays, and the file that it points to is replaced.

    Args:
        path: path of the result; its folder must exist.
        mode: permissions of the result, ``PRIVATE`` or ``SHARED``. A special file keeps its own.

    Yields:
        An empty binary file; ``name`` is its temporary path.

    Raises:
        OutputError: the folder is missing or read-only, the disk is full, the path is a symbolic link or a FIFO of
            another user, or an SQLite database such as a gallery. No partial file remains.
        BrokenPipeError: the path is a pipe, and its reader has closed it.
    """
    target = Path(path)
    with _explained(target):
        place = destination(target)
        regular = None if isinstance(place, int) or is_special(place) else place
        if regular is not None and regular.is_file():
            with suppress(PermissionError), regular.open("rb") as existing:  # may be replaced though not read
                _refuse_database(existing.read(len(_DATABASE)), target)
        # delete=False: the name must outlive the file object, for the rename below.
        stream = tempfile.NamedTemporaryFile(  # noqa: SIM115 -- closed below, before the rename
            prefix=f".{target.name}.", suffix=".part", dir=regular and regular.parent, delete=False
        )
    temporary = Path(stream.name)
    try:
        try:
            yield stream
        except OSError as error:
            if error.errno in _DISK_FULL:  # raised by writing; any other error is the caller's
                raise _output_error(error, target) from error
            raise
        with _explained(target):
            stream.flush()
            if regular is None:
                _copy(temporary, place)
                return
            os.fsync(stream.fileno())
            stream.close()
            if stat.S_IMODE(temporary.stat().st_mode) != mode:
                set_mode(target, mode, temporary.chmod)
            temporary.replace(regular)
    finally:
        with suppress(OSError):  # on a full disk, closing tries to write once more
            stream.close()
        with suppress(OSError):
            temporary.unlink()


def destination(path: str | os.PathLike[str]) -> Path | int:
    """Resolve the symbolic links of a path to write to.

    Each link must belong to this user or to root. Root also follows links of the folder's owner.

    Returns:
        A path that is not a symbolic link, or the number of a descriptor of this process.

    Raises:
        OutputError: a link belongs to another user, or the links form a cycle.
    """
    place = Path(path)
    for _ in range(_MOST_LINKS):
        if descriptor := _DESCRIPTOR.fullmatch(str(place)):
            return int(descriptor[1])
        try:
            status = place.lstat()
        except OSError:  # nothing exists there yet; opening it reports other errors
            return place
        if not stat.S_ISLNK(status.st_mode):
            return place
        if os.name == "posix" and status.st_uid != 0 and not _is_trusted(place, status):
            raise OutputError(
                f"Cannot write {path}: {place} is a symbolic link of another user.", hint="name another file"
            )
        place = place.parent / place.readlink()
    raise OutputError(f"Cannot write {path}: too many symbolic links.", hint="name another file")


def open_private(
    path: str | os.PathLike[str],
    flags: int,
    *,
    sole: bool = False,
    start: bytes = b"",
    check: Callable[[int], None] | None = None,
) -> int:
    """Open a file for faces or embeddings for writing. A new file gets mode 0600.

    Other users may have write access to the folder: symbolic links are not followed, and special files and files of
    other users are refused before anything is written. An existing file of this user gets mode 0600; on a file system
    without modes, there is a warning instead.

    Root may open two kinds of files of other users: files of the folder's owner, and files of mode 0600 in a folder
    that only its owner may write. Nobody else can have put them there.

    Args:
        path: path of the file.
        flags: flags of ``os.open``, such as ``os.O_RDWR | os.O_CREAT``.
        sole: refuse a file that has a second name (a hard link).
        start: what the content begins with; requires ``os.O_RDWR``. A file that begins with something else is refused
            if other users may read or write it: it was never private, so it is of something else.
        check: gets the descriptor of a file that is not empty before anything about it is changed, and raises an error
            if the content is of something else; requires ``os.O_RDWR``.

    Returns:
        A descriptor that the caller closes.

    Raises:
        OutputError: the file is a symbolic link, is not a regular file, belongs to another user, has a second name, is
            an SQLite database, or is of something else. Its mode is unchanged.
        OSError: the file cannot be opened for another reason.
    """
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        # Truncated below, only after its owner is known. O_NONBLOCK: opening a FIFO must not block
        descriptor = os.open(path, (flags & ~os.O_TRUNC) | careful | getattr(os, "O_BINARY", 0), PRIVATE)
    except OSError as error:
        if Path(path).is_symlink() or error.errno == errno.ENXIO:  # errors of a FIFO and a socket
            raise _unsafe(Path(path), "a symbolic link or a special file") from error
        raise
    try:
        status = os.fstat(descriptor)
        _require_own(Path(path), status)
        if sole and status.st_nlink > 1:
            raise _unsafe(Path(path), "a file with a second name (a hard link)")
        if flags & os.O_RDWR:
            head = os.read(descriptor, len(_DATABASE))
            _refuse_database(head, Path(path))
            if head and not head.startswith(start) and is_open_to_others(status):
                raise OutputError(f"{path} is a file of something else.", hint="name another file")
            os.lseek(descriptor, 0, os.SEEK_SET)
            if head and check is not None:
                check(descriptor)
            os.lseek(descriptor, 0, os.SEEK_SET)
        if is_open_to_others(status):
            set_mode(Path(path), PRIVATE, lambda mode: os.fchmod(descriptor, mode))
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def require_own(path: str | os.PathLike[str]) -> None:
    """Check a file that another library opens, like :func:`open_private`. It need not exist, and stays as it is.

    The file is not opened, because closing it would release SQLite's locks on it in this process.

    Raises:
        OutputError: the file is a symbolic link, is not a regular file, or belongs to another user.
    """
    with suppress(FileNotFoundError):
        _require_own(Path(path), Path(path).lstat())


def restrict(path: str | os.PathLike[str]) -> None:
    """Check a file like :func:`require_own`, and set mode 0600.

    Call it only once the content shows that the file is one of this package: root may have named any file.

    Raises:
        OutputError: the file is a symbolic link, is not a regular file, or belongs to another user.
        OSError: its mode cannot be changed.
    """
    file = Path(path)
    try:
        status = file.lstat()
    except FileNotFoundError:
        return
    _require_own(file, status)
    if is_open_to_others(status):
        set_mode(file, PRIVATE, file.chmod)


def is_open_to_others(status: os.stat_result) -> bool:
    """Whether the mode of a file lets users other than its owner read or write it."""
    return os.name == "posix" and bool(stat.S_IMODE(status.st_mode) & _OTHERS)


def set_mode(path: Path, mode: int, change: Callable[[int], None]) -> None:
    """Change the mode of a file of this user. On a file system without modes, warn if the file should be private.

    Args:
        path: path of the file, for the warning.
        mode: ``PRIVATE`` or ``SHARED``.
        change: function that sets the mode.

    Raises:
        OSError: the mode cannot be changed for another reason.
    """
    try:
        change(mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
        if mode == PRIVATE:
            warnings.warn(
                f"The mode of {path} cannot be set to 0600 ({error.strerror}): other users may be able to read it.",
                stacklevel=3,
            )


def _is_trusted(path: Path, status: os.stat_result) -> bool:
    """Whether a link or file is safe for this user, by the rules of :func:`open_private`. Links have no modes."""
    user = os.geteuid()
    if user != 0 or status.st_uid == user:
        return status.st_uid == user
    folder = path.absolute().parent.stat()
    return status.st_uid == folder.st_uid or not (status.st_mode & _OTHERS or folder.st_mode & _OTHERS_WRITE)


def _require_own(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode) or not stat.S_ISREG(status.st_mode):
        raise _unsafe(path, "a symbolic link or a special file")
    if os.name == "posix" and not _is_trusted(path, status):
        raise _unsafe(path, "another user's file", hint="run this as the user who owns it, or name another file")


def _unsafe(
    path: Path, what: str, *, hint: str = "delete it, or use a folder that only this user may write"
) -> OutputError:
    return OutputError(f"Expected {path} to be a regular file of this user, got {what}.", hint=hint)


def _refuse_database(start: bytes, path: Path) -> None:
    if start == _DATABASE:
        raise OutputError(
            f"{path} is an SQLite database, such as a gallery; it would be lost.",
            hint="name another file",
        )


def is_special(path: Path) -> bool:
    """Whether a path, which is not a link, is a device or a FIFO.

    Raises:
        OutputError: it is a FIFO of another user.
    """
    try:
        status = path.stat()
    except OSError:
        return False
    if stat.S_ISFIFO(status.st_mode) and os.name == "posix" and status.st_uid not in (0, os.geteuid()):
        raise OutputError(f"Cannot write {path}: it is a FIFO of another user.", hint="name another file")
    return not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)


def _copy(source: Path, target: Path | int) -> None:
    """Copy a file to a special file or to an open descriptor of this process, which stays open."""
    descriptor = os.dup(target) if isinstance(target, int) else os.open(target, os.O_WRONLY)
    with source.open("rb") as content, os.fdopen(descriptor, "wb", buffering=0) as output:
        while block := content.read(_BLOCK):
            left = memoryview(block)
            while left:
                left = left[output.write(left) :]


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except (OutputError, BrokenPipeError):  # the reader of a pipe left, as `head` does: the user need not act
        raise
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
    if error.errno == errno.EISDIR or os.path.isdir(target):  # noqa: PTH112 -- False where the path cannot be looked at
        return "name a file, not a folder"
    return "check the path and the disk"


def ensure_folder(path: str | os.PathLike[str], *, mode: int = 0o777) -> Path:
    """Create a folder and its parents if they are missing.

    Raises:
        OutputError: the folder cannot be created, or the path is a file.
    """
    folder = Path(path)
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        obstacle = next((p for p in (folder, *folder.parents) if os.path.lexists(p) and not p.is_dir()), None)
        if obstacle is not None:
            raise OutputError(
                f"Cannot create the folder {folder}: {obstacle} exists and is not a folder.", hint="name another folder"
            ) from error
        raise OutputError(
            f"Cannot create the folder {folder}: {error.strerror or error}.", hint="choose one that this user may write"
        ) from error
    return folder


def may_write(path: Path) -> bool:
    """Whether this process may write a file, or create files in a folder."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def try_lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; False if another process has locked it.

    A file system that has no locks, and Windows, do not tell two processes apart.
    """
    try:
        import fcntl
    except ImportError:
        return True
    with suppress(OSError):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def locked(descriptor: int, *, wait_s: float) -> Iterator[bool]:
    """Lock an open file within the block, like :func:`try_lock`.

    Args:
        descriptor: of the file.
        wait_s: longest wait for another process, in seconds.

    Yields:
        False if another process kept it locked.
    """
    deadline = time.monotonic() + wait_s
    while not (is_locked := try_lock(descriptor)) and time.monotonic() < deadline:
        time.sleep(_TURN_S)
    try:
        yield is_locked
    finally:
        if is_locked:
            with suppress(ImportError, OSError):
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_UN)


def sync_folder(path: Path) -> None:
    """Synchronize the entries of a folder to disk, on systems that support it."""
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
    import hashlib  # loads OpenSSL, 3.5 MiB that embedding alone does not need

    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()
