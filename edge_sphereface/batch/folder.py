"""Embeds a folder of photographs into one Parquet file."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.batch.engines import LocalEngine
from edge_sphereface.batch.journal import Journal, in_order
from edge_sphereface.batch.names import to_text
from edge_sphereface.batch.tables import arrow, face_schema, faces_table
from edge_sphereface.errors import ImageError, OutputError
from edge_sphereface.image import find_images
from edge_sphereface.storage.files import PRIVATE, atomic_write

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from edge_sphereface.batch.engines import Engine
    from edge_sphereface.batch.operator import OperatorConfig
    from edge_sphereface.model.fingerprint import Fingerprint

_ROWS = 1024
"""Photographs per row group of the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderResult:
    """Result of embedding a folder.

    Attributes:
        output: path of the Parquet file.
        photographs: number of photographs processed.
        resumed: number of them that an earlier, interrupted run had processed.
        faces: number of faces, which are the rows of the Parquet file.
        without_face: number of photographs without a face.
        unreadable: number of photographs that could not be read.
        unreadable_list: path of a CSV file with their paths and reasons; None if there are none.
        fingerprint: digest of the embeddings' fingerprint.
    """

    output: Path
    photographs: int
    resumed: int
    faces: int
    without_face: int
    unreadable: int
    unreadable_list: Path | None
    fingerprint: str


def embed_folder(
    config: OperatorConfig,
    output: str | os.PathLike[str],
    *,
    engine: Engine | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FolderResult:
    """Embed every face of every photograph below a folder.

    An interrupted run, even if it was killed, resumes when it is called again: completed work is in ``OUTPUT.partial``
    until the result replaces it. Only their owner can read both files.

    Args:
        config: folder, model, detector and session options.
        output: path of the Parquet file, whose rows are sorted by path and face.
        engine: engine that runs the work; None for this process.
        overwrite: replace an existing result.
        progress: called with the number of photographs done and their total.

    Raises:
        ImageError: the folder does not exist or holds no photograph.
        OutputError: the result exists or cannot be written, or the interrupted run had other options.
        ExtraError: pyarrow is not installed.
        ModelError, ProviderError: the model cannot be run.
    """
    target = Path(output)
    if not target.name:
        raise OutputError(f"Expected a file for the embeddings, got {str(output)!r}.", hint="name it faces.parquet")
    partial = target.with_name(f"{target.name}.partial")
    arrow()
    # With a journal next to it, the result is that of an interrupted run that was killed after writing it
    if target.exists() and not overwrite and not partial.exists():
        raise OutputError(
            f"{target} exists already.", hint="name another file, or allow it to be replaced", remedy="overwrite"
        )
    if target.exists() and not target.is_file():
        raise OutputError(
            f"Expected a regular file as output, got {target}.", hint="name a regular file in a folder with free space"
        )
    names = _names(config.folder)
    pipeline = config.open()
    fingerprint, detector = pipeline.embedder.fingerprint, pipeline.detector.name
    del pipeline
    settings = {"folder": str(config.folder), "fingerprint": fingerprint.as_json(), "detector": detector}
    journal = Journal(partial, settings)
    try:
        done = {place.path for place in journal.places}
        _work(journal, engine or LocalEngine(), config, [name for name in names if name not in done], progress)
        faces, without_face, unreadable = _finish(journal, target, fingerprint, detector)
        listed = _list_unreadable(target, unreadable)
    except BaseException:
        journal.close()
        raise
    total = len(journal.places)
    journal.discard()
    return FolderResult(
        output=target,
        photographs=total,
        resumed=len(done),
        faces=faces,
        without_face=without_face,
        unreadable=len(unreadable),
        unreadable_list=listed,
        fingerprint=fingerprint.digest,
    )


def _names(folder: Path) -> list[str]:
    names = [to_text(path.relative_to(folder)) for path in find_images(folder)]
    if not names:
        raise ImageError(f"There are no photographs below {folder}.", hint="JPEG, PNG, BMP, TIFF and WebP are found")
    return names


def _work(
    journal: Journal,
    engine: Engine,
    config: OperatorConfig,
    names: Sequence[str],
    progress: Callable[[int, int], None] | None,
) -> None:
    if not names:
        return
    done = len(journal.places)
    total = done + len(names)
    for table in engine.run(config, names):
        journal.append(table)
        done += table.num_rows
        if progress is not None:
            progress(done, total)


def _finish(
    journal: Journal, target: Path, fingerprint: Fingerprint, detector: str
) -> tuple[int, int, list[tuple[str, str]]]:
    """Write the result.

    Returns:
        Number of faces, number of photographs without a face, and path and reason of each unreadable photograph.
    """
    import pyarrow.parquet as pq

    faces = without_face = 0
    unreadable: list[tuple[str, str]] = []
    schema = face_schema(fingerprint, detector)
    with atomic_write(target, mode=PRIVATE) as stream, pq.ParquetWriter(stream, schema) as writer:
        for photographs in in_order(journal, _ROWS):
            rows = faces_table(photographs, fingerprint, detector)
            writer.write_table(rows)
            faces += rows.num_rows
            failed = photographs.filter(photographs.column("error").is_valid())
            unreadable += zip(failed.column("path").to_pylist(), failed.column("error").to_pylist(), strict=True)
            found = len(set(rows.column("path").to_pylist()))
            without_face += photographs.num_rows - failed.num_rows - found
    return faces, without_face, unreadable


def _list_unreadable(target: Path, unreadable: Sequence[tuple[str, str]]) -> Path | None:
    """Write ``NAME.unreadable.csv``, or delete that of an earlier run if there is nothing to list."""
    side = target.with_name(f"{target.stem}.unreadable.csv")
    if not unreadable:
        side.unlink(missing_ok=True)
        return None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "reason"))
    writer.writerows(unreadable)
    with atomic_write(side, mode=PRIVATE) as stream:
        stream.write(text.getvalue().encode("utf-8"))
    return side
