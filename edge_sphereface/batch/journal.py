"""Journal of completed work, one file that survives a kill at any moment.

A record consists of its length, its CRC-32, and a table of whole photographs as an Arrow stream. An incomplete record
is truncated when the work resumes. Every photograph in a complete record is done.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_sphereface.batch.tables import arrow
from edge_sphereface.batch.versions import FileVersion
from edge_sphereface.errors import OutputError
from edge_sphereface.storage.files import open_private, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FRAME = struct.Struct("<QI")
_MAX_RECORD = 1 << 30
_FORMAT = 2
"""Version of the records' schema. Journals of other versions are refused."""


class Place(NamedTuple):
    """Place of a photograph's row in the journal.

    Attributes:
        path: path of the photograph.
        version: version of the photograph that was read.
        offset: offset of the record in bytes.
        row: index of the row in the record.
    """

    path: str
    version: FileVersion
    offset: int
    row: int


class Journal:
    """The journal file. One process works on it at a time.

    Args:
        path: path of the file.
        settings: JSON object that the rows depend on.

    Attributes:
        places: place of every completed photograph, by path; the last one if it was completed twice.

    Raises:
        OutputError: the file cannot be written, is not a regular file of this user, is in use by another process, or
            was started with other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.places: dict[str, Place] = {}
        try:
            self._stream = os.fdopen(open_private(path, os.O_RDWR | os.O_CREAT), "r+b")
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror or error}.", hint="check the folder") from error
        try:
            self._lock()
            self._recover(json.dumps({"format": _FORMAT, **settings}, sort_keys=True).encode())
        except BaseException:
            self._stream.close()
            raise

    def append(self, table: Any) -> None:
        """Append a table of photographs, which is on disk when this returns.

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
        """Read the table of a record."""
        self._stream.seek(offset)
        return _table(self._record() or b"")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def discard(self) -> None:
        """Close and delete the file after the work is done."""
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
                f"{self.path} was started with another folder, model, detector, option or version.",
                hint="finish it with those, or delete it to start again",
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
        """Read the next record; None if there is none, or if it is incomplete."""
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
                hint="free disk space and run it again; it resumes where it stopped",
            ) from error
        return offset

    def _note(self, table: Any, offset: int) -> None:
        columns = (table.column(name).to_pylist() for name in ("path", "bytes", "modified_ns"))
        for row, (path, size, modified_ns) in enumerate(zip(*columns, strict=True)):
            self.places[path] = Place(path, FileVersion(size, modified_ns), offset, row)

    def _lock(self) -> None:
        if not try_lock(self._stream.fileno()):
            raise OutputError(f"Another process works on {self.path}.", hint="wait for it, or name another file")


def _table(record: bytes) -> Any:
    return arrow().ipc.open_stream(record).read_all()


def in_order(journal: Journal, places: Iterable[Place], count: int, kept: int = 64) -> Iterator[Any]:
    """Iterate over photographs sorted by path, in tables of ``count``, with at most ``kept`` records in memory."""
    pa = arrow()
    places = sorted(places)
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
