"""The command ``audit``: check and show an audit file."""

from __future__ import annotations

import argparse
import os
from collections import deque
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import json_option, positive
from edge_sphereface.cli.option import Option, option_parser
from edge_sphereface.cli.runner import Outcome, Parser

if TYPE_CHECKING:
    from edge_sphereface.audit import AuditCheck, AuditEntry, AuditLog, Head
    from edge_sphereface.cli.runner import Commands

AUDIT_VARIABLE = "EDGE_SPHEREFACE_AUDIT"


@cache
def audit_option() -> Parser:
    """``--audit`` of commands that an audit records."""
    return option_parser(
        [
            Option(
                name="audit",
                read=Path,
                metavar="FILE",
                help=f"append what is done to this audit file, without names (default: ${AUDIT_VARIABLE}, or none)",
            )
        ]
    )


def open_audit(named: Path | None) -> AuditLog | None:
    """The audit that was named, or the one in the environment, after a look whether it can be written; None for none.

    Raises:
        AuditError: it cannot be written, or is not as it was left.
    """
    place = named or os.environ.get(AUDIT_VARIABLE)
    if not place:
        return None
    from edge_sphereface.audit import AuditLog

    log = AuditLog(Path(place))
    log.prepare()
    return log


def add_command(commands: Commands) -> None:
    """Add this command and those below it to the parser."""
    parser = commands.add_parser(
        "audit",
        help="check and show an audit file",
        description="Check and show the file of what was done with whom, as --audit writes it. Every command has "
        "--help with an example, and --json.",
        epilog="example: edge-sphereface audit check audit.jsonl",
    )
    below = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_check(below)
    _add_show(below)


def _add_check(commands: Commands) -> None:
    parser = commands.add_parser(
        "check",
        parents=[json_option(), _file_options()],
        help="find changed, removed, reordered and truncated lines",
        description="Check an audit file with its rotated parts and its anchor. Exit code 1 if a check fails. Whoever "
        "owns the file and its key can write another one that passes: note the printed head on another machine, and "
        "give it to a later check.",
        epilog="example: edge-sphereface audit check audit.jsonl",
    )
    parser.add_argument("--head", type=_head, metavar="LINE:HASH", help="a head that was noted; it must be there")
    parser.add_argument(
        "--after", type=_head, metavar="LINE:HASH", help="the last line of rotated parts that were moved away"
    )
    parser.set_defaults(run=check, is_check=True)


def _file_options() -> Parser:
    parser = Parser(add_help=False)
    parser.add_argument("file", type=Path, help="audit file")
    parser.add_argument("--key", type=Path, metavar="FILE", help="key of the audit (default: FILE.key)")
    return parser


def _head(text: str) -> Head:
    from edge_sphereface.audit import Head

    try:
        return Head.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def check(arguments: argparse.Namespace) -> Outcome:
    """What is wrong, if anything."""
    from edge_sphereface.audit import check_audit

    beginning = {} if arguments.after is None else {"after": arguments.after}
    report = check_audit(arguments.file, key=arguments.key, head=arguments.head, **beginning)
    return Outcome(report, _check_text(report), passed=not report.problems)


def _check_text(report: AuditCheck) -> str:
    if report.problems:
        return "\n".join(report.problems)
    lines = "1 line" if report.entries == 1 else f"{report.entries} lines"
    state = "complete and sealed" if report.unsealed else "nothing wrong"
    if not report.sealed:
        state = "the seal is unchecked, as the key is not here: lines may be missing at the end"
    unsealed = "".join(
        f"\nline {number} had no seal when the audit went on: "
        "power failed while it was written, or it was added by hand"
        for number in report.unsealed
    )
    head = "" if report.head is None else f"\nhead {report.head}: note it on another machine"
    return f"{report.audit}: {lines}, {state}{unsealed}{head}"


def _add_show(commands: Commands) -> None:
    parser = commands.add_parser(
        "show",
        parents=[json_option(), _file_options()],
        help="list the newest lines, of one person if asked",
        description="List the newest lines of an audit. With --subject only those about one person, whose name the key "
        "turns into a pseudonym: also of somebody who was removed everywhere.",
        epilog="example: edge-sphereface audit show audit.jsonl --subject 'Ann Lee'",
    )
    parser.add_argument("--subject", metavar="NAME", help="name of a person")
    parser.add_argument("--action", metavar="ACTION", help="only this action, such as enroll")
    parser.add_argument("--last", type=positive, default=100, metavar="N", help="lines to show (default: 100)")
    parser.set_defaults(run=show)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What ``audit show`` found.

    Attributes:
        audit: path of the file.
        subject: pseudonym of the person that was asked for; None without one.
        found: number of lines that match.
        entries: the newest of them, the oldest first.
    """

    audit: Path
    subject: str | None
    found: int
    entries: tuple[AuditEntry, ...]


def show(arguments: argparse.Namespace) -> Outcome:
    """The newest lines that match."""
    from edge_sphereface.audit import read_entries, read_pseudonym

    subject = None
    if arguments.subject is not None:
        subject = read_pseudonym(arguments.file, arguments.subject, key=arguments.key)
    newest: deque[AuditEntry] = deque(maxlen=arguments.last)
    found = 0
    for entry in read_entries(arguments.file, key=arguments.key):
        if subject in (None, entry.subject) and arguments.action in (None, entry.action):
            newest.append(entry)
            found += 1
    report = AuditReport(audit=arguments.file, subject=subject, found=found, entries=tuple(newest))
    return Outcome(report, "\n".join(map(_entry_text, newest)) or "no line matches")


def _entry_text(entry: AuditEntry) -> str:
    detail = "".join(f"  {name}={value}" for name, value in entry.detail.items())
    return f"{entry.sequence:>6}  {entry.time}  {entry.action:<10} {entry.subject or '-':<32}  by {entry.by}{detail}"
