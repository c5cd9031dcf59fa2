"""Exact nearest-neighbor search over all templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import GalleryFormatError
from edge_sphereface.gallery.records import Candidate
from edge_sphereface.gallery.sqlite.state import Row
from edge_sphereface.gallery.sqlite.template_matrix import Templates

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from edge_sphereface.gallery.sqlite.state import State, Values
    from edge_sphereface.gallery.sqlite.template_matrix import MatrixFile
    from edge_sphereface.types import Float32Array

_PROBES = 64
"""Probes per matrix product, which bounds its memory."""
_PAGE = 256
"""Rows read at a time."""
_ROWS = 500
"""Rows per query of slots."""
_SPARSE_ROWS = 100_000
"""Empty rows that are plausible in addition to four per identity; rows are renumbered long before."""
_MANY_RECENT = 4096
"""Rows read since the file was mapped from which mapping it again is worthwhile."""


class TemplateIndex:
    """Templates of a gallery as one connection sees them, updated at the start of each search.

    Args:
        connection: connection to the gallery.
        values: decrypts the values in the tables.
        file: the mapped matrix; None to keep the templates in this process only, as an encrypted gallery must.
        size: number of components D of a template.
        columns: what to select for a row.
    """

    def __init__(
        self, connection: sqlite3.Connection, values: Values, file: MatrixFile | None, size: int, columns: str
    ) -> None:
        self._connection = connection
        self._columns = columns
        self._values = values
        self._file = file
        self._size = size
        self._epoch = self._token = b""
        self._templates = Templates(np.zeros((0, size), dtype=np.float32))

    def nearest(self, state: State, probes: Float32Array, top: int) -> list[tuple[Candidate, ...]]:
        """Find the candidates of each unit probe (P, D), within a transaction that has read ``state``."""
        self._refresh(state)
        found: list[tuple[Candidate, ...]] = []
        for start in range(0, len(probes), _PROBES):
            scores = self._templates.similarities(probes[start : start + _PROBES])
            found += [self._best(row, top) for row in scores]
        return found

    def forget(self) -> None:
        """Drop the matrix, which was found to be damaged; the next search reads the database."""
        self._epoch = self._token = b""
        self._templates = Templates(np.zeros((0, self._size), dtype=np.float32))

    def rows(self, first_slot: int = 0) -> Iterator[tuple[int, Float32Array]]:
        """Iterate over slot and template (D,) of every identity from a slot on, by ascending slot.

        Raises:
            GalleryFormatError: a row is damaged.
        """
        # In pages: a statement that an error leaves unfinished would prevent the log from being truncated
        query = f"SELECT {self._columns} FROM identities WHERE slot >= ? ORDER BY slot LIMIT {_PAGE}"  # noqa: S608 -- own words
        while True:
            page = self._connection.execute(query, (first_slot,)).fetchall()
            for values in page:
                row = Row.checked(values)
                yield row.slot, self._values.template(row)
                first_slot = row.slot + 1
            if len(page) < _PAGE:
                return

    def _refresh(self, state: State) -> None:
        if state.token == self._token:
            return
        if state.epoch != self._epoch or self._templates.recent > _MANY_RECENT:
            mapped = None if self._file is None else self._file.map(state.epoch, state.token, state.next_slot)
            if mapped is not None or state.epoch != self._epoch:
                self._templates = Templates(np.zeros((0, self._size), np.float32) if mapped is None else mapped)
        known = len(self._templates)
        if state.next_slot > known:
            self._require_plausible(state.next_slot)
            self._templates.extend(state.next_slot, self.rows(known))
        self._epoch, self._token = state.epoch, state.token

    def _require_plausible(self, slots: int) -> None:
        """Refuse a number of slots that only a damaged state can have, before memory is allocated for them."""
        (identities,) = self._connection.execute("SELECT count(*) FROM identities").fetchone()
        if slots > _SPARSE_ROWS + 4 * identities:
            raise GalleryFormatError(
                f"The gallery is damaged: it claims {slots} rows for {identities} identities.",
                hint="restore it from a backup",
            )

    def _best(self, scores: Float32Array, top: int) -> tuple[Candidate, ...]:
        """Best candidates of one probe, among more than ``top`` rows, because rows of removed templates are skipped."""
        count = top + 8
        while True:
            count = min(count, len(scores))
            slots = np.argpartition(scores, -count)[-count:] if count else np.zeros(0, dtype=np.intp)
            slots = slots[np.argsort(-scores[slots], kind="stable")]
            rows = self._rows_of([int(slot) for slot in slots])
            living = [slot for slot in slots if int(slot) in rows]
            if len(living) >= top or count == len(scores):
                ranked = sorted(living, key=lambda slot: (-float(scores[slot]), rows[int(slot)].name))
                return tuple(_candidate(rows[int(slot)], float(scores[slot])) for slot in ranked[:top])
            count *= 4

    def _rows_of(self, slots: Sequence[int]) -> dict[int, Row]:
        rows: dict[int, Row] = {}
        for start in range(0, len(slots), _ROWS):
            block = slots[start : start + _ROWS]
            marks = ",".join("?" * len(block))
            query = f"SELECT {self._columns} FROM identities WHERE slot IN ({marks})"  # noqa: S608 -- own words
            for values in self._connection.execute(query, block).fetchall():
                row = self._values.authenticate(Row.checked(values))
                rows[row.slot] = row
        return rows


def _candidate(row: Row, similarity: float) -> Candidate:
    return Candidate(name=row.name, similarity=min(max(similarity, -1.0), 1.0), ignored=True if row.ignored else None)
