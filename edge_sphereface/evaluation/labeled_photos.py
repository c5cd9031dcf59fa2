"""Labeled photographs: one folder per person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.errors import CropError, ImageError, LandmarksError, NoFaceError, SeveralFacesError
from edge_sphereface.image import find_images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sphereface.errors import EdgeSphereFaceError
    from edge_sphereface.pipeline import FacePipeline, Selection
    from edge_sphereface.types import Float32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedPhoto:
    """A photograph that could not be used.

    Attributes:
        path: path of the file.
        reason: why the photograph was skipped.
    """

    path: Path
    reason: str


class EmbeddedPhotos(NamedTuple):
    """Embeddings of labeled photographs.

    Attributes:
        embeddings: (N, D) float32 unit rows, one for each usable photograph.
        people: N names, the person of each row.
        skipped: the other photographs.
    """

    embeddings: Float32Array
    people: list[str]
    skipped: list[SkippedPhoto]


def person_of(path: Path, folder: Path) -> str:
    """Name of the person in a photograph: its subfolder, or in ``folder`` itself the file name without its number."""
    relative = path.relative_to(folder)
    if len(relative.parts) > 1:
        return str(relative.parent)
    return path.stem.rstrip("0123456789").rstrip("_- ")


def reason(error: EdgeSphereFaceError, path: Path) -> str:
    """Why a photograph was skipped, without its path."""
    return error.message.removeprefix(f"{path}: ").replace(f" {path}", "", 1)


def embed_labeled_photos(
    pipeline: FacePipeline, folder: Path, *, select: Selection, progress: Callable[[int, int], None] | None = None
) -> EmbeddedPhotos:
    """Embed one face of each photograph below a folder.

    Args:
        pipeline: detects, aligns and embeds the faces.
        folder: folder with one subfolder per person.
        select: which face to use if a photograph shows several.
        progress: called with the number of photographs done and their total.

    Raises:
        ImageError: ``folder`` is not a folder.
    """
    paths = find_images(folder)
    rows, people = [], []
    skipped: list[SkippedPhoto] = []
    for number, path in enumerate(paths, start=1):
        try:
            rows.append(pipeline.process_one_file(path, select=select).embedding)
            people.append(person_of(path, folder))
        except (ImageError, NoFaceError, SeveralFacesError, CropError, LandmarksError) as error:
            skipped.append(SkippedPhoto(path=path, reason=reason(error, path)))
        if progress is not None:
            progress(number, len(paths))
    size = pipeline.embedder.spec.embedding_size
    return EmbeddedPhotos(np.stack(rows) if rows else np.empty((0, size), np.float32), people, skipped)
