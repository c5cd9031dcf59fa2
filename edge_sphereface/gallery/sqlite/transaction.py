"""One write transaction of a gallery, kept consistent with the template matrix."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.gallery.sqlite.template_matrix import TOKEN_BYTES, Header

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from edge_sphereface.gallery.sqlite.index import TemplateIndex
    from edge_sphereface.gallery.sqlite.state import State
    from edge_sphereface.gallery.sqlite.template_matrix import MatrixFile
    from edge_sphereface.types import Float32Array

_EMPTY_ROWS = 1024
"""Rows of the matrix that may be empty beside one for each identity, before rows are numbered anew."""


class Transaction:
    """Collects what happens to templates within a transaction, then brings tables and matrix to the next state.

    Args:
        connection: within a transaction that may write.
        state: before.
    """

    def __init__(self, connection: sqlite3.Connection, state: State) -> None:
        self.state = state
        self._connection = connection
        self._new: list[Float32Array] = []
        self._renumber = False

    def place(self, template: Float32Array) -> int:
        """The row of the matrix that a new or changed template takes."""
        self._new.append(template)
        return self.state.next_slot + len(self._new) - 1

    def leave(self, slot: int) -> None:
        """A row's template is gone."""
        self._connection.execute("INSERT OR IGNORE INTO dead_slots VALUES (?)", (slot,))

    def renumber(self) -> None:
        """Every template changes: number rows anew."""
        self._renumber = True

    def finish(self, index: TemplateIndex, file: MatrixFile | None, size: int) -> Callable[[], None]:
        """Write the next state; the matrix is on the disk before the transaction is.

        Returns:
            What to call once the transaction is committed.
        """
        token, after = secrets.token_bytes(TOKEN_BYTES), self.state.next_slot + len(self._new)
        (identities,) = self._connection.execute("SELECT count(*) FROM identities").fetchone()
        renumber = self._renumber or after > 2 * identities + _EMPTY_ROWS
        if renumber:
            after = identities
            self._number_anew()
        header = Header(size, self.state.epoch, token, after)
        rows = np.stack(self._new) if self._new else np.zeros((0, size), dtype=np.float32)
        kept = not renumber and (file is None or file.advance(self.state.token, header, self.state.next_slot, rows))
        if not kept:  # everyone must let go of the old file, which is overwritten: a new epoch tells them
            header = header._replace(epoch=secrets.token_bytes(TOKEN_BYTES))
        self._connection.execute("UPDATE state SET epoch = ?, token = ?, next_slot = ?", (header.epoch, token, after))
        return _nothing if kept or file is None else file.create(header, index.rows())

    def _number_anew(self) -> None:
        ids = self._connection.execute("SELECT id FROM identities ORDER BY slot").fetchall()
        self._connection.execute("UPDATE identities SET slot = -1 - slot")  # out of the way of the new numbers
        numbered = ((slot, row) for slot, (row,) in enumerate(ids))
        self._connection.executemany("UPDATE identities SET slot = ? WHERE id = ?", numbered)
        self._connection.execute("DELETE FROM dead_slots")


def _nothing() -> None:
    """The matrix was appended to."""
