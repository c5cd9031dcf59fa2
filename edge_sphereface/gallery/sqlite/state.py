"""The gallery's one row of state, and how its values are kept."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.errors import GalleryFormatError, GalleryKeyError
from edge_sphereface.gallery.records import now
from edge_sphereface.gallery.sqlite.matrix import TOKEN_BYTES

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from edge_sphereface.fingerprint import Fingerprint
    from edge_sphereface.gallery.vault import Vault
    from edge_sphereface.types import Float32Array

_KEY_CHECK = b"edge-sphereface"


class State(NamedTuple):
    """What a gallery is at a moment.

    Attributes:
        gallery: random name, part of what encrypted values are bound to.
        fingerprint: JSON of what made its embeddings.
        keep_crops: whether crops are kept.
        key_check: a known text, sealed; None if the gallery is not encrypted.
        epoch: changes when the matrix's rows are numbered anew.
        token: changes with every change of templates.
        next_slot: row of the matrix that the next template takes.
        erasing: whether removed bytes are still to be overwritten.
    """

    gallery: str
    fingerprint: str
    keep_crops: int
    key_check: bytes | None
    epoch: bytes
    token: bytes
    next_slot: int
    erasing: int


def read_state(connection: sqlite3.Connection, path: Path) -> State:
    """The row.

    Raises:
        GalleryFormatError: it is missing, or its values cannot be.
    """
    row = connection.execute(f"SELECT {', '.join(State._fields)} FROM state").fetchone()  # noqa: S608 -- own names
    state = None if row is None else State(*row)
    if state is None or not (
        isinstance(state.gallery, str)
        and isinstance(state.fingerprint, str)
        and isinstance(state.next_slot, int)
        and state.next_slot >= 0
        and isinstance(state.epoch, bytes)
        and isinstance(state.token, bytes)
    ):
        raise GalleryFormatError(
            f"The gallery {path} is damaged: its state cannot be.", hint="restore it from a backup"
        )
    return state


def begin(connection: sqlite3.Connection, fingerprint: Fingerprint, *, vault: Vault, keep_crops: bool) -> None:
    """Write the row of a new gallery, and commit the transaction that made its tables."""
    gallery = secrets.token_hex(8)
    check = vault.seal(_KEY_CHECK, f"{gallery}:key") if vault.encrypted else None
    epoch, token = secrets.token_bytes(TOKEN_BYTES), secrets.token_bytes(TOKEN_BYTES)
    row = (gallery, fingerprint.to_json(), int(keep_crops), check, epoch, token, now())
    connection.execute("INSERT INTO state VALUES (1, ?, ?, ?, ?, ?, ?, 0, 0, ?)", row)
    connection.execute("COMMIT")


def check_key(state: State, vault: Vault, path: Path) -> None:
    """A key must come exactly for an encrypted gallery, and be its own.

    Raises:
        GalleryKeyError: it is missing, another, or not wanted.
    """
    if state.key_check is None:
        if vault.encrypted:
            raise GalleryKeyError(
                f"The gallery {path} is not encrypted, and a key was given.",
                hint="export it, and import that into a new gallery with the key; or leave the key out",
            )
        return
    if not vault.encrypted:
        raise GalleryKeyError(f"The gallery {path} is encrypted, and no key was given.", hint="give it: --key-file")
    try:
        vault.open(state.key_check, f"{state.gallery}:key")
    except GalleryFormatError as error:
        raise GalleryKeyError(f"The gallery {path} was encrypted with another key.") from error


class Values:
    """Vectors and crops as they stand in the tables.

    Args:
        vault: encrypts, or does not.
        gallery: its random name.
        size: D.
        path: of the gallery, for messages.
    """

    def __init__(self, vault: Vault, gallery: str, size: int, path: Path) -> None:
        self._vault = vault
        self._gallery = gallery
        self._size = size
        self._path = path

    def seal(self, value: Float32Array | bytes, column: str, row: int) -> bytes:
        """A vector (D,) or a crop, for a column and a row's id."""
        raw = value if isinstance(value, bytes) else np.ascontiguousarray(value, dtype="<f4").tobytes()
        return self._vault.seal(raw, self._place(column, row))

    def vector(self, sealed: bytes, column: str, row: int) -> Float32Array:
        """(D,) float32.

        Raises:
            GalleryFormatError: of another size, not finite, or changed.
        """
        raw = self._vault.open(sealed, self._place(column, row)) if isinstance(sealed, bytes) else b""
        vector = np.frombuffer(raw, dtype="<f4") if len(raw) == 4 * self._size else np.full(1, np.nan, np.float32)
        if not np.isfinite(vector).all():
            raise GalleryFormatError(
                f"The gallery {self._path} is damaged: an embedding is not {self._size} finite numbers.",
                hint="restore it from a backup",
            )
        return vector

    def crop(self, sealed: bytes | None, row: int) -> bytes | None:
        """A PNG file; None if it was not kept."""
        return None if sealed is None else self._vault.open(sealed, self._place("crop", row))

    def _place(self, column: str, row: int) -> str:
        return f"{self._gallery}:{column}:{row}"
