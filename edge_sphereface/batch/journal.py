"""What is done so far, in one file that survives being killed at any moment.

Each record is its length and CRC-32, then a table of whole photographs as an Arrow stream. A record that was not
written to its end is cut off when the work goes on; every photograph before it is done, every other one is not.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_sphereface.batch.tables import arrow
from edge_sphereface.errors import OutputError
from edge_sphereface.storage.files import open_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FRAME = struct.Struct("<QI")
_MAX_RECORD = 1 << 30


class Place(NamedTuple):
    """Where a photograph's row is.

    Attributes:
        path: of the photograph.
        offset: of the record.
        row: in it.
    """

    path: str
    offset: int
    row: int


class Journal:
    """The file. One process works on it at a time.

    Args:
        path: of the file.
        settings: what its rows depend on; JSON.

    Attributes:
        places: of every photograph that is done.

    Raises:
        OutputError: it cannot be written, is not a regular file of this user, another process works on it, or it was
            begun with other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.places: list[Place] = []
        try:
            self._stream = os.fdopen(open_private(path, os.O_RDWR | os.O_CREAT), "r+b")
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror or error}.", hint="check the folder") from error
        try:
            self._lock()
            self._recover(json.dumps(settings, sort_keys=True).encode())
        except BaseException:
            self._stream.close()
            raise

    def append(self, table: Any) -> None:
        """Add photographs; on the disk when this returns.

        Raises:
            OutputError: the disk is full.
        """
        pa = arrow()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        offset = self._write(sink.getvalue().to_pybytes())
        self._note(table, offset)

    def read(self, offset: int) -> Any:
        """The table of a record."""
        self._stream.seek(offset)
        return _table(self._record() or b"")

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()

    def discard(self) -> None:
        """Delete the file: the work is done."""
        self._stream.close()
        self.path.unlink(missing_ok=True)

    def _recover(self, settings: bytes) -> None:
        begun = self._record()
        if begun is None:
            self._stream.seek(0)
            self._stream.truncate()
            self._write(settings)
            return
        if begun != settings:
            raise OutputError(
                f"{self.path} was begun with another folder, model, detector or option.",
                hint="finish it with those, or delete it to begin anew",
            )
        while True:
            offset = self._stream.tell()
            record = self._record()
            if record is None:
                break
            self._note(_table(record), offset)
        self._stream.seek(offset)
        self._stream.truncate()

    def _record(self) -> bytes | None:
        """The next record; None if there is none, or one that was not written to its end."""
        frame = self._stream.read(_FRAME.size)
        if len(frame) < _FRAME.size:
            return None
        length, checksum = _FRAME.unpack(frame)
        left = os.fstat(self._stream.fileno()).st_size - self._stream.tell()
        record = self._stream.read(length) if length <= min(left, _MAX_RECORD) else b""
        return record if len(record) == length and zlib.crc32(record) == checksum else None

    def _write(self, record: bytes) -> int:
        try:
            offset = self._stream.seek(0, os.SEEK_END)
            self._stream.write(_FRAME.pack(len(record), zlib.crc32(record)) + record)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            with suppress(OSError):
                self._stream.close()
            raise OutputError(
                f"Cannot write {self.path}: {error.strerror or error}.",
                hint="free some space and run the same command again: it goes on where it stopped",
            ) from error
        return offset

    def _note(self, table: Any, offset: int) -> None:
        self.places += [Place(path, offset, row) for row, path in enumerate(table.column("path").to_pylist())]

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: two runs at once are not told there
            return
        try:
            fcntl.flock(self._stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                f"Another process works on {self.path}.", hint="wait for it, or name another file"
            ) from error


def _table(record: bytes) -> Any:
    return arrow().ipc.open_stream(record).read_all()


def in_order(journal: Journal, count: int, kept: int = 64) -> Iterator[Any]:
    """Every photograph by path, in tables of ``count``; at most ``kept`` records are in memory."""
    pa = arrow()
    places = sorted(journal.places)
    records: dict[int, Any] = {}
    for start in range(0, len(places), count):
        rows = []
        for place in places[start : start + count]:
            if place.offset not in records:
                if len(records) >= kept:
                    records.pop(next(iter(records)))
                records[place.offset] = journal.read(place.offset)
            rows.append(records[place.offset].slice(place.row, 1))
        yield pa.concat_tables(rows)
