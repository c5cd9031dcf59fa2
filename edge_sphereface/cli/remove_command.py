"""The command ``remove``: delete one person from a gallery, and everywhere."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import gallery_options, json_option, named_gallery, open_named_gallery
from edge_sphereface.cli.audit_command import audit_option, open_audit
from edge_sphereface.cli.camera_tables import TABLE, camera_options
from edge_sphereface.cli.configuration import read_configuration
from edge_sphereface.cli.kept_files import is_queue, is_strangers
from edge_sphereface.cli.runner import Outcome, UsageError
from edge_sphereface.cli.watch_options import watch_group
from edge_sphereface.errors import EdgeSphereFaceError, IdentityNotFoundError, RetentionError
from edge_sphereface.names import stored_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.model.fingerprint import Fingerprint
    from edge_sphereface.retention.erasure import FoundPictures
    from edge_sphereface.retention.mentions import Mentions
    from edge_sphereface.types import Float32Array

_WRITTEN_SETTINGS = ("snapshots", "record", "events", "mqtt_spool", "webhook_spool", "strangers")
"""Settings of ``watch`` that name what it writes."""
_QUEUE_FOLDERS = ("mqtt", "webhook")
"""Folders of the cache in which ``watch`` keeps queues of events."""
_DAMAGED = ".damaged"
"""What an outbox that cannot be read is renamed to ends with."""
_MOST_SHOWN = 10


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "remove",
        parents=[json_option(), gallery_options(required=False), audit_option()],
        help="remove people from a gallery, and from everything that watch wrote about them",
        description="Remove people from a gallery, as `gallery remove` does. With --everywhere, also delete the "
        "snapshots and recordings that show them, remove their events from files and queues, with the events of "
        "others that name them as candidates rewritten, and remove the sightings of strangers that resemble them. "
        "Stop `watch` first where it keeps a queue. Removal is permanent. The audit keeps a pseudonym. Exit code 1 if "
        "something may be left.",
        epilog="example: edge-sphereface remove 'Ann Lee' --gallery people.db --everywhere --config watch.toml",
    )
    parser.add_argument("name", nargs="+", help="name of an identity")
    parser.add_argument(
        "--everywhere", action="store_true", help="remove them from what `watch` wrote, too: in --in and --config"
    )
    parser.add_argument(
        "--in",
        dest="places",
        action="append",
        type=Path,
        default=[],
        metavar="PATH",
        help="folder of snapshots, recordings or queues, event file, or file of strangers; may be given again",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="settings of `watch`, which name these folders and files"
    )
    parser.add_argument(
        "--shared", action="store_true", help="delete files that show other people by name as well; else refuse"
    )
    parser.add_argument(
        "--unrecorded", action="store_true", help="delete files of which it is not recorded who is in them"
    )
    parser.set_defaults(run=remove)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedPlace:
    """What was removed from a folder, an event file or a file of strangers.

    Attributes:
        place: the folder or file.
        files: names of the pictures and recordings that were deleted.
        events: number of events that were removed or rewritten.
        sightings: number of sightings of strangers that were removed.
        unrecorded: names of files that were left, of which it is not recorded who is in them.
        problem: why not all of it could be removed; empty if all was.
    """

    place: Path
    files: tuple[str, ...]
    events: int
    sightings: int
    unrecorded: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedReport:
    """What ``remove`` did.

    Attributes:
        removed: names of the people.
        embeddings: number of embeddings that were removed from the gallery.
        places: what was removed elsewhere; empty without ``--everywhere``. The exit code is 1 if one has a problem or
            files that are not recorded.
    """

    removed: tuple[str, ...]
    embeddings: int
    places: tuple[ErasedPlace, ...] = field(default=())


def remove(arguments: argparse.Namespace) -> Outcome:
    """Remove people from the gallery first, so that a stream names them no more, and then elsewhere.

    Raises:
        UsageError: neither a gallery nor ``--everywhere``, or a name is empty.
        IdentityNotFoundError: a person is not in the gallery, and nothing else is to be searched.
        RetentionError: files show other people as well, and it was not said to delete them.
    """
    names = tuple(arguments.name)
    if named_gallery(arguments) is None and not arguments.everywhere:
        raise UsageError("No gallery was named.", hint="give --gallery PLACE, or --everywhere with --in PATH")
    if not all(map(stored_name, names)):
        raise UsageError("Expected a name, got an empty one.", hint="files of unknown people follow --keep-unknown")
    places = list(_places(arguments)) if arguments.everywhere else []
    pictures = _pictures(places, names, may_be_shared=arguments.shared)
    audit = open_audit(arguments.audit)
    faces = _Faces.of(arguments, names) if any(map(is_strangers, places)) else None
    embeddings = 0 if named_gallery(arguments) is None else _remove_from_gallery(arguments, names)
    erased = _Eraser(names, faces, delete_unrecorded=arguments.unrecorded).erase(places, pictures)
    report = RemovedReport(removed=names, embeddings=embeddings, places=tuple(erased))
    if audit is not None:
        detail: dict[str, str | float] = {
            "embeddings": embeddings,
            "files": sum(len(place.files) for place in erased),
            "events": sum(place.events for place in erased),
            "strangers": sum(place.sightings for place in erased),
            "problems": sum(bool(place.problem or place.unrecorded) for place in erased),
            "everywhere": str(arguments.everywhere).lower(),
        }
        for name in names:
            audit.record("remove", subject=stored_name(name), by="edge-sphereface remove", detail=detail)
    passed = not any(place.problem or place.unrecorded for place in erased)
    return Outcome(report, _removed_text(report), passed=passed)


def _places(arguments: argparse.Namespace) -> Iterator[Path]:
    """Every folder and event file to search, each once."""
    from edge_sphereface.storage.cache import cache_folder

    named = list(arguments.places)
    if arguments.config is not None:
        values = read_configuration(watch_group(), ["--config", str(arguments.config)], {TABLE: camera_options()})
        named += [values[name] for name in _WRITTEN_SETTINGS if values.get(name) is not None]
    named += [place for name in _QUEUE_FOLDERS if (place := cache_folder() / name).is_dir()]
    if not named:
        raise UsageError("No place was named.", hint="give --in PATH for each folder and event file, or --config FILE")
    seen = set()
    for place in named:
        if place in arguments.places and not place.exists():
            raise RetentionError(f"There is no folder or file {place}.", hint="check the path")
        if (resolved := place.resolve()) not in seen:
            seen.add(resolved)
            yield place


def _pictures(places: Sequence[Path], names: Sequence[str], *, may_be_shared: bool) -> dict[Path, FoundPictures]:
    from edge_sphereface.retention.erasure import find_pictures, refuse_shared

    found = {place: find_pictures(place, names) for place in places if place.is_dir()}
    if not may_be_shared:
        refuse_shared(found.values())
    return found


def _remove_from_gallery(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    """Number of embeddings that were removed. Where other places are searched, a person may be missing here."""
    with open_named_gallery(arguments, None) as gallery:
        if not arguments.everywhere:
            return gallery.remove(names)
        embeddings = 0
        for name in names:
            try:
                embeddings += gallery.remove([name])
            except IdentityNotFoundError:
                continue
        return embeddings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Faces:
    """The faces of people who are to be removed, before they are.

    Attributes:
        templates: (P, D) float32, their templates.
        fingerprint: fingerprint of these.
        threshold: similarity from which a face is one of theirs.
        key: key of the gallery, which files of strangers share; None if it is not encrypted.
    """

    templates: Float32Array
    fingerprint: Fingerprint
    threshold: float
    key: bytes | None

    @classmethod
    def of(cls, arguments: argparse.Namespace, names: Sequence[str]) -> _Faces | None:
        """The faces in the gallery; None if there is no gallery or threshold, or none of these people is in it."""
        import numpy as np

        from edge_sphereface.gallery import read_key

        if named_gallery(arguments) is None:
            return None
        with open_named_gallery(arguments, None) as gallery:
            templates = [template for name in names if (template := gallery.template(name)) is not None]
            threshold, fingerprint = gallery.threshold, gallery.fingerprint
        if not templates or threshold is None:
            return None
        key = read_key(arguments.key_file)
        return cls(templates=np.stack(templates), fingerprint=fingerprint, threshold=threshold.value, key=key)

    def show(self, faces: Float32Array) -> list[bool]:
        """Whether embeddings (N, D) show one of these people."""
        shown: list[bool] = ((faces @ self.templates.T).max(axis=1) >= self.threshold).tolist()
        return shown


class _Eraser:
    def __init__(self, names: Sequence[str], faces: _Faces | None, *, delete_unrecorded: bool) -> None:
        self._names, self._faces, self._delete_unrecorded = names, faces, delete_unrecorded

    def erase(self, places: Sequence[Path], pictures: dict[Path, FoundPictures]) -> list[ErasedPlace]:
        from edge_sphereface.retention.mentions import Mentions

        mentions = Mentions(self._names)
        strangers = [place for place in places if is_strangers(place)]
        files = [place for place in places if not place.is_dir() and not is_queue(place)]
        erased = [self._erase_events(place, mentions) for place in files]
        erased += [self._erase_strangers(place) for place in strangers]
        for place in places:
            if place not in files and place not in strangers:
                found = pictures.get(place)
                queues = [place] if found is None else _queues_in(place)
                erased.append(self._erase_folder(place, found, queues, mentions))
        return erased

    @staticmethod
    def _erase_events(place: Path, mentions: Mentions) -> ErasedPlace:
        from edge_sphereface.retention.erasure import erase_events

        count, problem = 0, ""
        try:
            count = erase_events([place], mentions)
        except EdgeSphereFaceError as error:
            problem = str(error)
        return ErasedPlace(place=place, files=(), events=count, sightings=0, unrecorded=(), problem=problem)

    def _erase_strangers(self, place: Path) -> ErasedPlace:
        from edge_sphereface.strangers import StrangerStore

        count, problem = 0, ""
        if self._faces is None:
            problem = "It may show them: their faces are in no gallery that was named. Forget all strangers to be sure."
        else:
            try:
                with StrangerStore(place, key=self._faces.key) as store:
                    store.fingerprint.require(self._faces.fingerprint, f"The file of strangers {place}")
                    count = store.forget_known(self._faces.show)
            except EdgeSphereFaceError as error:
                problem = str(error)
        return ErasedPlace(place=place, files=(), events=0, sightings=count, unrecorded=(), problem=problem)

    def _erase_folder(
        self, place: Path, found: FoundPictures | None, queues: Sequence[Path], mentions: Mentions
    ) -> ErasedPlace:
        from edge_sphereface.retention.erasure import erase_pictures
        from edge_sphereface.stream.outputs.events.outbox import Outbox

        files: tuple[str, ...] = ()
        left: tuple[str, ...] = ()
        count, problems = 0, []
        if found is not None:
            files = (*found.alone, *found.shared, *(found.unrecorded if self._delete_unrecorded else ()))
            left = () if self._delete_unrecorded else found.unrecorded
            try:
                erase_pictures(place, files, self._names)
            except EdgeSphereFaceError as error:
                files, left = (), (*files, *left)
                problems.append(str(error))
        for path in (queue for queue in queues if queue.suffix != _DAMAGED):
            try:
                with closing(Outbox(path)) as queue:
                    count += queue.rewrite(mentions.learn, mentions.without)
            except EdgeSphereFaceError as error:
                problems.append(str(error))
        unread = {queue if queue.suffix == _DAMAGED else queue.with_name(queue.name + _DAMAGED) for queue in queues}
        problems += [
            f"{path} is a damaged queue and may name them. Delete it." for path in sorted(unread) if path.exists()
        ]
        return ErasedPlace(
            place=place, files=files, events=count, sightings=0, unrecorded=left, problem="; ".join(problems)
        )


def _queues_in(folder: Path) -> list[Path]:
    from edge_sphereface.stream.outputs.events.outbox import is_outbox

    return sorted(filter(is_outbox, folder.iterdir()))


def _removed_text(report: RemovedReport) -> str:
    embeddings = "1 embedding" if report.embeddings == 1 else f"{report.embeddings} embeddings"
    lines = [f"removed {', '.join(report.removed)} with {embeddings} from the gallery"]
    for place in report.places:
        what = f"{len(place.files)} files deleted, {place.events} events removed or rewritten"
        if place.sightings or is_strangers(place.place):
            what = f"{place.sightings} sightings removed"
        lines.append(f"{place.place}: {what}")
        if place.unrecorded:
            names = ", ".join(ascii(name) for name in place.unrecorded[:_MOST_SHOWN])
            lines.append(
                f"  {len(place.unrecorded)} files may show them, nothing is recorded of who is in them: {names}"
            )
        if place.problem:
            lines.append(f"  {place.problem}")
    return "\n".join(lines)
