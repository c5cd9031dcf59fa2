"""Reads and writes the rows of identities, embeddings and thresholds."""

from __future__ import annotations

import difflib
import sqlite3
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.gallery.missing import no_identities
from edge_sphereface.gallery.records import Identity, Portrait, metadata_of, metadata_text
from edge_sphereface.gallery.spelling import Spellings
from edge_sphereface.gallery.sqlite.state import ROW, Row
from edge_sphereface.gallery.vectors import ROUNDING, template_of
from edge_sphereface.names import single_spaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_sphereface.gallery.records import Threshold
    from edge_sphereface.gallery.reembedding import Remade
    from edge_sphereface.gallery.sqlite.state import Values
    from edge_sphereface.gallery.sqlite.transaction import Transaction
    from edge_sphereface.types import Float32Array

PAGE = 256
"""Identities read at a time."""
_SUGGESTED_FROM = 10_000


class Tables:
    """Reads and writes rows. The caller holds the transaction.

    Args:
        connection: connection to the gallery.
        values: encrypts and decrypts personal data.
        columns: what to select for a row.
    """

    def __init__(self, connection: sqlite3.Connection, values: Values, columns: str) -> None:
        self._connection = connection
        self._columns = columns
        self._values = values
        self._spellings: Spellings | None = None
        self._version: int | None = None

    def count(self) -> int:
        """Number of identities."""
        return int(self._connection.execute("SELECT count(*) FROM identities").fetchone()[0])

    def row(self, name: str) -> Row | None:
        """Row of an identity: of exactly this name, else of the name with single spaces."""
        found = self._row(name)
        spaced = single_spaced(name)
        return self._row(spaced) if found is None and spaced != name else found

    def _row(self, name: str) -> Row | None:
        found = self._connection.execute(f"SELECT {self._columns} FROM identities WHERE name = ?", (name,)).fetchone()  # noqa: S608
        return None if found is None else Row.checked(found)

    def require(self, names: Sequence[str]) -> list[Row]:
        """Rows of all identities of these names.

        Raises:
            IdentityNotFoundError: an identity does not exist.
        """
        rows = [self.row(name) for name in names]
        missing = [name for name, row in zip(names, rows, strict=True) if row is None]
        if missing:
            query = "SELECT name FROM identities ORDER BY name LIMIT ?"
            known = [name for (name,) in self._connection.execute(query, (_SUGGESTED_FROM,))]
            near = difflib.get_close_matches(missing[0], known)
            raise no_identities(missing, near)
        return [row for row in rows if row is not None]

    def spellings(self) -> Spellings:
        """Existing spellings for comparison with new names, read again after another connection changed the gallery."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if self._spellings is None or self._version != version:
            self._version = version
            self._spellings = Spellings(self._odd_names, lambda name: self._row(name) is not None)
        return self._spellings

    def forget_spellings(self) -> None:
        """Drop the cached spellings after names were removed or a transaction failed."""
        self._spellings = None

    def _odd_names(self) -> list[str]:
        # SQLite answers this from the index on names; plain ASCII names never reach Python
        query = """SELECT name FROM identities WHERE typeof(name) = 'text'
            AND (length(name) <> length(CAST(name AS BLOB)) OR instr(name, '  '))"""
        return [name for (name,) in self._connection.execute(query).fetchall()]

    def identities(self, condition: str, name: str) -> list[Identity]:
        """Up to one page of identities whose names meet a condition, sorted by name."""
        query = f"""SELECT {self._columns},
            (SELECT count(*) FROM embeddings e WHERE e.identity = i.id),
            (SELECT count(crop) FROM embeddings e WHERE e.identity = i.id)
            FROM identities i WHERE name {condition} ? ORDER BY name LIMIT {PAGE}"""  # noqa: S608 -- own words
        return [
            _identity(self._values.authenticate(Row.checked(tuple(values))), embeddings, crops)
            for *values, embeddings, crops in self._connection.execute(query, (name,)).fetchall()
        ]

    def templates(self, after: str, limit: int) -> tuple[list[str], list[Float32Array]]:
        """Names that follow a name, and their templates (D,)."""
        query = f"SELECT {self._columns} FROM identities WHERE name > ? ORDER BY name LIMIT ?"  # noqa: S608 -- own words
        found = [Row.checked(values) for values in self._connection.execute(query, (after, limit)).fetchall()]
        return [row.name for row in found], [self._values.template(row) for row in found]

    def template(self, row: Row) -> Float32Array:
        """Template (D,) of an identity."""
        return self._values.template(row)

    def portrait(self, identity: Identity) -> Portrait | None:
        """An identity with its embeddings and crops; None if it was removed meanwhile."""
        row = self.row(identity.name)
        members = [] if row is None else list(self._members(row.id))
        if not members:
            return None
        return Portrait(
            name=identity.name,
            metadata=identity.metadata,
            embeddings=np.stack([embedding for embedding, _ in members]),
            crops=tuple(crop for _, crop in members),
            ignored=identity.ignored,
        )

    def add(
        self, transaction: Transaction, portrait: Portrait, moment: str, *, keep_crops: bool, spellings: Spellings
    ) -> None:
        """Add embeddings, and create the identity if it is new."""
        known = self._row(portrait.name)
        if known is None:
            spellings.take(portrait.name)
        old = [] if known is None else [embedding for embedding, _ in self._members(known.id)]
        template = template_of(np.concatenate([*(row[None] for row in old), portrait.embeddings]))
        slot = transaction.place(template)
        row = Row(
            id=self._next_id("identities") if known is None else known.id,
            name=portrait.name,
            metadata=_kept_metadata(portrait, known),
            enrolled_at=moment if known is None else known.enrolled_at,
            slot=slot,
            template=b"",
            ignored=_kept_ignored(portrait, known),
        )
        row = row._replace(template=self._values.seal_template(template, row))
        if known is not None:
            transaction.leave(known.slot)
            self._connection.execute(
                "UPDATE identities SET metadata = ?, slot = ?, template = ?, ignored = ? WHERE id = ?",
                (row.metadata, row.slot, row.template, row.ignored, row.id),
            )
        else:
            self._connection.execute(f"INSERT INTO identities ({ROW}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
        first = self._next_id("embeddings")
        for member, (embedding, crop) in enumerate(zip(portrait.embeddings, portrait.crops, strict=True), start=first):
            sealed = self._values.seal_embedding(embedding, member, row.id)
            kept = self._values.seal_crop(crop, member, row.id) if crop is not None and keep_crops else None
            values = (member, row.id, sealed, kept, moment)
            self._connection.execute("INSERT INTO embeddings VALUES (?, ?, ?, ?, ?)", values)

    def delete(self, transaction: Transaction, row: Row) -> int:
        """Delete an identity; returns its number of embeddings."""
        transaction.leave(row.slot)
        embeddings = self._connection.execute("DELETE FROM embeddings WHERE identity = ?", (row.id,)).rowcount
        self._connection.execute("DELETE FROM identities WHERE id = ?", (row.id,))
        return embeddings

    def replace(self, row: Row, remade: Remade) -> None:
        """Replace an identity's embeddings and crops, in their order, and its template."""
        query = "SELECT id FROM embeddings WHERE identity = ? ORDER BY id"
        ids = self._connection.execute(query, (row.id,)).fetchall()
        for (member,), embedding in zip(ids, remade.embeddings, strict=True):
            sealed = self._values.seal_embedding(embedding, member, row.id)
            self._connection.execute("UPDATE embeddings SET embedding = ? WHERE id = ?", (sealed, member))
        for (member,), crop in zip(ids, remade.crops, strict=True) if remade.crops is not None else ():
            kept = self._values.seal_crop(crop, member, row.id)
            self._connection.execute("UPDATE embeddings SET crop = ? WHERE id = ?", (kept, member))
        sealed = self._values.seal_template(template_of(remade.embeddings), row)
        self._connection.execute("UPDATE identities SET template = ? WHERE id = ?", (sealed, row.id))

    def set_ignored(self, row: Row, ignored: bool) -> None:
        """Mark an identity as ignored, or no longer. The template is sealed again, since it is bound to the mark."""
        changed = row._replace(ignored=int(ignored))
        sealed = self._values.seal_template(self._values.template(row), changed)
        query = "UPDATE identities SET ignored = ?, template = ? WHERE id = ?"
        self._connection.execute(query, (changed.ignored, sealed, row.id))

    def count_ignored(self) -> int:
        """Number of identities that are ignored."""
        if self._columns != ROW:
            return 0
        return int(self._connection.execute("SELECT count(*) FROM identities WHERE ignored").fetchone()[0])

    def thresholds(self) -> dict[str, Threshold]:
        """The stored thresholds by precision."""
        found = self._connection.execute("SELECT precision, record FROM thresholds ORDER BY precision").fetchall()
        return {precision: self._values.threshold(record, precision) for precision, record in found}

    def keep_threshold(self, threshold: Threshold) -> None:
        """Store a threshold, which replaces the one of the same precision."""
        values = (threshold.precision, self._values.seal_threshold(threshold))
        self._connection.execute("INSERT OR REPLACE INTO thresholds VALUES (?, ?)", values)

    def faults(self, slots: int) -> Iterator[str]:
        """Iterate over descriptions of damaged identities.

        Args:
            slots: number of rows of the matrix according to the gallery's state.
        """
        for (row,) in self._connection.execute("SELECT id FROM identities ORDER BY id").fetchall():
            try:
                fault = self._fault(row, slots)
            except EdgeSphereFaceError as error:
                fault = error.message
            except sqlite3.OperationalError as error:
                if "decode" not in str(error):
                    raise
                fault = "a text is not UTF-8"
            if fault:
                yield f"identity {row}: {fault}"

    def _fault(self, row_id: int, slots: int) -> str:
        query = f"SELECT {self._columns} FROM identities WHERE id = ?"  # noqa: S608 -- own words
        row = Row.checked(self._connection.execute(query, (row_id,)).fetchone())
        template, members = self._values.template(row), [embedding for embedding, _ in self._members(row.id)]
        metadata_of(row.metadata, row.name)
        if row.slot >= slots:
            return f"the gallery has no row {row.slot} of the matrix"
        if not members:
            return f"{row.name!r} has no embeddings"
        if np.abs(template - template_of(np.stack(members))).max() > ROUNDING:
            return f"the template of {row.name!r} is not the mean of its embeddings"
        return ""

    def _members(self, row: int) -> Iterator[tuple[Float32Array, bytes | None]]:
        query = "SELECT id, embedding, crop FROM embeddings WHERE identity = ? ORDER BY id"
        for member, sealed, crop in self._connection.execute(query, (row,)).fetchall():
            yield self._values.embedding(sealed, member, row), self._values.crop(crop, member, row)

    def _next_id(self, table: str) -> int:
        query = f"SELECT coalesce(max(id), 0) + 1 FROM {table}"  # noqa: S608 -- own names
        return int(self._connection.execute(query).fetchone()[0])


def _kept_metadata(portrait: Portrait, known: Row | None) -> str:
    if portrait.metadata is not None:
        return metadata_text(portrait.metadata)
    return "{}" if known is None else known.metadata


def _kept_ignored(portrait: Portrait, known: Row | None) -> int:
    if portrait.ignored is not None:
        return int(portrait.ignored)
    return 0 if known is None else known.ignored


def _identity(row: Row, embeddings: int, crops: int) -> Identity:
    return Identity(
        name=row.name,
        metadata=metadata_of(row.metadata, row.name),
        enrolled_at=row.enrolled_at,
        embeddings=embeddings,
        crops=crops,
        ignored=bool(row.ignored),
    )
