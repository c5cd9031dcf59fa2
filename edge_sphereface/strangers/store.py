"""``StrangerStore``: sightings of people without a name, in one file, for a limited time."""

from __future__ import annotations

import itertools
import secrets
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import (
    FingerprintError,
    OutputError,
    StrangerError,
    StrangerFormatError,
    StrangerNotFoundError,
)
from edge_sphereface.gallery.vectors import check_embeddings, template_of
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.retention.moment import Moment, read_moment
from edge_sphereface.retention.service_clock import CALENDAR_TABLE, START_TABLE, age_s, ahead_of_starts, observe
from edge_sphereface.storage.private_database import COMPANIONS, PrivateDatabase, has_magic
from edge_sphereface.strangers.grouping import group_faces
from edge_sphereface.strangers.known import KnownStrangers
from edge_sphereface.strangers.sealed_values import SealedValues
from edge_sphereface.strangers.tables import LARGEST, MOST_ROWS, ClaimedFace, Row, StrangerTables

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from edge_sphereface.strangers.records import KeptSighting, Sighting, Stranger
    from edge_sphereface.strangers.sealed_values import EncodedSighting
    from edge_sphereface.types import Float32Array, UInt8Array

MOST_SIGHTINGS = 2000
"""Sightings that a store keeps. Grouping compares each with each: 2000 take 16 MB for a moment."""

_MAGIC = 0x45535354
"""SQLite's application_id of a store."""
_TABLES = (
    START_TABLE,
    CALENDAR_TABLE,
    """CREATE TABLE state (
  one INTEGER PRIMARY KEY CHECK (one = 1), store TEXT, fingerprint TEXT, key_check BLOB, erasing INTEGER
)""",
    """CREATE TABLE sighting (
  number INTEGER PRIMARY KEY, start INTEGER, served_s REAL, stranger INTEGER, record BLOB, embedding BLOB, crop BLOB
)""",
    "CREATE TABLE stranger (number INTEGER PRIMARY KEY, id TEXT UNIQUE, successor INTEGER)",
)
_PART_THAT_GOES = 50
"""Part of a full store whose oldest sightings go together, so that the file is not overwritten for each."""


class StrangerStore:
    """Sightings of people without a name. Safe to use from several threads and processes.

    Everything is in one SQLite file of mode 0600. What is removed is overwritten. Ages follow the running time of the
    machine, as those of :class:`~edge_sphereface.retention.FolderIndex`, so a calendar clock that jumps changes none.
    An encrypted store without its key still removes what is too old.

    Args:
        path: of the file.
        fingerprint: fingerprint of the embeddings that are added; None to read and remove only.
        create: make the file if it is missing; requires ``fingerprint``.
        key: 32 bytes from ``read_key``, which encrypt a new store or open an encrypted one. One that is not needed is
            refused, and without ``fingerprint`` it is not used.
        most: number of sightings that are kept; the oldest go first.
        moment: gives the present moment.

    Whatever a disk or another process does, every method raises only ``StrangerError``, or ``OutputError`` if the disk
    is full or fails, or another process keeps the file locked. A later call may succeed.

    Raises:
        StrangerError: the file is missing or cannot be used.
        StrangerFormatError: it is damaged, or no store of strangers.
        GalleryKeyError: the key is missing or wrong, or was given for a store that is not encrypted.
        FingerprintError: the store holds embeddings of another kind.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fingerprint: Fingerprint | None = None,
        create: bool = False,
        key: bytes | None = None,
        most: int = MOST_SIGHTINGS,
        moment: Callable[[], Moment] = read_moment,
    ) -> None:
        if create and fingerprint is None:
            raise ValueError("A store of strangers is made for a model: give its fingerprint.")
        self.path = Path(path)
        self._key, self._most, self._moment = key, min(most, MOST_ROWS), moment
        self._database = _opened(self.path, create=create)
        try:
            self._begin(fingerprint)
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    # ---- sightings --------------------------------------------------------------------------------------------

    def add(self, sightings: Sequence[Sighting], *, ages_s: Sequence[float] | None = None) -> int:
        """Add sightings; on return they are on the disk. :meth:`group` then finds out whose they are.

        Args:
            sightings: the sightings.
            ages_s: for how long each has been kept elsewhere, in seconds; None for none of them.

        Returns:
            Number of the oldest sightings that went because the store was full.

        Raises:
            EmbeddingError: an embedding has another size, holds NaN or is zero.
            StrangerError: a sighting cannot be kept.
        """
        rows = [self._encoded(sighting) for sighting in sightings]
        with self._change() as tables:
            service = observe(tables.run, self._moment())
            tables.delete([row[0] for row in tables.run("SELECT number FROM sighting WHERE number > ?", (LARGEST,))])
            (last,) = tables.run("SELECT coalesce(max(number), 0) FROM sighting").fetchone()
            ages_s = [0.0] * len(rows) if ages_s is None else ages_s
            for number, (row, age) in enumerate(zip(rows, ages_s, strict=True), start=last + 1):
                place = (number, service.start, service.served_s - age, None)
                tables.run(
                    "INSERT INTO sighting VALUES (?, ?, ?, ?, ?, ?, ?)", (*place, *self._values.seal(number, row))
                )
            (count,) = tables.run("SELECT count(*) FROM sighting").fetchone()
            if count <= self._most:
                return 0
            gone = min(count - self._most + self._most // _PART_THAT_GOES, count)
            query = "SELECT number FROM sighting ORDER BY number LIMIT ?"
            tables.delete([number for (number,) in tables.run(query, (gone,)).fetchall()])
            return int(gone)

    def require_storable(self, sighting: Sighting) -> None:
        """Require that a sighting can be kept at all, whatever the disk does.

        Raises:
            EmbeddingError: its embedding has another size, holds NaN or is zero.
            StrangerError: its times, its quality or its crop cannot be kept.
        """
        self._encoded(sighting)

    def group(self, threshold: float) -> KnownStrangers:
        """Group all kept sightings by person. The groups do not depend on the order in which sightings came.

        A stranger keeps the ID while sightings come or expire. If two turn out to be one, the ID of the one with more
        sightings stays, and the other one leads to it. If one turns out to be two, the part with more sightings keeps
        the ID.

        Args:
            threshold: least average similarity of the sightings of one person.
        """
        with self._change() as tables:
            tables.run("DELETE FROM stranger WHERE number NOT BETWEEN 1 AND ?", (LARGEST,))
            rows = tables.rows()
            labels = group_faces(self._matrix(rows), threshold)
            groups = [[rows[index] for index in np.flatnonzero(labels == label)] for label in np.unique(labels)]
            numbers = tables.number(groups)
            strangers = tables.strangers()
        means = {number: self._matrix(group).mean(axis=0) for number, group in zip(numbers, groups, strict=True)}
        kept = [(stranger, means[number]) for number, stranger in strangers.items() if number in means]
        return KnownStrangers(
            strangers=tuple(stranger for stranger, _ in kept),
            means=np.stack([mean for _, mean in kept]) if kept else self._matrix([]),
            threshold=threshold,
        )

    # ---- strangers --------------------------------------------------------------------------------------------

    def strangers(self) -> tuple[Stranger, ...]:
        """The strangers as :meth:`group` found them last, those seen most often first."""
        with self._change() as tables:
            return tuple(tables.strangers().values())

    def get(self, stranger: str) -> Stranger:
        """One stranger.

        Args:
            stranger: the ID, or one that leads to it.

        Raises:
            StrangerNotFoundError: there is no such stranger.
        """
        with self._change() as tables:
            found = tables.strangers().get(self._find(tables, stranger))
        if found is None:
            raise _no_stranger(stranger, self.path)
        return found

    def sightings(self, stranger: str) -> tuple[KeptSighting, ...]:
        """The sightings of a stranger, the best crop first.

        Raises:
            StrangerNotFoundError: there is no such stranger.
        """
        with self._change() as tables:
            found = tables.sightings().get(self._find(tables, stranger), ())
        if not found:
            raise _no_stranger(stranger, self.path)
        return tuple(found)

    def crop(self, sighting: int) -> UInt8Array:
        """The crop of a sighting, (H, W, 3) uint8 BGR. A sighting whose crop is damaged is removed.

        Raises:
            StrangerNotFoundError: there is no such sighting.
        """
        with self._change() as tables:
            found = tables.crop(sighting) if 0 < sighting <= LARGEST else None
        if found is None:
            raise StrangerNotFoundError("There is no sighting of that number.", hint="it may have expired")
        return found

    def best_crop(self, stranger: str) -> UInt8Array:
        """The crop of the best sighting of a stranger whose crop is intact, (H, W, 3) uint8 BGR.

        Raises:
            StrangerNotFoundError: there is no such stranger.
        """
        with self._change() as tables:
            crops = (tables.crop(one.number) for one in tables.sightings().get(self._find(tables, stranger), ()))
            found = next((crop for crop in crops if crop is not None), None)
        if found is None:
            raise _no_stranger(stranger, self.path)
        return found

    # ---- removal ----------------------------------------------------------------------------------------------

    @contextmanager
    def claim(self, stranger: str, *, most: int) -> Iterator[tuple[ClaimedFace, ...]]:
        """Take a stranger out for a block: without an error in it the sightings are removed, else they stay.

        Nobody else changes the store meanwhile, so of two who claim a stranger, one finds none. The block must not use
        the store itself.

        Args:
            stranger: the ID.
            most: number of sightings that the block gets, those of the best crops first. Damaged ones are left out.

        Raises:
            StrangerNotFoundError: there is no such stranger.
        """
        with self._change() as tables:
            number = self._find(tables, stranger)
            claimed = tuple(itertools.islice(tables.intact(number), most))
            if claimed:
                yield claimed
            tables.delete(tables.numbers_of(number))
        self.erase()
        if not claimed:
            raise _no_stranger(stranger, self.path)

    def forget(self, stranger: str | None = None) -> int:
        """Remove the sightings of a stranger, or of all, without a byte that remains.

        Returns:
            Number of sightings removed.

        Raises:
            StrangerNotFoundError: there is no such stranger.
        """
        with self._change() as tables:
            found = tables.numbers_of(None if stranger is None else self._find(tables, stranger))
            tables.delete(found)
        self.erase()
        return len(found)

    def forget_known(self, is_known: Callable[[Float32Array], Sequence[bool]]) -> int:
        """Remove the sightings of people who have a name by now.

        A sighting goes if it is known itself, or if the mean of its stranger is.

        Args:
            is_known: tells of embeddings (N, D) of length one, N at least 1, whether each is known.

        Returns:
            Number of sightings removed.
        """
        with self._change() as tables:
            rows = tables.rows()
        if not rows:
            return 0
        groups = [[row] for row in rows]
        groups += [group for _, group in _by_stranger(rows) if len(group) > 1]
        means = np.stack([template_of(self._matrix(group)) for group in groups])
        known = {row.number for group, found in zip(groups, is_known(means), strict=True) if found for row in group}
        if known:
            with self._change() as tables:
                tables.delete(known)
            self.erase()
        return len(known)

    def oldest_s(self) -> float:
        """Age of the oldest sighting in seconds; 0 without one, infinite if its time is damaged."""
        with self._change() as tables:
            return max(self._ages(tables).values(), default=0.0)

    def expire(self, keep_s: float, *, dry_run: bool = False) -> int:
        """Remove the sightings that are older than a limit, and overwrite all that was removed before.

        Args:
            keep_s: the limit in seconds.
            dry_run: only count.

        Returns:
            Number of sightings removed.
        """
        with self._change() as tables:
            old = [number for number, age in self._ages(tables).items() if age > keep_s]
            if not dry_run:
                tables.delete(old)
        if not dry_run:
            self.erase()
        return len(old)

    def erase(self) -> None:
        """Overwrite what was removed, if that was not done yet."""
        with self._change() as tables:
            (erasing,) = tables.run("SELECT erasing FROM state").fetchone()
        if erasing:
            with self._explained():
                self._database.overwrite_removed()
            with self._change() as tables:
                tables.run("UPDATE state SET erasing = 0")

    # ---- the database -----------------------------------------------------------------------------------------

    def _begin(self, fingerprint: Fingerprint | None) -> None:
        with self._explained(), self._database.change() as run:
            row = run("SELECT store, fingerprint, key_check FROM state").fetchone()
            if row is None:
                if fingerprint is None:
                    raise StrangerFormatError(f"{self.path} is empty.", hint="watch with it first")
                store = secrets.token_hex(8)
                self._values = SealedValues(store, fingerprint.embedding_size, self._key)
                row = (store, fingerprint.to_json(), self._values.key_check())
                run("INSERT INTO state VALUES (1, ?, ?, ?, 0)", row)
        store, text, key_check = self._state = row
        if not isinstance(store, str) or not isinstance(text, str) or not isinstance(key_check, bytes | None):
            raise StrangerFormatError(f"{self.path} is damaged: its state is invalid.", hint="delete it")
        try:
            self.fingerprint = Fingerprint.from_json(text)
        except FingerprintError as error:
            raise StrangerFormatError(f"{self.path} is damaged: {error.message}", hint="delete it") from error
        if fingerprint is not None:
            self.fingerprint.require(fingerprint, f"The file of strangers {self.path}")
        adds_nothing = fingerprint is None
        self._values = SealedValues(
            store,
            self.fingerprint.embedding_size,
            None if adds_nothing and key_check is None else self._key,
            is_locked=adds_nothing and key_check is not None and self._key is None,
        )
        self._values.require_key(key_check, self.path)

    def _encoded(self, sighting: Sighting) -> EncodedSighting:
        (embedding,) = check_embeddings(sighting.embedding, self.fingerprint.embedding_size)
        return self._values.encode(sighting, embedding)

    def _matrix(self, rows: Sequence[Row]) -> Float32Array:
        if not rows:
            return np.zeros((0, self.fingerprint.embedding_size), dtype=np.float32)
        return np.stack([row.embedding for row in rows])

    def _find(self, tables: StrangerTables, stranger: str) -> int:
        number = tables.find(stranger)
        if number is None:
            raise _no_stranger(stranger, self.path)
        return number

    def _ages(self, tables: StrangerTables) -> dict[int, float]:
        """Ages of the sightings in seconds by their numbers; a damaged one is infinite."""
        now_s, ahead_s = observe(tables.run, self._moment()).now_s, ahead_of_starts(tables.run)
        ages = {}
        for number, start, served_s in tables.run("SELECT number, start, served_s FROM sighting LIMIT ?", (MOST_ROWS,)):
            age = age_s(now_s, served_s, ahead_s.get(start))
            ages[number] = float("inf") if age is None else age
        return ages

    @contextmanager
    def _change(self) -> Iterator[StrangerTables]:
        with self._explained(), self._database.change() as run:
            if run("SELECT store, fingerprint, key_check FROM state").fetchone() != self._state:
                raise StrangerError(f"{self.path} was replaced meanwhile.", hint="open it again")
            yield StrangerTables(run, self._values)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with _explained(self.path):
            yield


def is_store(path: Path) -> bool:
    """Whether a file is a store of strangers, by its first bytes."""
    return has_magic(path, _MAGIC)


def delete_damaged(path: Path) -> bool:
    """Delete a store of strangers that cannot be read; what is in it could not be removed when its time is over.

    Returns:
        Whether it was deleted: a file that is no store of strangers is left alone.

    Raises:
        StrangerError: it cannot be deleted.
    """
    if not is_store(path):
        return False
    try:
        for suffix in reversed(COMPANIONS):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    except OSError as error:
        raise StrangerError(f"Cannot delete {path}: {error.strerror or error}.", hint="delete it yourself") from error
    return True


def _opened(path: Path, *, create: bool) -> PrivateDatabase:
    if not create and not path.exists():
        raise StrangerError(f"There is no file of strangers {path}.", hint="check the path")
    with _explained(path):
        return PrivateDatabase(
            path, magic=_MAGIC, tables=_TABLES, what="file of strangers", error=StrangerError, create=create
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        is_locked = "locked" in str(error)
        hint = "another process keeps it; try again" if is_locked else "is the disk full or read-only?"
        raise OutputError(f"Cannot use {path}: {error}.", hint=hint) from error
    except sqlite3.DatabaseError as error:
        if is_store(path):
            raise StrangerFormatError(f"{path} is damaged: {error}.", hint="delete it") from error
        raise StrangerFormatError(f"{path} is no file of strangers: {error}.", hint="name another place") from error


def _by_stranger(rows: Iterable[Row]) -> list[tuple[int, list[Row]]]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        if row.stranger is not None:
            groups.setdefault(row.stranger, []).append(row)
    return sorted(groups.items())


def _no_stranger(stranger: str, path: Path) -> StrangerNotFoundError:
    return StrangerNotFoundError(
        f"There is no stranger {stranger!r:.40}.",
        hint="the sightings may have expired, or have got a name; list the strangers",
        remedy="list-strangers",
        file=str(path),
    )
