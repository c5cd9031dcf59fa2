"""The tables of a store of strangers, as one transaction sees them; a sighting that is damaged is removed."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from edge_sphereface.errors import StrangerFormatError
from edge_sphereface.storage.bounded_json import is_unicode
from edge_sphereface.strangers.numbering import carry_over
from edge_sphereface.strangers.records import KeptSighting, Stranger
from edge_sphereface.strangers.sealed_values import MOST_CROP_BYTES, MOST_RECORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from edge_sphereface.storage.private_database import Run
    from edge_sphereface.strangers.sealed_values import SealedValues
    from edge_sphereface.types import Float32Array, UInt8Array

MOST_ROWS = 5000
"""Rows that are read at once, whatever a file holds."""
LARGEST = 1 << 53
"""Number of a sighting or a stranger that a file never reaches; a larger one is damage."""

_ID_BYTES = 3
_MOST_LETTERS = 100
"""Of an ID that is looked for."""


class Row(NamedTuple):
    """A sighting as grouping needs it: its number, that of its stranger, and its embedding (D,)."""

    number: int
    stranger: int | None
    embedding: Float32Array


class ClaimedFace(NamedTuple):
    """A sighting of a stranger who gets a name: its embedding (D,), and its crop (H, W, 3) uint8 BGR."""

    embedding: Float32Array
    crop: UInt8Array


class StrangerTables:
    """Sightings and strangers within one transaction.

    Args:
        run: runs a statement within the transaction.
        values: encodes and decodes what is stored.
    """

    def __init__(self, run: Run, values: SealedValues) -> None:
        self.run, self._values = run, values

    def rows(self) -> list[Row]:
        """The sightings. One that is damaged is removed."""
        size = self._values.embedding_bytes
        query = f"""SELECT sighting.number, stranger.number, CASE WHEN length(embedding) = {size} THEN embedding END
            FROM sighting LEFT JOIN stranger ON stranger.number = sighting.stranger AND stranger.successor IS NULL
            ORDER BY sighting.number DESC LIMIT {MOST_ROWS}"""  # noqa: S608 -- numbers
        rows, damaged = [], []
        for number, stranger, sealed in self.run(query).fetchall():
            try:
                embedding = self._values.embedding(number, sealed)
            except StrangerFormatError:
                damaged.append(number)
            else:
                rows.append(Row(number, stranger, embedding))
        self.delete(damaged)
        return rows[::-1]

    def crop(self, sighting: int) -> UInt8Array | None:
        """The crop of a sighting; None if there is none, or it is damaged, and then the sighting is removed."""
        query = f"SELECT CASE WHEN length(crop) <= {MOST_CROP_BYTES} THEN crop END FROM sighting WHERE number = ?"  # noqa: S608 -- a number
        row = self.run(query, (sighting,)).fetchone()
        try:
            return None if row is None else self._values.crop(sighting, row[0])
        except StrangerFormatError:
            self.delete([sighting])
            return None

    def intact(self, number: int) -> Iterator[ClaimedFace]:
        """The sightings of a stranger of which nothing is damaged, the best crop first."""
        embeddings = {row.number: row.embedding for row in self.rows() if row.stranger == number}
        for sighting in self.sightings().get(number, ()):
            if sighting.number in embeddings:
                crop = self.crop(sighting.number)
                if crop is not None:
                    yield ClaimedFace(embeddings[sighting.number], crop)

    def sightings(self) -> dict[int, list[KeptSighting]]:
        """The sightings of each stranger, the best crop first. One that is damaged is removed."""
        query = f"""SELECT stranger, number, CASE WHEN length(record) <= {MOST_RECORD_BYTES} THEN record END
            FROM sighting WHERE typeof(stranger) = 'integer' ORDER BY number DESC LIMIT {MOST_ROWS}"""  # noqa: S608 -- numbers
        found: dict[int, list[KeptSighting]] = {}
        damaged = []
        for stranger, number, sealed in self.run(query).fetchall():
            try:
                found.setdefault(stranger, []).append(self._values.record(number, sealed))
            except StrangerFormatError:
                damaged.append(number)
        self.delete(damaged)
        for sightings in found.values():
            sightings.sort(key=lambda sighting: (-sighting.quality, sighting.number))
        return found

    def strangers(self) -> dict[int, Stranger]:
        """The strangers by their numbers, those seen most often first."""
        sightings = self.sightings()
        query = "SELECT number, id FROM stranger WHERE successor IS NULL LIMIT ?"
        strangers = {
            number: _stranger(str(name), sightings[number])
            for number, name in self.run(query, (MOST_ROWS,)).fetchall()
            if sightings.get(number)
        }
        return dict(
            sorted(strangers.items(), key=lambda item: (-item[1].sightings, -item[1].last.timestamp(), item[0]))
        )

    def number(self, groups: Sequence[Sequence[Row]]) -> list[int]:
        """Give each group the number of a stranger, and write down what changes."""
        numbers = []
        numbering = carry_over([[row.stranger for row in group] for group in groups])
        (last,) = self.run("SELECT coalesce(max(number), 0) FROM stranger").fetchone()
        for group, kept in zip(groups, numbering.numbers, strict=True):
            number = kept
            if number is None:
                number = last = last + 1
                self.run("INSERT INTO stranger VALUES (?, ?, NULL)", (number, self._new_id()))
            numbers.append(number)
            for changed in (row.number for row in group if row.stranger != number):
                self.run("UPDATE sighting SET stranger = ? WHERE number = ?", (number, changed))
        for before, after in numbering.successors.items():
            self.run("UPDATE stranger SET successor = ? WHERE number = ? OR successor = ?", (after, before, before))
        self._drop_empty()
        return numbers

    def _new_id(self) -> str:
        while True:
            name = f"s-{secrets.token_hex(_ID_BYTES)}"
            if self.run("SELECT 1 FROM stranger WHERE id = ?", (name,)).fetchone() is None:
                return name

    def find(self, stranger: str) -> int | None:
        """The number of a stranger of an ID, or of the one whom it leads to; None if there is none."""
        row = None
        if len(stranger) <= _MOST_LETTERS and is_unicode(stranger):
            row = self.run("SELECT coalesce(successor, number) FROM stranger WHERE id = ?", (stranger,)).fetchone()
        return row[0] if row is not None and isinstance(row[0], int) else None

    def numbers_of(self, stranger: int | None) -> list[int]:
        """The numbers of the sightings of a stranger, or of all."""
        query = "SELECT number FROM sighting WHERE ?1 IS NULL OR stranger = ?1"
        return [number for (number,) in self.run(query, (stranger,)).fetchall()]

    def delete(self, sightings: Collection[int]) -> None:
        """Remove sightings by their numbers; their bytes are overwritten later."""
        if sightings:
            for number in sightings:
                self.run("DELETE FROM sighting WHERE number = ?", (number,))
            self.run("UPDATE state SET erasing = 1")
            self._drop_empty()

    def _drop_empty(self) -> None:
        """Remove strangers without sightings, and what leads to them."""
        self.run(
            "DELETE FROM stranger WHERE coalesce(successor, number) NOT IN "
            "(SELECT stranger FROM sighting WHERE stranger IS NOT NULL)"
        )


def _stranger(name: str, sightings: Sequence[KeptSighting]) -> Stranger:
    days = {moment.astimezone().date() for sighting in sightings for moment in (sighting.start, sighting.end)}
    return Stranger(
        id=name,
        sightings=len(sightings),
        days=len(days),
        first=min(sighting.start for sighting in sightings),
        last=max(sighting.end for sighting in sightings),
        cameras=tuple(sorted({sighting.camera for sighting in sightings})),
    )
