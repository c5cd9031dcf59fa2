"""The command ``strangers``: who without a name was seen, and what is to become of them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    gallery_group,
    gallery_options,
    json_option,
    open_named_gallery,
    positive,
    require_picture,
)
from edge_sphereface.cli.audit_command import audit_option, open_audit
from edge_sphereface.cli.option import option_parser
from edge_sphereface.cli.runner import Outcome, UsageError
from edge_sphereface.storage.bounded_json import escaped
from edge_sphereface.strangers.records import KeptSighting, Stranger  # noqa: TC001 -- read for the JSON Schema

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from edge_sphereface.cli.runner import Commands, Parser
    from edge_sphereface.gallery import Enrollment
    from edge_sphereface.strangers import StrangerStore

_BY = "edge-sphereface strangers"


def add_command(commands: Commands) -> None:
    """Add this command and those below it to the parser."""
    parser = commands.add_parser(
        "strangers",
        help="show people without a name who were seen, name them or forget them",
        description="Show whom `watch --strangers FILE` has seen without a name, enroll them, or forget "
        "them. Every command has --json.",
        epilog="example: edge-sphereface strangers list --strangers strangers.db",
    )
    below: Commands = parser.add_subparsers(title="commands", dest="strangers_command", required=True)
    _add_list(below)
    _add_show(below)
    _add_name(below)
    _add_ignore(below)
    _add_forget(below)


def _add(below: Commands, name: str, *more: Parser, does: str, description: str, example: str) -> Parser:
    parser = below.add_parser(
        name,
        parents=[json_option(), *more],
        help=does,
        description=description,
        epilog=f"example: edge-sphereface strangers {example}",
    )
    parser.add_argument(
        "--strangers", type=Path, required=True, metavar="FILE", help="file that `watch --strangers` keeps"
    )
    return parser


def _key_option() -> Parser:
    return option_parser([option for option in gallery_group() if option.name == "key-file"])


def _add_list(below: Commands) -> None:
    parser = _add(
        below,
        "list",
        _key_option(),
        does="list the strangers, those seen most often first",
        description="List the strangers, those seen most often first, with how often, when and where. IDs stay while "
        "sightings come and expire.",
        example="list --strangers strangers.db",
    )
    parser.add_argument(
        "--least", type=positive, default=1, metavar="N", help="only those who were seen N times or more (default: 1)"
    )
    parser.set_defaults(run=list_strangers)


def _add_show(below: Commands) -> None:
    parser = _add(
        below,
        "show",
        _key_option(),
        does="show the sightings of a stranger",
        description="Show the sightings of a stranger, the best crop first, and write that crop to a file.",
        example="show s-3fa2c1 --strangers strangers.db --crop stranger.png",
    )
    parser.add_argument("id", help="ID of the stranger")
    parser.add_argument(
        "--crop", type=Path, metavar="FILE", help="write the best crop to this .png or .jpg file (mode 0600)"
    )
    parser.set_defaults(run=show)


def _add_name(below: Commands) -> None:
    parser = _add(
        below,
        "name",
        gallery_options(),
        audit_option(),
        does="enroll a stranger in the gallery",
        description="Enroll the best sightings of a stranger in the gallery under a name, which may exist already, and "
        "remove all sightings from the file. No photograph and no model is needed. The gallery has no limit of time: "
        "what it holds stays until the person is removed.",
        example="name s-3fa2c1 'Ann Lee' --strangers strangers.db --gallery people.db",
    )
    parser.add_argument("id", help="ID of the stranger")
    parser.add_argument("name", help="name of the person, in any script")
    parser.set_defaults(run=name_stranger)


def _add_ignore(below: Commands) -> None:
    parser = _add(
        below,
        "ignore",
        gallery_options(),
        audit_option(),
        does="enroll a stranger who is never reported",
        description="Enroll a stranger as `name` does, as a person who is recognized and never reported, such as the "
        "postman. `edge-sphereface ignore NAME --undo` reports them again. The gallery has no limit of time: what it "
        "holds stays until the person is removed.",
        example="ignore s-3fa2c1 postman --strangers strangers.db --gallery people.db",
    )
    parser.add_argument("id", help="ID of the stranger")
    parser.add_argument("name", help="name of the person, or of their task, such as postman")
    parser.set_defaults(run=ignore)


def _add_forget(below: Commands) -> None:
    parser = _add(
        below,
        "forget",
        _key_option(),
        audit_option(),
        does="remove the sightings of a stranger, or of all",
        description="Remove the sightings of a stranger, or of all strangers. Removal is permanent.",
        example="forget s-3fa2c1 --strangers strangers.db",
    )
    parser.add_argument("id", nargs="?", help="ID of the stranger")
    parser.add_argument("--all", action="store_true", help="forget all strangers")
    parser.set_defaults(run=forget)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangersReport:
    """The strangers of a file.

    Attributes:
        strangers: those seen most often first.
    """

    strangers: tuple[Stranger, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerReport:
    """A stranger.

    Attributes:
        stranger: how often, when and where.
        sightings: each of the sightings, the best crop first.
        crop: file to which the best crop was written; None without ``--crop``.
    """

    stranger: Stranger
    sightings: tuple[KeptSighting, ...]
    crop: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedStrangerReport:
    """What ``strangers name`` or ``strangers ignore`` did.

    Attributes:
        id: ID of the stranger, who is none any more.
        enrolled: what was added to the gallery.
        ignored: whether the person is never reported, because of this command.
    """

    id: str
    enrolled: Enrollment
    ignored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenStrangersReport:
    """What ``strangers forget`` did.

    Attributes:
        sightings: number of sightings that were removed.
    """

    sightings: int


def list_strangers(arguments: argparse.Namespace) -> Outcome:
    """List the strangers."""
    with _store(arguments) as store:
        found = tuple(stranger for stranger in store.strangers() if stranger.sightings >= arguments.least)
    lines = [_text(stranger) for stranger in found] or ["no strangers"]
    if found:
        file = shlex.quote(str(arguments.strangers))
        lines.append(
            f"picture of one: edge-sphereface strangers show {escaped(found[0].id)} --strangers {file} --crop FILE.jpg"
        )
    return Outcome(StrangersReport(strangers=found), "\n".join(lines))


def show(arguments: argparse.Namespace) -> Outcome:
    """Show the sightings of a stranger.

    Raises:
        UsageError: the crop cannot be written to a file of this name.
    """
    from edge_sphereface.image import save_image

    if arguments.crop is not None:
        require_picture(arguments.crop)
    with _store(arguments) as store:
        stranger, sightings = store.get(arguments.id), store.sightings(arguments.id)
        if arguments.crop is not None:
            save_image(arguments.crop, store.best_crop(arguments.id))
    report = StrangerReport(stranger=stranger, sightings=sightings, crop=arguments.crop)
    times = sorted(sightings, key=lambda sighting: sighting.start)
    lines = [_line(sighting) for sighting in times]
    written = [] if arguments.crop is None else [f"written: {arguments.crop}"]
    return Outcome(report, "\n".join([_text(stranger), *lines, *written]))


def name_stranger(arguments: argparse.Namespace) -> Outcome:
    """Enroll a stranger."""
    return _enroll(arguments, arguments.name, is_ignored=False)


def ignore(arguments: argparse.Namespace) -> Outcome:
    """Enroll a stranger who is never reported."""
    return _enroll(arguments, arguments.name, is_ignored=True)


def _enroll(arguments: argparse.Namespace, name: str, *, is_ignored: bool) -> Outcome:
    from edge_sphereface.strangers import enroll_stranger

    audit = open_audit(arguments.audit)
    with _store(arguments) as store, open_named_gallery(arguments, store.fingerprint) as gallery:
        ignored = True if is_ignored else None
        enrollment = enroll_stranger(store, arguments.id, name, gallery, ignored=ignored)
    if audit is not None:
        detail: dict[str, str | float] = {"embeddings": enrollment.added, **({"ignored": "yes"} if is_ignored else {})}
        by = f"{_BY} {'ignore' if is_ignored else 'name'}"
        audit.record("enroll", subject=enrollment.name, by=by, detail=detail)
    text = f"{enrollment.name}: {enrollment.added} added, {enrollment.embeddings} in all"
    lines = [f"{text}, never reported" if is_ignored else text, "kept in the gallery until the person is removed"]
    report = NamedStrangerReport(id=arguments.id, enrolled=enrollment, ignored=is_ignored)
    return Outcome(report, "\n".join(lines))


def forget(arguments: argparse.Namespace) -> Outcome:
    """Remove sightings.

    Raises:
        UsageError: neither an ID nor ``--all``, or both.
    """
    if (arguments.id is None) != arguments.all:
        raise UsageError("Expected the ID of a stranger, or --all.", hint="`strangers list` shows the IDs")
    audit = open_audit(arguments.audit)
    with _store(arguments) as store:
        count = store.forget(arguments.id)
    if audit is not None:
        audit.record("remove", subject="", by=f"{_BY} forget", detail={"strangers": count})
    return Outcome(ForgottenStrangersReport(sightings=count), f"{_sightings(count)} removed")


def _store(arguments: argparse.Namespace) -> StrangerStore:
    from edge_sphereface.gallery import read_key
    from edge_sphereface.strangers import StrangerStore

    return StrangerStore(arguments.strangers, key=read_key(arguments.key_file))


def _text(stranger: Stranger) -> str:
    days = "1 day" if stranger.days == 1 else f"{stranger.days} days"
    when = f"first {_when(stranger.first)}, last {_when(stranger.last)}"
    cameras = ", ".join(map(escaped, stranger.cameras))
    return f"{escaped(stranger.id)}: {_sightings(stranger.sightings)} on {days}, {when}, {cameras}"


def _line(sighting: KeptSighting) -> str:
    length_s = (sighting.end - sighting.start).total_seconds()
    start = f"{sighting.start.astimezone():%Y-%m-%d %H:%M:%S %z}"
    return f"  {start}, {length_s:.1f} s, quality {sighting.quality:.2f}, {escaped(sighting.camera)}"


def _when(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _sightings(count: int) -> str:
    return "1 sighting" if count == 1 else f"{count} sightings"
