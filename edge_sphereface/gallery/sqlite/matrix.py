"""Templates as one matrix: memory-mapped from a file beside the gallery, which only ever grows.

The file is a copy of what the database holds, so that a process need not read it all when it starts, and processes
share its pages. Row ``slot`` is a template. A new or changed template takes a new row; the row of one that is gone is
filled with zeros, which no probe resembles. The header names the state of the database that the rows belong to. Where
it names another one, the file is not believed: rows come from the database, and whoever writes next makes it anew.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from edge_sphereface.errors import OutputError
from edge_sphereface.files import PRIVATE, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from edge_sphereface.types import Float32Array

TOKEN_BYTES = 16

_HEADER = struct.Struct("<8sII16s16sQ")
_MAGIC = b"ESFGMTX1"
_FIRST_ROW = 4096
"""Rows begin on a page of their own."""
_BLOCK_BYTES = 1 << 20


class Header(NamedTuple):
    """Which state of which gallery the rows are.

    Attributes:
        size: D.
        epoch: changes when rows are numbered anew.
        token: changes with every change of the database.
        rows: that are there.
    """

    size: int
    epoch: bytes
    token: bytes
    rows: int


class MatrixFile:
    """The file. Only a process that holds the database's write lock writes it.

    Args:
        path: of the gallery; the file's name is that with ``-matrix`` at its end.
        size: D.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path.with_name(path.name + "-matrix")
        self._next = path.with_name(path.name + "-matrix-next")  # one name: a crash leaves one file, that is known
        self._row_bytes = 4 * size
        self._size = size

    def map(self, epoch: bytes, token: bytes, rows: int) -> Float32Array | None:
        """The first rows, mapped read-only; None if the file is not of that state."""
        try:
            with self.path.open("rb") as stream:
                header = self._read(stream.read(_HEADER.size))
                enough = os.fstat(stream.fileno()).st_size >= _FIRST_ROW + rows * self._row_bytes
                if header is None or not enough or header[:3] != (self._size, epoch, token) or header.rows < rows:
                    return None
                if not rows:
                    return np.empty((0, self._size), dtype=np.float32)
                return np.asarray(np.memmap(stream, dtype="<f4", mode="r", offset=_FIRST_ROW, shape=(rows, self._size)))
        except OSError:
            return None

    def advance(self, before: bytes, after: Header, first_slot: int, rows: Float32Array) -> bool:
        """Append rows and move to the next state; on the disk when this returns.

        Args:
            before: token of the state that the file must be in.
            after: the next state, of the same epoch.
            first_slot: number of the first of ``rows``.
            rows: (N, D).

        Returns:
            False if the file is not in that state; it is untouched, and must be made anew.

        Raises:
            OutputError: it cannot be written.
        """
        if self.map(after.epoch, before, first_slot) is None:
            return False
        try:
            with self.path.open("r+b") as stream:
                stream.seek(_FIRST_ROW + first_slot * self._row_bytes)
                stream.write(np.ascontiguousarray(rows, dtype="<f4").data)
                stream.seek(0)
                stream.write(self._packed(after))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise self._failed(error) from error
        return True

    def create(self, header: Header, rows: Iterable[tuple[int, Float32Array]]) -> Callable[[], None]:
        """Make the file anew, in one step; who has mapped the old one keeps it.

        Args:
            header: the state.
            rows: slot and row, slots rising; rows that are left out are zero.

        Returns:
            What to call once the state is committed: it overwrites the old file, which has lost its name. Whoever has
            mapped it sees by then that the gallery has changed.

        Raises:
            OutputError: it cannot be written.
        """
        old = None
        with suppress(OSError):
            old = self.path.open("r+b")  # closed by what is returned
        try:
            self.sweep()
            with os.fdopen(os.open(self._next, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE), "wb") as stream:
                stream.write(self._packed(header))
                for slot, row in rows:
                    stream.seek(_FIRST_ROW + slot * self._row_bytes)
                    stream.write(np.ascontiguousarray(row, dtype="<f4").data)
                stream.truncate(_FIRST_ROW + header.rows * self._row_bytes)
                stream.flush()
                os.fsync(stream.fileno())
            self._next.replace(self.path)
            sync_folder(self.path.parent)
        except BaseException as error:
            if old is not None:
                old.close()
            self.sweep()
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise
        return partial(_blank, old)

    def zero(self, slots: Iterable[int]) -> None:
        """Overwrite rows; on the disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            with self.path.open("r+b") as stream:
                end = os.fstat(stream.fileno()).st_size
                for slot in slots:
                    if _FIRST_ROW + (slot + 1) * self._row_bytes <= end:
                        stream.seek(_FIRST_ROW + slot * self._row_bytes)
                        stream.write(bytes(self._row_bytes))
                stream.flush()
                os.fsync(stream.fileno())
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(error) from error

    def sweep(self) -> None:
        """Overwrite and delete what a crash while the file was made anew has left."""
        with suppress(FileNotFoundError):
            _blank(self._next.open("r+b"))
            self._next.unlink()
            sync_folder(self.path.parent)

    def _packed(self, header: Header) -> bytes:
        return _HEADER.pack(_MAGIC, 1, header.size, header.epoch, header.token, header.rows)

    def _read(self, data: bytes) -> Header | None:
        if len(data) != _HEADER.size:
            return None
        magic, version, size, epoch, token, rows = _HEADER.unpack(data)
        return Header(size, epoch, token, rows) if (magic, version) == (_MAGIC, 1) else None

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"Cannot write {self.path}: {error.strerror or error}.", hint="check the disk; the gallery is as it was"
        )


def _blank(stream: BinaryIO | None) -> None:
    """Zeros over a whole file."""
    if stream is None:
        return
    with suppress(OSError), stream:
        left = os.fstat(stream.fileno()).st_size
        while left > 0:
            left -= stream.write(bytes(min(left, _BLOCK_BYTES)))
        stream.flush()
        os.fsync(stream.fileno())


class Templates:
    """The matrix as one process sees it: rows that are mapped, and those that came since.

    Args:
        rows: (N, D), mapped or in memory.
    """

    def __init__(self, rows: Float32Array) -> None:
        self._mapped = rows
        self._recent = np.zeros((0, rows.shape[1]), dtype=np.float32)
        self._recent_rows = 0

    def __len__(self) -> int:
        return len(self._mapped) + self._recent_rows

    @property
    def recent(self) -> int:
        """Rows that are not mapped."""
        return self._recent_rows

    def extend(self, end: int, rows: Iterator[tuple[int, Float32Array]]) -> None:
        """Take rows up to slot ``end``; those left out are zero."""
        start, needed = len(self._mapped), end - len(self._mapped)
        if needed > len(self._recent):
            grown = np.zeros((max(needed, 2 * len(self._recent), 64), self._recent.shape[1]), dtype=np.float32)
            grown[: self._recent_rows] = self._recent[: self._recent_rows]
            self._recent = grown
        for slot, row in rows:
            self._recent[slot - start] = row
        self._recent_rows = needed

    def similarities(self, probes: Float32Array) -> Float32Array:
        """(P, N) cosines of unit probes (P, D) with every row."""
        split = len(self._mapped)
        scores = np.empty((len(probes), len(self)), dtype=np.float32)
        np.matmul(probes, self._mapped.T, out=scores[:, :split])
        np.matmul(probes, self._recent[: self._recent_rows].T, out=scores[:, split:])
        return scores
