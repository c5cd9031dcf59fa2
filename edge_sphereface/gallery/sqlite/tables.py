"""Identities, embeddings and thresholds as rows."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.errors import GalleryFormatError, IdentityNotFoundError
from edge_sphereface.gallery.records import Identity, Portrait, Threshold, metadata_text
from edge_sphereface.gallery.vectors import template_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from edge_sphereface.gallery.sqlite.change import Change
    from edge_sphereface.gallery.sqlite.state import Values
    from edge_sphereface.types import Float32Array

PAGE = 256
"""Identities that are read at a time."""
_SUGGESTED_FROM = 10_000


class Row(NamedTuple):
    """An identity's row.

    Attributes:
        id: of the row.
        slot: of the template in the matrix.
        template: as it stands there.
    """

    id: int
    slot: int
    template: bytes


class Tables:
    """Reads and writes rows; whoever calls holds the transaction.

    Args:
        connection: to the gallery.
        values: seals and opens what is personal.
    """

    def __init__(self, connection: sqlite3.Connection, values: Values) -> None:
        self._connection = connection
        self._values = values

    def count(self) -> int:
        """Identities."""
        return int(self._connection.execute("SELECT count(*) FROM identities").fetchone()[0])

    def row(self, name: str) -> Row | None:
        """Of an identity."""
        found = self._connection.execute("SELECT id, slot, template FROM identities WHERE name = ?", (name,)).fetchone()
        return None if found is None else Row(*found)

    def require(self, names: Sequence[str]) -> list[Row]:
        """Rows of all these names.

        Raises:
            IdentityNotFoundError: one of them is not there.
        """
        rows = [self.row(name) for name in names]
        missing = [name for name, row in zip(names, rows, strict=True) if row is None]
        if missing:
            query = "SELECT name FROM identities ORDER BY name LIMIT ?"
            known = [name for (name,) in self._connection.execute(query, (_SUGGESTED_FROM,))]
            near = difflib.get_close_matches(missing[0], known)
            raise IdentityNotFoundError(
                f"The gallery holds nobody named {', '.join(map(repr, missing))}.",
                hint=f"it holds {', '.join(map(repr, near))}" if near else "`edge-sphereface gallery list` names all",
            )
        return [row for row in rows if row is not None]

    def identities(self, condition: str, name: str) -> list[Identity]:
        """Up to a page of identities whose name fulfils a condition, by name."""
        query = f"""SELECT name, metadata, enrolled_at,
            (SELECT count(*) FROM embeddings e WHERE e.identity = i.id),
            (SELECT count(crop) FROM embeddings e WHERE e.identity = i.id)
            FROM identities i WHERE name {condition} ? ORDER BY name LIMIT {PAGE}"""  # noqa: S608 -- own words
        return [
            Identity(name=found, metadata=_metadata(text), enrolled_at=moment, embeddings=embeddings, crops=crops)
            for found, text, moment, embeddings, crops in self._connection.execute(query, (name,))
        ]

    def templates(self, after: str, limit: int) -> tuple[list[str], list[Float32Array]]:
        """Names behind a name, and their templates."""
        query = "SELECT name, id, template FROM identities WHERE name > ? ORDER BY name LIMIT ?"
        found = self._connection.execute(query, (after, limit)).fetchall()
        return [name for name, _, _ in found], [self._values.vector(text, "template", row) for _, row, text in found]

    def template(self, row: Row) -> Float32Array:
        """(D,) of an identity."""
        return self._values.vector(row.template, "template", row.id)

    def portrait(self, identity: Identity) -> Portrait | None:
        """An identity with all that is kept of it; None if it has gone meanwhile."""
        row = self.row(identity.name)
        members = [] if row is None else list(self._members(row.id))
        if not members:
            return None
        return Portrait(
            name=identity.name,
            metadata=identity.metadata,
            embeddings=np.stack([embedding for embedding, _ in members]),
            crops=tuple(crop for _, crop in members),
        )

    def add(self, change: Change, portrait: Portrait, moment: str, *, keep_crops: bool) -> None:
        """Add embeddings, and the identity if it is new."""
        known = self.row(portrait.name)
        old = [] if known is None else [embedding for embedding, _ in self._members(known.id)]
        template = template_of(np.concatenate([*(row[None] for row in old), portrait.embeddings]))
        slot = change.place(template)
        row = self._next_id("identities") if known is None else known.id
        sealed = self._values.seal(template, "template", row)
        if known is None:
            self._connection.execute(
                "INSERT INTO identities VALUES (?, ?, ?, ?, ?, ?)", (row, portrait.name, "{}", slot, sealed, moment)
            )
        else:
            change.leave(known.slot)
            self._connection.execute("UPDATE identities SET slot = ?, template = ? WHERE id = ?", (slot, sealed, row))
        if portrait.metadata is not None:
            text = metadata_text(portrait.metadata)
            self._connection.execute("UPDATE identities SET metadata = ? WHERE id = ?", (text, row))
        first = self._next_id("embeddings")
        for member, (embedding, crop) in enumerate(zip(portrait.embeddings, portrait.crops, strict=True), start=first):
            sealed = self._values.seal(embedding, "embedding", member)
            kept = self._values.seal(crop, "crop", member) if crop is not None and keep_crops else None
            values = (member, row, sealed, kept, moment)
            self._connection.execute("INSERT INTO embeddings VALUES (?, ?, ?, ?, ?)", values)

    def delete(self, change: Change, row: Row) -> int:
        """Delete an identity; gives how many embeddings it had."""
        change.leave(row.slot)
        embeddings = self._connection.execute("DELETE FROM embeddings WHERE identity = ?", (row.id,)).rowcount
        self._connection.execute("DELETE FROM identities WHERE id = ?", (row.id,))
        return embeddings

    def replace(self, row: Row, embeddings: Float32Array) -> None:
        """Put other embeddings in the place of an identity's, in their order; the template follows."""
        query = "SELECT id FROM embeddings WHERE identity = ? ORDER BY id"
        ids = self._connection.execute(query, (row.id,)).fetchall()
        for (member,), embedding in zip(ids, embeddings, strict=True):
            sealed = self._values.seal(embedding, "embedding", member)
            self._connection.execute("UPDATE embeddings SET embedding = ? WHERE id = ?", (sealed, member))
        sealed = self._values.seal(template_of(embeddings), "template", row.id)
        self._connection.execute("UPDATE identities SET template = ? WHERE id = ?", (sealed, row.id))

    def thresholds(self) -> dict[str, Threshold]:
        """By precision."""
        found = self._connection.execute("SELECT precision, record FROM thresholds ORDER BY precision")
        return {precision: Threshold.from_json(text) for precision, text in found}

    def keep_threshold(self, threshold: Threshold) -> None:
        """In place of the one for its precision."""
        values = (threshold.precision, json.dumps(threshold.as_json(), sort_keys=True))
        self._connection.execute("INSERT OR REPLACE INTO thresholds VALUES (?, ?)", values)

    def _members(self, row: int) -> Iterator[tuple[Float32Array, bytes | None]]:
        query = "SELECT id, embedding, crop FROM embeddings WHERE identity = ? ORDER BY id"
        for member, sealed, crop in self._connection.execute(query, (row,)).fetchall():
            yield self._values.vector(sealed, "embedding", member), self._values.crop(crop, member)

    def _next_id(self, table: str) -> int:
        query = f"SELECT coalesce(max(id), 0) + 1 FROM {table}"  # noqa: S608 -- own names
        return int(self._connection.execute(query).fetchone()[0])


def _metadata(text: str) -> dict[str, object]:
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise GalleryFormatError("The gallery is damaged: an identity's metadata is no JSON object.")
    return metadata
