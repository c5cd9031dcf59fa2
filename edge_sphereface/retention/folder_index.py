"""What the files of a folder hold, and how old they are, in one SQLite file beside them."""

from __future__ import annotations

import sqlite3
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import RetentionError
from edge_sphereface.names import stored_name
from edge_sphereface.retention.moment import Moment, read_moment
from edge_sphereface.retention.service_clock import (
    CALENDAR_TABLE,
    START_TABLE,
    age_s,
    ahead_of_starts,
    is_time,
    observe,
)
from edge_sphereface.storage.files import restrict
from edge_sphereface.storage.private_database import COMPANIONS, PrivateDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from edge_sphereface.retention.service_clock import Service
    from edge_sphereface.storage.private_database import Run

INDEX_NAME = ".edge_sphereface.db"
"""Name of the index in its folder."""
UNKNOWN = ""
"""Stands for the name of a face that has none."""

_NO_TRACK = ""
"""Stands for the track of a file that was found without a record."""
_MAGIC = 0x45535352
"""SQLite's application_id of an index."""
_MOST_ROWS = 1_000_000
_MOST_RUNS = 10_000
_TABLES = (
    START_TABLE,
    "CREATE TABLE file (name TEXT PRIMARY KEY, start INTEGER NOT NULL, served_s REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE sighting (file TEXT, track TEXT, name TEXT, PRIMARY KEY (file, track, name)) WITHOUT ROWID",
    "CREATE INDEX sighting_by_track ON sighting (track)",
    "CREATE TABLE run (run TEXT, sequence INTEGER, start INTEGER, behind_s REAL, PRIMARY KEY (run, sequence))",
    "CREATE TABLE event_file (name TEXT PRIMARY KEY) WITHOUT ROWID",
    CALENDAR_TABLE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A file of a folder.

    Attributes:
        age_s: its age in seconds, infinite if its record is damaged.
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
            ahead_s = ahead_of_starts(run)
            shown: dict[str, set[str]] = {}
            adopted = set()
            for file, track, name in run("SELECT file, track, name FROM sighting LIMIT ?", (_MOST_ROWS,)):
                shown.setdefault(str(file), set()).add(str(name))
                if track == _NO_TRACK:
                    adopted.add(str(file))
            found = {}
            for file, start, served_s in run("SELECT name, start, served_s FROM file LIMIT ?", (_MOST_ROWS,)):
                names = shown.get(str(file), {UNKNOWN})
                age = age_s(now_s, served_s, ahead_s.get(start))
                found[str(file)] = HeldFile(
                    age_s=float("inf") if age is None else age,
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
            ahead_s = ahead_of_starts(run)
            rows = run("SELECT run, sequence, start, behind_s FROM run ORDER BY run, sequence LIMIT ?", (_MOST_ROWS,))
            corrections: dict[str, list[tuple[int, float]]] = {}
            for name, sequence, start, behind_s in rows:
                if start in ahead_s and isinstance(sequence, int) and is_time(behind_s):
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
            self._database.overwrite_removed()
            for suffix in COMPANIONS:
                Path(f"{self._path}.damaged{suffix}").unlink(missing_ok=True)
        except (sqlite3.Error, OSError) as error:
            raise self._refusal(error) from error

    # ---- the database ---------------------------------------------------------------------------------------------

    @staticmethod
    def _sight(run: Run, file: str, track: str, name: str) -> None:
        run("INSERT OR IGNORE INTO sighting VALUES (?, ?, ?)", (file, track, name))
        if name != UNKNOWN:
            FolderIndex._name(run, track, name)

    @staticmethod
    def _name(run: Run, track: str, name: str) -> None:
        run("UPDATE OR REPLACE sighting SET name = ? WHERE track = ? AND name = ?", (name, track, UNKNOWN))

    def _observe(self, run: Run) -> Service:
        return observe(run, self._moment())

    @contextmanager
    def _change(self) -> Iterator[Run]:
        try:
            with self._database.change() as run:
                yield run
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def _opened(self) -> PrivateDatabase:
        return PrivateDatabase(
            self._path, magic=_MAGIC, tables=_TABLES, added=[CALENDAR_TABLE], what="index", error=RetentionError
        )

    def _set_aside(self, why: Exception) -> None:
        try:
            for suffix in COMPANIONS:
                file = Path(f"{self._path}{suffix}")
                if file.exists():
                    restrict(file)  # its name is the index's, whatever it holds
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
