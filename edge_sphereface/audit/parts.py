"""The files of one audit: the file itself, its rotated parts, its anchor and its key."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.audit.entry import LONGEST_LINE, AuditEntry
from edge_sphereface.errors import AuditError
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_BYTES = 1 << 40
AUDIT_FILE = RegularFile(what="audit", limit=_MOST_BYTES, error=AuditError, hint="check the path")
ANCHOR_FILE = RegularFile(what="anchor of the audit", limit=1024, error=AuditError, hint="check the audit")


@dataclass(frozen=True, slots=True)
class AuditParts:
    """Names of the files of an audit.

    Attributes:
        path: of the file that is written to. Rotated parts are named ``FILE.000001`` and so on, the oldest first.
        named_key: of the key; None for ``FILE.key``.
    """

    path: Path
    named_key: Path | None = None

    @property
    def key(self) -> Path:
        """File of the key."""
        return self.named_key or Path(f"{self.path}.key")

    @property
    def anchor(self) -> Path:
        """File that names the last line."""
        return Path(f"{self.path}.anchor")

    def rotated(self) -> list[Path]:
        """The rotated parts that exist, the oldest first.

        Raises:
            AuditError: the folder cannot be read.
        """
        form = re.compile(re.escape(self.path.name) + r"\.(\d{6})")
        try:
            return sorted(path for path in self.path.parent.iterdir() if form.fullmatch(path.name))
        except OSError as error:
            raise AuditError(f"Cannot read {self.path.parent}: {error.strerror}.", hint="check the path") from error

    def next_rotated(self) -> Path:
        """Name of the next rotated part."""
        last = self.rotated()[-1:]
        number = int(last[0].name.rpartition(".")[2]) + 1 if last else 1
        return Path(f"{self.path}.{number:06}")


def last_entry(path: Path) -> AuditEntry | None:
    """The last complete line of a part; None if it has none.

    Raises:
        AuditError: the part cannot be read, or its last complete line is no line of an audit.
    """
    with AUDIT_FILE.open(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        start = max(size - 2 * LONGEST_LINE, 0)
        stream.seek(start)
        lines = stream.read(2 * LONGEST_LINE).split(b"\n")[:-1]
    if start and len(lines) < 2:
        raise AuditError(f"A line of {path} is longer than {LONGEST_LINE} bytes.", hint="check the audit")
    return AuditEntry.from_json(lines[-1]) if lines else None


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a part with their line breaks; a longer one than any audit has comes in pieces.

    Raises:
        AuditError: the part cannot be read.
    """
    with AUDIT_FILE.open(path) as stream:
        while line := stream.readline(LONGEST_LINE + 1):
            yield line
