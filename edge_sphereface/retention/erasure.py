"""Removes people from the files that were written about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.errors import RetentionError
from edge_sphereface.retention.event_files import event_parts, read_lines, rewrite_events
from edge_sphereface.retention.folder_index import INDEX_NAME, FolderIndex
from edge_sphereface.retention.held_files import delete, find_files
from edge_sphereface.retention.mentions import Mentions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


_MOST_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPictures:
    """The pictures and recordings of a folder that concern people who are to be removed.

    Attributes:
        folder: the folder.
        alone: names of files that show nobody else of whom the name is known.
        shared: names of files that show other people by name as well.
        unrecorded: names of files of which it is not recorded who is in them.
    """

    folder: Path
    alone: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()


def find_pictures(folder: Path, names: Iterable[str]) -> FoundPictures:
    """Find the pictures and recordings that show people.

    Args:
        folder: of snapshots or recordings; others give nothing.
        names: of the people.

    Raises:
        RetentionError: the folder or its index cannot be read.
    """
    files = {file.path.name for file in find_files(folder)}
    if not files and not (folder / INDEX_NAME).exists():
        return FoundPictures(folder=folder)
    with FolderIndex(folder) as index:
        held = index.files()
    mentions = Mentions(names)
    concerned = [name for name in sorted(files) if name in held and any(map(mentions.is_named, held[name].names))]
    shared = tuple(name for name in concerned if not all(map(mentions.is_named, held[name].names)))
    return FoundPictures(
        folder=folder,
        alone=tuple(name for name in concerned if name not in shared),
        shared=shared,
        unrecorded=tuple(name for name in sorted(files) if name not in held or not held[name].is_recorded),
    )


def refuse_shared(found: Iterable[FoundPictures]) -> None:
    """Refuse to delete pictures and recordings that show other people as well.

    Raises:
        RetentionError: there are some; the message lists them.
    """
    shared = [str(pictures.folder / name) for pictures in found for name in pictures.shared]
    if shared:
        more = f" and {len(shared) - _MOST_SHOWN} more" if len(shared) > _MOST_SHOWN else ""
        raise RetentionError(
            f"Nothing was removed: {len(shared)} files show other people as well: "
            f"{', '.join(ascii(name) for name in shared[:_MOST_SHOWN])}{more}.",
            hint="copy what you need of them, then delete them as a whole",
            remedy="delete-shared-files",
        )


def erase_pictures(folder: Path, files: Sequence[str], names: Iterable[str]) -> None:
    """Delete pictures and recordings, and remove people from the index of the folder, without a byte that remains.

    Args:
        folder: the folder.
        files: names of the files.
        names: of the people.

    Raises:
        RetentionError: a file cannot be deleted, or the index cannot be changed.
    """
    for name in files:
        delete(folder / name)
    damaged = folder / f"{INDEX_NAME}.damaged"
    if (folder / INDEX_NAME).exists() or damaged.exists():
        with FolderIndex(folder) as index:
            index.forget(files)
            index.forget_people(names)
            index.erase()


def erase_events(paths: Iterable[Path], mentions: Mentions) -> int:
    """Remove people from event files and their rotated parts. Each part is replaced as a whole.

    Args:
        paths: of the files.
        mentions: of the people; it learns their tracks.

    Returns:
        Number of lines that were removed or changed.

    Raises:
        RetentionError: a file cannot be rewritten.
    """
    parts = [part for path in paths for part in event_parts(path)]
    for part in parts:
        for line in read_lines(part):
            mentions.learn(line)
    return sum(rewrite_events(part, mentions.without) for part in parts)
