"""The gallery's SQLite file: its tables, how it is opened, and what SQLite's errors mean.

References:
    https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html (secure_delete, synchronous), and
    https://www.sqlite.org/security.html (opening files that may be hostile).
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from edge_sphereface.errors import (
    EdgeSphereFaceError,
    GalleryBusyError,
    GalleryError,
    GalleryFormatError,
    GalleryNotFoundError,
    OutputError,
)
from edge_sphereface.files import PRIVATE, may_write, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 1
"""Of the tables; a gallery of another version is not touched."""

_APPLICATION_ID = 0x45534647  # "ESFG"
_MAX_VALUE_BYTES = 64 << 20
_HEADER_BYTES = 100
_RETRY_S = 0.005
_GROWTH_S = 0.1
"""A file of the wrong size that did not grow in this time is damaged."""
_PAGE_BYTES = 16384
"""Seven embeddings of 512 numbers fill it; of 4096 bytes each would leave half a page empty."""
_TABLES = (
    """CREATE TABLE state (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  gallery TEXT NOT NULL, fingerprint TEXT NOT NULL, keep_crops INTEGER NOT NULL, key_check BLOB,
  epoch BLOB NOT NULL, token BLOB NOT NULL, next_slot INTEGER NOT NULL, erasing INTEGER NOT NULL,
  created_at TEXT NOT NULL
)""",
    """CREATE TABLE identities (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, metadata TEXT NOT NULL,
  slot INTEGER NOT NULL UNIQUE, template BLOB NOT NULL, enrolled_at TEXT NOT NULL
)""",
    """CREATE TABLE embeddings (
  id INTEGER PRIMARY KEY, identity INTEGER NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
  embedding BLOB NOT NULL, crop BLOB, enrolled_at TEXT NOT NULL
)""",
    "CREATE INDEX embeddings_of ON embeddings (identity)",
    "CREATE TABLE dead_slots (slot INTEGER PRIMARY KEY)",
    "CREATE TABLE thresholds (precision TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID",
)


def connect(path: Path, *, create: bool, timeout_s: float) -> tuple[sqlite3.Connection, bool]:
    """Open the file, made with mode 0600 if it may be.

    Returns:
        The connection, and whether it may write.

    Raises:
        GalleryNotFoundError: there is no such file.
        GalleryFormatError: not SQLite, truncated, or another program's.
        OutputError: it cannot be made.
    """
    try:
        if path.is_dir():
            raise GalleryFormatError(f"Expected a gallery file at {path}, got a folder.", hint="name a file")
        if create:
            _make(path)
        elif not path.is_file():
            raise GalleryNotFoundError(f"There is no gallery {path}.", hint="`edge-sphereface enroll` makes one")
        _check_size(path)
    except PermissionError as error:
        raise GalleryError(
            f"This user may not read the gallery {path}.", hint="a gallery is its owner's alone"
        ) from error
    writable = may_write(path)
    with explained(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}{_unlogged(path, writable=writable)}",
            uri=True,
            timeout=timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _configure(connection)
            if writable:
                _configure_writer(connection, timeout_s)
        except BaseException:
            connection.close()
            raise
    return connection, writable


def file_id(path: Path) -> tuple[int, int]:
    """What tells a file from another of the same name.

    Raises:
        GalleryNotFoundError: there is no such file.
        OutputError: the disk fails.
    """
    with explained(path):
        try:
            found = path.stat()
        except FileNotFoundError as error:
            raise GalleryNotFoundError(
                f"There is no gallery {path}.", hint="`edge-sphereface enroll` makes one"
            ) from error
        return found.st_dev, found.st_ino


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say what an error of SQLite means for a gallery.

    Raises:
        GalleryBusyError: locked.
        OutputError: read-only, a full disk, or a disk that fails.
        GalleryFormatError: not SQLite, or damaged.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            raise GalleryBusyError(
                f"The gallery {path} is locked by another process ({text}).", hint="try again; nothing was changed"
            ) from error
        if "full" in text:
            raise OutputError(
                f"The disk is full: {path} could not be written.", hint="free some space; the gallery is as it was"
            ) from error
        if "readonly" in text or "unable to open" in text:
            raise OutputError(
                f"Cannot write the gallery {path}: {text}.", hint="the file and its folder must be writable"
            ) from error
        if "disk I/O" in text:
            raise OutputError(
                f"The disk failed while the gallery {path} was read or written: {text}.",
                hint="check the disk; what was confirmed before is kept",
            ) from error
        raise GalleryError(f"SQLite cannot work on {path}: {text}.") from error
    except OSError as error:
        if isinstance(error, EdgeSphereFaceError):
            raise
        raise OutputError(f"The disk failed at {path}: {error.strerror or error}.", hint="check the disk") from error
    except sqlite3.ProgrammingError:  # a mistake of ours or of the caller, such as using a closed gallery
        raise
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


@contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool) -> Iterator[None]:
    """All of the block or nothing; a reader sees one state throughout."""
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):  # the first error is the one to tell
                connection.execute("ROLLBACK")
        raise


def prepare(connection: sqlite3.Connection, path: Path, *, create: bool) -> bool:
    """Make the tables in a file that is empty; check those of any other.

    Returns:
        Whether they were made; then ``state`` has no row yet, and a transaction is open.

    Raises:
        GalleryFormatError: another program's file, or another version's.
    """
    if create and not _found(connection):
        connection.execute("BEGIN IMMEDIATE")
        if not _found(connection):
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            for statement in _TABLES:
                connection.execute(statement)
            return True
        connection.execute("ROLLBACK")
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != _APPLICATION_ID:
        raise GalleryFormatError(f"{path} is an SQLite file, but no gallery.", hint="name another file")
    if version != VERSION:
        raise GalleryFormatError(
            f"The gallery {path} has version {version}; this package reads version {VERSION}.",
            hint="export it with the version that wrote it, import it with this one",
        )
    if _found(connection) != set(_TABLES):
        raise _damaged(path, "its tables are others than a gallery's")
    return False


def _found(connection: sqlite3.Connection) -> set[str]:
    return {text for (text,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a file that is empty
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")  # VACUUM's copy must not reach the disk
    if hasattr(connection, "setlimit"):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)


def _configure_writer(connection: sqlite3.Connection, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # SQLite's own timeout does not hold for this: several processes may be making one gallery
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
    connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA secure_delete = ON")


def _make(path: Path) -> None:
    """An empty file, and its name on the disk."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE))
    except FileExistsError:
        return
    except OSError as error:
        raise OutputError(
            f"Cannot make the gallery {path}: {error.strerror or error}.",
            hint=f"the folder {path.parent} must exist and be writable",
        ) from error
    with explained(path):
        sync_folder(path.parent)


def _unlogged(path: Path, *, writable: bool) -> str:
    """SQLite cannot make its shared memory in a read-only folder: it then reads the file as one that never changes."""
    log = path.with_name(path.name + "-wal")
    alone = not writable and not may_write(path.parent) and not (log.is_file() and log.stat().st_size)
    return "&immutable=1" if alone else ""


def _check_size(path: Path) -> None:
    """A file that was cut off is told before anything is written to it; one that another process is writing is not."""
    size = -1
    while True:
        with path.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
            size_before, size = size, os.fstat(stream.fileno()).st_size
        try:
            _check_header(path, header, size)
        except GalleryFormatError:
            if size == size_before:
                raise
            time.sleep(_GROWTH_S)
        else:
            return


def _check_header(path: Path, header: bytes, size: int) -> None:
    if not header:  # nothing yet: the maker comes to it
        return
    if not header.startswith(b"SQLite format 3\0") or len(header) < _HEADER_BYTES:
        raise GalleryFormatError(f"{path} is no SQLite file, so no gallery.", hint="name another file")
    page = int.from_bytes(header[16:18], "big")
    page = 65536 if page == 1 else page
    pages = int.from_bytes(header[28:32], "big")
    is_counted = header[24:28] == header[92:96]
    if is_counted and size < page * pages:
        raise _damaged(path, f"it has {size} bytes where its header promises {page * pages}")


def _damaged(path: Path, reason: str) -> GalleryFormatError:
    return GalleryFormatError(
        f"The gallery {path} is damaged: {reason}.",
        hint="restore it from a backup, or from what `edge-sphereface gallery export` wrote",
    )
