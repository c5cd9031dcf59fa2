"""Finds changed, removed, reordered and truncated lines of an audit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.audit.entry import FIRST_HASH, UNSEALED_LINE, AuditEntry
from edge_sphereface.audit.key import Anchor, AuditKey
from edge_sphereface.audit.parts import ANCHOR_FILE, AuditParts, lines_of
from edge_sphereface.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A line of an audit, as it is noted elsewhere.

    Attributes:
        sequence: number of the line.
        hash: its hash.
    """

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read ``SEQUENCE:HASH``.

        Raises:
            ValueError: the text has another form.
        """
        number, _, digest = text.partition(":")
        if not number.isascii() or not number.isdigit() or len(number) > 18 or len(digest) != len(FIRST_HASH):
            raise ValueError(f"expected SEQUENCE:HASH, as a check prints it, got {text!r:.40}")
        return cls(sequence=int(number), hash=digest)


_START = Head(sequence=0, hash=FIRST_HASH)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCheck:
    """What a check of an audit found.

    Attributes:
        audit: path of the file.
        entries: number of lines that were read, with those of rotated parts.
        head: the last line; None without lines. Note it on another machine, and a later check finds out whether
            everything before it is still there.
        sealed: whether the anchor's seal was verified with the key. A missing key is no problem, but then nothing
            shows that lines are missing at the end.
        problems: problems as sentences, at most 20. With any the exit code is 1.
        unsealed: numbers of lines that had no seal when the audit went on, as the line after each says, at most 20.
            Power failed while they were written, or they were added by hand.
    """

    audit: Path
    entries: int
    head: Head | None
    sealed: bool
    problems: tuple[str, ...]
    unsealed: tuple[int, ...]


def read_entries(path: Path, *, key: Path | None = None) -> Iterator[AuditEntry]:
    """The entries of an audit with its rotated parts, the oldest first; lines that are none are left out.

    Raises:
        AuditError: a part cannot be read.
    """
    for _, entry in _numbered(AuditParts(path, key)):
        if isinstance(entry, AuditEntry):
            yield entry


def read_pseudonym(path: Path, name: str, *, key: Path | None = None) -> str:
    """What stands for a name in an audit.

    Args:
        path: of the audit.
        name: name of an identity.
        key: file of the key; None for ``FILE.key``.

    Raises:
        AuditError: the key is missing or damaged.
    """
    return AuditKey.read(AuditParts(path, key).key).pseudonym(name)


def check_audit(path: Path, *, key: Path | None = None, head: Head | None = None, after: Head = _START) -> AuditCheck:
    """Check an audit with its rotated parts.

    Whoever owns the files *and* the key can write another audit that passes. Only a head that was noted elsewhere finds
    that out.

    Args:
        path: of the file.
        key: file of the key; None for ``FILE.key``.
        head: a line that must be there, noted at an earlier check; None for none.
        after: the last line of parts that were moved away.

    Raises:
        AuditError: a file cannot be read.
    """
    parts = AuditParts(path, key)
    problems: list[str] = []
    unsealed: list[int] = []
    heads = [after]
    noted = head is None or head == after
    count = 0
    for place, entry in _numbered(parts):
        count += 1
        if isinstance(entry, str):
            problems.append(f"{place}: {entry}")
            continue
        last = heads[-1]
        if entry.computed_hash() != entry.hash:
            problems.append(f"{place}: line {entry.sequence} was changed")
        if entry.sequence != last.sequence + 1:
            why = (
                "lines were removed or moved away"
                if entry.sequence > last.sequence
                else "lines were repeated or reordered"
            )
            problems.append(f"{place}: expected line {last.sequence + 1}, got line {entry.sequence}: {why}")
        elif entry.previous != last.hash:
            problems.append(f"{place}: line {entry.sequence} does not follow the line before it")
        if entry.action == UNSEALED_LINE:
            unsealed.append(last.sequence)
        heads = [last, Head(sequence=entry.sequence, hash=entry.hash)]
        noted = noted or heads[-1] == head
    if not noted and head is not None:
        problems.append(f"line {head.sequence} is not the one that was noted")
    end = _EndCheck(parts)
    problems += end.problems(heads)
    return AuditCheck(
        audit=path,
        entries=count,
        head=heads[-1] if count else None,
        sealed=end.sealed,
        problems=tuple(problems[:_MOST_NAMED]),
        unsealed=tuple(unsealed[:_MOST_NAMED]),
    )


class _EndCheck:
    """Compares the end of an audit with its anchor."""

    def __init__(self, parts: AuditParts) -> None:
        self._parts = parts
        self.sealed = False

    def problems(self, heads: list[Head]) -> Iterator[str]:
        """What is wrong with the last two lines."""
        if not os.path.lexists(self._parts.anchor):
            yield "the anchor, which names the last line, is missing: lines may be missing at the end"
            return
        try:
            anchor = Anchor.from_json(ANCHOR_FILE.read(self._parts.anchor))
        except AuditError as error:
            yield error.message
            return
        if os.path.lexists(self._parts.key):
            self.sealed = AuditKey.read(self._parts.key).has_sealed(anchor)
            if not self.sealed:
                yield "the anchor was not made with the audit's key"
        named = Head(sequence=anchor.sequence, hash=anchor.hash)
        if named not in heads:
            yield f"the audit does not end with line {anchor.sequence}, which was the last one"
        elif named != heads[-1]:
            yield f"line {heads[-1].sequence} is not sealed: power failed while it was written, or it was added by hand"


def _numbered(parts: AuditParts) -> Iterator[tuple[str, AuditEntry | str]]:
    """The place of each line, and its entry, or what is wrong with it."""
    for path in [*parts.rotated(), parts.path]:
        for number, line in enumerate(lines_of(path), start=1):
            place = f"{path.name}:{number}"
            if not line.endswith(b"\n"):
                yield place, "the line is not complete"
                continue
            try:
                entry = AuditEntry.from_json(line[:-1])
            except AuditError as error:
                yield place, error.message
                continue
            yield place, entry if entry.line() == line else "the line was changed"
