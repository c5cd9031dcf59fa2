"""The SQLite backend of a gallery."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import (
    EdgeSphereFaceError,
    FingerprintError,
    GalleryBusyError,
    GalleryError,
    GalleryFormatError,
    IdentityNotFoundError,
    OutputError,
)
from edge_sphereface.gallery.encryption import AesCipher, NoCipher
from edge_sphereface.gallery.gallery import Gallery
from edge_sphereface.gallery.records import known_name, now
from edge_sphereface.gallery.sqlite.database import (
    VERSION,
    connect,
    explained,
    file_id,
    migrate,
    prepare,
    read_version,
    transaction,
)
from edge_sphereface.gallery.sqlite.index import TemplateIndex
from edge_sphereface.gallery.sqlite.secure_delete import erase, zero_dead_slots
from edge_sphereface.gallery.sqlite.state import Values, begin, check_key, read_state, row_columns
from edge_sphereface.gallery.sqlite.tables import PAGE, Tables
from edge_sphereface.gallery.sqlite.template_matrix import MatrixFile
from edge_sphereface.gallery.sqlite.transaction import Transaction
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.storage.files import destination

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery.gallery import Progress
    from edge_sphereface.gallery.records import Candidate, Identity, Portrait, Threshold
    from edge_sphereface.gallery.sqlite.state import State
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import Float32Array

_ATTEMPTS = 4
"""Attempts of a search that a writer may disturb; the last attempt locks writers out."""


class SqliteGallery(Gallery):
    """A gallery in one SQLite file. Open it with :func:`open_gallery`.

    Several processes may read while one writes. A confirmed change is on disk. The templates are mapped from
    ``FILE-matrix``, a copy that is rebuilt whenever it does not match; an encrypted gallery has no such file.

    Args:
        path: path of the file.
        fingerprint: fingerprint of the embeddings to enroll and search; None to list, export and remove only.
        create: create the gallery if it does not exist.
        keep_crops: for a new gallery, keep the crops for :meth:`rebuild`.
        key: 32 bytes that encrypt a new gallery, or open an encrypted one.
        timeout_s: how long to wait for another process, in seconds.

    Raises:
        GalleryNotFoundError: the gallery does not exist, and ``create`` is False.
        GalleryFormatError: the file is not a gallery, is damaged, or has another version.
        GalleryKeyError: the key is missing or wrong, or was given for a gallery that is not encrypted.
        FingerprintError: the gallery holds embeddings of another kind.
        GalleryBusyError: another process holds the gallery.
    """

    def __init__(
        self,
        path: Path,
        *,
        fingerprint: Fingerprint | None = None,
        create: bool = False,
        keep_crops: bool = False,
        key: bytes | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self.location = str(path)
        self._path = path = _resolved(path)
        self._lock = threading.RLock()
        self._cipher = NoCipher() if key is None else AesCipher(key)
        self._asked, self._timeout_s = fingerprint, timeout_s
        made_for = fingerprint if create else None
        self._connection, self.writable = connect(path, create=made_for is not None, timeout_s=timeout_s)
        try:
            self._file_id = file_id(path)
            with explained(path):
                self._open(fingerprint, made_for, keep_crops=keep_crops)
        except BaseException:
            self._connection.close()
            raise

    def __len__(self) -> int:
        with self._reading():
            return self._tables.count()

    def get(self, name: str) -> Identity:
        """Get one identity."""
        kept = known_name(name)
        with self._reading():
            (row,) = self._tables.require([kept])
            return self._tables.identities("=", row.name)[0]

    def identities(self) -> Iterator[Identity]:
        """Iterate over all identities, sorted by name."""
        last = ""
        while True:
            with self._reading():
                page = self._tables.identities(">", last)
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1].name

    def portraits(self) -> Iterator[Portrait]:
        """Iterate over all identities with their embeddings and crops, sorted by name."""
        for identity in self.identities():
            with self._reading():
                portrait = self._tables.portrait(identity)
            if portrait is not None:
                yield portrait

    def portrait(self, name: str) -> Portrait | None:
        """An identity with its embeddings and crops; None if there is no identity of that name."""
        try:
            identity = self.get(name)
        except IdentityNotFoundError:
            return None
        with self._reading():
            return self._tables.portrait(identity)

    def template(self, name: str) -> Float32Array | None:
        """Template of an identity: the (D,) unit mean of its embeddings."""
        with self._reading():
            row = self._tables.row(known_name(name))
            return None if row is None else self._tables.template(row)

    def remove(self, names: Sequence[str]) -> int:
        """Remove identities permanently: no bytes remain in any file of the gallery."""
        with self._writing() as ongoing:
            rows = self._tables.require(sorted({known_name(name) for name in names}))
            embeddings = sum(self._tables.delete(ongoing, row) for row in rows)
            self._tables.forget_spellings()
            self._connection.execute("UPDATE state SET erasing = 1")
        self._erase()
        return embeddings

    def count_ignored(self) -> int:
        """Number of identities that are ignored."""
        with self._reading():
            return self._tables.count_ignored()

    def thresholds(self) -> dict[str, Threshold]:
        """The stored thresholds by precision."""
        with self._reading():
            return self._tables.thresholds()

    def set_threshold(self, threshold: Threshold) -> None:
        """Store a threshold, which replaces the one of the same precision."""
        self.require_writable()
        with self._lock:
            self._follow_file()
            with explained(self._path), transaction(self._connection, write=True):
                self._tables.keep_threshold(threshold)

    def add_all(self, portraits: Iterable[Portrait], thresholds: Sequence[Threshold] = ()) -> int:
        """Add any number of identities, and thresholds, in one transaction."""
        moment, added = now(), 0
        with self._writing() as ongoing:
            spellings = self._tables.spellings()
            for added, portrait in enumerate(portraits, start=1):  # noqa: B007 -- the last is how many
                self._tables.add(ongoing, portrait, moment, keep_crops=self.keep_crops, spellings=spellings)
            for threshold in thresholds:
                self._tables.keep_threshold(threshold)
        return added

    def rebuild(self, embedder: Embedder, *, detector: Detector | None = None, progress: Progress | None = None) -> int:
        """Embed all stored crops again with another model, which becomes the gallery's model."""
        from edge_sphereface.gallery.reembedding import embed_crops

        self.require_writable()
        with self._reading() as state:
            token = state.token
        made = embed_crops(self, embedder, detector=detector, progress=progress)
        before, fingerprint = self.fingerprint, embedder.fingerprint
        try:
            with self._writing() as ongoing:
                if ongoing.state.token != token:
                    raise GalleryBusyError(f"{self._path} was changed while it was rebuilt.", hint="run it again")
                self._connection.execute("UPDATE state SET fingerprint = ?, erasing = 1", (fingerprint.to_json(),))
                self._adopt(fingerprint)
                for name, remade in made.items():
                    self._tables.replace(self._tables.require([name])[0], remade)
                ongoing.renumber()
        except BaseException:
            self._adopt(before)
            raise
        self.probes_checked = True
        self._erase()
        return sum(len(remade.embeddings) for remade in made.values())

    def check(self) -> list[str]:
        """Verify the integrity: SQLite's own check, every value, every template, and the matrix.

        A damaged matrix is rebuilt if the gallery is writable.
        """
        found: list[str] = []
        for part in (self._file_faults, self._identity_faults, self._matrix_faults):
            try:
                found += part()
            except GalleryFormatError as error:
                found.append(error.message)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Overwrite the remains of changed templates, and close the file."""
        with self._lock:
            if self.writable:
                with suppress(GalleryError, OutputError, sqlite3.ProgrammingError), explained(self._path):
                    zero_dead_slots(self._connection, self._file)
            self._connection.close()

    def _file_faults(self) -> list[str]:
        with self._reading():
            found = [text for (text,) in self._connection.execute("PRAGMA integrity_check") if text != "ok"]
            found += [f"a row refers to nothing: {row}" for row in self._connection.execute("PRAGMA foreign_key_check")]
        return found

    def _identity_faults(self) -> list[str]:
        with self._reading() as state:
            found = list(self._tables.faults(state.next_slot))
            self._tables.thresholds()
        return found

    def _matrix_faults(self) -> list[str]:
        if self._file is None:
            return []
        with self._reading(alone=self.writable) as state:  # no process zeroes rows meanwhile
            found = self._file.check(state.epoch, state.token, state.next_slot, self._index.rows())
        if not found:
            return []
        self._index.forget()
        if not self.writable:
            return [f"{found[0]}; check the gallery as a user who may write it"]
        try:
            with self._writing():  # an empty change rebuilds the file, and processes that mapped the old one remap
                pass
        except EdgeSphereFaceError as error:
            return [f"{found[0]}; the file cannot be rebuilt: {error.message}"]
        return [f"{found[0]}; the file was rebuilt"]

    def _open(self, fingerprint: Fingerprint | None, made_for: Fingerprint | None, *, keep_crops: bool) -> None:
        create = made_for is not None and self.writable
        made, self._version = prepare(self._connection, self._path, create=create)
        if made and made_for is not None:
            begin(self._connection, made_for, cipher=self._cipher, keep_crops=keep_crops)
        state = read_state(self._connection, self._path)
        check_key(state, self._cipher, self._path, self._version)
        kind = Fingerprint.from_json(state.fingerprint)
        if fingerprint is not None:
            kind.require(fingerprint, f"The gallery {self._path}")
        self.probes_checked = fingerprint is not None
        self.keep_crops = bool(state.keep_crops)
        self.encrypted = self._cipher.encrypted
        self._name = state.gallery
        if self.writable and self._version != VERSION:
            migrate(self._connection)
            self._version = VERSION
        self._adopt(kind)
        if state.erasing and self.writable:
            with suppress(GalleryBusyError, OutputError):  # another process completes it
                self._erase()

    def _follow_file(self) -> None:
        """Reopen the file if it was replaced by another one of the same name.

        Raises:
            GalleryNotFoundError: the file was deleted.
        """
        found = file_id(self._path)
        if found == self._file_id:
            return
        before = self._connection, self.writable
        self._connection, self.writable = connect(self._path, create=False, timeout_s=self._timeout_s)
        try:
            with explained(self._path):
                self._open(self._asked, None, keep_crops=False)
        except BaseException:
            self._connection.close()
            self._connection, self.writable = before
            raise
        before[0].close()
        self._file_id = found

    def _adopt(self, fingerprint: Fingerprint) -> None:
        size = fingerprint.embedding_size
        values = Values(self._cipher, self._name, size, self._path)
        self.fingerprint, self._kind = fingerprint, fingerprint.to_json()  # the text is compared at every search
        columns = row_columns(self._version)
        self._tables = Tables(self._connection, values, columns)
        self._file = None if self.encrypted else MatrixFile(self._path, size)
        self._index = TemplateIndex(self._connection, values, self._file, size, columns)

    def _add(self, portraits: Sequence[Portrait]) -> None:
        moment = now()
        with self._writing() as ongoing:
            spellings = self._tables.spellings()
            for portrait in portraits:
                self._tables.add(ongoing, portrait, moment, keep_crops=self.keep_crops, spellings=spellings)

    def _move(self, name: str, to: str) -> None:
        with self._writing() as ongoing:
            (row,) = self._tables.require([name])
            (identity,) = self._tables.identities("=", row.name)
            portrait = self._tables.portrait(identity)
            if portrait is None:
                raise GalleryFormatError(f"The gallery is damaged: {name!r} has no embeddings.", hint="remove it")
            is_known = self._tables.row(to) is not None
            moved = replace(portrait, name=to)
            if is_known:
                moved = replace(moved, metadata=None, ignored=None)
            self._tables.delete(ongoing, row)
            self._tables.forget_spellings()
            self._tables.add(
                ongoing, moved, row.enrolled_at, keep_crops=self.keep_crops, spellings=self._tables.spellings()
            )
            self._connection.execute("UPDATE state SET erasing = 1")
        self._erase()

    def _set_ignored(self, name: str, ignored: bool) -> None:
        with self._writing():
            (row,) = self._tables.require([name])
            self._tables.set_ignored(row, ignored)

    def _nearest(self, probes: Float32Array, top: int) -> list[tuple[Candidate, ...]]:
        for attempt in range(_ATTEMPTS):
            alone = attempt == _ATTEMPTS - 1 and self.writable
            with self._reading(alone=alone) as state:
                found = self._index.nearest(state, probes, top)
            with self._reading() as after:
                # A writer may have overwritten rows of the matrix during the product; the tables have then changed, too
                if alone or after.token == state.token:
                    break
        return found

    def _templates(self, block: int) -> Iterator[tuple[list[str], Float32Array]]:
        last = ""
        while True:
            with self._reading():
                names, templates = self._tables.templates(last, block)
            if not names:
                return
            yield names, np.stack(templates)
            last = names[-1]

    @contextmanager
    def _reading(self, *, alone: bool = False) -> Iterator[State]:
        """Read one consistent state of the gallery; ``alone`` locks writers out."""
        with self._lock:
            self._follow_file()
            with explained(self._path), transaction(self._connection, write=alone):
                yield self._state()

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        """Run the block as one write transaction, which is on disk at its end."""
        self.require_writable()
        with self._lock:
            self._follow_file()
            try:
                with explained(self._path), transaction(self._connection, write=True):
                    ongoing = Transaction(self._connection, self._state())
                    yield ongoing
                    committed = ongoing.finish(self._index, self._file, self.fingerprint.embedding_size)
            except BaseException:
                self._tables.forget_spellings()
                raise
            committed()

    def _state(self) -> State:
        state = read_state(self._connection, self._path)
        if state.fingerprint != self._kind:
            raise FingerprintError(f"The gallery {self._path} was rebuilt for another model.", hint="open it again")
        if self._version != VERSION and read_version(self._connection) == VERSION:  # migrated by its owner since
            self._version = VERSION
            self._adopt(self.fingerprint)
        return state

    def _erase(self) -> None:
        with self._lock, explained(self._path):
            erase(self._connection, self._file, self._path)


def _resolved(path: Path) -> Path:
    """Resolve links, because every name of the file must lead to the same log and matrix."""
    place = destination(path)
    if isinstance(place, int):
        raise GalleryFormatError(f"Expected a gallery file at {path}, got a descriptor.", hint="name a file")
    return place
