"""Reads a result that was written before, to update it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from edge_sphereface.batch.photograph_list import ListedPhotograph, decode_list
from edge_sphereface.batch.tables import (
    DETECTOR_KEY,
    FINGERPRINT_KEY,
    PHOTOGRAPHS_KEY,
    arrow,
    by_photograph,
    face_schema,
)
from edge_sphereface.errors import FingerprintError, OutputError
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

_FILE = RegularFile(what="result", limit=1 << 46, error=OutputError)
_ROWS = 1024
"""Rows that are read together."""
_OTHER_FILE = "name another file; this one is not replaced"
_HINT = "write the result anew, which replaces it"


def require_result(path: Path) -> None:
    """Require that a file is a result, so that nothing else is replaced.

    Raises:
        OutputError: it is another file, or damaged.
    """
    file = _open(path)
    try:
        if FINGERPRINT_KEY not in (file.metadata.metadata or {}):
            raise OutputError(
                f"Expected a result with embeddings, and {path} is another Parquet file.", hint=_OTHER_FILE
            )
    finally:
        file.close()


class EarlierResult:
    """The result of an earlier run. It is open until :meth:`close`.

    Args:
        path: path of the Parquet file.
        fingerprint: fingerprint of the embeddings to add.
        detector: name of the detector to add faces with.

    Attributes:
        photographs: every photograph of the result, by path.

    Raises:
        OutputError: the file is no result, has no list of its photographs, or has embeddings of another model or faces
            of another detector.
    """

    def __init__(self, path: Path, fingerprint: Fingerprint, detector: str) -> None:
        self._path = path
        self._file = _open(path)
        try:
            self.photographs = self._list(fingerprint, detector)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def faces(self, paths: Container[str]) -> Iterator[tuple[str, Any]]:
        """Iterate over photographs with faces, sorted by path: path and table of its faces.

        Args:
            paths: paths of the photographs to return.

        Raises:
            OutputError: the file is damaged.
        """
        pa = arrow()
        counts: Counter[str] = Counter()
        try:
            for batch in self._file.iter_batches(batch_size=_ROWS):
                for path, table in by_photograph(pa.Table.from_batches([batch])):
                    counts[path] += table.num_rows
                    if path in paths:
                        yield path, table
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._refusal(f"{self._path} is damaged: {error}.") from error
        if counts != Counter({path: known.faces for path, known in self.photographs.items()}):
            raise self._refusal(f"The rows of {self._path} are not those that its list of photographs counts.")

    def _list(self, fingerprint: Fingerprint, detector: str) -> dict[str, ListedPhotograph]:
        metadata = self._file.metadata.metadata or {}
        if not self._file.schema_arrow.equals(face_schema(fingerprint, detector)):
            raise self._refusal(
                f"Expected a result with embeddings of {fingerprint.embedding_size} values in {self._path}."
            )
        self._require_same(metadata.get(FINGERPRINT_KEY, b""), metadata.get(DETECTOR_KEY, b""), fingerprint, detector)
        if PHOTOGRAPHS_KEY not in metadata:
            raise self._refusal(
                f"{self._path} has no list of its photographs: it was made by an earlier version, or has too many."
            )
        photographs = decode_list(metadata[PHOTOGRAPHS_KEY], str(self._path))
        if self._file.metadata.num_rows != sum(known.faces for known in photographs.values()):
            raise self._refusal(f"The rows of {self._path} are not those that its list of photographs counts.")
        return photographs

    def _require_same(self, stored: bytes, used: bytes, fingerprint: Fingerprint, detector: str) -> None:
        if (stored, used) == (fingerprint.to_json().encode(), detector.encode()):
            return
        differing = []
        if used != detector.encode():
            differing.append(f"detector {used.decode(errors='backslashreplace') or 'unknown'} there, {detector} here")
        if stored != fingerprint.to_json().encode():
            try:
                differing += Fingerprint.from_json(stored).differences(fingerprint)
            except FingerprintError as error:
                raise self._refusal(f"{self._path}: {error.message}") from error
        raise self._refusal(f"{self._path} was made with another model, detector or option: {'; '.join(differing)}.")

    def _refusal(self, message: str) -> OutputError:
        return OutputError(message, hint=_HINT, remedy="overwrite")


def _open(path: Path) -> Any:
    import pyarrow.parquet as pq

    _FILE.require(path)
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, ValueError, arrow().ArrowException) as error:  # ValueError: a name is not UTF-8
        raise OutputError(f"Cannot read {path} as a Parquet file: {error}.", hint=_OTHER_FILE) from error
