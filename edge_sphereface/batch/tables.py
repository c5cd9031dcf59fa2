"""Schemas of the intermediate table (one row per photograph) and the result (one row per face)."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_sphereface.batch.photograph_list import ListedPhotograph
from edge_sphereface.batch.versions import FileVersion
from edge_sphereface.errors import ExtraError
from edge_sphereface.extras import install_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_sphereface.model.fingerprint import Fingerprint
    from edge_sphereface.types import EmbeddedFace

FINGERPRINT_KEY = b"edge_sphereface.fingerprint"
"""Metadata key of the result for the embeddings' fingerprint as JSON; every row holds its digest."""
DETECTOR_KEY = b"edge_sphereface.detector"
PHOTOGRAPHS_KEY = b"edge_sphereface.photographs"
"""Metadata key of the result for the list of its photographs (:mod:`edge_sphereface.batch.photograph_list`)."""

_BOX, _LANDMARKS = 4, 10


class Photograph(NamedTuple):
    """Result of one photograph.

    Attributes:
        path: path below the folder, with ``/`` as separator.
        version: version of the file that was read.
        error: why the photograph could not be read; None if it was read.
        faces: faces of the photograph, highest score first.
    """

    path: str
    version: FileVersion
    error: str | None
    faces: Sequence[EmbeddedFace]


def arrow() -> Any:
    """Import the module ``pyarrow``.

    Raises:
        ExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ExtraError(
            "Writing Parquet needs the package pyarrow, which is not installed.",
            hint=install_command("parquet"),
        ) from error
    return pa


def photograph_schema(size: int) -> Any:
    """Schema with one row per photograph, so that the faces of a photograph are stored all or not at all."""
    pa = arrow()
    lists = {"box": _BOX, "landmarks": _LANDMARKS, "embedding": size}
    return pa.schema(
        [
            ("path", pa.string()),
            ("bytes", pa.int64()),
            ("modified_ns", pa.int64()),
            ("error", pa.string()),
            ("score", pa.list_(pa.float32())),
            *((name, pa.list_(pa.list_(pa.float32(), width))) for name, width in lists.items()),
        ]
    )


def face_schema(fingerprint: Fingerprint, detector: str) -> Any:
    """Schema with one row per face: path, face_index, box, landmarks, score, embedding, fingerprint."""
    pa = arrow()
    return pa.schema(
        [
            ("path", pa.string()),
            ("face_index", pa.int32()),
            ("box", pa.list_(pa.float32(), _BOX)),
            ("landmarks", pa.list_(pa.float32(), _LANDMARKS)),
            ("score", pa.float32()),
            ("embedding", pa.list_(pa.float32(), fingerprint.embedding_size)),
            ("fingerprint", pa.string()),
        ],
        metadata={FINGERPRINT_KEY: fingerprint.to_json(), DETECTOR_KEY: detector},
    )


def photographs_table(photographs: Sequence[Photograph], size: int) -> Any:
    """Build a table with one row per photograph."""
    pa = arrow()
    schema = photograph_schema(size)
    faces = [face for photograph in photographs for face in photograph.faces]
    ends = np.cumsum([0, *(len(photograph.faces) for photograph in photographs)]).astype(np.int32)

    def listed(rows: Any, width: int) -> Any:
        flat = np.concatenate([np.ravel(row) for row in rows]) if faces else np.zeros(0)
        values = pa.array(flat.astype(np.float32))
        return pa.ListArray.from_arrays(ends, pa.FixedSizeListArray.from_arrays(values, width))

    return pa.Table.from_arrays(
        [
            pa.array([photograph.path for photograph in photographs], pa.string()),
            pa.array([photograph.version.bytes for photograph in photographs], pa.int64()),
            pa.array([photograph.version.modified_ns for photograph in photographs], pa.int64()),
            pa.array([_utf8(photograph.error) for photograph in photographs], pa.string()),
            pa.ListArray.from_arrays(ends, pa.array([face.face.score for face in faces], pa.float32())),
            listed([face.face.box for face in faces], _BOX),
            listed([face.face.landmarks for face in faces], _LANDMARKS),
            listed([face.embedding for face in faces], size),
        ],
        schema=schema,
    )


def _utf8(text: str | None) -> str | None:
    """A message that names a file, whose name may contain any bytes."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def faces_table(photographs: Any, fingerprint: Fingerprint, detector: str) -> Any:
    """Convert a table of photographs to a table of their faces, in the same order."""
    import pyarrow.compute as pc

    pa = arrow()
    table = photographs.combine_chunks()
    scores = _column(table, "score")
    parents = pc.list_parent_indices(scores).to_numpy()
    counts = pc.list_value_length(scores).to_numpy(zero_copy_only=False).astype(np.int64)
    first = np.cumsum(counts) - counts
    return pa.Table.from_arrays(
        [
            _column(table, "path").take(pa.array(parents)),
            pa.array((np.arange(len(parents)) - first[parents]).astype(np.int32)),
            *(pc.list_flatten(_column(table, name)) for name in ("box", "landmarks", "score", "embedding")),
            pa.array([fingerprint.digest] * len(parents), pa.string()),
        ],
        schema=face_schema(fingerprint, detector),
    )


def by_photograph(faces: Any) -> Iterator[tuple[str, Any]]:
    """Split a table of faces: path and table of each run of faces with the same path."""
    start = 0
    for path, rows in groupby(faces.column("path").to_pylist()):
        count = sum(1 for _ in rows)
        yield path, faces.slice(start, count)
        start += count


def listed_photographs(photographs: Any) -> dict[str, ListedPhotograph]:
    """What the result lists of a table of photographs, by path."""
    columns = [photographs.column(name).to_pylist() for name in ("path", "bytes", "modified_ns", "score", "error")]
    return {
        path: ListedPhotograph(FileVersion(size, modified_ns), len(scores), error)
        for path, size, modified_ns, scores, error in zip(*columns, strict=True)
    }


def _column(table: Any, name: str) -> Any:
    """A column as one contiguous array."""
    column = table.column(name)
    return (
        column.chunk(0) if column.num_chunks == 1 else arrow().concat_arrays(column.chunks or [column.combine_chunks()])
    )
