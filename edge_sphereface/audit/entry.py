"""Lines of an audit file, each of which holds the hash of the line before."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from edge_sphereface.errors import AuditError
from edge_sphereface.storage.record import Between, Count, Length, Pattern, Record, Sha256

FIRST_HASH = "0" * 64
"""Stands in the first line for the hash of a line before."""
LONGEST_LINE = 1 << 14
"""In bytes, with the line break."""
UNSEALED_LINE = "unsealed-line"
"""Action of an entry that says: the line before it had no seal when the audit went on."""

_Text = Annotated[str, Length(200)]
_Pseudonym = Annotated[str, Pattern(r"[0-9a-f]{32}", "of 32 hexadecimal digits")]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(Record):
    """One line of an audit file.

    Attributes:
        version: version of the format.
        sequence: number of the line, from 1, without gaps, also over rotated files.
        time: when it was written: UTC, ISO 8601 with milliseconds, by the machine's clock.
        action: what was done, such as ``enroll``.
        subject: keyed pseudonym of the person; None where it concerns nobody in particular.
        by: name of a token, or a command.
        detail: numbers and short texts about the action. It holds no names and no biometric data.
        previous: hash of the line before.
        hash: SHA-256 of everything above, in hexadecimal.
    """

    record_name: ClassVar[str] = "The line of the audit"
    record_error: ClassVar[type[AuditError]] = AuditError
    record_hint: ClassVar[str] = "check the audit"
    record_bytes: ClassVar[int] = LONGEST_LINE

    version: Literal[1] = 1
    sequence: Annotated[Count, Between(1, (1 << 63) - 1)]
    time: Annotated[str, Pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "such as 2026-01-31T12:00:00.000Z")]
    action: Annotated[str, Pattern(r"[a-z][a-z-]{0,31}", "of lower-case letters and hyphens")]
    subject: _Pseudonym | None
    by: Annotated[str, Length(100, 1)]
    detail: Annotated[dict[str, _Text], Length(16)]
    previous: Sha256
    hash: Sha256 = FIRST_HASH

    def sealed(self) -> AuditEntry:
        """The same entry with its hash."""
        return replace(self, hash=self.computed_hash())

    def computed_hash(self) -> str:
        """The hash that the other fields should have."""
        content = {name: value for name, value in self.as_json().items() if name != "hash"}
        text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def line(self) -> bytes:
        """The entry as it stands in the file, with a line break."""
        return json.dumps(self.as_json(), sort_keys=True, ensure_ascii=True, allow_nan=False).encode() + b"\n"
