"""The gallery's SQLite file: its tables, how to open it, and the meaning of SQLite's errors.

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
    OutputError,
)
from edge_sphereface.gallery.missing import no_gallery
from edge_sphereface.storage.files import PRIVATE, may_write, require_own, restrict, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 3
"""Version of the tables. Earlier ones are migrated when the gallery is opened by a user who may write it."""
UNBOUND_VERSION = 1
"""Version of galleries without ignored people. In an encrypted one, names are not bound to the encrypted values."""
BOUND_VERSION = 2
"""Version of encrypted galleries without ignored people."""

_APPLICATION_ID = 0x45534647  # "ESFG"
_MAX_VALUE_BYTES = 64 << 20
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_LOCK_BYTE = 1 << 30
"""Offset of SQLite's lock byte; SQLite never writes the page that holds it."""
_RETRY_S = 0.005
_PAGE_BYTES = 16384
"""Page size. Seven embeddings of 512 numbers fill a page; pages of 4096 bytes would stay half empty."""
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
, ignored INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE embeddings (
  id INTEGER PRIMARY KEY, identity INTEGER NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
  embedding BLOB NOT NULL, crop BLOB, enrolled_at TEXT NOT NULL
)""",
    "CREATE INDEX embeddings_of ON embeddings (identity)",
    "CREATE TABLE dead_slots (slot INTEGER PRIMARY KEY)",
    "CREATE TABLE thresholds (precision TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX ignored_identities ON identities (ignored) WHERE ignored",
)
_NEW_COLUMN, _NEW_INDEX = "ignored INTEGER NOT NULL DEFAULT 0", _TABLES[-1]
"""What version 3 added. The table stands above as ALTER TABLE leaves it."""
_EARLIER_TABLES = tuple(statement.replace(f", {_NEW_COLUMN}", "") for statement in _TABLES[:-1])
"""Tables of the versions before 3."""


def connect(path: Path, *, create: bool, timeout_s: float) -> tuple[sqlite3.Connection, bool]:
    """Open the database file; a new file gets mode 0600.

    SQLite recovers the write-ahead log first. Only then is it known which pages the file must have.

    Args:
        path: path of the file, not a symbolic link.
        create: create the file if it does not exist.
        timeout_s: how long to wait for another process, in seconds.

    Returns:
        The connection, and whether it may write.

    Raises:
        GalleryNotFoundError: the file does not exist, and ``create`` is False.
        GalleryFormatError: the file is not SQLite, is truncated, or belongs to another program.
        OutputError: the file cannot be created, or it is writable but belongs to another user.
    """
    _require_file(path, create=create)
    writable = may_write(path)
    with explained(path):
        if writable:
            for file in _files(path):
                require_own(file)
        if _require_content(path):
            _require_whole(path, timeout_s)
        if not writable:
            return _opened(path, timeout_s, writable=False), False
        try:
            return _opened(path, timeout_s, writable=True, create=create), True
        except sqlite3.OperationalError as error:
            if not _lacks_space(error):
                raise
            # No space for the shared memory, which only several processes need: lock the others out instead
            return _opened(path, timeout_s, writable=True, create=create, alone=True), True


def file_id(path: Path) -> tuple[int, int]:
    """Device and inode number, which distinguish a file from another of the same name.

    Raises:
        GalleryNotFoundError: the file does not exist.
        OutputError: the disk fails.
    """
    with explained(path):
        try:
            found = path.stat()
        except FileNotFoundError as error:
            raise no_gallery(path) from error
        return found.st_dev, found.st_ino


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Translate the errors of SQLite and of the disk into this package's errors.

    Raises:
        GalleryBusyError: the gallery is locked.
        OutputError: the gallery is read-only, or the disk is full or fails.
        GalleryFormatError: the file is not SQLite, or is damaged.
        GalleryError: any other error of SQLite.
    """
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite's message quotes a damaged schema
        raise _damaged(path, str(error)) from error
    except sqlite3.OperationalError as error:
        if "decode" in str(error):  # text that is not UTF-8
            raise _damaged(path, str(error)) from error
        raise _meaning(str(error), path) from error
    except OSError as error:
        if isinstance(error, EdgeSphereFaceError):
            raise
        raise OutputError(f"The disk failed at {path}: {error.strerror or error}.", hint="check the disk") from error
    except OverflowError as error:  # computed from a damaged number
        raise _damaged(path, "a number is out of range") from error
    except sqlite3.ProgrammingError:  # a programming error, such as using a closed gallery
        raise
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise GalleryFormatError(
                f"{path} is not an SQLite file, so it is not a gallery.", hint="name another file"
            ) from error
        raise _damaged(path, str(error)) from error


def _meaning(text: str, path: Path) -> GalleryError | OutputError:
    if "locked" in text or "busy" in text:
        return GalleryBusyError(
            f"The gallery {path} is locked by another process ({text}).", hint="try again; nothing was changed"
        )
    if "full" in text:
        return OutputError(
            f"The disk is full: {path} could not be written.", hint="free disk space; the gallery is unchanged"
        )
    if "unable to open" in text and _has_content(_log(path)) and not may_write(path.parent):
        return GalleryError(
            f"The gallery {path} has a write-ahead log, which cannot be read in a folder that is read-only.",
            hint="open the gallery once where its folder is writable",
        )
    if "readonly" in text or "unable to open" in text:
        return OutputError(f"Cannot write the gallery {path}: {text}.", hint="the file and its folder must be writable")
    if "disk I/O" in text:
        return OutputError(
            f"The disk failed while the gallery {path} was read or written: {text}.",
            hint="check the disk; confirmed changes are kept",
        )
    return GalleryError(f"SQLite cannot work on {path}: {text}.")


@contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool) -> Iterator[None]:
    """Run the block as one transaction: all or nothing, and reads see one state throughout."""
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):  # the first error is the one to report
                connection.execute("ROLLBACK")
        raise


def prepare(connection: sqlite3.Connection, path: Path, *, create: bool) -> tuple[bool, int]:
    """Create the tables in an empty file; verify the tables of any other file.

    Returns:
        Whether the tables were created, and their version. If they were created, ``state`` has no row yet and a
        transaction is open.

    Raises:
        GalleryFormatError: the file belongs to another program or has another version.
    """
    if create and not _found(connection):
        connection.execute("BEGIN IMMEDIATE")
        if not _found(connection):
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            for statement in _TABLES:
                connection.execute(statement)
            return True, VERSION
        connection.execute("ROLLBACK")
    return False, _require_gallery(connection, path)


def _require_gallery(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the tables, which must be those of a gallery.

    Raises:
        GalleryFormatError: the file belongs to another program or has another version.
    """
    with transaction(connection, write=False):  # another process may migrate it
        found = _found(connection)
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        version = read_version(connection)
    if application != _APPLICATION_ID:
        raise _foreign(path)
    if not UNBOUND_VERSION <= version <= VERSION:
        raise GalleryFormatError(
            f"The gallery {path} has version {version}; this package reads {UNBOUND_VERSION} to {VERSION}.",
            hint="export it with the version that wrote it, import it with this one",
        )
    if found != set(_TABLES if version == VERSION else _EARLIER_TABLES):
        raise _damaged(path, "its tables are not those of a gallery")
    return version


def read_version(connection: sqlite3.Connection) -> int:
    """Version of the tables."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables of an earlier version to this one: everybody in them is reported."""
    with transaction(connection, write=True):
        if read_version(connection) != VERSION:  # another process may have been faster
            connection.execute(f"ALTER TABLE identities ADD COLUMN {_NEW_COLUMN}")
            connection.execute(_NEW_INDEX)
            connection.execute(f"PRAGMA user_version = {VERSION}")


def _found(connection: sqlite3.Connection) -> set[str]:
    return {text for (text,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


def _is_foreign(connection: sqlite3.Connection) -> bool:
    """Whether the file is a database of another program; an empty one is not."""
    found = _found(connection)  # first: another process may make the gallery in between
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return application != _APPLICATION_ID and bool(application or found)


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # takes effect in an empty file
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")  # VACUUM's copy must not reach the disk
    if hasattr(connection, "setlimit"):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)


def _configure_writer(connection: sqlite3.Connection, timeout_s: float) -> None:
    connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA secure_delete = ON")
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # SQLite's timeout does not apply to this pragma, and several processes may create the gallery at once
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)


def _require_file(path: Path, *, create: bool) -> None:
    try:
        logged = create and _has_content(_log(path))  # checked first: the file is created before its log
        if create and not path.exists():
            if logged:
                raise GalleryFormatError(
                    f"The gallery {path} is missing, and its log {_log(path).name} is still there.",
                    hint=f"restore {path.name} from a backup; for a new gallery, delete {_log(path)}",
                )
            _make(path)
        if not path.exists():
            raise no_gallery(path)
        if path.is_file() and os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            return
    except PermissionError as error:
        raise _unreadable(path) from error
    if path.is_file():
        raise _unreadable(path)
    raise GalleryFormatError(
        f"Expected a gallery file at {path}, got {'a folder' if path.is_dir() else 'a special file'}.",
        hint="name a file",
    )


def _make(path: Path) -> None:
    """Create an empty file, and synchronize its folder to disk."""
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


def _opened(
    path: Path, timeout_s: float, *, writable: bool, create: bool = False, alone: bool = False
) -> sqlite3.Connection:
    """Open a connection. ``create`` takes an empty file; ``alone`` locks other processes out while it is open."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}{_immutable(path)}",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _configure(connection)
        if alone:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        if _is_foreign(connection):
            raise _foreign(path)
        if writable:
            if not create or _found(connection):
                _require_gallery(connection, path)  # before anything is written to the file
            for file in _files(path):
                restrict(file)
            _configure_writer(connection, timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def _immutable(path: Path) -> str:
    """URI parameter to read the file as immutable in a read-only folder, where SQLite cannot share memory."""
    alone = not may_write(path) and not may_write(path.parent) and not _has_content(_log(path))
    return "&immutable=1" if alone else ""


def _files(path: Path) -> list[Path]:
    """Every file of the gallery that SQLite opens."""
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]


def _require_content(path: Path) -> bool:
    """Whether the file has content. An empty file with a log is refused, because SQLite would delete the log."""
    logged = _has_content(_log(path))  # checked first: the file is written before its log
    if path.stat().st_size:
        return True
    if logged:
        raise GalleryFormatError(
            f"The gallery {path} is damaged: it is empty, and {_log(path).name} is not.",
            hint=f"restore {path.name} from a backup; for a new gallery, delete {path} and {_log(path)}",
        )
    return False


def _require_whole(path: Path, timeout_s: float) -> None:
    """Refuse a truncated file, through a connection that cannot write to it, even on closing."""
    if _has_content(path.with_name(path.name + "-journal")):
        return  # the file is being created; a rollback needs a writer
    try:
        connection = _opened(path, timeout_s, writable=False)
    except sqlite3.OperationalError as error:
        if not _lacks_space(error):
            raise
        return
    try:
        with transaction(connection, write=False):
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            pages, page = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
            size = path.stat().st_size  # it may grow meanwhile, but never shrinks below what this transaction sees
            missing = set(range(size // page + 1, pages + 1)) - {_LOCK_BYTE // page + 1}
            if missing and not missing <= _logged_pages(_log(path), page):
                raise _damaged(path, f"it has {size} bytes where its header promises {page * pages}")
    except sqlite3.OperationalError as error:
        if not _lacks_space(error):
            raise
    finally:
        connection.close()


def _logged_pages(log: Path, page: int) -> set[int]:
    """Numbers of the pages in a write-ahead log.

    References:
        https://www.sqlite.org/fileformat2.html#the_write_ahead_log
    """
    pages: set[int] = set()
    try:
        with log.open("rb") as stream:
            salt = stream.read(_LOG_HEADER_BYTES)[16:24]
            while len(frame := stream.read(_FRAME_HEADER_BYTES)) == _FRAME_HEADER_BYTES and frame[8:16] == salt:
                pages.add(int.from_bytes(frame[:4], "big"))
                stream.seek(page, os.SEEK_CUR)
    except FileNotFoundError:
        pass
    return pages


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _lacks_space(error: sqlite3.OperationalError) -> bool:
    """Whether SQLite found no space for its shared memory, or the disk fails."""
    return "disk I/O" in str(error) or "full" in str(error)


def _unreadable(path: Path) -> GalleryError:
    return GalleryError(f"This user may not read the gallery {path}.", hint="only the owner of a gallery may read it")


def _foreign(path: Path) -> GalleryFormatError:
    return GalleryFormatError(f"{path} is an SQLite file, but not a gallery.", hint="name another file")


def _damaged(path: Path, reason: str) -> GalleryFormatError:
    return GalleryFormatError(
        f"The gallery {path} is damaged: {reason}.",
        hint="restore it from a backup, or import an export of it into a new gallery",
        remedy="import-gallery",
    )
