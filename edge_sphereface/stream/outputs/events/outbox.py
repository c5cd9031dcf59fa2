"""Stores messages on disk until their delivery is confirmed."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import OutputError, SinkError
from edge_sphereface.storage.files import (
    destination,
    ensure_folder,
    is_open_to_others,
    may_write,
    open_private,
    require_own,
    restrict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

_MAGIC = 0x45535350
"""SQLite's application_id of a spool."""
_MOST_CHARACTERS = 1 << 18
"""Of a message; an event has some hundred."""
_SETTLE_S = 30.0
"""How long a deleted message may stay in the files. A truncation costs several syncs: too many for every message."""
_MOST_REBUILT = 500
"""Messages up to which the file is rebuilt as well: some 250 kB to write."""
_COMPANIONS = ("", "-wal", "-shm", "-journal")
_TABLE = "CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL)"
_READ_ONLY = 8
"""SQLite's code for a file that may not be written, and for one whose header says so."""
_SURROUNDINGS = {3: "permission", 5: "locked", 6: "locked", 7: "memory", 10: "I/O", 13: "full", 14: "unable to open"}
"""SQLite's codes for what is no fault of the file, and a word of each message: Python 3.10 gives no codes."""


def is_database(path: Path) -> bool:
    """Whether a file is a database of SQLite, by its first bytes; a link is followed."""
    return _head(path).startswith(b"SQLite format 3\0")


def is_outbox(path: Path) -> bool:
    """Whether a file is a queue of messages, by its first bytes, also while another process holds it."""
    return not path.is_symlink() and _head(path)[68:] == _MAGIC.to_bytes(4, "big")


def _head(path: Path) -> bytes:
    if not path.is_file():  # opening a FIFO would wait for its writer
        return b""
    try:
        with path.open("rb") as stream:
            return stream.read(72)
    except OSError:
        return b""


class Outbox:
    """A queue in one SQLite file of mode 0600. Safe to use from several threads; for one process at a time.

    A damaged file is renamed to ``NAME.damaged`` with a warning, and an empty one takes its place. Damaged is a spool
    that cannot be read for a reason of its own, or a file of mode 0600 that is no database. A database of another
    program is refused, and so is what is no database and may be read by other users, which a spool never is.

    Args:
        path: of the file; its folder is made if it is missing. A symbolic link of this user is followed.
        most: messages that are kept; beyond, the oldest are dropped and counted.
        clock: monotonic, in seconds.

    Raises:
        SinkError: it cannot be made, is another database, is not a file of this user, or another process has it.
    """

    def __init__(self, path: Path, *, most: int = 500_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._most, self._clock = path, most, clock
        self._deleted_at: float | None = None
        self._looked = 0
        """Number of the last message that :meth:`expire` looked at."""
        self._lock = threading.Lock()
        self.dropped = 0
        try:
            self._database, self._count = self._opened()
        except sqlite3.Error as error:
            if not self._is_damaged(error):
                raise self._refusal(error) from error
            self._set_aside(str(error))
            try:
                self._database, self._count = self._opened()
            except sqlite3.Error as again:
                raise self._refusal(again) from again

    def put(self, payload: str) -> None:
        """Keep a message; on return it is on the disk.

        Raises:
            SinkError: the disk is full, or does not answer.
            ValueError: the message is too large.
        """
        if len(payload) > _MOST_CHARACTERS:
            raise ValueError(f"expected at most {_MOST_CHARACTERS} characters, got {len(payload)}")
        try:
            with self._lock:
                self._database.execute("INSERT INTO message (payload) VALUES (?)", (payload,))
                self._count += 1
                if self._count > self._most:
                    self._database.execute("DELETE FROM message WHERE id = (SELECT min(id) FROM message)")
                    self._count -= 1
                    self.dropped += 1
                    self._note_deletion()
        except sqlite3.Error as error:
            raise SinkError(f"Cannot keep an event in {self._path}: {error}.", hint="is the disk full?") from error

    def after(self, number: int, limit: int) -> list[tuple[int, str]]:
        """The oldest messages with a number above ``number``, and their numbers.

        What is no message, which only damage leaves, is deleted and counted as dropped.

        Raises:
            SinkError: the disk does not answer.
        """
        try:
            with self._lock:
                rows = self._database.execute(
                    "SELECT id, CASE WHEN typeof(payload) = 'text' AND length(payload) <= ? THEN payload END "
                    "FROM message WHERE id > ? ORDER BY id LIMIT ?",
                    (_MOST_CHARACTERS, number, limit),
                ).fetchall()
                bad = [(one,) for one, payload in rows if payload is None]
                if bad:
                    self._database.executemany("DELETE FROM message WHERE id = ?", bad)
                    self._count -= len(bad)
                    self.dropped += len(bad)
                    self._note_deletion()
                return [(one, payload) for one, payload in rows if payload is not None]
        except sqlite3.Error as error:
            raise SinkError(f"Cannot read events in {self._path}: {error}.") from error

    def forget(self, numbers: Collection[int]) -> None:
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
                self._note_deletion()
        except sqlite3.Error as error:
            raise SinkError(f"Cannot forget events in {self._path}: {error}.", hint="is the disk full?") from error

    def expire(self, is_old: Callable[[str], bool], *, limit: int = 500) -> int:
        """Delete messages that are too old.

        It goes on where the last call ended, and begins again after the newest: clocks jump, so an old message may
        follow a young one.

        Args:
            is_old: tells of a message whether it is.
            limit: messages to look at.

        Returns:
            Number of messages that were deleted.

        Raises:
            SinkError: the disk is full, or does not answer.
        """
        found = self.after(self._looked, limit)
        self._looked = found[-1][0] if len(found) == limit else 0
        old = [number for number, payload in found if is_old(payload)]
        if old:
            self.forget(old)
        return len(old)

    def rewrite(self, see: Callable[[str], object], change: Callable[[str], str | None]) -> int:
        """Change messages, so that no byte of what was removed remains in the file.

        Args:
            see: sees every message before the first is changed.
            change: gives what replaces a message, or None to delete it.

        Returns:
            Number of messages that were changed or deleted.

        Raises:
            SinkError: the disk is full, or does not answer.
        """
        count = 0
        try:
            with self._lock:
                with self._database:
                    self._database.execute("BEGIN")
                    for _, payload in self._every():
                        see(payload)
                    for number, payload in self._every():
                        changed = change(payload)
                        if changed is None:
                            self._database.execute("DELETE FROM message WHERE id = ?", (number,))
                        elif changed != payload:
                            self._database.execute("UPDATE message SET payload = ? WHERE id = ?", (changed, number))
                        count += changed != payload
                (self._count,) = self._database.execute("SELECT count(*) FROM message").fetchone()
                self._clear(rebuild=True)
        except sqlite3.Error as error:
            raise SinkError(f"Cannot remove events from {self._path}: {error}.", hint="is the disk full?") from error
        return count

    def settle(self) -> None:
        """Clear deleted messages from the files once the first of them is 30 s old. Call it about every second.

        Up to 500 messages that are left, no byte of a deleted one remains. With more, the write-ahead log is emptied,
        and pages that were split may keep copies until fewer are left.

        Raises:
            SinkError: the disk is full, or does not answer; it is tried again 30 s later.
        """
        try:
            with self._lock:
                now_s = self._clock()
                if self._deleted_at is None or now_s - self._deleted_at < _SETTLE_S:
                    return
                self._deleted_at = now_s
                self._clear(rebuild=self._count <= _MOST_REBUILT)
        except sqlite3.Error as error:
            raise SinkError(f"Cannot clear deleted events from {self._path}: {error}.", hint="is it full?") from error

    def _note_deletion(self) -> None:
        if self._deleted_at is None:
            self._deleted_at = self._clock()

    def _clear(self, *, rebuild: bool) -> None:
        """Leave no byte of deleted messages."""
        if rebuild:
            self._database.execute("VACUUM")  # split pages keep copies of what was deleted
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._deleted_at = None

    def _every(self) -> Iterator[tuple[int, str]]:
        last = 0
        query = "SELECT id, payload FROM message WHERE id > ? AND typeof(payload) = 'text' ORDER BY id LIMIT 500"
        while rows := self._database.execute(query, (last,)).fetchall():
            yield from rows
            last = rows[-1][0]

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Clear deleted messages from the files as :meth:`settle` does, and let go of them."""
        with self._lock:
            if self._deleted_at is not None:
                with suppress(sqlite3.Error):  # a full disk must not keep a stream from ending
                    self._clear(rebuild=self._count <= _MOST_REBUILT)
            self._database.close()

    def _opened(self) -> tuple[sqlite3.Connection, int]:
        """A connection, and the number of messages."""
        try:
            place = destination(self._path)
            if isinstance(place, int):
                raise SinkError(f"Expected a file for events at {self._path}, got a descriptor.", hint="name a file")
            self._path = place
            ensure_folder(self._path.parent, mode=0o700)
            if not os.path.lexists(self._path):
                os.close(open_private(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            for suffix in _COMPANIONS:
                require_own(f"{self._path}{suffix}")
        except SinkError:
            raise
        except OSError as error:
            raise self._unusable(error) from error
        database = sqlite3.connect(self._path, timeout=1.0, check_same_thread=False, isolation_level=None)
        try:
            return database, self._prepare(database)
        except UnicodeDecodeError as error:  # an error of SQLite's that quotes a damaged schema
            database.close()
            raise sqlite3.DatabaseError("malformed: its schema is not text in UTF-8") from error
        except BaseException:
            database.close()
            raise

    def _prepare(self, database: sqlite3.Connection) -> int:
        """Make the table if it is missing; gives the number of messages."""
        run = database.execute
        database.text_factory = lambda data: data.decode(errors="replace")
        run("PRAGMA locking_mode = EXCLUSIVE")
        (found,) = run("PRAGMA application_id").fetchone()
        try:
            tables = [sql for (sql,) in run("SELECT sql FROM sqlite_master WHERE name <> 'sqlite_sequence'")]
        except (sqlite3.Error, UnicodeDecodeError):
            if found != _MAGIC:
                raise self._foreign() from None
            raise
        if found != _MAGIC and (tables != [_TABLE] if tables else found != 0):
            raise self._foreign()
        if tables:  # judged before anything is written
            if found != _MAGIC:
                raise sqlite3.DatabaseError("malformed: its application_id is another one")
            (state,) = run("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(f"malformed: {state}")
            run("SELECT id, payload FROM message LIMIT 0")
        self._restrict()
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA secure_delete = ON")  # names of people stand in events
        run(f"PRAGMA application_id = {_MAGIC}")
        if not tables:
            run(_TABLE)
        run("PRAGMA wal_checkpoint(TRUNCATE)")  # is_outbox reads the file; and a crash may have left deleted messages
        (count,) = run("SELECT count(*) FROM message").fetchone()
        return int(count)

    def _restrict(self) -> None:
        try:
            for suffix in _COMPANIONS:
                restrict(f"{self._path}{suffix}")
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> SinkError:
        what = error.message if isinstance(error, OutputError) else f"{error.strerror}"
        return SinkError(f"Cannot keep events in {self._path}: {what}", hint="name another file")

    def _foreign(self, what: str = "database") -> SinkError:
        return SinkError(f"{self._path} is a {what} of something else.", hint="name another file")

    def _is_damaged(self, error: sqlite3.Error) -> bool:
        """Whether an error comes from the file itself, so that no attempt will ever open it."""
        if not isinstance(error, sqlite3.OperationalError):
            return True
        code: int | None = getattr(error, "sqlite_errorcode", None)
        if code is None:
            read_only = "readonly" in str(error)
            surroundings = any(word in str(error) for word in _SURROUNDINGS.values())
        else:
            read_only, surroundings = code & 0xFF == _READ_ONLY, code & 0xFF in _SURROUNDINGS
        if read_only:
            return may_write(self._path) and may_write(self._path.parent)
        return not surroundings

    def _set_aside(self, why: str) -> None:
        """Move the file, and what belongs to it, out of the way."""
        if not is_outbox(self._path) and is_open_to_others(self._path.stat()):
            raise self._foreign("file")
        try:
            for suffix in _COMPANIONS:
                file = Path(f"{self._path}{suffix}")
                if file.exists():
                    restrict(file)
                    file.replace(f"{self._path}.damaged{suffix}")
        except OSError as error:
            raise SinkError(
                f"{self._path} is damaged ({why}), and cannot be renamed: {error.strerror}.", hint="delete it"
            ) from error
        warnings.warn(
            f"{self._path}, which keeps events until they are delivered, is damaged ({why}). It was renamed to "
            f"{self._path.name}.damaged; events that it held are not sent.",
            stacklevel=2,
        )

    def _refusal(self, error: sqlite3.Error) -> SinkError:
        if "locked" not in str(error):
            return SinkError(f"Cannot open the queue {self._path}: {error}.", hint="check its folder, or name another")
        return SinkError(
            f"Cannot open the queue {self._path}: another process has it.",
            hint="stop the stream that holds it; each stream needs a spool of its own",
        )
