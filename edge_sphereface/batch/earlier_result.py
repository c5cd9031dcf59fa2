"""Reads a result that was written before, to update it."""

from __future__ import annotations

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
from edge_sphereface.errors import OutputError
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

    from edge_sphereface.model.fingerprint import Fingerprint

_FILE = RegularFile(what="result", limit=1 << 46, error=OutputError)
_ROWS = 1024
"""Rows that are read together."""
_HINT = "write the result anew, which replaces it"


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
        import pyarrow.parquet as pq

        self._path = path
        _FILE.require(path)
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
        except (OSError, ValueError, arrow().ArrowException) as error:  # ValueError: a name is not UTF-8
            raise self._refusal(f"Cannot read {path} as a Parquet file: {error}.") from error
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
        try:
            for batch in self._file.iter_batches(batch_size=_ROWS):
                yield from (item for item in by_photograph(pa.Table.from_batches([batch])) if item[0] in paths)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._refusal(f"{self._path} is damaged: {error}.") from error

    def _list(self, fingerprint: Fingerprint, detector: str) -> dict[str, ListedPhotograph]:
        metadata = self._file.metadata.metadata or {}
        if not self._file.schema_arrow.equals(face_schema(fingerprint, detector)):
            raise self._refusal(
                f"Expected a result with embeddings of {fingerprint.embedding_size} values in {self._path}."
            )
        made_by = metadata.get(FINGERPRINT_KEY), metadata.get(DETECTOR_KEY)
        if made_by != (fingerprint.to_json().encode(), detector.encode()):
            raise self._refusal(f"{self._path} was made with another model, detector or option.")
        if PHOTOGRAPHS_KEY not in metadata:
            raise self._refusal(
                f"{self._path} has no list of its photographs: it was made by an earlier version, or has too many."
            )
        return decode_list(metadata[PHOTOGRAPHS_KEY], str(self._path))

    def _refusal(self, message: str) -> OutputError:
        return OutputError(message, hint=_HINT, remedy="overwrite")
