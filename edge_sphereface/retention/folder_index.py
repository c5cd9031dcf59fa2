"""What the files of a folder hold, and how old they are, in one SQLite file beside them."""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import OutputError, RetentionError
from edge_sphereface.names import stored_name
from edge_sphereface.retention.moment import Moment, read_moment
from edge_sphereface.storage.files import open_private, restrict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self, TypeAlias

    _Run: TypeAlias = Callable[..., sqlite3.Cursor]

INDEX_NAME = ".edge_sphereface.db"
"""Name of the index in its folder."""
UNKNOWN = ""
"""Stands for the name of a face that has none."""

_NO_TRACK = ""
"""Stands for the track of a file that was found without a record."""
_MAGIC = 0x45535352
"""SQLite's application_id of an index."""
_COMPANIONS = ("", "-journal")
_WAIT_S = 5.0
_MOST_ROWS = 1_000_000
_MOST_RUNS = 10_000
_JUMP_S = 600.0
"""Steps of the calendar clock that count as jumps; smaller ones are corrections."""
_LASTING_S = 3600.0
"""Running time after which a jump forward is believed."""
_CALENDAR = (
    "CREATE TABLE calendar (id INTEGER PRIMARY KEY, start INTEGER, ahead_s REAL, shown_ahead_s REAL, since_s REAL)"
)
"""Missing in indexes of earlier versions."""
_TABLES = (
    "CREATE TABLE start (number INTEGER PRIMARY KEY, identity TEXT, uptime_s REAL, served_s REAL, ahead_s REAL)",
    "CREATE TABLE file (name TEXT PRIMARY KEY, start INTEGER NOT NULL, served_s REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE sighting (file TEXT, track TEXT, name TEXT, PRIMARY KEY (file, track, name)) WITHOUT ROWID",
    "CREATE INDEX sighting_by_track ON sighting (track)",
    "CREATE TABLE run (run TEXT, sequence INTEGER, start INTEGER, behind_s REAL, PRIMARY KEY (run, sequence))",
    "CREATE TABLE event_file (name TEXT PRIMARY KEY) WITHOUT ROWID",
    _CALENDAR,
)


@dataclass(frozen=True, slots=True)
class _Service:
    """A moment on the clock of service.

    Attributes:
        start: number of the start of the machine.
        served_s: running time of all starts until now, as far as it was observed.
        ahead_s: what the calendar clock showed beyond ``served_s``, at most.
        calendar_s: the calendar clock, without a jump forward that may be an error.
    """

    start: int
    served_s: float
    ahead_s: float
    calendar_s: float

    @property
    def now_s(self) -> float:
        return self.served_s + self.ahead_s


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A file of a folder.

    Attributes:
        age_s: its age in seconds.
        names: names of the people in it.
        has_unknown: whether it shows somebody without a name, or nobody is recorded.
        is_recorded: whether it was recorded who is in it; False for a file that was found without a record.
    """

    age_s: float
    names: frozenset[str]
    has_unknown: bool
    is_recorded: bool = True


class FolderIndex:
    """The index of a folder. Safe to use from several threads and processes.

    Ages do not follow the calendar clock, which may jump. Within one start of the machine they follow its running time.
    Between two starts, the calendar clock says how long the machine was off, and a high-water mark keeps it from
    running back. So a clock that jumps back neither ages what is new nor keeps what is old.

    What has no record has only its own time stamp, which is compared with the calendar clock of now. A clock that jumps
    forward while the machine runs is believed once it has stayed there for an hour: one that was wrong for a moment
    makes nothing old.

    Args:
        folder: the folder.
        moment: gives the present moment.

    Raises:
        RetentionError: the index cannot be opened, or belongs to another program.
    """

    def __init__(self, folder: Path, *, moment: Callable[[], Moment] = read_moment) -> None:
        self.folder = folder
        self._path = folder / INDEX_NAME
        self._moment = moment
        self._lock = threading.Lock()
        try:
            self._database = self._opened()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise self._refusal(error) from error
            self._set_aside(error)
            try:
                self._database = self._opened()
            except sqlite3.Error as again:
                raise self._refusal(again) from again

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    # ---- files ----------------------------------------------------------------------------------------------------

    def add(self, file: str, sightings: Mapping[str, str]) -> None:
        """Record a file that begins now, before its content is written.

        Args:
            file: name of the file.
            sightings: name of the person for each track, or :data:`UNKNOWN`.

        Raises:
            RetentionError: it cannot be recorded.
        """
        with self._change() as run:
            service = self._observe(run)
            run("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", (file, service.start, service.served_s))
            for track, name in sightings.items():
                self._sight(run, file, track, name)

    def adopt(self, file: str, unix_s: float) -> None:
        """Record a file that was found without a record.

        Args:
            file: name of the file.
            unix_s: when it was written, by the calendar clock; a moment in the future counts as now.

        Raises:
            RetentionError: it cannot be recorded.
        """
        with self._change() as run:
            service = self._observe(run)
            served_s = service.served_s - max(service.calendar_s - unix_s, 0.0)
            run("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", (file, service.start, served_s))
            self._sight(run, file, _NO_TRACK, UNKNOWN)

    def age_s(self, unix_s: float) -> float:
        """Age in seconds of a moment of the calendar clock; 0 for one in the future.

        Raises:
            RetentionError: the index cannot be read.
        """
        with self._change() as run:
            return max(self._observe(run).calendar_s - unix_s, 0.0)

    def sight(self, file: str, track: str, name: str) -> None:
        """Record that a file shows a track. A name replaces "unknown" in every file of the track.

        Raises:
            RetentionError: it cannot be recorded.
        """
        with self._change() as run:
            self._sight(run, file, track, name)

    def name_track(self, track: str, name: str) -> None:
        """Record who a track was, in every file that shows it.

        Raises:
            RetentionError: it cannot be recorded.
        """
        with self._change() as run:
            self._name(run, track, name)

    def forget(self, files: Collection[str]) -> None:
        """Remove files from the index, after they were deleted.

        Raises:
            RetentionError: they cannot be removed.
        """
        with self._change() as run:
            for file in files:
                run("DELETE FROM file WHERE name = ?", (file,))
                run("DELETE FROM sighting WHERE file = ?", (file,))

    def files(self) -> dict[str, HeldFile]:
        """Every recorded file by its name.

        Raises:
            RetentionError: the index cannot be read.
        """
        with self._change() as run:
            now_s = self._observe(run).now_s
            ahead_s = self._ahead(run)
            shown: dict[str, set[str]] = {}
            adopted = set()
            for file, track, name in run("SELECT file, track, name FROM sighting LIMIT ?", (_MOST_ROWS,)):
                shown.setdefault(str(file), set()).add(str(name))
                if track == _NO_TRACK:
                    adopted.add(str(file))
            found = {}
            for file, start, served_s in run("SELECT name, start, served_s FROM file LIMIT ?", (_MOST_ROWS,)):
                names = shown.get(str(file), {UNKNOWN})
                found[str(file)] = HeldFile(
                    age_s=_age(now_s, served_s, ahead_s.get(start)),
                    names=frozenset(names - {UNKNOWN}),
                    has_unknown=UNKNOWN in names,
                    is_recorded=str(file) not in adopted,
                )
            return found

    # ---- events ---------------------------------------------------------------------------------------------------

    def add_event_file(self, file: str) -> None:
        """Record that a file of the folder holds events.

        Raises:
            RetentionError: it cannot be recorded.
        """
        with self._change() as run:
            run("INSERT OR IGNORE INTO event_file VALUES (?)", (file,))

    def event_files(self) -> list[str]:
        """Names of the files that hold events.

        Raises:
            RetentionError: the index cannot be read.
        """
        with self._change() as run:
            return [str(name) for (name,) in run("SELECT name FROM event_file LIMIT ?", (_MOST_ROWS,))]

    def add_run(self, run_name: str, sequence: int, unix_s: float) -> None:
        """Record how far the calendar clock is off for the events of a run from a number on.

        Args:
            run_name: the run.
            sequence: number of the first event that this holds for.
            unix_s: time of that event by the calendar clock.

        Raises:
            RetentionError: it cannot be recorded.
        """
        with self._change() as run:
            service = self._observe(run)
            behind_s = service.served_s - unix_s
            run("INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?)", (run_name, sequence, service.start, behind_s))
            run("DELETE FROM run WHERE rowid <= (SELECT max(rowid) FROM run) - ?", (_MOST_RUNS,))

    def event_ages(self) -> EventAges:
        """Tells how old events are.

        Raises:
            RetentionError: the index cannot be read.
        """
        with self._change() as run:
            service = self._observe(run)
            ahead_s = self._ahead(run)
            rows = run("SELECT run, sequence, start, behind_s FROM run ORDER BY run, sequence LIMIT ?", (_MOST_ROWS,))
            corrections: dict[str, list[tuple[int, float]]] = {}
            for name, sequence, start, behind_s in rows:
                if start in ahead_s and isinstance(sequence, int) and _is_finite(behind_s):
                    corrections.setdefault(str(name), []).append((sequence, behind_s + ahead_s[start]))
            return EventAges(service.now_s, corrections, calendar_s=service.calendar_s)

    def forget_people(self, names: Iterable[str]) -> None:
        """Remove people from the index, however their names are spaced; see :meth:`erase`.

        Raises:
            RetentionError: they cannot be removed.
        """
        with self._change() as run:
            wanted = set(map(stored_name, names)) - {UNKNOWN}
            for (name,) in run("SELECT DISTINCT name FROM sighting LIMIT ?", (_MOST_ROWS,)).fetchall():
                if stored_name(str(name)) in wanted:
                    run("DELETE FROM sighting WHERE name = ?", (name,))

    # ---- erasure --------------------------------------------------------------------------------------------------

    def erase(self) -> None:
        """Overwrite what was removed, and a damaged index that was set aside.

        Raises:
            RetentionError: another process reads the index, or the disk is full.
        """
        try:
            with self._lock:
                self._database.execute("VACUUM")  # split pages keep copies of what was deleted
            for suffix in _COMPANIONS:
                Path(f"{self._path}.damaged{suffix}").unlink(missing_ok=True)
        except (sqlite3.Error, OSError) as error:
            raise self._refusal(error) from error

    # ---- the database ---------------------------------------------------------------------------------------------

    @staticmethod
    def _sight(run: _Run, file: str, track: str, name: str) -> None:
        run("INSERT OR IGNORE INTO sighting VALUES (?, ?, ?)", (file, track, name))
        if name != UNKNOWN:
            FolderIndex._name(run, track, name)

    @staticmethod
    def _name(run: _Run, track: str, name: str) -> None:
        run("UPDATE OR REPLACE sighting SET name = ? WHERE track = ? AND name = ?", (name, track, UNKNOWN))

    def _observe(self, run: _Run) -> _Service:
        """The present moment on the clock of service, which is written down."""
        moment = self._moment()
        last = run("SELECT number, identity, uptime_s, served_s, ahead_s FROM start ORDER BY number DESC").fetchone()
        if last is None or not all(_is_finite(value) for value in last[2:]):
            number, uptime_s, served_s, ahead_s = 1, moment.uptime_s, 0.0, moment.unix_s
        elif last[1] == moment.start:
            number, uptime_s = last[0], max(moment.uptime_s, last[2])
            served_s, ahead_s = last[3] + uptime_s - last[2], last[4]
        else:
            number, uptime_s = last[0] + 1, moment.uptime_s
            served_s, ahead_s = last[3] + uptime_s, last[4]  # all was before this start
        ahead_s = max(ahead_s, moment.unix_s - served_s)
        run("INSERT OR REPLACE INTO start VALUES (?, ?, ?, ?, ?)", (number, moment.start, uptime_s, served_s, ahead_s))
        return _Service(number, served_s, ahead_s, self._calendar_s(run, number, served_s, moment.unix_s))

    @staticmethod
    def _calendar_s(run: _Run, start: int, served_s: float, unix_s: float) -> float:
        """The calendar clock, without a jump forward that has not lasted yet."""
        shown_s = unix_s - served_s
        row = run("SELECT start, ahead_s, shown_ahead_s, since_s FROM calendar").fetchone()
        if row is None or not all(map(_is_finite, row)) or row[3] > served_s:
            ahead_s, first_shown_s, since_s = shown_s, shown_s, served_s
        else:
            last_start, ahead_s, first_shown_s, since_s = row
            if start != last_start:  # the machine was off, nobody knows how long
                ahead_s = max(ahead_s, shown_s)
            if start != last_start or abs(shown_s - first_shown_s) > _JUMP_S:
                first_shown_s, since_s = shown_s, served_s
            elif served_s - since_s >= _LASTING_S:
                ahead_s = shown_s
        run("INSERT OR REPLACE INTO calendar VALUES (1, ?, ?, ?, ?)", (start, ahead_s, first_shown_s, since_s))
        return served_s + min(ahead_s, shown_s)

    @staticmethod
    def _ahead(run: _Run) -> dict[int, float]:
        """What the calendar clock showed beyond the time of service, at most, in each start of the machine."""
        rows = run("SELECT number, ahead_s FROM start LIMIT ?", (_MOST_ROWS,))
        return {number: ahead_s for number, ahead_s in rows if _is_finite(ahead_s)}

    @contextmanager
    def _change(self) -> Iterator[_Run]:
        try:
            with self._lock:
                if not self._is_in_place():
                    self._database.close()
                    self._database = self._opened()
                self._database.execute("BEGIN IMMEDIATE")
                with self._database:
                    yield self._database.execute
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def _is_in_place(self) -> bool:
        """Whether the open index still has its name: somebody may have deleted the folder and made it again."""
        try:
            status = self._path.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._file

    def _opened(self) -> sqlite3.Connection:
        try:
            if not os.path.lexists(self._path):
                os.close(open_private(self._path, os.O_RDWR | os.O_CREAT))
            for suffix in _COMPANIONS:
                restrict(f"{self._path}{suffix}")
            status = self._path.stat()
            self._file = status.st_dev, status.st_ino
        except OSError as error:
            what = error.message if isinstance(error, OutputError) else f"{error.strerror}"
            raise RetentionError(
                f"Cannot keep the index {self._path}: {what}", hint="the folder must be writable for this user"
            ) from error
        database = sqlite3.connect(self._path, timeout=_WAIT_S, check_same_thread=False, isolation_level=None)
        try:
            self._prepare(database)
        except UnicodeDecodeError as error:  # an error of SQLite's that quotes a damaged schema
            database.close()
            raise sqlite3.DatabaseError("malformed: its schema is not text in UTF-8") from error
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        run = database.execute
        database.text_factory = lambda data: data.decode(errors="replace")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA secure_delete = ON")  # names of people stand in it
        run("BEGIN IMMEDIATE")
        with database:
            (found,) = run("PRAGMA application_id").fetchone()
            tables = {sql for (sql,) in run("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
            if found not in (0, _MAGIC) or (found == 0 and tables):
                raise RetentionError(f"{self._path} is a database of something else.", hint="name another folder")
            if tables and tables | {_CALENDAR} != set(_TABLES):
                raise sqlite3.DatabaseError("malformed: it has other tables")
            if not tables:
                run(f"PRAGMA application_id = {_MAGIC}")
            for table in _TABLES:
                if table not in tables:
                    run(table)
            (state,) = run("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(f"malformed: {state}")

    def _set_aside(self, why: Exception) -> None:
        try:
            for suffix in _COMPANIONS:
                file = Path(f"{self._path}{suffix}")
                if file.exists():
                    file.replace(f"{self._path}.damaged{suffix}")
        except OSError as error:
            raise RetentionError(f"{self._path} is damaged, and cannot be renamed: {error.strerror}.") from error
        warnings.warn(
            f"{self._path}, which says what the files of its folder hold, is damaged ({why}). It was renamed to "
            f"{self._path.name}.damaged; the files before it count as pictures of unknown people.",
            stacklevel=2,
        )

    def _refusal(self, error: Exception) -> RetentionError:
        return RetentionError(f"Cannot use the index {self._path}: {error}.", hint="is the disk full or read-only?")


class EventAges:
    """Tells how old events are.

    Args:
        now_s: the present moment on the clock of service.
        corrections: for each run, numbers of events with what is to be added to the times from there on.
        calendar_s: the present moment on the calendar clock, for events that are not recorded.
    """

    def __init__(self, now_s: float, corrections: Mapping[str, list[tuple[int, float]]], *, calendar_s: float) -> None:
        self._now_s, self._corrections, self._calendar_s = now_s, corrections, calendar_s

    def age_s(self, run: str, sequence: int, unix_s: float) -> float:
        """Age of an event in seconds; 0 for one that comes from the future.

        Args:
            run: run of the event.
            sequence: its number.
            unix_s: its time by the calendar clock, which is believed where the run is not recorded.
        """
        age_s = self._calendar_s - unix_s
        for first, correction_s in self._corrections.get(run, ()):
            if first <= sequence:
                age_s = self._now_s - unix_s - correction_s
        return max(age_s, 0.0)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _age(now_s: float, served_s: object, ahead_s: float | None) -> float:
    """Age of a row in seconds; a damaged one begins to age when it is seen first."""
    if ahead_s is None or not isinstance(served_s, int | float) or not math.isfinite(served_s):
        return 0.0
    return max(now_s - served_s - ahead_s, 0.0)
