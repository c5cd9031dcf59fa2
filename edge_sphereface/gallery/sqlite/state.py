"""The gallery's state row (fingerprint, token, key check), and the encoding of stored values."""

from __future__ import annotations

import json
import secrets
from types import NoneType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.errors import GalleryFormatError, GalleryKeyError
from edge_sphereface.gallery.encryption import SEAL_BYTES
from edge_sphereface.gallery.records import Threshold, now
from edge_sphereface.gallery.sqlite.database import UNBOUND_VERSION, VERSION
from edge_sphereface.gallery.sqlite.template_matrix import TOKEN_BYTES
from edge_sphereface.gallery.vectors import LENGTH_TOLERANCE

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from edge_sphereface.gallery.encryption import Cipher
    from edge_sphereface.model.fingerprint import Fingerprint
    from edge_sphereface.types import Float32Array

MAX_SLOTS = 1 << 48
"""Largest number of rows of the matrix, beyond what any disk holds."""

_KEY_CHECK = b"edge-sphereface"
_SQUARE_TOLERANCE = 3 * LENGTH_TOLERANCE
"""Tolerance of the squared length of an embedding."""


class State(NamedTuple):
    """State of a gallery at one moment.

    Attributes:
        gallery: random name of the gallery, to which encrypted values are bound.
        fingerprint: fingerprint of the embeddings, as JSON text.
        keep_crops: whether crops are stored.
        key_check: an encrypted known text; None if the gallery is not encrypted.
        epoch: changes whenever the rows of the matrix are renumbered or its file is rebuilt.
        token: changes with every change of templates.
        next_slot: row of the matrix for the next template.
        erasing: whether removed bytes remain to be overwritten.
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
    """Read the state row.

    Raises:
        GalleryFormatError: the row is missing, or the state record is invalid.
    """
    row = connection.execute(f"SELECT {', '.join(State._fields)} FROM state").fetchone()  # noqa: S608 -- own names
    state = None if row is None else State(*row)
    if state is None or not (
        all(isinstance(text, str) for text in (state.gallery, state.fingerprint))
        and all(isinstance(number, int) for number in (state.keep_crops, state.erasing, state.next_slot))
        and 0 <= state.next_slot <= MAX_SLOTS
        and all(isinstance(name, bytes) and len(name) == TOKEN_BYTES for name in (state.epoch, state.token))
        and isinstance(state.key_check, (bytes, NoneType))
    ):
        raise GalleryFormatError(
            f"The gallery {path} is damaged: its state record is invalid.", hint="restore it from a backup"
        )
    return state


def begin(connection: sqlite3.Connection, fingerprint: Fingerprint, *, cipher: Cipher, keep_crops: bool) -> None:
    """Write the state row of a new gallery, and commit the transaction that created its tables."""
    gallery = secrets.token_hex(8)
    check = cipher.seal(_KEY_CHECK, place_of(gallery, "key")) if cipher.encrypted else None
    epoch, token = secrets.token_bytes(TOKEN_BYTES), secrets.token_bytes(TOKEN_BYTES)
    row = (gallery, fingerprint.to_json(), int(keep_crops), check, epoch, token, now())
    connection.execute("INSERT INTO state VALUES (1, ?, ?, ?, ?, ?, ?, 0, 0, ?)", row)
    connection.execute("COMMIT")


def check_key(state: State, cipher: Cipher, path: Path, version: int) -> None:
    """Require the gallery's own key if it is encrypted, and no key if it is not.

    Raises:
        GalleryKeyError: the key is missing or wrong, or was given for a gallery that is not encrypted.
        GalleryFormatError: the gallery was encrypted by an earlier version, or its key check is damaged.
    """
    if state.key_check is None:
        if cipher.encrypted:
            raise GalleryKeyError(
                f"The gallery {path} is not encrypted, and a key was given.",
                hint="omit the key, or export the gallery and import it into a new one with the key",
            )
        return
    if len(state.key_check) != len(_KEY_CHECK) + SEAL_BYTES:
        raise GalleryFormatError(
            f"The gallery {path} is damaged: its key check is invalid.", hint="restore it from a backup"
        )
    if not cipher.encrypted:
        raise GalleryKeyError(
            f"The gallery {path} is encrypted, and no key was given.", hint="give its key", remedy="give-key"
        )
    if version == UNBOUND_VERSION:
        raise GalleryFormatError(
            f"The gallery {path} was encrypted by an earlier version, which did not bind names to embeddings.",
            hint="export it with the version that wrote it, and import that into a new gallery",
        )
    try:
        cipher.open(state.key_check, place_of(state.gallery, "key"))
    except GalleryFormatError as error:
        raise GalleryKeyError(
            f"This key does not open the gallery {path}: it was encrypted with another key, or is damaged.",
            hint="give the key that it was encrypted with; if that is this one, restore the gallery from a backup",
        ) from error


def place_of(gallery: str, kind: str, *more: object) -> str:
    """Place that an encrypted value is bound to, so that it cannot be moved: its gallery and its record."""
    return json.dumps([gallery, kind, *more], ensure_ascii=False)


class Row(NamedTuple):
    """Row of an identity.

    Attributes:
        id: ID of the row.
        name: name of the identity.
        metadata: metadata as JSON text.
        enrolled_at: time of the first enrollment, UTC, ISO 8601.
        slot: row of the template in the matrix.
        template: template as stored, encrypted in an encrypted gallery.
        ignored: 1 for a person who is never reported, else 0.
    """

    id: int
    name: str
    metadata: str
    enrolled_at: str
    slot: int
    template: bytes
    ignored: int

    @classmethod
    def checked(cls, values: tuple[object, ...] | None) -> Row:
        """Validate a row that was read, because SQLite stores values of any type in any column.

        Raises:
            GalleryFormatError: there is no row, or a value has another type or is out of range.
        """
        if values is None:
            raise GalleryFormatError("The gallery is damaged: a row is missing.", hint="restore it from a backup")
        sound = all(isinstance(value, kind) for value, kind in zip(values, _ROW_TYPES, strict=True))
        row = cls(*values)  # type: ignore[arg-type] # checked
        if not sound or not 0 <= row.slot < MAX_SLOTS or row.ignored not in (0, 1):
            raise GalleryFormatError(
                f"The gallery is damaged: a value of identity {values[0]} has another type or is out of range.",
                hint="restore it from a backup",
            )
        return row


ROW = ", ".join(Row._fields)
"""Columns of a row."""
_ROW_TYPES = (int, str, str, str, int, bytes, int)


def row_columns(version: int) -> str:
    """What to select for a row from tables of a version: in those of earlier ones nobody is ignored."""
    return ROW if version == VERSION else ROW.replace("ignored", "0")


class Values:
    """Encodes and decodes the vectors, crops and thresholds in the tables.

    Args:
        cipher: encrypts values, or stores them unencrypted.
        gallery: random name of the gallery.
        size: number of components D of an embedding.
        path: path of the gallery, for messages.
    """

    def __init__(self, cipher: Cipher, gallery: str, size: int, path: Path) -> None:
        self._cipher = cipher
        self._gallery = gallery
        self._size = size
        self._path = path

    def seal_template(self, template: Float32Array, row: Row) -> bytes:
        """Encode a template (D,), bound to everything else in its row except the slot."""
        return self._cipher.seal(_bytes(template), self._template_place(row))

    def template(self, row: Row) -> Float32Array:
        """Decode the template of a row: (D,) float32 of unit length.

        Raises:
            GalleryFormatError: the template has another size or length, is not finite, or was changed.
        """
        return self._vector(row.template, self._template_place(row))

    def authenticate(self, row: Row) -> Row:
        """Return the row after verifying that it was written with the key. A row that is not encrypted is not verified.

        Raises:
            GalleryFormatError: the row was changed.
        """
        if self._cipher.encrypted:
            self.template(row)
        return row

    def seal_embedding(self, embedding: Float32Array, member: int, identity: int) -> bytes:
        """Encode an embedding (D,), bound to its ID and that of its identity."""
        return self._cipher.seal(_bytes(embedding), place_of(self._gallery, "embedding", member, identity))

    def embedding(self, sealed: object, member: int, identity: int) -> Float32Array:
        """Decode an embedding: (D,) float32 of unit length.

        Raises:
            GalleryFormatError: the embedding has another size or length, is not finite, or was changed.
        """
        return self._vector(sealed, place_of(self._gallery, "embedding", member, identity))

    def seal_crop(self, crop: bytes, member: int, identity: int) -> bytes:
        """Encode the PNG file of a crop, bound to its embedding."""
        return self._cipher.seal(crop, place_of(self._gallery, "crop", member, identity))

    def crop(self, sealed: object, member: int, identity: int) -> bytes | None:
        """Decode the PNG file of a crop; None if it was not kept.

        Raises:
            GalleryFormatError: the value is not bytes, or was changed.
        """
        return None if sealed is None else self._open(sealed, place_of(self._gallery, "crop", member, identity))

    def seal_threshold(self, threshold: Threshold) -> str | bytes:
        """Encode a threshold, bound to its precision."""
        text = threshold.to_json()
        place = place_of(self._gallery, "threshold", threshold.precision)
        return self._cipher.seal(text.encode(), place) if self._cipher.encrypted else text

    def threshold(self, sealed: object, precision: object) -> Threshold:
        """Decode the threshold of a precision.

        Raises:
            GalleryFormatError: the value is not a threshold of this precision, or was changed.
        """
        if self._cipher.encrypted:
            sealed = self._open(sealed, place_of(self._gallery, "threshold", str(precision)))
        threshold = Threshold.from_json(sealed) if isinstance(sealed, (str, bytes)) else None
        if threshold is None or threshold.precision != precision:
            raise self._damaged("a record of a threshold is not valid")
        return threshold

    def _vector(self, sealed: object, place: str) -> Float32Array:
        raw = self._open(sealed, place)
        vector = np.frombuffer(raw if len(raw) == 4 * self._size else bytes(4 * self._size), dtype="<f4")
        if not abs(float(np.vdot(vector, vector)) - 1) <= _SQUARE_TOLERANCE:  # also refuses NaN
            raise self._damaged(f"an embedding is not {self._size} numbers of length one")
        return vector

    def _open(self, sealed: object, place: str) -> bytes:
        if not isinstance(sealed, bytes):
            raise self._damaged("a value that must be bytes is not")
        return self._cipher.open(sealed, place)

    def _template_place(self, row: Row) -> str:
        ignored = ("ignored",) if row.ignored else ()  # rows of earlier versions keep their place
        return place_of(self._gallery, "template", row.id, row.name, row.metadata, row.enrolled_at, *ignored)

    def _damaged(self, reason: str) -> GalleryFormatError:
        return GalleryFormatError(f"The gallery {self._path} is damaged: {reason}.", hint="restore it from a backup")


def _bytes(vector: Float32Array) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()
