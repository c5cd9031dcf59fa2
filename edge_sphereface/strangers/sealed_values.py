"""Encodes and decodes what a store of strangers holds, encrypted where it has a key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import numpy as np

from edge_sphereface.errors import GalleryFormatError, GalleryKeyError, ImageError, StrangerError, StrangerFormatError
from edge_sphereface.gallery.encryption import SEAL_BYTES, AesCipher, NoCipher
from edge_sphereface.gallery.vectors import LENGTH_TOLERANCE
from edge_sphereface.image import decode_image
from edge_sphereface.storage.record import Between, Length, Rate, Record
from edge_sphereface.strangers.records import KeptSighting

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.strangers.records import Sighting
    from edge_sphereface.types import Float32Array, UInt8Array

MOST_RECORD_BYTES = 2048
MOST_CROP_BYTES = 1 << 18
_MOST_LETTERS = 200
"""Of a camera's name."""
_KEY_CHECK = b"edge-sphereface"
_JPEG_QUALITY = 95
_MOST_PIXELS = 1 << 18
_LAST_S = 253402300799.0
"""End of the year 9999, in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record(Record):
    """What is stored of a sighting besides embedding and crop. Times are in seconds since 1970."""

    record_name: ClassVar[str] = "The record of a sighting"
    record_error: ClassVar[type[StrangerFormatError]] = StrangerFormatError
    record_hint: ClassVar[str] = "the sighting is deleted"
    record_bytes: ClassVar[int] = MOST_RECORD_BYTES

    camera: Annotated[str, Length(_MOST_LETTERS)]
    start: Annotated[float, Between(0, _LAST_S)]
    end: Annotated[float, Between(0, _LAST_S)]
    quality: Rate


class EncodedSighting(NamedTuple):
    """A sighting as bytes: its record, its embedding, and its crop as a JPEG file."""

    record: bytes
    embedding: bytes
    crop: bytes


class SealedValues:
    """Encodes and decodes the values of one store. Each is bound to its store and its sighting.

    Args:
        store: random name of the store.
        size: number of components D of an embedding.
        key: 32 bytes that encrypt the values; None to store them as they are.
        is_locked: whether the values are encrypted and there is no key, so that none can be decoded.

    Raises:
        ExtraError: the package ``cryptography`` is not installed.
    """

    def __init__(self, store: str, size: int, key: bytes | None, *, is_locked: bool = False) -> None:
        self._store, self._size, self._is_locked = store, size, is_locked
        self._cipher = NoCipher() if key is None else AesCipher(key)

    @property
    def embedding_bytes(self) -> int:
        """Size of a sealed embedding."""
        return 4 * self._size + (SEAL_BYTES if self._cipher.encrypted else 0)

    def key_check(self) -> bytes | None:
        """A value that tells the key again; None without a key."""
        return self._cipher.seal(_KEY_CHECK, self._place("key", 0)) if self._cipher.encrypted else None

    def require_key(self, key_check: bytes | None, path: Path) -> None:
        """Require the key of a store if it is encrypted, and none if it is not.

        Raises:
            StrangerFormatError: ``key_check`` has another size than every version wrote.
            GalleryKeyError: the key is missing or wrong, or was given for a store that is not encrypted.
        """
        if key_check is not None and len(key_check) != len(_KEY_CHECK) + SEAL_BYTES:
            raise StrangerFormatError(f"{path} is damaged: its key check is invalid.", hint="delete it")
        if key_check is None and self._cipher.encrypted:
            raise GalleryKeyError(
                f"The file of strangers {path} is not encrypted, and a key was given.",
                hint="forget all strangers, delete the file and begin another",
            )
        if key_check is not None and not self._cipher.encrypted and not self._is_locked:
            raise _locked(str(path))
        if self._cipher.encrypted and key_check is not None:
            try:
                self._cipher.open(key_check, self._place("key", 0))
            except GalleryFormatError as error:
                raise GalleryKeyError(
                    f"This key does not open the file of strangers {path}: it was encrypted with another key, or is "
                    "damaged.",
                    hint="give the key that it was encrypted with; without it, delete the file and begin another",
                ) from error

    def encode(self, sighting: Sighting, embedding: Float32Array) -> EncodedSighting:
        """Encode a sighting with its embedding (D,) of length one.

        Raises:
            StrangerError: its times, its quality or its crop cannot be kept.
        """
        import cv2

        try:
            record = _Record(
                camera=sighting.camera[:_MOST_LETTERS],
                start=sighting.start.timestamp(),
                end=sighting.end.timestamp(),
                quality=float(sighting.quality),
            ).to_json()
            crop = cv2.imencode(".jpg", sighting.crop, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
        except StrangerFormatError as error:  # its hint is about a sighting that was read
            raise StrangerError(f"A sighting cannot be kept: {error.message}") from error
        except (ValueError, OverflowError, cv2.error) as error:
            raise StrangerError(f"A sighting cannot be kept: {error}") from error
        found = EncodedSighting(record.encode(), np.ascontiguousarray(embedding, dtype="<f4").tobytes(), crop)
        pixels = sighting.crop.shape[0] * sighting.crop.shape[1]
        if pixels > _MOST_PIXELS or len(crop) + SEAL_BYTES > MOST_CROP_BYTES:
            raise StrangerError(f"A sighting cannot be kept: its crop of {pixels} pixels is too large.")
        if len(found.record) + SEAL_BYTES > MOST_RECORD_BYTES:
            raise StrangerError(f"A sighting cannot be kept: its record takes {len(found.record)} bytes.")
        return found

    def seal(self, number: int, sighting: EncodedSighting) -> EncodedSighting:
        """Bind a sighting to its number, and encrypt it where there is a key."""
        places = (self._place(kind, number) for kind in EncodedSighting._fields)
        return EncodedSighting(*map(self._cipher.seal, sighting, places))

    def record(self, number: int, sealed: object) -> KeptSighting:
        """Decode the record of a sighting.

        Raises:
            StrangerFormatError: it is damaged.
        """
        found = _Record.from_json(self._open(sealed, "record", number))
        start, end = (datetime.fromtimestamp(moment, timezone.utc) for moment in (found.start, found.end))
        return KeptSighting(number=number, camera=found.camera, start=start, end=end, quality=found.quality)

    def embedding(self, number: int, sealed: object) -> Float32Array:
        """Decode an embedding: (D,) float32 of length one.

        Raises:
            StrangerFormatError: it is damaged.
        """
        raw = self._open(sealed, "embedding", number)
        if len(raw) != 4 * self._size:
            raise _damaged(number, f"its embedding takes {len(raw)} bytes")
        vector = np.frombuffer(raw, dtype="<f4")
        if not abs(float(np.vdot(vector, vector)) - 1) <= 3 * LENGTH_TOLERANCE:  # also refuses NaN
            raise _damaged(number, "its embedding is not of length one")
        return vector

    def crop(self, number: int, sealed: object) -> UInt8Array:
        """Decode a crop: (H, W, 3) uint8 BGR.

        Raises:
            StrangerFormatError: it is damaged.
        """
        try:
            return decode_image(self._open(sealed, "crop", number), "the crop", max_pixels=_MOST_PIXELS)
        except ImageError as error:
            raise _damaged(number, "its crop is no picture") from error

    def _open(self, sealed: object, kind: str, number: int) -> bytes:
        if self._is_locked:
            raise _locked(self._store)
        if not isinstance(sealed, bytes):
            raise _damaged(number, f"its {kind} is missing or too large")
        try:
            return self._cipher.open(sealed, self._place(kind, number))
        except GalleryFormatError as error:
            raise _damaged(number, f"its {kind} was changed or moved") from error

    def _place(self, kind: str, number: int) -> str:
        return json.dumps([self._store, kind, number])


def _locked(store: str) -> GalleryKeyError:
    return GalleryKeyError(
        f"The file of strangers {store} is encrypted, and no key was given.",
        hint="give the gallery's key",
        remedy="give-key",
    )


def _damaged(number: int, why: str) -> StrangerFormatError:
    return StrangerFormatError(f"Sighting {number} is damaged: {why}.", hint="the sighting is deleted")
