"""One SQLite file of mode 0600 with what is known about people; what is removed from it is overwritten."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge_sphereface.errors import OutputError
from edge_sphereface.storage.files import open_private, require_own, restrict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from edge_sphereface.errors import EdgeSphereFaceError

    Run: TypeAlias = Callable[..., sqlite3.Cursor]
    """Runs a statement within a transaction."""

COMPANIONS = ("", "-journal", "-wal", "-shm")
"""Ends of the names of the files of a database."""

_WAIT_S = 5.0
_HEADER_BYTES = 72
_MAX_VALUE_BYTES = 1 << 20


class PrivateDatabase:
    """A database in one file. Safe to use from several threads and processes.

    A rollback journal is used, not a write-ahead log: after each transaction the file holds the new state alone, also
    while another process reads.

    Args:
        path: of the file.
        magic: SQLite's application_id of such files.
        tables: statements that make the tables.
        added: those of them that files of earlier versions lack.
        what: noun of the file in messages.
        error: class of the errors about the file.
        create: make the file if it is missing, and the tables if it is empty.

    Raises:
        EdgeSphereFaceError: of class ``error``: the file cannot be made, belongs to another user, is a database of
            something else, or is empty without ``create``. Its bytes and its mode are unchanged.
        sqlite3.Error: SQLite cannot use the file; a ``DatabaseError`` that is no ``OperationalError`` says that it is
            damaged.
    """

    def __init__(
        self,
        path: Path,
        *,
        magic: int,
        tables: Sequence[str],
        added: Sequence[str] = (),
        what: str,
        error: type[EdgeSphereFaceError],
        create: bool = True,
    ) -> None:
        self.path = path
        self._magic, self._tables, self._added = magic, tuple(tables), frozenset(added)
        self._what, self._error = what, error
        self._lock = threading.Lock()
        self._connection = self._opened(create=create)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def change(self) -> Iterator[Run]:
        """Run the block as one transaction: all or nothing.

        Raises:
            EdgeSphereFaceError: of class ``error``: the file was removed and cannot be made again.
            sqlite3.Error: SQLite cannot use the file.
        """
        with self._lock:
            if not self._is_in_place():
                self._connection.close()
                self._connection = self._opened(create=True)
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                yield self._connection.execute

    def overwrite_removed(self) -> None:
        """Overwrite what was removed: a page that was split keeps copies of it.

        Raises:
            sqlite3.Error: another process reads the file, or the disk is full.
        """
        with self._lock:
            self._connection.execute("VACUUM")

    def _is_in_place(self) -> bool:
        """Whether the open file still has its name: somebody may have deleted it and made it again."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._file

    def _opened(self, *, create: bool) -> sqlite3.Connection:
        try:
            if create and not os.path.lexists(self.path):
                os.close(open_private(self.path, os.O_RDWR | os.O_CREAT))
            for suffix in COMPANIONS:
                require_own(f"{self.path}{suffix}")
            status = self.path.stat()
            self._file = status.st_dev, status.st_ino
        except OSError as error:
            raise self._refusal(error) from error
        connection = sqlite3.connect(self.path, timeout=_WAIT_S, check_same_thread=False, isolation_level=None)
        try:
            self._prepare(connection, create=create)
        except UnicodeDecodeError as error:  # an error of SQLite's that quotes a damaged schema
            connection.close()
            raise sqlite3.DatabaseError("malformed: its schema is not text in UTF-8") from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection, *, create: bool) -> None:
        run = connection.execute
        connection.text_factory = lambda data: data.decode(errors="replace")
        if hasattr(connection, "setlimit"):
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        run("PRAGMA trusted_schema = OFF")
        run("PRAGMA cell_size_check = ON")
        run("PRAGMA temp_store = MEMORY")  # the copy that VACUUM makes must not reach the disk
        run("PRAGMA synchronous = FULL")
        run("PRAGMA secure_delete = ON")
        if not self._tables_of(run) and not create:
            raise self._error(f"{self.path} is empty, and no {self._what}.", hint="name another file")
        self._restrict()
        run("PRAGMA journal_mode = DELETE")  # another program may have chosen a write-ahead log in the file
        run("BEGIN IMMEDIATE")
        with connection:
            tables = self._tables_of(run)
            if tables and tables | self._added != set(self._tables):
                raise sqlite3.DatabaseError("malformed: it has other tables")
            if not tables:
                run(f"PRAGMA application_id = {self._magic}")
            for table in self._tables:
                if table not in tables:
                    run(table)
            (state,) = run("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(f"malformed: {state}")

    def _restrict(self) -> None:
        try:
            for suffix in COMPANIONS:
                restrict(f"{self.path}{suffix}")
        except OSError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> EdgeSphereFaceError:
        what = error.message if isinstance(error, OutputError) else f"{error.strerror}"
        return self._error(
            f"Cannot keep the {self._what} {self.path}: {what}", hint="the folder must be writable for this user"
        )

    def _tables_of(self, run: Run) -> set[str]:
        """The statements that made the tables of the file, which is refused if it is of something else."""
        tables = {sql for (sql,) in run("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        (found,) = run("PRAGMA application_id").fetchone()  # last: another process may make the tables in between
        if found not in (0, self._magic) or (found == 0 and tables):
            raise self._error(
                f"{self.path} is a database of something else, and no {self._what}.", hint="name another place"
            )
        return tables


def has_magic(path: Path, magic: int) -> bool:
    """Whether a file is a database with this application_id, by its first bytes, also while another process holds it.

    Args:
        path: of the file; a link is none.
        magic: the application_id.
    """
    try:
        if path.is_symlink() or not path.is_file():  # opening a FIFO would wait for its writer
            return False
        with path.open("rb") as stream:
            return stream.read(_HEADER_BYTES)[-4:] == magic.to_bytes(4, "big")
    except OSError:
        return False
