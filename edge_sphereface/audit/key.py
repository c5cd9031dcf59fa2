"""The key of an audit: makes pseudonyms of names, and seals the end of the file."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edge_sphereface.errors import AuditError
from edge_sphereface.names import stored_name
from edge_sphereface.storage.files import locked, open_private
from edge_sphereface.storage.record import Count, Record, Sha256
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_KEY_BYTES = 32
_PSEUDONYM_DIGITS = 32
_HINT = "restore the key from a copy; without it no name can be looked up in the audit"
_FILE = RegularFile(what="key of an audit", limit=1024, error=AuditError, hint=_HINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor(Record):
    """The last line of an audit, as its anchor file names it.

    Attributes:
        sequence: number of the line.
        hash: hash of the line.
        seal: keyed hash of both.
    """

    record_name: ClassVar[str] = "The anchor of the audit"
    record_error: ClassVar[type[AuditError]] = AuditError
    record_hint: ClassVar[str] = "check the audit"
    record_bytes: ClassVar[int] = 1024

    sequence: Count
    hash: Sha256
    seal: Sha256


class AuditKey:
    """A secret of 256 bits.

    Args:
        secret: its bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def read(cls, path: Path) -> AuditKey:
        """Read an existing key.

        Raises:
            AuditError: there is no such file, or it holds no key.
        """
        return cls._parsed(_FILE.read(path), path)

    @classmethod
    @contextmanager
    def locked(cls, path: Path, *, wait_s: float, begin: Callable[[AuditKey], None]) -> Iterator[AuditKey]:
        """Lock a key file against other writers of the audit, and read it; a new one gets a random key.

        Args:
            path: path of the file.
            wait_s: longest wait for other writers, in seconds.
            begin: called with a new key before it is written, so that what it makes exists wherever the key does.

        Raises:
            AuditError: the file holds no key, or another writer does not let go.
            OSError: it cannot be opened or written.
        """

        def check(descriptor: int) -> None:
            cls._parsed(os.read(descriptor, _FILE.limit), path)

        descriptor = open_private(path, os.O_RDWR | os.O_CREAT, check=check)
        with os.fdopen(descriptor, "r+b", buffering=0) as stream, locked(descriptor, wait_s=wait_s) as is_locked:
            if not is_locked:
                raise AuditError(
                    f"Another process has written to the audit for more than {wait_s:g} s.",
                    hint="is it stopped? end it",
                )
            text = stream.read(1024)
            if not text:
                text = f"{secrets.token_hex(_KEY_BYTES)}\n".encode()
                begin(cls._parsed(text, path))
                stream.write(text)
                os.fsync(descriptor)
            yield cls._parsed(text, path)

    @classmethod
    def _parsed(cls, text: bytes, path: Path) -> AuditKey:
        try:
            secret = bytes.fromhex(text.decode("ascii").strip())
        except ValueError:
            secret = b""
        if len(secret) != _KEY_BYTES:
            raise AuditError(
                f"Expected {2 * _KEY_BYTES} hexadecimal digits in {path}, got another content.", hint=_HINT
            )
        return cls(secret)

    def pseudonym(self, name: str) -> str:
        """Stands for a name in the audit. It cannot be computed without the key.

        Args:
            name: name of an identity, in any spelling that a gallery stores as one name.
        """
        return self._digest("subject", stored_name(name))[:_PSEUDONYM_DIGITS]

    def anchor(self, sequence: int, digest: str) -> Anchor:
        """The anchor of a last line."""
        return Anchor(sequence=sequence, hash=digest, seal=self._digest("anchor", f"{sequence}:{digest}"))

    def has_sealed(self, anchor: Anchor) -> bool:
        """Whether an anchor was made with this key."""
        return hmac.compare_digest(self.anchor(anchor.sequence, anchor.hash).seal, anchor.seal)

    def _digest(self, purpose: str, text: str) -> str:
        content = f"{purpose}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, content, hashlib.sha256).hexdigest()
