"""Messages on the disk until somebody else has them."""

from __future__ import annotations

import os
import sqlite3
import threading
from typing import TYPE_CHECKING

from edge_sphereface.errors import OutputError, SinkError
from edge_sphereface.files import PRIVATE, ensure_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MAGIC = 0x45535350
"""SQLite's application_id of a spool."""


class Spool:
    """A queue in one SQLite file of mode 0600. Safe to use from several threads; for one process at a time.

    Args:
        path: of the file; its folder is made if it is missing.
        most: messages that are kept; beyond, the oldest are dropped and counted.

    Raises:
        SinkError: it cannot be made, is something else, or another process has it.
    """

    def __init__(self, path: Path, *, most: int = 500_000) -> None:
        self._path, self._most = path, most
        self._lock = threading.Lock()
        self.dropped = 0
        try:
            ensure_folder(path.parent, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
        except OSError as error:
            what = error.message if isinstance(error, OutputError) else f"{error.strerror}"
            raise SinkError(f"Cannot keep events in {path}: {what}.", hint="name another file") from error
        self._database = sqlite3.connect(path, timeout=1.0, check_same_thread=False, isolation_level=None)
        try:
            self._count = self._prepare()
        except (SinkError, sqlite3.Error) as error:
            self._database.close()
            if isinstance(error, SinkError):
                raise
            what = "another process has it" if "locked" in str(error) else str(error)
            raise SinkError(
                f"Cannot keep events in {path}: {what}.", hint="give each stream a spool of its own"
            ) from error

    def put(self, payload: str) -> None:
        """Keep a message; on return it is on the disk.

        Raises:
            SinkError: the disk is full, or does not answer.
        """
        try:
            with self._lock:
                self._database.execute("INSERT INTO message (payload) VALUES (?)", (payload,))
                self._count += 1
                if self._count > self._most:
                    self._database.execute("DELETE FROM message WHERE id = (SELECT min(id) FROM message)")
                    self._count -= 1
                    self.dropped += 1
        except sqlite3.Error as error:
            raise SinkError(f"Cannot keep an event in {self._path}: {error}.", hint="is the disk full?") from error

    def after(self, number: int, limit: int) -> list[tuple[int, str]]:
        """The oldest messages with a number above ``number``, and their numbers.

        Raises:
            SinkError: the disk does not answer.
        """
        try:
            with self._lock:
                return self._database.execute(
                    "SELECT id, payload FROM message WHERE id > ? ORDER BY id LIMIT ?", (number, limit)
                ).fetchall()
        except sqlite3.Error as error:
            raise SinkError(f"Cannot read events in {self._path}: {error}.") from error

    def forget(self, numbers: Sequence[int]) -> None:
        """Messages that somebody else has: all or, with an error, none.

        Raises:
            SinkError: the disk is full, or does not answer.
        """
        try:
            with self._lock:
                with self._database:  # which ends the transaction
                    self._database.execute("BEGIN")
                    gone = self._database.executemany("DELETE FROM message WHERE id = ?", [(one,) for one in numbers])
                self._count -= gone.rowcount
        except sqlite3.Error as error:
            raise SinkError(f"Cannot forget events in {self._path}: {error}.", hint="is the disk full?") from error

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    def _prepare(self) -> int:
        """Make the table if it is missing; gives the number of messages."""
        run = self._database.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        (found,) = run("PRAGMA application_id").fetchone()
        (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        if found != _MAGIC and tables:
            raise SinkError(f"{self._path} is a database of something else.", hint="name another file")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA secure_delete = ON")  # names of people stand in events
        run(f"PRAGMA application_id = {_MAGIC}")
        run("CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL)")
        (count,) = run("SELECT count(*) FROM message").fetchone()
        return int(count)
