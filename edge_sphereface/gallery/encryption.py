"""Encrypts stored values with AES-256-GCM. Each value has its own nonce and is bound to its place in the gallery.

References:
    NIST SP 800-38D: Recommendation for Block Cipher Modes of Operation: Galois/Counter Mode.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Any, Protocol

from edge_sphereface.errors import ExtraError, GalleryFormatError, GalleryKeyError, OutputError
from edge_sphereface.extras import install_command
from edge_sphereface.storage.files import PRIVATE, atomic_write
from edge_sphereface.storage.regular_file import RegularFile

KEY_VARIABLE = "EDGE_SPHEREFACE_GALLERY_KEY"
"""Environment variable that holds the key itself, in base64."""

SEAL_BYTES = 28
"""Nonce and tag of an encrypted value."""

_KEY_BYTES = 32
_NONCE_BYTES = 12
_FILE = RegularFile(
    what="key file", limit=1024, error=GalleryKeyError, hint="make a new key", remedy="make-key", pipes=True
)


class Cipher(Protocol):
    """Encrypts and decrypts values. ``place`` identifies the record that a value belongs to."""

    encrypted: bool

    def seal(self, value: bytes, place: str) -> bytes:
        """Encrypt a value for storage."""
        ...

    def open(self, sealed: bytes, place: str) -> bytes:
        """Decrypt a stored value.

        Raises:
            GalleryFormatError: the value was changed, or moved from another place.
        """
        ...


class NoCipher:
    """Stores values unencrypted."""

    encrypted = False

    def seal(self, value: bytes, place: str) -> bytes:  # noqa: ARG002 -- the interface's
        """Return the value unchanged."""
        return value

    def open(self, sealed: bytes, place: str) -> bytes:  # noqa: ARG002
        """Return the value unchanged."""
        return sealed


class AesCipher:
    """Encrypts values with AES-256-GCM.

    Args:
        key: key of 32 bytes.

    Raises:
        ExtraError: the package ``cryptography`` is not installed.
    """

    encrypted = True

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise ExtraError(
                "Encryption needs the package cryptography, which is not installed.",
                hint=install_command("secure"),
            ) from error
        self._invalid: Any = InvalidTag
        self._cipher = AESGCM(key)

    def seal(self, value: bytes, place: str) -> bytes:
        """Encrypt a value; returns nonce, ciphertext and tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Decrypt and authenticate a stored value."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except (self._invalid, ValueError) as error:
            raise GalleryFormatError(
                "An encrypted value of the gallery was changed or moved.", hint="restore the gallery from a backup"
            ) from error


def read_key(path: str | os.PathLike[str] | None = None) -> bytes | None:
    """Read the key from a file, or from the environment if no file is given; None if neither is set.

    Raises:
        GalleryKeyError: the file does not exist, others may read it, or it holds no key.
    """
    if path is None:
        text = os.environ.get(KEY_VARIABLE)
        return None if not text else _decoded(text, f"in the variable {KEY_VARIABLE}")
    file = Path(path)
    with _FILE.open(file) as stream:
        mode = os.fstat(stream.fileno()).st_mode
        raw = stream.read(_FILE.limit)
    if os.name == "posix" and mode & 0o077:
        raise GalleryKeyError(
            f"Expected a key file that its owner alone may read; {file} has mode {mode & 0o777:04o}.",
            hint=f"chmod 600 {file}",
        )
    return _decoded(raw.decode("ascii", errors="replace"), f"in {file}")


def write_new_key(path: str | os.PathLike[str]) -> None:
    """Write a new random key to a file that only its owner may read.

    Raises:
        OutputError: the file exists already or cannot be written.
    """
    if Path(path).exists():
        raise OutputError(f"{path} exists already.", hint="overwriting a key locks its gallery forever")
    with atomic_write(path, mode=PRIVATE) as output:
        output.write(base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")


def _decoded(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise _FILE.refusal(f"Expected a key of {_KEY_BYTES} bytes in base64 {where}.")
    return key
