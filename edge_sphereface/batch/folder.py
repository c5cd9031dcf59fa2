"""Embeds a folder of photographs into one Parquet file."""

from __future__ import annotations

import csv
import io
from contextlib import closing, nullcontext
from dataclasses import dataclass
from heapq import merge
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edge_sphereface.batch.earlier_result import EarlierResult, require_result
from edge_sphereface.batch.engines import LocalEngine
from edge_sphereface.batch.journal import Journal, in_order
from edge_sphereface.batch.names import to_text
from edge_sphereface.batch.photograph_list import encode_list
from edge_sphereface.batch.tables import (
    PHOTOGRAPHS_KEY,
    arrow,
    by_photograph,
    face_schema,
    faces_table,
    listed_photographs,
)
from edge_sphereface.batch.versions import NO_VERSION, version_of
from edge_sphereface.errors import ImageError, OutputError
from edge_sphereface.image import search_images
from edge_sphereface.storage.files import PRIVATE, atomic_write

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from edge_sphereface.batch.engines import Engine
    from edge_sphereface.batch.journal import Place
    from edge_sphereface.batch.operator import OperatorConfig
    from edge_sphereface.batch.photograph_list import ListedPhotograph
    from edge_sphereface.batch.versions import FileVersion
    from edge_sphereface.model.fingerprint import Fingerprint

_ROWS = 1024
"""Photographs that are read from the journal together, and faces that are written together."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet takes for a formula."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderResult:
    """Result of embedding a folder.

    Attributes:
        output: path of the Parquet file.
        photographs: number of photographs in the result.
        resumed: number of them that an earlier, interrupted run had processed.
        unchanged: number of them that an update took over from the earlier result.
        replaced: number of them that changed since the earlier result and were processed again.
        added: number of them that an earlier result does not have.
        deleted: number of photographs of the earlier result that the folder no longer holds. An update keeps them in
            the result unless it is asked to remove them.
        unknown: number of photographs of the earlier result in subfolders that could not be searched, or behind links
            that lead nowhere. An update keeps them in the result.
        faces: number of faces, which are the rows of the Parquet file.
        without_face: number of photographs without a face.
        unreadable: number of photographs that could not be read.
        unreadable_list: path of a CSV file with their paths and reasons; None if there are none.
        fingerprint: digest of the embeddings' fingerprint.
    """

    output: Path
    photographs: int
    resumed: int
    unchanged: int
    replaced: int
    added: int
    deleted: int
    unknown: int
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
    update: bool = False,
    remove_deleted: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FolderResult:
    """Embed every face of every photograph below a folder.

    An interrupted run, even if it was killed, resumes when it is called again: completed work is in ``OUTPUT.partial``
    until the result replaces it. Only their owner can read both files.

    Args:
        config: folder, model, detector and session options.
        output: path of the Parquet file, whose rows are sorted by path and face. It ends in ``.parquet``.
        engine: engine that runs the work; None for this process.
        overwrite: replace an existing result.
        update: process only photographs that an existing result does not have, or whose file has another size or time
            of modification since. Without an existing result, all are processed.
        remove_deleted: with ``update``, remove the faces of photographs that the folder no longer holds. What is below
            a subfolder that cannot be searched, or a link that leads nowhere, is kept.
        progress: called with the number of photographs done and their total.

    Raises:
        ImageError: the folder does not exist or holds no photograph.
        OutputError: the result exists or cannot be written, the output is no result of this function or has another
            suffix, the interrupted run had other options, the result to update has another model or detector, or no
            list of its photographs, or none of them is in the folder and they are to be removed.
        ExtraError: pyarrow is not installed.
        ModelError, ProviderError: the model cannot be run.
        ValueError: ``update`` and ``overwrite`` are given together, or ``remove_deleted`` without ``update``.
    """
    if (update and overwrite) or (remove_deleted and not update):
        raise ValueError("Expected update or overwrite, and remove_deleted only with update.")
    target = Path(output)
    if not target.name:
        raise OutputError(f"Expected a file for the embeddings, got {str(output)!r}.", hint="name it faces.parquet")
    partial = target.with_name(f"{target.name}.partial")
    arrow()
    if target.exists() and not target.is_file():
        raise OutputError(
            f"Expected a regular file as output, got {target}.", hint="name a regular file in a folder with free space"
        )
    if target.suffix.lower() != ".parquet":
        raise OutputError(f"Expected a name that ends in .parquet, got {target}.", hint="name it faces.parquet")
    if target.exists():
        require_result(target)
    # With a journal next to it, the result is that of an interrupted run that was killed after writing it
    if target.exists() and not (overwrite or update) and not partial.exists():
        raise OutputError(
            f"{target} exists already.",
            hint="name another file, or allow it to be updated or replaced",
            remedy="update-result",
        )
    versions, unknown = _search(config.folder)
    pipeline = config.open()
    fingerprint, detector = pipeline.embedder.fingerprint, pipeline.detector.name
    del pipeline
    settings = {
        "folder": str(config.folder),
        "fingerprint": fingerprint.as_json(),
        "detector": detector,
        "update": update,
    }
    earlier = EarlierResult(target, fingerprint, detector) if update and target.exists() else None
    with nullcontext() if earlier is None else closing(earlier):
        listed_before = {} if earlier is None else earlier.photographs
        plan = _Plan(versions, unknown, listed_before, remove_deleted=remove_deleted)
        if remove_deleted and plan.deleted and not plan.listed.keys() & versions.keys():
            raise OutputError(
                f"None of the {len(plan.listed)} photographs of {target} is in {config.folder}: all would be removed.",
                hint="check the folder",
            )
        journal = Journal(partial, settings)
        try:
            resumed = sum(plan.is_current(path, journal) for path in journal.places)
            names = [path for path in versions if path not in plan.kept and not plan.is_current(path, journal)]
            _work(journal, engine or LocalEngine(), config, names, resumed, progress)
            places = [place for path, place in journal.places.items() if plan.takes(path)]
            if earlier is not None and not places and len(plan.kept) == len(earlier.photographs):
                photographs = earlier.photographs
            else:
                photographs = _write(target, journal, places, earlier, plan.kept, fingerprint, detector)
            listed = _list_unreadable(
                target, [(path, known.error) for path, known in photographs.items() if known.error]
            )
        except BaseException:
            journal.close()
            raise
    journal.discard()
    return FolderResult(
        output=target,
        photographs=len(photographs),
        resumed=resumed,
        unchanged=len(plan.kept & versions.keys()),
        replaced=sum(place.path in plan.listed for place in places),
        added=sum(place.path not in plan.listed for place in places),
        deleted=len(plan.deleted),
        unknown=len(plan.listed.keys() - versions.keys() - plan.deleted),
        faces=sum(known.faces for known in photographs.values()),
        without_face=sum(known.error is None and not known.faces for known in photographs.values()),
        unreadable=sum(known.error is not None for known in photographs.values()),
        unreadable_list=listed,
        fingerprint=fingerprint.digest,
    )


class _Plan:
    """Which photographs come from the earlier result, and which from the journal.

    Args:
        versions: photographs in the folder and their versions.
        unknown: paths of photographs and subfolders that could not be searched.
        listed: photographs of the earlier result; empty if there is none.
        remove_deleted: leave out photographs that the folder no longer holds.

    Attributes:
        listed: photographs of the earlier result.
        deleted: paths of those that the folder no longer holds.
        kept: paths of the photographs whose rows are taken over from the earlier result.
    """

    def __init__(
        self,
        versions: Mapping[str, FileVersion],
        unknown: Collection[str],
        listed: Mapping[str, ListedPhotograph],
        *,
        remove_deleted: bool,
    ) -> None:
        self.listed = listed
        self._versions = versions
        self._unknown = unknown
        self._remove_deleted = remove_deleted
        self.deleted = {path for path in listed if self._is_deleted(path)}
        self.kept = {
            path
            for path, known in listed.items()
            if (_same(known.version, versions[path]) if path in versions else not self._is_removed(path))
        }

    def is_current(self, path: str, journal: Journal) -> bool:
        """Whether the journal has the present version of a photograph, or the last one of a deleted photograph."""
        if path not in journal.places:
            return False
        return path not in self._versions or _same(journal.places[path].version, self._versions[path])

    def takes(self, path: str) -> bool:
        """Whether a photograph in the journal belongs to the result."""
        return path not in self.kept and not self._is_removed(path)

    def _is_removed(self, path: str) -> bool:
        return self._remove_deleted and self._is_deleted(path)

    def _is_deleted(self, path: str) -> bool:
        if path in self._versions:
            return False
        return path not in self._unknown and not any(
            str(parent) in self._unknown for parent in PurePosixPath(path).parents
        )


def _same(known: FileVersion, present: FileVersion) -> bool:
    return known == present != NO_VERSION


def _search(folder: Path) -> tuple[dict[str, FileVersion], set[str]]:
    """Versions of the photographs below a folder, in the order of their paths; and what could not be searched."""
    found = search_images(folder)
    versions = {to_text(path.relative_to(folder)): version_of(path) for path in found.photographs}
    if not versions:
        raise ImageError(f"There are no photographs below {folder}.", hint="JPEG, PNG, BMP, TIFF and WebP are found")
    return versions, {to_text(path.relative_to(folder)) for path in found.unknown}


def _work(
    journal: Journal,
    engine: Engine,
    config: OperatorConfig,
    names: Sequence[str],
    done: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    if not names:
        return
    total = done + len(names)
    for table in engine.run(config, names):
        journal.append(table)
        done += table.num_rows
        if progress is not None:
            progress(done, total)


def _write(
    target: Path,
    journal: Journal,
    places: Sequence[Place],
    earlier: EarlierResult | None,
    kept: Collection[str],
    fingerprint: Fingerprint,
    detector: str,
) -> dict[str, ListedPhotograph]:
    """Write the result: photographs of the journal at ``places``, and photographs of the earlier result.

    Returns:
        Every photograph of the result, sorted by path.
    """
    import pyarrow.parquet as pq

    photographs: dict[str, ListedPhotograph] = {}

    def new_faces() -> Iterator[tuple[str, Any]]:
        for table in in_order(journal, places, _ROWS):
            photographs.update(listed_photographs(table))
            yield from by_photograph(faces_table(table, fingerprint, detector))

    old_faces: Iterator[tuple[str, Any]] = iter(())
    if earlier is not None:
        photographs.update({path: earlier.photographs[path] for path in kept})
        old_faces = earlier.faces(kept)
    schema = face_schema(fingerprint, detector)
    with (
        atomic_write(target, mode=PRIVATE) as stream,
        pq.ParquetWriter(stream, schema, write_page_checksum=True) as writer,
    ):
        for rows in _joined(merge(old_faces, new_faces(), key=itemgetter(0))):
            writer.write_table(rows)
        photographs = dict(sorted(photographs.items()))
        encoded = encode_list(photographs)
        if encoded is not None:
            writer.add_key_value_metadata({PHOTOGRAPHS_KEY: encoded})
    return photographs


def _joined(tables: Iterator[tuple[str, Any]]) -> Iterator[Any]:
    """Join the tables of photographs to tables of at least ``_ROWS`` faces; the last one may be smaller."""
    waiting: list[Any] = []
    count = 0
    for _, table in tables:
        waiting.append(table)
        count += table.num_rows
        if count >= _ROWS:
            yield arrow().concat_tables(waiting)
            waiting, count = [], 0
    if waiting:
        yield arrow().concat_tables(waiting)


def _list_unreadable(target: Path, unreadable: Sequence[tuple[str, str]]) -> Path | None:
    """Write ``NAME.unreadable.csv``, or delete that of an earlier run if there is nothing to list."""
    side = target.with_name(f"{target.stem}.unreadable.csv")
    if not unreadable:
        side.unlink(missing_ok=True)
        return None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "reason"))
    writer.writerows([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in unreadable)
    with atomic_write(side, mode=PRIVATE) as stream:
        stream.write(text.getvalue().encode("utf-8"))
    return side
