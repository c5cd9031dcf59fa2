"""The command ``ignore``: recognize people without reporting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import gallery_options, json_option, open_named_gallery
from edge_sphereface.cli.audit_command import audit_option, open_audit
from edge_sphereface.cli.runner import Outcome

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.gallery import Identity


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "ignore",
        parents=[json_option(), gallery_options(), audit_option()],
        help="recognize people without reporting them, such as the postman",
        description="Choose people of a gallery who are recognized, but never reported by `watch`: it makes no events "
        "and no snapshots of them. `identify` answers `ignored` without a name, and lists them among the nearest "
        "people like everybody in the gallery. They still count when others are decided: a face that is nearest to an "
        "ignored person is nobody else. A running `watch` follows at its next look at a face.",
        epilog="example: edge-sphereface ignore --gallery people.db 'The postman'",
    )
    parser.add_argument("name", nargs="+", help="name of an identity")
    parser.add_argument("--undo", action="store_true", help="report them again")
    parser.set_defaults(run=ignore)


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreReport:
    """What ``ignore`` did.

    Attributes:
        gallery: where the gallery is.
        people: the identities as they are now.
    """

    gallery: str
    people: tuple[Identity, ...]


def ignore(arguments: argparse.Namespace) -> Outcome:
    """All of the names, or none if one is not there."""
    audit = open_audit(arguments.audit)
    with open_named_gallery(arguments, None) as gallery:
        gallery.require_writable()
        before = list({one.name: one for one in map(gallery.get, arguments.name)}.values())
        people = []
        for one in before:
            people.append(gallery.set_ignored(one.name, not arguments.undo))
            if audit is not None and one.ignored == arguments.undo:
                action = "unignore" if arguments.undo else "ignore"
                audit.record(action, subject=one.name, by="edge-sphereface ignore")
        report = IgnoreReport(gallery=gallery.location, people=tuple(people))
    changed = [one.name for one in before if one.ignored == arguments.undo]
    unchanged = [one.name for one in before if one.ignored != arguments.undo]
    done, already = ("reported again", "not ignored before") if arguments.undo else ("ignored", "ignored already")
    lines = [f"{done}: {', '.join(changed)}"] if changed else []
    lines += [f"{already}, nothing changed: {', '.join(unchanged)}"] if unchanged else []
    return Outcome(report, "\n".join(lines))
