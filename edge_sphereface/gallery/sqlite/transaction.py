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
"""Empty rows of the matrix, in addition to one per identity, from which the rows are renumbered."""


class Transaction:
    """Collects the template changes of a transaction, then advances tables and matrix to the next state.

    Args:
        connection: connection with an open write transaction.
        state: state before the transaction.
    """

    def __init__(self, connection: sqlite3.Connection, state: State) -> None:
        self.state = state
        self._connection = connection
        self._new: list[Float32Array] = []
        self._renumber = False

    def place(self, template: Float32Array) -> int:
        """Add a new or changed template (D,); returns its row of the matrix."""
        self._new.append(template)
        return self.state.next_slot + len(self._new) - 1

    def leave(self, slot: int) -> None:
        """Mark the row of a removed template."""
        self._connection.execute("INSERT OR IGNORE INTO dead_slots VALUES (?)", (slot,))

    def renumber(self) -> None:
        """Renumber all rows, because every template changes."""
        self._renumber = True

    def finish(self, index: TemplateIndex, file: MatrixFile | None, size: int) -> Callable[[], None]:
        """Write the next state. The matrix is on disk before the transaction is committed.

        Returns:
            A function to call once the transaction is committed.
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
        if not kept:  # a new epoch makes every process drop the old file, which is overwritten
            header = header._replace(epoch=secrets.token_bytes(TOKEN_BYTES))
        self._connection.execute("UPDATE state SET epoch = ?, token = ?, next_slot = ?", (header.epoch, token, after))
        return _nothing if kept or file is None else file.create(header, index.rows())

    def _number_anew(self) -> None:
        ids = self._connection.execute("SELECT id FROM identities ORDER BY slot").fetchall()
        self._connection.execute("UPDATE identities SET slot = -1 - slot")  # avoids collisions with the new numbers
        numbered = ((slot, row) for slot, (row,) in enumerate(ids))
        self._connection.executemany("UPDATE identities SET slot = ? WHERE id = ?", numbered)
        self._connection.execute("DELETE FROM dead_slots")


def _nothing() -> None:
    """Nothing remains to be done after appending to the matrix."""
