"""Exports a gallery to one file of JSON lines, and imports it into a gallery of any kind.

The first line holds the fingerprint of the embeddings, the last line the number of identities, and each line between
one identity. Embeddings are little-endian float32 and crops are PNG files, both in base64.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import numpy as np

from edge_sphereface.errors import CropError, EmbeddingError, GalleryError, GalleryFormatError, IdentityError
from edge_sphereface.gallery.crops import CROP_BYTES, check_crop
from edge_sphereface.gallery.records import Portrait, Threshold, check_name, metadata_text, parse_kept
from edge_sphereface.gallery.spelling import Spellings
from edge_sphereface.gallery.vectors import check_embeddings, template_of
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.storage.bounded_json import JsonError
from edge_sphereface.storage.files import PRIVATE, atomic_write
from edge_sphereface.storage.record import Length, Record

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from edge_sphereface.gallery.gallery import Gallery, Progress
    from edge_sphereface.types import JsonObject

VERSION = 2
Existing: TypeAlias = Literal["refuse", "skip", "add"]

_MARK = "edge_sphereface_gallery"
_COUNT = "identities"
_MAX_LINE = 256 << 20
"""Largest size of a line in bytes, which also bounds everything in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head(Record):
    """First line of an export.

    Attributes:
        edge_sphereface_gallery: version of the format.
        fingerprint: fingerprint of the embeddings, as JSON values.
        thresholds: thresholds of the gallery, as JSON values.
    """

    record_name = "The head of the export"
    record_error = GalleryFormatError
    record_hint = "give an export of a gallery"

    edge_sphereface_gallery: Literal[1, 2]
    fingerprint: Any
    thresholds: Annotated[tuple[Any, ...], Length(_MAX_LINE)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member(Record):
    """Line of an identity.

    Attributes:
        name: name of the identity.
        metadata: JSON object of the application.
        embeddings: D little-endian float32 for each embedding.
        crops: PNG file of each embedding's crop; None if the crop was not kept.
        ignored: whether the person is never reported.
    """

    record_name = "The identity"
    record_error = GalleryFormatError
    record_hint = "export the gallery again"

    name: Annotated[str, Length(_MAX_LINE)]
    metadata: Annotated[dict[str, Any], Length(_MAX_LINE)]
    embeddings: Annotated[tuple[Annotated[bytes, Length(_MAX_LINE)], ...], Length(_MAX_LINE, 1)]
    crops: Annotated[tuple[Annotated[bytes, Length(CROP_BYTES)] | None, ...], Length(_MAX_LINE)]
    ignored: bool

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        """Exports of version 1 have no ignored people."""
        return {"ignored": False, **values}

    def _faults(self) -> Iterator[str]:
        if len(self.embeddings) != len(self.crops):
            yield f"it must have a crop or null for each of {len(self.embeddings)} embeddings, not {len(self.crops)}"


def export_gallery(gallery: Gallery, path: str | os.PathLike[str], *, progress: Progress | None = None) -> int:
    """Write the whole gallery to a file that only its owner may read. The file is not encrypted.

    Returns:
        Number of identities written.

    Raises:
        OutputError: the file cannot be written; no partial file remains.
    """
    total, done = len(gallery), 0
    head = {
        _MARK: VERSION,
        "fingerprint": gallery.fingerprint.as_json(),
        "thresholds": [threshold.as_json() for threshold in gallery.thresholds().values()],
    }
    with atomic_write(path, mode=PRIVATE) as output:
        output.write(_line(head))
        for portrait in gallery.portraits():
            output.write(_line(_portrait_json(portrait)))
            done += 1
            if progress is not None:
                progress(done, max(total, done))
        output.write(_line({_COUNT: done}))
    return done


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Result of an import.

    Attributes:
        added: number of identities in the file whose embeddings were added.
        skipped: number of identities in the file that were skipped because their names existed.
        new: number of identities that were created; the others of ``added`` existed.
        embeddings: number of embeddings that were added.
    """

    added: int
    skipped: int
    new: int
    embeddings: int


def check_export(path: str | os.PathLike[str]) -> Fingerprint:
    """Verify every value of an export.

    Returns:
        Fingerprint of its embeddings.

    Raises:
        GalleryFormatError: the file is not an export of this version, or is damaged.
        GalleryError: the file cannot be read.
    """
    fingerprint = read_fingerprint(path)
    _checked_names(Path(path), fingerprint)
    return fingerprint


def read_fingerprint(path: str | os.PathLike[str]) -> Fingerprint:
    """Read the fingerprint of an export's embeddings.

    Raises:
        GalleryFormatError: the file is not an export of this version.
        GalleryError: the file cannot be read.
    """
    return Fingerprint.from_values(_head(Path(path)).fingerprint)


def import_gallery(
    gallery: Gallery, path: str | os.PathLike[str], *, existing: Existing = "refuse", progress: Progress | None = None
) -> Imported:
    """Import an export. The whole file is verified first; a gallery file then takes all of it or nothing.

    Args:
        gallery: gallery opened with the fingerprint of the export.
        path: path of the export.
        existing: how to treat existing names: refuse the import, skip them, or add the embeddings to them. Whether
            they are ignored does not change.
        progress: called with the number of identities done and their total.

    Raises:
        GalleryFormatError: the file is not an export of this version, or is damaged.
        FingerprintError: the export holds embeddings of another kind.
        IdentityError: a name exists and ``existing`` is ``refuse``, or a new name looks like another one.
        OutputError: the gallery is read-only, or the disk is full.
    """
    gallery.require_writable()
    file = Path(path)
    gallery.fingerprint.require(read_fingerprint(file), f"The gallery {gallery.location}")
    names = _checked_names(file, gallery.fingerprint)
    present = {identity.name for identity in gallery.identities()}
    there = present & set(names)
    if there and existing == "refuse":
        raise IdentityError(
            f"{len(there)} of {len(names)} names are in {gallery.location} already: {', '.join(sorted(there)[:5])}"
            f"{', …' if len(there) > 5 else ''}.",
            hint="nothing was added; skip these names, or add the embeddings to theirs",
            remedy="merge-identities",
        )
    spellings = Spellings(lambda: present, present.__contains__)
    for name in sorted(set(names) - present):
        spellings.take(name)
    skipped = there if existing == "skip" else set()
    known = gallery.thresholds()
    thresholds = [threshold for threshold in _thresholds(file) if threshold.precision not in known]

    embeddings = 0

    def coming() -> Iterator[Portrait]:
        nonlocal embeddings
        for done, portrait in enumerate(_portraits(file, gallery.fingerprint), start=1):
            if portrait.name not in skipped:
                embeddings += len(portrait.embeddings)
                yield replace(portrait, ignored=None) if portrait.name in there else portrait
            if progress is not None:
                progress(done, len(names))

    added = gallery.add_all(coming(), thresholds)
    return Imported(added=added, skipped=len(names) - added, new=len(names) - len(there), embeddings=embeddings)


def _portrait_json(portrait: Portrait) -> JsonObject:
    return {
        "name": portrait.name,
        "metadata": portrait.metadata,
        "embeddings": [_text(row.astype("<f4").tobytes()) for row in portrait.embeddings],
        "crops": [None if crop is None else _text(crop) for crop in portrait.crops],
        "ignored": bool(portrait.ignored),
    }


def _checked_names(path: Path, fingerprint: Fingerprint) -> set[str]:
    """Names of all identities in the file, after every value was verified."""
    names: set[str] = set()
    _thresholds(path)
    for number, portrait in enumerate(_portraits(path, fingerprint), start=2):
        if portrait.name in names:
            raise GalleryFormatError(
                f"{path}, line {number}, is damaged: {portrait.name!r} occurs twice.", hint="export the gallery again"
            )
        names.add(portrait.name)
    return names


def _thresholds(path: Path) -> list[Threshold]:
    return [Threshold.from_values(record) for record in _head(path).thresholds]


def _portraits(path: Path, fingerprint: Fingerprint) -> Iterator[Portrait]:
    for number, values in enumerate(_lines(path), start=1):
        if number > 1 and _COUNT not in values:
            member = _Member.from_values(values, name=f"{path}, line {number},")
            try:
                yield _portrait(member, fingerprint.embedding_size)
            except (EmbeddingError, IdentityError, CropError) as error:
                raise GalleryFormatError(
                    f"{path}, line {number}, is damaged: {error.message.removesuffix('.')}.",
                    hint="export the gallery again",
                ) from error


def _portrait(member: _Member, size: int) -> Portrait:
    """Validate an identity as enrollment would."""
    if any(len(row) != 4 * size for row in member.embeddings):
        raise EmbeddingError(f"Expected embeddings of {size} numbers of 4 bytes.")
    embeddings = check_embeddings(np.frombuffer(b"".join(member.embeddings), dtype="<f4").reshape(-1, size), size)
    template_of(embeddings)
    metadata_text(member.metadata)
    for crop in member.crops:
        check_crop(crop)
    return Portrait(
        name=check_name(member.name),
        metadata=member.metadata,
        embeddings=embeddings,
        crops=member.crops,
        ignored=member.ignored,
    )


def _lines(path: Path) -> Iterator[JsonObject]:
    """Iterate over the lines as JSON objects, and verify that the last one counts the identities."""
    count, last = -1, None
    try:
        if path.exists() and not path.is_file():  # the file is read twice
            raise GalleryError(f"Expected a regular file to import, got {path}.", hint="write the export to a file")
        with path.open("rb") as stream:
            while line := stream.readline(_MAX_LINE):
                values = _parsed(line, path, count + 2)
                if last is not None:
                    raise GalleryFormatError(f"{path} continues after its last line.", hint="export the gallery again")
                if count >= 0 and _COUNT in values:
                    last = values[_COUNT] if set(values) == {_COUNT} and type(values[_COUNT]) is int else -1
                else:
                    count += 1
                yield values
    except OSError as error:
        raise GalleryError(f"Cannot read {path}: {error.strerror or error}.", hint="check the path") from error
    if last != count:
        raise GalleryFormatError(
            f"{path} ends after {max(count, 0)} identities without the line that counts them.",
            hint="the file is truncated",
        )


def _parsed(line: bytes, path: Path, number: int) -> JsonObject:
    reason = "it is not a JSON object"
    try:
        values: Any = parse_kept(line, limit=_MAX_LINE)
    except JsonError as error:
        values, reason = None, str(error)
    if not isinstance(values, dict):
        raise GalleryFormatError(
            f"{path}, line {number}, is not a JSON object: {reason}.",
            hint="give a complete export of a gallery",
        )
    return values


def _head(path: Path) -> _Head:
    values = next(_lines(path))
    try:
        return _Head.from_values(values)
    except GalleryFormatError as error:
        raise GalleryFormatError(
            f"{path} is not an export of a gallery in version 1 to {VERSION}.", hint="give an export of a gallery"
        ) from error


def _line(values: JsonObject) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
