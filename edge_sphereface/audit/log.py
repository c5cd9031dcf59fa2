"""Appends to an audit file."""

from __future__ import annotations

import os
import threading
import warnings
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edge_sphereface.audit.entry import FIRST_HASH, LONGEST_LINE, UNSEALED_LINE, AuditEntry
from edge_sphereface.audit.key import Anchor, AuditKey
from edge_sphereface.audit.parts import ANCHOR_FILE, AuditParts, last_entry
from edge_sphereface.errors import AuditError, EdgeSphereFaceError
from edge_sphereface.json_output import json_value
from edge_sphereface.storage.files import PRIVATE, atomic_write, destination, open_private, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_CHANGED_HINT = "check the audit; to begin another one, move all its files away, the key too"
_LOST_HINT = "restore it from a copy; to begin another audit, move all files of this one away, the key too"
_UNSEALED_BY = "audit"
_LINE_START = b'{"action": "'
"""First bytes of every line: the names in it are sorted."""


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class AuditLog:
    """An append-only file of what was done with whom, by whom. Safe to use from several threads and processes.

    Names do not stand in it: a person is a pseudonym, which is made from the name with a key in a file of its own. With
    the key, whoever knows a name finds what was done with it, also after the person was removed everywhere; without it
    nobody does. Each line holds the hash of the line before, and an anchor file names the last line, sealed with the
    key.

    Power may fail between a line and its seal, and somebody may add a line by hand: both look alike. The next line that
    is written then has the action ``unsealed-line``, so that the fact stays visible.

    Args:
        path: of the file; its folder must exist. It gets mode 0600, like its anchor ``FILE.anchor``.
        key: file of the key, of this audit alone. It is made with a new audit; None for ``FILE.key``.
        max_bytes: size at which the file is renamed to ``FILE.000001`` and so on. No part is ever deleted.
        wait_s: longest wait for other writers, in seconds.
        now: the current time.
    """

    def __init__(
        self,
        path: Path,
        *,
        key: Path | None = None,
        max_bytes: int = 10 << 20,
        wait_s: float = 10.0,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        if max_bytes < 1:
            raise ValueError(f"Expected a size of at least 1 byte, got {max_bytes}.")
        self._named, self._named_key = path, key
        self._max_bytes, self._wait_s, self._now = max_bytes, wait_s, now
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Check that the audit can be written to, before something is done that it must hold.

        Raises:
            AuditError: the file cannot be written, or is not as this program left it.
        """
        with self._open() as (parts, key, stream):
            self._last(parts, key, stream)

    def record(
        self, action: str, *, subject: str, by: str, detail: Mapping[str, str | float] | None = None
    ) -> AuditEntry:
        """Append one line; on return it is on the disk. Warns if the line before it had no seal, and appends that, too.

        Args:
            action: what was done: lower-case letters and hyphens, such as ``enroll``.
            subject: name of the identity, which is replaced by a pseudonym; empty where it concerns nobody.
            by: name of the token, or the command, that did it.
            detail: numbers and short texts about the action, without names and biometric data.

        Raises:
            AuditError: the file cannot be written, or is not as this program left it; nothing was written. An entry
                that is not valid.
        """
        with self._open() as (parts, key, stream):
            last, is_sealed = self._last(parts, key, stream)
            notice = None if last is None or is_sealed else self._entry(last, UNSEALED_LINE, by=_UNSEALED_BY)
            entry = self._entry(
                notice or last,
                action,
                subject=key.pseudonym(subject) if subject else None,
                by=by,
                detail={name: str(value) for name, value in (detail or {}).items()},
            )
            if len(entry.line()) > LONGEST_LINE:
                raise AuditError(f"Expected a line of at most {LONGEST_LINE} bytes, got {len(entry.line())}.")
            if notice is not None:
                self._add(parts, key, notice)
            self._add(parts, key, entry)
        if notice is not None:
            warnings.warn(
                f"Line {notice.sequence - 1} of the audit {parts.path} had no seal: power failed while it was written, "
                f"or it was added by hand. Line {notice.sequence} says so.",
                stacklevel=2,
            )
        return entry

    def _entry(
        self,
        last: AuditEntry | None,
        action: str,
        *,
        by: str,
        subject: str | None = None,
        detail: dict[str, str] | None = None,
    ) -> AuditEntry:
        """The entry that follows the last one."""
        return AuditEntry(
            sequence=1 if last is None else last.sequence + 1,
            time=json_value(self._now()),
            action=action,
            subject=subject,
            by=by,
            detail=detail or {},
            previous=FIRST_HASH if last is None else last.hash,
        ).sealed()

    def pseudonym(self, name: str) -> str:
        """What stands for a name in this audit.

        Raises:
            AuditError: its key cannot be read.
        """
        with self._open() as (_, key, _):
            return key.pseudonym(name)

    def _add(self, parts: AuditParts, key: AuditKey, entry: AuditEntry) -> None:
        """Append an entry to the file, or to a new one if this one is full."""
        line, size = entry.line(), parts.path.stat().st_size
        is_full = bool(size) and size + len(line) > self._max_bytes
        if is_full:
            parts.path.rename(parts.next_rotated())
        with self._opened(parts) as stream:
            self._append(stream, 0 if is_full else size, line, key, entry, parts)
        if is_full:
            sync_folder(parts.path.parent)

    def _append(self, stream: int, size: int, line: bytes, key: AuditKey, entry: AuditEntry, parts: AuditParts) -> None:
        """Write a line and the anchor, or neither."""
        try:
            if os.write(stream, line) != len(line):
                raise AuditError(f"The disk took only a part of a line of {parts.path}.", hint="free some space")
            os.fsync(stream)
            self._write_anchor(parts, key.anchor(entry.sequence, entry.hash))
        except OSError:
            with suppress(OSError):
                os.ftruncate(stream, size)
            raise

    def _write_anchor(self, parts: AuditParts, anchor: Anchor) -> None:
        with atomic_write(parts.anchor, mode=PRIVATE) as stream:
            stream.write(anchor.to_json().encode())

    @contextmanager
    def _open(self) -> Iterator[tuple[AuditParts, AuditKey, int]]:
        """The locked files; their errors become errors of the audit."""
        try:
            place = destination(self._named)
            if isinstance(place, int):
                raise AuditError(
                    f"Expected a file for the audit, got the descriptor {self._named}.", hint="name a file"
                )
            parts = AuditParts(place, self._named_key)

            def begin(key: AuditKey) -> None:
                self._refuse_lost_key(parts)
                self._write_anchor(parts, key.anchor(0, FIRST_HASH))

            if parts.path.parent.is_dir() and not os.path.lexists(parts.key):  # before an empty one is made
                self._refuse_lost_key(parts)
            with (
                self._lock,
                AuditKey.locked(parts.key, wait_s=self._wait_s, begin=begin) as key,
                self._opened(parts) as stream,
            ):
                yield parts, key, stream
        except AuditError:
            raise
        except EdgeSphereFaceError as error:
            raise AuditError(error.message, hint=error.hint) from error
        except OSError as error:
            raise AuditError(
                f"Cannot write the audit {self._named}: {error.strerror or error}.",
                hint="its folder must exist and be writable for this user, with free space",
            ) from error

    def _refuse_lost_key(self, parts: AuditParts) -> None:
        """Refuse a new key for an audit that has lines, since lines may be missing that only the old one would show."""
        anchored = os.path.lexists(parts.anchor) and Anchor.from_json(ANCHOR_FILE.read(parts.anchor)).sequence > 0
        has_begun = anchored or parts.rotated() or (parts.path.exists() and parts.path.stat().st_size)
        if has_begun and not (parts.key.exists() and parts.key.stat().st_size):  # last: another writer may begin now
            raise AuditError(
                f"The audit {parts.path} has begun, and its key {parts.key} is missing or empty.", hint=_LOST_HINT
            )

    @contextmanager
    def _opened(self, parts: AuditParts) -> Iterator[int]:
        descriptor = open_private(parts.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, sole=True, start=_LINE_START)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _last(self, parts: AuditParts, key: AuditKey, stream: int) -> tuple[AuditEntry | None, bool]:
        """The last line, which must be the anchored one or the next after it; what a power failure left is cut off.

        Returns:
            The line, and whether it is the anchored one.

        Raises:
            AuditError: it is another one.
        """
        last = None
        for path in [parts.path, *parts.rotated()[:-2:-1]]:
            last = last or last_entry(path)
        anchor = self._anchor(parts, key)
        ends = [(0, FIRST_HASH)]
        if last is not None:  # power may have failed between the line and its anchor
            ends = [(last.sequence, last.hash), (last.sequence - 1, last.previous)]
        if anchor not in ends or (last is not None and last.computed_hash() != last.hash):
            raise AuditError(
                f"The audit {parts.path} does not end with line {anchor[0]}, which was the last one.",
                hint=_CHANGED_HINT,
            )
        self._cut_torn_line(stream, parts.path)
        return last, anchor == ends[0]

    def _anchor(self, parts: AuditParts, key: AuditKey) -> tuple[int, str]:
        if not os.path.lexists(parts.anchor):
            raise AuditError(
                f"The anchor {parts.anchor} is missing, which names the last line of the audit.", hint=_LOST_HINT
            )
        anchor = Anchor.from_json(ANCHOR_FILE.read(parts.anchor))
        if not key.has_sealed(anchor):
            raise AuditError(f"{parts.anchor} was not made with the key {parts.key}.", hint=_CHANGED_HINT)
        return anchor.sequence, anchor.hash

    def _cut_torn_line(self, stream: int, path: Path) -> None:
        """Cut off what a power failure left of a line, or zeros in its place.

        Raises:
            AuditError: a file without a line begins with something else.
        """
        size = os.lseek(stream, 0, os.SEEK_END)
        start = max(size - LONGEST_LINE, 0)
        os.lseek(stream, start, os.SEEK_SET)
        tail = os.read(stream, LONGEST_LINE)
        if tail and not tail.endswith(b"\n"):
            torn = tail.lstrip(b"\0")
            if start == 0 and b"\n" not in tail and not (torn.startswith(_LINE_START) or _LINE_START.startswith(torn)):
                raise AuditError(
                    f"Expected {path} to hold lines of an audit, got a file that begins otherwise.",
                    hint="name another file",
                )
            os.ftruncate(stream, start + tail.rfind(b"\n") + 1)
