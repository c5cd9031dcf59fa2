"""Records that a gallery takes and returns."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edge_sphereface.errors import GalleryFormatError, IdentityError
from edge_sphereface.gallery.spelling import single_spaced, skeleton
from edge_sphereface.json_output import json_object
from edge_sphereface.storage.bounded_json import MAX_JSON_BYTES, JsonError, parse_json
from edge_sphereface.storage.record import Cosine, Rate, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import Float32Array, JsonObject

MAX_NAME_BYTES = 1024
"""Of a name in UTF-8."""
MAX_METADATA_BYTES = 1 << 15
"""Of an identity's metadata as JSON."""
_METADATA_DIGITS = 4300
"""Of an integer: as many as Python converts unless told otherwise."""
_METADATA_DEPTH = 256
"""Levels of nesting, well below where Python's own writer of JSON fails."""

_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order in which other text is shown."""

Outcome: TypeAlias = Literal["identified", "unknown", "ambiguous"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who is in a gallery.

    Attributes:
        name: unique, in Unicode's composed form.
        metadata: whatever JSON object the application keeps with it.
        embeddings: how many.
        crops: how many of them have their crop kept.
        enrolled_at: when the first came, UTC, ISO 8601.
    """

    name: str
    metadata: JsonObject
    embeddings: int
    crops: int
    enrolled_at: str

    def as_json(self) -> JsonObject:
        """The same as plain JSON values."""
        return json_object(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portrait:
    """An identity with all that is kept of it: what export writes, import reads and enrollment adds.

    Attributes:
        name: unique.
        metadata: a JSON object; None leaves that of an identity that is there already as it is.
        embeddings: (N, D) float32, N from 1.
        crops: PNG files, one for each embedding; None where the crop was not kept.
    """

    name: str
    metadata: JsonObject | None
    embeddings: Float32Array
    crops: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An identity that a probe resembles.

    Attributes:
        name: of the identity.
        similarity: cosine between the probe and the identity's template.
    """

    name: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """Answer to: who is this?

    Attributes:
        name: None unless ``outcome`` is ``identified``.
        outcome: ``identified``; ``unknown``: nobody reaches the threshold, or see ``reason``; ``ambiguous``: the
            second is too near.
        candidates: the nearest identities, the best first; empty for an empty gallery.
        threshold: what the best one was held against.
        margin: by how much it had to lead the second.
        reason: why a face that reached the threshold has no name: another face of the image keeps it; else None.
    """

    name: str | None
    outcome: Outcome
    candidates: tuple[Candidate, ...]
    threshold: float
    margin: float
    reason: str | None = None

    def as_json(self) -> JsonObject:
        """The same as plain JSON values."""
        return json_object(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """What enrolling did.

    Attributes:
        name: as it is kept.
        added: embeddings that came.
        embeddings: that the identity has now.
        own_similarity: of the new embeddings' mean to the template before; None for a new identity.
        lookalikes: identities of *other* names that reach the threshold: two names for one face?
    """

    name: str
    added: int
    embeddings: int
    own_similarity: float | None
    lookalikes: tuple[Candidate, ...]

    def as_json(self) -> JsonObject:
        """The same as plain JSON values."""
        return json_object(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(Record):
    """From which similarity two faces count as one person, and why.

    Attributes:
        value: cosine.
        precision: of the model that it holds for.
        fingerprint: digest of what makes the embeddings that it holds for.
        source: where it comes from, in words.
        far: false accept rate asked for; None if it was not calibrated.
        low: of the threshold's 95 % interval; None likewise.
        high: of that interval.
        tar: true accept rate of the photographs that it comes from; None likewise.
        tracks: whether it was calibrated on tracks of strangers, as ``watch`` needs it, and not on photographs.
    """

    record_name = "The gallery's record of a threshold"
    record_error = GalleryFormatError
    record_hint = "calibrate it again"

    value: Cosine
    precision: str
    fingerprint: str
    source: str
    far: Rate | None = None
    low: Cosine | None = None
    high: Cosine | None = None
    tar: Rate | None = None
    tracks: bool = False

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        """Records of before ``tracks`` were calibrated on photographs."""
        return {"tracks": False, **values}


def decide(candidates: Sequence[Candidate], *, threshold: float, margin: float, top: int) -> Identification:
    """Who a probe is, by its nearest identities.

    Args:
        candidates: the best first; at least two where the gallery holds two.
        threshold: similarity that the best must reach.
        margin: by how much it must lead the second.
        top: candidates to give.
    """
    known = bool(candidates) and candidates[0].similarity >= threshold
    close = len(candidates) > 1 and candidates[0].similarity - candidates[1].similarity < margin
    return Identification(
        name=candidates[0].name if known and not close else None,
        outcome="unknown" if not known else "ambiguous" if close else "identified",
        candidates=tuple(candidates[:top]),
        threshold=threshold,
        margin=margin,
    )


def check_name(name: object) -> str:
    """A name as a new identity keeps it: composed (NFC), with single ordinary spaces. Case counts.

    Raises:
        IdentityError: invisible as a whole, too long, or with characters that names cannot have.
    """
    if not isinstance(name, str):
        raise IdentityError(f"Expected a name as text, got {type(name).__name__}.")
    kept = single_spaced(unicodedata.normalize("NFC", name))
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in kept):
        raise IdentityError(
            f"The name {name!a} has control characters or halves of characters.", hint="letters of any script are fine"
        )
    if not _DIRECTIONS.isdisjoint(kept):
        raise IdentityError(
            f"The name {name!a} has characters that change the order in which text is shown.", hint="leave them out"
        )
    if not skeleton(kept):
        raise IdentityError(f"Expected a name, got {name!a}.", hint="give at least one visible character")
    if len(kept.encode()) > MAX_NAME_BYTES:
        raise IdentityError(f"Expected a name of at most {MAX_NAME_BYTES} bytes in UTF-8.", hint="shorten it")
    return kept


def known_name(name: object) -> str:
    """A name to look up: composed, and no more, so that whoever was enrolled under any name can be found and removed.

    Raises:
        IdentityError: no text, or halves of characters.
    """
    if not isinstance(name, str):
        raise IdentityError(f"Expected a name as text, got {type(name).__name__}.")
    if any(unicodedata.category(character) == "Cs" for character in name):
        raise IdentityError(f"The name {name!a} has halves of characters.", hint="letters of any script are fine")
    return unicodedata.normalize("NFC", name).strip()


def metadata_text(metadata: JsonObject) -> str:
    """Metadata as it is kept.

    Raises:
        IdentityError: no JSON object, or too large.
    """
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True)
        size = len(text.encode())
        parse_kept(text, limit=max(size, 1))  # what could not be read again is not written
    except (TypeError, ValueError, RecursionError) as error:
        raise IdentityError(f"Expected metadata that JSON can hold: {error}.") from error
    if not isinstance(metadata, dict) or size > MAX_METADATA_BYTES:
        raise IdentityError(f"Expected metadata as a JSON object of at most {MAX_METADATA_BYTES} bytes, got {size}.")
    return text


def metadata_of(text: str | bytes, name: str) -> JsonObject:
    """Metadata of the identity of that name, which was kept as text.

    Raises:
        GalleryFormatError: it is no JSON object.
    """
    try:
        metadata = parse_kept(text, limit=MAX_JSON_BYTES)
    except JsonError as error:
        raise _no_metadata(name, f" ({error})") from error
    if not isinstance(metadata, dict):
        raise _no_metadata(name)
    return metadata


def parse_kept(text: str | bytes, *, limit: int) -> Any:
    """Parse JSON that holds metadata: whatever an application once kept is read again.

    Raises:
        JsonError: it has more than ``limit`` bytes, or is not JSON as ``bounded_json.parse_json`` wants.
    """
    return parse_json(text, limit=limit, digits=_METADATA_DIGITS, depth=_METADATA_DEPTH)


def _no_metadata(name: str, why: str = "") -> GalleryFormatError:
    return GalleryFormatError(
        f"The gallery is damaged: the metadata of {name!r} is no JSON object{why}.",
        hint="remove that identity and enroll it again, or restore a backup",
    )


def now() -> str:
    """This moment, UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
