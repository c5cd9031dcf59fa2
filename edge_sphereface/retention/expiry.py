"""Deletes what is older than its limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.retention.event_files import EventHeader, event_parts, expire_events
from edge_sphereface.retention.folder_index import HeldFile
from edge_sphereface.retention.held_files import FoundFile, delete, find_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sphereface.retention.folder_index import EventAges, FolderIndex
    from edge_sphereface.retention.limits import RetentionLimits

_GONE_S = 3600.0
"""Age from which an index forgets a file that is not there: a younger one may be about to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """What was deleted.

    Attributes:
        files: names of pictures and recordings.
        events: number of events.
        more: whether a bound of the work was reached, so that more may be old.
        unrecorded: names of files that have no record and were left for that reason.
    """

    files: tuple[str, ...] = ()
    events: int = 0
    more: bool = False
    unrecorded: tuple[str, ...] = ()


def expire_files(
    index: FolderIndex,
    limits: RetentionLimits,
    *,
    dry_run: bool = False,
    most: int | None = None,
    adopt: bool = True,
) -> Expired:
    """Delete the pictures and recordings of a folder that are older than their limits.

    A file without a record, or with a damaged one, counts as a picture of somebody unknown, of the age of the file.
    Other files, links and folders below are never touched.

    Args:
        index: of the folder.
        limits: how long files are kept.
        dry_run: only tell what would be deleted.
        most: files to delete at most; None for all.
        adopt: whether files without a record count where the index records none at all. Nothing else says then that
            this program wrote them.

    Raises:
        RetentionError: the folder or its index cannot be read, or a file cannot be deleted.
    """
    found = {file.path.name: file for file in find_files(index.folder)}
    held = index.files()
    recorded = {name for name, file in held.items() if math.isfinite(file.age_s)}
    strangers = [file for name, file in found.items() if name not in recorded and not _is_fresh(file, index)]
    if not held and not adopt:
        return Expired(unrecorded=tuple(sorted(file.path.name for file in strangers)))
    if dry_run:
        held |= {file.path.name: _stranger(index.age_s(file.unix_s)) for file in strangers}
    else:
        for file in strangers:
            index.adopt(file.path.name, file.unix_s)
        held = index.files() if strangers else held
    old = [name for name in sorted(found) if name in held and _is_old(held[name], limits)]
    expired = tuple(old[:most])
    if not dry_run:
        for name in expired:
            delete(found[name].path)
        gone = [name for name, file in held.items() if name not in found and file.age_s > _GONE_S]
        index.forget([*expired, *gone])
    return Expired(files=expired, more=len(expired) < len(old))


def expire_event_file(index: FolderIndex, path: Path, keep_s: float, *, dry_run: bool = False) -> Expired:
    """Delete the events of a file and of its rotated parts that are older than a limit.

    Args:
        index: that recorded the runs of the events.
        path: of the file.
        keep_s: limit in seconds.
        dry_run: only count.

    Raises:
        RetentionError: the index or a file cannot be read or rewritten.
    """
    count = 0
    for part in event_parts(path):
        count += expire_events(part, index.event_ages(), keep_s, dry_run=dry_run)
        if not dry_run and part.name != path.name and part.stat().st_size == 0:
            delete(part)
    return Expired(events=count)


def event_is_old(ages: EventAges, keep_s: float) -> Callable[[str], bool]:
    """Tells of the JSON of an event whether it is older than a limit; what is no event is not.

    Args:
        ages: tells how old events are.
        keep_s: the limit in seconds.
    """

    def is_old(payload: str) -> bool:
        header = EventHeader.read(payload)
        return header is not None and ages.age_s(*header) > keep_s

    return is_old


def _is_fresh(file: FoundFile, index: FolderIndex) -> bool:
    """Whether a picture may still be written."""
    return file.is_unfinished and index.age_s(file.unix_s) < _GONE_S


def _stranger(age_s: float) -> HeldFile:
    return HeldFile(age_s=age_s, names=frozenset(), has_unknown=True, is_recorded=False)


def _is_old(file: HeldFile, limits: RetentionLimits) -> bool:
    limit_s = limits.limit_s(file)
    return limit_s is not None and file.age_s > limit_s
