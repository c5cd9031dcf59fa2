"""The command ``expire``: delete what is old."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import json_option
from edge_sphereface.cli.audit_command import audit_option, open_audit
from edge_sphereface.cli.kept_files import is_queue, is_strangers
from edge_sphereface.cli.option import option_parser, options_of, settings_from
from edge_sphereface.cli.runner import Outcome, UsageError
from edge_sphereface.errors import RetentionError
from edge_sphereface.retention.limits import RetentionLimits

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.retention import FolderIndex

_AT_ONCE = 500
"""Messages of a queue that are looked at together."""


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "expire",
        parents=[json_option(), option_parser(options_of(RetentionLimits)), audit_option()],
        help="delete pictures, recordings, events and strangers that are older than a limit",
        description="Delete snapshots, recordings, events and sightings of strangers that `watch` wrote and that are "
        "older than their limit. `watch` does the same while it runs, with the same options. Ages do not follow a "
        "clock that jumps. Only files with names as `watch` writes them are deleted, and in a folder whose index "
        "records none, nothing without --unrecorded.",
        epilog="example: edge-sphereface expire faces events.jsonl --keep-known 168h --keep-unknown 8h --keep-events "
        "30d --dry-run",
    )
    parser.add_argument(
        "place", nargs="+", type=Path, help="folder of snapshots or recordings, event file, queue or file of strangers"
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be deleted")
    parser.add_argument(
        "--unrecorded",
        action="store_true",
        help="also delete files in folders of which no file is recorded, if their names are as `watch` writes them",
    )
    parser.set_defaults(run=expire)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredPlace:
    """What was deleted in a folder, or from an event file, a queue or a file of strangers.

    Attributes:
        place: the folder or file.
        files: names of pictures and recordings.
        events: number of events.
        sightings: number of sightings of strangers.
        unrecorded: names of files that were left, since no file of the folder is recorded.
    """

    place: Path
    files: tuple[str, ...]
    events: int
    sightings: int
    unrecorded: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireReport:
    """What ``expire`` deleted.

    Attributes:
        dry_run: whether nothing was deleted in fact.
        places: one for each folder and file of the command line.
    """

    dry_run: bool
    places: tuple[ExpiredPlace, ...]


def expire(arguments: argparse.Namespace) -> Outcome:
    """Delete what is too old.

    Raises:
        UsageError: no limit was given.
        RetentionError: a place does not exist, holds no events, or cannot be changed.
        SinkError: a queue cannot be changed; another process may have it.
        StrangerError: a file of strangers cannot be changed.
    """
    limits = settings_from(RetentionLimits, vars(arguments))
    if limits.shortest_s is None:
        raise UsageError("No limit was given.", hint="such as --keep-known 168h --keep-unknown 8h --keep-events 30d")
    for place in arguments.place:
        if not place.exists():
            raise RetentionError(f"There is no folder or file {place}.", hint="check the path")
        if not place.is_dir() and not is_queue(place):
            _require_events(place)
    audit = None if arguments.dry_run else open_audit(arguments.audit)
    places = tuple(
        _expire_place(place, limits, dry_run=arguments.dry_run, unrecorded=arguments.unrecorded)
        for place in arguments.place
    )
    if audit is not None:
        detail = {
            "files": sum(len(place.files) for place in places),
            "events": sum(place.events for place in places),
            "strangers": sum(place.sightings for place in places),
        }
        audit.record("expire", subject="", by="edge-sphereface expire", detail=detail)
    report = ExpireReport(dry_run=arguments.dry_run, places=places)
    return Outcome(report, "\n".join(_place_text(place, dry_run=report.dry_run) for place in places))


def _require_events(place: Path) -> None:
    from edge_sphereface.retention.event_files import event_parts, holds_events

    parts = [part for part in event_parts(place) if part.stat().st_size]
    if parts and not any(map(holds_events, parts)):
        raise RetentionError(f"{place} is no event file: it holds no event.", hint="name a file that `watch` wrote")


def _expire_place(place: Path, limits: RetentionLimits, *, dry_run: bool, unrecorded: bool) -> ExpiredPlace:
    from edge_sphereface.retention import INDEX_NAME, Expired, FolderIndex, expire_event_file, expire_files
    from edge_sphereface.retention.held_files import find_files

    if is_strangers(place):
        sightings = _expire_strangers(place, limits.keep_strangers, dry_run=dry_run)
        return ExpiredPlace(place=place, files=(), events=0, sightings=sightings, unrecorded=())
    done = Expired()
    if place.is_dir() and not unrecorded and not (place / INDEX_NAME).exists():
        done = Expired(unrecorded=tuple(sorted(file.path.name for file in find_files(place))))
    else:
        with FolderIndex(place if place.is_dir() else place.parent) as index:
            if place.is_dir():
                done = expire_files(index, limits, dry_run=dry_run, adopt=unrecorded)
            elif limits.keep_events is not None and is_queue(place):
                done = Expired(events=_expire_queue(index, place, limits.keep_events, dry_run=dry_run))
            elif limits.keep_events is not None:
                done = expire_event_file(index, place, limits.keep_events, dry_run=dry_run)
    return ExpiredPlace(place=place, files=done.files, events=done.events, sightings=0, unrecorded=done.unrecorded)


def _expire_strangers(place: Path, keep_s: float | None, *, dry_run: bool) -> int:
    """Number of sightings that are too old; unless this is a dry run, they are deleted. No key is needed."""
    from edge_sphereface.strangers import StrangerStore

    if keep_s is None:
        return 0
    with StrangerStore(place) as store:
        return store.expire(keep_s, dry_run=dry_run)


def _expire_queue(index: FolderIndex, place: Path, keep_s: float, *, dry_run: bool) -> int:
    """Number of events that are too old; unless this is a dry run, they are deleted."""
    from edge_sphereface.retention.expiry import event_is_old
    from edge_sphereface.stream.outputs.events.outbox import Outbox

    is_old = event_is_old(index.event_ages(), keep_s)
    count = last = 0
    with closing(Outbox(place)) as queue:
        while messages := queue.after(last, _AT_ONCE):
            old = [number for number, _ in takewhile(lambda message: is_old(message[1]), messages)]
            if old and not dry_run:
                queue.forget(old)
            count += len(old)
            if len(old) < len(messages):
                break
            last = old[-1]
    return count


def _place_text(place: ExpiredPlace, *, dry_run: bool) -> str:
    verb = "would be deleted" if dry_run else "deleted"
    files = "1 file" if len(place.files) == 1 else f"{len(place.files)} files"
    events = "1 event" if place.events == 1 else f"{place.events} events"
    sightings = "1 sighting" if place.sightings == 1 else f"{place.sightings} sightings"
    what = files if place.place.is_dir() else sightings if is_strangers(place.place) else events
    lines = [f"{place.place}: {what} {verb}", *(f"  {name!a}"[:300] for name in place.files if dry_run)]
    if place.unrecorded:
        lines.append(
            f"  {len(place.unrecorded)} files were left: nothing records that `watch` wrote them (--unrecorded deletes)"
        )
    return "\n".join(lines)
