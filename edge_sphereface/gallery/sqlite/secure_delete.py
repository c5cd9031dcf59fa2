"""Overwrites removed data in the tables, their free pages, the write-ahead log and the matrix.

A program cannot overwrite old blocks that a file system or a flash controller keeps. If that matters, encrypt the
gallery and destroy its key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.errors import GalleryBusyError
from edge_sphereface.gallery.sqlite.database import transaction

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from edge_sphereface.gallery.sqlite.template_matrix import MatrixFile


def erase(connection: sqlite3.Connection, file: MatrixFile | None, path: Path) -> None:
    """Overwrite removed data. The gallery records the pending work until it is done, so a crash only delays it.

    Raises:
        GalleryBusyError: another process still reads the old state, so the log cannot be truncated.
    """
    with transaction(connection, write=True):
        if file is not None:
            file.sweep()
    zero_dead_slots(connection, file)
    # Deletion overwrites a cell, but split pages keep copies of cells; only a file rebuilt from live data is safe
    connection.execute("VACUUM")
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise GalleryBusyError(
            f"The data is removed from {path}, but its bytes remain in {path.name}-wal while another process reads.",
            hint="they are overwritten when that process ends its search, or when the gallery is next opened",
        )
    with transaction(connection, write=True):
        connection.execute("UPDATE state SET erasing = 0")


def zero_dead_slots(connection: sqlite3.Connection, file: MatrixFile | None) -> None:
    """Overwrite the rows of templates that were replaced or removed."""
    if connection.execute("SELECT 1 FROM dead_slots LIMIT 1").fetchone() is None:
        return
    with transaction(connection, write=True):
        if file is not None:
            epoch = next((epoch for (epoch,) in connection.execute("SELECT epoch FROM state")), b"")
            query = "SELECT slot FROM dead_slots WHERE slot >= 0 AND slot NOT IN (SELECT slot FROM identities)"
            if not file.zero([slot for (slot,) in connection.execute(query)], epoch):
                return
        connection.execute("DELETE FROM dead_slots")
