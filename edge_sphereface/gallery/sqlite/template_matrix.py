"""The template matrix: all templates in a memory-mapped, append-only file next to the gallery.

The file is a copy of the database's templates, so that a process need not read the database when it starts, and
processes share its pages. Row ``slot`` holds a template. A new or changed template takes a new row; the row of a
removed template is filled with zeros, which are similar to no probe. The header names the state of the database that
the rows belong to. Each row ends with a checksum of its numbers, its slot and the epoch, which is verified when the
file is mapped. If the header or a checksum does not match, the file is ignored: rows are read from the database, and
the next writer rebuilds the file.
"""

from __future__ import annotations

import os
import stat
import struct
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from edge_sphereface.errors import GalleryFormatError, OutputError
from edge_sphereface.storage.files import PRIVATE, open_private, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    import numpy.typing as npt

    from edge_sphereface.types import Float32Array

    Words: TypeAlias = npt.NDArray[np.uint64]

TOKEN_BYTES = 16

_HEADER = struct.Struct("<8sII16s16sQ")
_MAGIC = b"ESFGMTX2"
_FIRST_ROW = 4096
"""Offset of the first row in bytes, on a page of its own."""
_BLOCK_BYTES = 1 << 20
_BLOCK_ROWS = 4096
_ODD = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: its odd multiples differ in many bits."""
_WORD = 0xFFFFFFFFFFFFFFFF


class Header(NamedTuple):
    """Header of the file: the state of the gallery that the rows belong to.

    Attributes:
        size: number of components D of a template.
        epoch: changes whenever rows are renumbered or the file is rebuilt.
        token: changes with every change of the database.
        rows: number of rows in the file.
    """

    size: int
    epoch: bytes
    token: bytes
    rows: int


class Rows:
    """Row format of the file: D float32, zeros up to a multiple of 8 bytes, and a checksum of 8 bytes.

    The checksum is a weighted sum of the row's 64-bit words modulo 2^64, which numpy computes for many rows at once.
    It detects flipped bits, and rows that are zeroed, exchanged or stale.

    Args:
        size: number of components D of a template.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._words = (size + 1) // 2
        self.row_bytes = 8 * (self._words + 1)
        self._weights = np.arange(1, 2 * self._words + 1, 2, dtype="<u8") * np.uint64(_ODD)

    def packed(self, first_slot: int, rows: Float32Array, epoch: bytes) -> Words:
        """Encode rows (N, D) of consecutive slots with their checksums. An empty slot is all zeros."""
        words = np.zeros((len(rows), self._words + 1), dtype="<u8")
        self.numbers(words)[:] = rows
        words[:, -1] = self._expected(first_slot, len(rows), epoch) - words[:, :-1] @ self._weights
        return words

    def numbers(self, words: Words) -> Float32Array:
        """Templates (N, D) float32 of encoded rows, sharing their memory."""
        return words.view("<f4")[:, : self._size]

    def wrong(self, words: Words, epoch: bytes) -> list[int]:
        """Slots, counted from 0, whose checksums do not match."""
        found: list[int] = []
        for start in range(0, len(words), _BLOCK_ROWS):
            block = words[start : start + _BLOCK_ROWS]
            sums = block[:, :-1] @ self._weights + block[:, -1]
            found += (start + np.flatnonzero(sums != self._expected(start, len(block), epoch))).tolist()
        return found

    @staticmethod
    def _expected(first_slot: int, count: int, epoch: bytes) -> Words:
        start = (int.from_bytes(epoch[:8], "little") + first_slot * _ODD) & _WORD
        return np.arange(count, dtype="<u8") * np.uint64(_ODD) + np.uint64(start)


class MatrixFile:
    """The matrix file. Only a process that holds the database's write lock writes it.

    Args:
        path: path of the gallery; the file has the same name with the suffix ``-matrix``.
        size: number of components D of a template.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path.with_name(path.name + "-matrix")
        self._next = path.with_name(path.name + "-matrix-next")  # a fixed name: a crash leaves at most one file
        self._rows = Rows(size)
        self._size = size
        self._damaged = b""  # epoch of a file that was found to be damaged

    def map(self, epoch: bytes, token: bytes, rows: int) -> Float32Array | None:
        """Map the first rows read-only and verify them; None if the file is damaged or belongs to another state."""
        words = self._mapped(epoch, token, rows)
        if words is None or epoch == self._damaged:
            return None
        if self._wrong(words, epoch):
            self._damaged = epoch
            return None
        return self._rows.numbers(words)

    def check(self, epoch: bytes, token: bytes, rows: int, expected: Iterable[tuple[int, Float32Array]]) -> list[str]:
        """Describe the problems of a file of that state; ``expected`` holds every slot that is not empty."""
        words = self._mapped(epoch, token, rows)
        if words is None:
            return []
        wrong = set(self._wrong(words, epoch))
        numbers = self._rows.numbers(words)
        wrong.update(slot for slot, row in expected if slot >= rows or numbers[slot].tobytes() != row.tobytes())
        if not wrong:
            return []
        self._damaged = epoch
        return [f"{len(wrong)} of {rows} rows of {self.path.name} are damaged"]

    def advance(self, before: bytes, after: Header, first_slot: int, rows: Float32Array) -> bool:
        """Append rows and advance to the next state. The data is on disk when this returns.

        Args:
            before: token of the state that the file must be in.
            after: the next state, of the same epoch.
            first_slot: slot of the first of ``rows``.
            rows: (N, D) float32.

        Returns:
            False if the file is in another state, is damaged, or has a second name. The file is then unchanged and must
            be rebuilt.

        Raises:
            OutputError: the file cannot be written.
        """
        if after.epoch == self._damaged or self._mapped(after.epoch, before, first_slot) is None:
            return False
        try:
            with _in_place(self.path) as stream:
                stream.seek(_FIRST_ROW + first_slot * self._rows.row_bytes)
                stream.write(self._rows.packed(first_slot, rows, after.epoch).tobytes())
                stream.seek(0)
                stream.write(self._packed(after))
                stream.flush()
                os.fsync(stream.fileno())
        except OutputError:
            return False
        except OSError as error:
            raise self._failed(error) from error
        return True

    def create(self, header: Header, rows: Iterable[tuple[int, Float32Array]]) -> Callable[[], None]:
        """Rebuild the file atomically. Processes that mapped the old file keep it.

        Args:
            header: the new state, with a new epoch.
            rows: slot and row (D,), by ascending slot; missing rows are zero.

        Returns:
            A function to call once the state is committed. It overwrites the old file, which has lost its name.
            Processes that mapped the old file see by then that the epoch has changed.

        Raises:
            OutputError: the file cannot be written.
        """
        old = None
        with suppress(OSError):  # no file, or a file of another user, whose name alone is removed
            old = _in_place(self.path)  # closed by the returned function
        try:
            self.sweep()
            with os.fdopen(os.open(self._next, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE), "wb") as stream:
                stream.write(self._packed(header))
                stream.seek(_FIRST_ROW)
                for first_slot, block in _blocks(rows, header.rows, self._size):
                    stream.write(self._rows.packed(first_slot, block, header.epoch).tobytes())
                stream.truncate()
                stream.flush()
                os.fsync(stream.fileno())
            self._next.replace(self.path)
            sync_folder(self.path.parent)
        except BaseException as error:
            if old is not None:
                old.close()
            with suppress(OSError):
                self.sweep()
            if isinstance(error, OSError) and not isinstance(error, OutputError):
                raise self._failed(error) from error
            raise
        return partial(_blank, old)

    def zero(self, slots: Iterable[int], epoch: bytes) -> bool:
        """Overwrite rows with zeros. The data is on disk when this returns.

        Returns:
            False if the file cannot be written in place. It is then unchanged; the next change rebuilds the file and
            only then overwrites the old one, because another process may have mapped it while its header was valid.

        Raises:
            OutputError: the file cannot be written.
        """
        empty = np.zeros((1, self._size), dtype=np.float32)
        try:
            with _in_place(self.path) as stream:
                if self._read(stream.read(_HEADER.size)) is None:
                    return False
                end = os.fstat(stream.fileno()).st_size
                for slot in slots:
                    if _FIRST_ROW + (slot + 1) * self._rows.row_bytes <= end:
                        stream.seek(_FIRST_ROW + slot * self._rows.row_bytes)
                        stream.write(self._rows.packed(slot, empty, epoch).tobytes())
                stream.flush()
                os.fsync(stream.fileno())
        except FileNotFoundError:
            return True
        except OutputError:
            return False
        except OSError as error:
            raise self._failed(error) from error
        return True

    def sweep(self) -> None:
        """Overwrite and delete the remains of a crash during a rebuild.

        Raises:
            OutputError: the remains cannot be deleted.
        """
        try:
            with suppress(OutputError):  # a file of another user: only its name is removed
                _blank(_in_place(self._next))
            self._next.unlink()
            sync_folder(self.path.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(error, self._next) from error

    def _mapped(self, epoch: bytes, token: bytes, rows: int) -> Words | None:
        """The first rows in encoded form; None if the header belongs to another state."""
        careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        words = self._rows.row_bytes // 8
        try:
            with os.fdopen(os.open(self.path, os.O_RDONLY | careful), "rb") as stream:
                status = os.fstat(stream.fileno())
                header = self._read(stream.read(_HEADER.size)) if stat.S_ISREG(status.st_mode) else None
                enough = status.st_size >= _FIRST_ROW + rows * self._rows.row_bytes
                if header is None or not enough or header[:3] != (self._size, epoch, token) or header.rows < rows:
                    return None
                if not rows:
                    return np.empty((0, words), dtype="<u8")
                return np.asarray(np.memmap(stream, dtype="<u8", mode="r", offset=_FIRST_ROW, shape=(rows, words)))
        except OSError:
            return None

    def _wrong(self, words: Words, epoch: bytes) -> list[int]:
        """Slots whose checksums do not match in two attempts, because another process may be zeroing a row."""
        return self._rows.wrong(words, epoch) and self._rows.wrong(words, epoch)

    def _packed(self, header: Header) -> bytes:
        return _HEADER.pack(_MAGIC, 1, header.size, header.epoch, header.token, header.rows)

    def _read(self, data: bytes) -> Header | None:
        if len(data) != _HEADER.size:
            return None
        magic, version, size, epoch, token, rows = _HEADER.unpack(data)
        return Header(size, epoch, token, rows) if (magic, version) == (_MAGIC, 1) else None

    def _failed(self, error: OSError, path: Path | None = None) -> OutputError:
        folder = isinstance(error, IsADirectoryError)
        return OutputError(
            f"Cannot write {path or self.path}: {error.strerror or error}.",
            hint=f"{'delete that folder' if folder else 'check the disk'}; the gallery is unchanged",
        )


def _in_place(path: Path) -> BinaryIO:
    """Open a file that may be overwritten in place.

    Raises:
        OutputError: the file is not a regular file of this user, or has a second name (a hard link).
        OSError: the file cannot be opened for another reason.
    """
    return os.fdopen(open_private(path, os.O_RDWR, sole=True), "r+b")


def _blocks(rows: Iterable[tuple[int, Float32Array]], count: int, size: int) -> Iterator[tuple[int, Float32Array]]:
    """Iterate over a matrix of ``count`` rows in blocks: first slot and rows (N, D). Missing rows are zero."""
    end = [(count, np.zeros(size, dtype=np.float32))]
    first = 0
    block = np.zeros((min(_BLOCK_ROWS, count), size), dtype=np.float32)
    for slot, row in chain(rows, end):
        while slot - first >= len(block) > 0:
            yield first, block
            first += len(block)
            block = np.zeros((min(_BLOCK_ROWS, count - first), size), dtype=np.float32)
        if slot < count:
            block[slot - first] = row


def _blank(stream: BinaryIO | None) -> None:
    """Overwrite a whole file with zeros."""
    if stream is None:
        return
    with suppress(OSError), stream:
        stream.seek(0)
        left = os.fstat(stream.fileno()).st_size
        while left > 0:
            left -= stream.write(bytes(min(left, _BLOCK_BYTES)))
        stream.flush()
        os.fsync(stream.fileno())


class Templates:
    """The matrix as one process sees it: mapped rows, and rows added since.

    Args:
        rows: (N, D) float32, mapped or in memory.
    """

    def __init__(self, rows: Float32Array) -> None:
        self._mapped = rows
        self._recent = np.zeros((0, rows.shape[1]), dtype=np.float32)
        self._recent_rows = 0

    def __len__(self) -> int:
        return len(self._mapped) + self._recent_rows

    @property
    def recent(self) -> int:
        """Number of rows that are not mapped."""
        return self._recent_rows

    def extend(self, end: int, rows: Iterator[tuple[int, Float32Array]]) -> None:
        """Add rows up to slot ``end``; missing rows are zero.

        Raises:
            GalleryFormatError: a row lies beyond ``end``.
        """
        start, needed = len(self._mapped), end - len(self._mapped)
        if needed > len(self._recent):
            grown = np.zeros((max(needed, 2 * len(self._recent), 64), self._recent.shape[1]), dtype=np.float32)
            grown[: self._recent_rows] = self._recent[: self._recent_rows]
            self._recent = grown
        for slot, row in rows:
            if slot >= end:
                raise GalleryFormatError(
                    f"The gallery is damaged: a template is in row {slot} of {end}.", hint="restore it from a backup"
                )
            self._recent[slot - start] = row
        self._recent_rows = needed

    def similarities(self, probes: Float32Array) -> Float32Array:
        """Cosine similarities (P, N) of unit probes (P, D) to every row."""
        split = len(self._mapped)
        scores = np.empty((len(probes), len(self)), dtype=np.float32)
        np.matmul(probes, self._mapped.T, out=scores[:, :split])
        np.matmul(probes, self._recent[: self._recent_rows].T, out=scores[:, split:])
        return scores
