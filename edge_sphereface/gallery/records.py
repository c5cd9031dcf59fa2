"""Records that a gallery accepts and returns."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edge_sphereface.errors import GalleryFormatError, IdentityError
from edge_sphereface.gallery.spelling import skeleton
from edge_sphereface.json_output import OMIT_NONE, json_object, rounded
from edge_sphereface.names import stored_name
from edge_sphereface.storage.bounded_json import MAX_JSON_BYTES, JsonError, parse_json
from edge_sphereface.storage.record import Cosine, Rate, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import Float32Array, JsonObject

MAX_NAME_BYTES = 1024
"""Largest size of a name in UTF-8."""
MAX_METADATA_BYTES = 1 << 15
"""Largest size of an identity's metadata as JSON."""
_METADATA_DIGITS = 4300
"""Largest number of digits of an integer in metadata, which is Python's own limit."""
_METADATA_DEPTH = 256
"""Deepest nesting of metadata, well below the limit of Python's JSON encoder."""

_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Bidirectional control characters, which change the order in which other text is displayed."""

Outcome: TypeAlias = Literal["identified", "ignored", "unknown", "ambiguous"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An enrolled identity.

    Attributes:
        name: unique name, in Unicode's composed form (NFC).
        metadata: JSON object of the application.
        embeddings: number of embeddings.
        crops: number of embeddings whose crop is stored.
        enrolled_at: time of the first enrollment, UTC, ISO 8601.
        ignored: whether this person is recognized, but never reported.
    """

    name: str
    metadata: JsonObject
    embeddings: int
    crops: int
    enrolled_at: str
    ignored: bool

    def as_json(self) -> JsonObject:
        """This record as plain JSON values."""
        return json_object(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portrait:
    """An identity with its embeddings and crops, as exported, imported and enrolled.

    Attributes:
        name: unique name.
        metadata: JSON object of the application; None leaves the metadata of an existing identity unchanged.
        embeddings: (N, D) float32, N at least 1.
        crops: PNG file of each embedding's crop; None if the crop was not kept.
        ignored: whether this person is never reported; None leaves an existing identity unchanged.
    """

    name: str
    metadata: JsonObject | None
    embeddings: Float32Array
    crops: tuple[bytes | None, ...]
    ignored: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An identity that is similar to a probe.

    Attributes:
        name: name of the identity.
        similarity: cosine similarity of the probe to the identity's template, -1 to 1.
        ignored: True for a person who is never reported; None for others, and then absent in JSON.
    """

    name: str
    similarity: float = field(metadata=rounded(4))
    ignored: bool | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """Result of identifying one probe (1:N).

    Attributes:
        name: name of the identity; None unless ``outcome`` is ``identified``.
        outcome: ``identified``; ``ignored`` if the best candidate reaches the threshold and is an ignored person;
            ``unknown`` if no identity reaches the threshold, or for the cause in ``reason``; ``ambiguous`` if the
            second candidate, ignored or not, is within the margin.
        candidates: the most similar identities, most similar first; empty for an empty gallery.
        threshold: cosine similarity that the best candidate had to reach.
        margin: difference in cosine similarity by which it had to lead the second.
        reason: why a face is unknown, other than by its similarity: another face of the image is more similar to that
            identity, or the face does not count as live. None for other faces.
    """

    name: str | None
    outcome: Outcome
    candidates: tuple[Candidate, ...]
    threshold: float
    margin: float
    reason: str | None = None

    def as_json(self) -> JsonObject:
        """This record as plain JSON values."""
        return json_object(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """Result of an enrollment.

    Attributes:
        name: name as stored.
        added: number of embeddings added.
        embeddings: number of embeddings that the identity has now.
        own_similarity: cosine similarity of the new embeddings' mean to the previous template; None for a new identity.
        lookalikes: identities of *other* names that reach the threshold, which may be the same person.
    """

    name: str
    added: int
    embeddings: int
    own_similarity: float | None = field(metadata=rounded(4))
    lookalikes: tuple[Candidate, ...]

    def as_json(self) -> JsonObject:
        """This record as plain JSON values."""
        return json_object(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(Record):
    """Cosine similarity from which two faces count as the same person, and its origin.

    Attributes:
        value: cosine similarity, -1 to 1.
        precision: precision of the model that the threshold is for.
        fingerprint: digest of the fingerprint that the threshold is for.
        source: origin of the threshold, in words.
        far: requested false accept rate; None if the threshold was not calibrated.
        low: lower bound of the threshold's 95 % interval; None if it was not calibrated.
        high: upper bound of that interval; None if it was not calibrated.
        tar: true accept rate at the threshold on the calibration photographs; None if it was not measured.
        tracks: whether the threshold was calibrated on tracks of strangers, for streams; else on photographs.
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

    @property
    def calibrated(self) -> bool:
        """Whether it was calibrated, and is not only the one of the model's publisher."""
        return self.far is not None

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        """Records without ``tracks`` were calibrated on photographs."""
        return {"tracks": False, **values}


def decide(candidates: Sequence[Candidate], *, threshold: float, margin: float, top: int) -> Identification:
    """Decide who a probe is from its most similar identities.

    A face that is nearest to an ignored person is that person, whoever else reaches the threshold. The margin does not
    apply there: it protects names, and none is given.

    Args:
        candidates: candidates, most similar first; at least two if the gallery holds two identities.
        threshold: cosine similarity that the best candidate must reach.
        margin: difference in cosine similarity by which it must lead the second.
        top: number of candidates to return.
    """
    known = bool(candidates) and candidates[0].similarity >= threshold
    ignored = known and bool(candidates[0].ignored)
    close = len(candidates) > 1 and candidates[0].similarity - candidates[1].similarity < margin
    return Identification(
        name=candidates[0].name if known and not ignored and not close else None,
        outcome="unknown" if not known else "ignored" if ignored else "ambiguous" if close else "identified",
        candidates=tuple(candidates[:top]),
        threshold=threshold,
        margin=margin,
    )


def check_name(name: object) -> str:
    """Normalize the name of a new identity: composed (NFC), with single ordinary spaces. Names are case-sensitive.

    Raises:
        IdentityError: the name is invisible, too long, or holds characters that names cannot have.
    """
    if not isinstance(name, str):
        raise IdentityError(f"Expected a name as text, got {type(name).__name__}.")
    kept = stored_name(name)
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in kept):
        raise IdentityError(
            f"The name {name!a} has control characters or unpaired surrogates.",
            hint="letters of any script are allowed",
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
    """Normalize a name for a lookup: composed (NFC), and no more, so that every enrolled name can be found and removed.

    Raises:
        IdentityError: the name is not text, or holds halves of characters.
    """
    if not isinstance(name, str):
        raise IdentityError(f"Expected a name as text, got {type(name).__name__}.")
    if any(unicodedata.category(character) == "Cs" for character in name):
        raise IdentityError(f"The name {name!a} has unpaired surrogates.", hint="letters of any script are allowed")
    return unicodedata.normalize("NFC", name).strip()


def metadata_text(metadata: JsonObject) -> str:
    """Metadata as JSON text for storage.

    Raises:
        IdentityError: the metadata is not a JSON object or too large.
    """
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True)
        size = len(text.encode())
        parse_kept(text, limit=max(size, 1))  # metadata that could not be read back is not stored
    except (TypeError, ValueError, RecursionError) as error:
        raise IdentityError(f"Expected metadata that JSON can hold: {error}.") from error
    if not isinstance(metadata, dict) or size > MAX_METADATA_BYTES:
        raise IdentityError(f"Expected metadata as a JSON object of at most {MAX_METADATA_BYTES} bytes, got {size}.")
    return text


def metadata_of(text: str | bytes, name: str) -> JsonObject:
    """Parse the stored metadata of the identity of that name.

    Raises:
        GalleryFormatError: the text is not a JSON object.
    """
    try:
        metadata = parse_kept(text, limit=MAX_JSON_BYTES)
    except JsonError as error:
        raise _no_metadata(name, f" ({error})") from error
    if not isinstance(metadata, dict):
        raise _no_metadata(name)
    return metadata


def parse_kept(text: str | bytes, *, limit: int) -> Any:
    """Parse JSON that holds metadata, within bounds that all stored metadata meets.

    Raises:
        JsonError: the text has more than ``limit`` bytes, or :func:`parse_json` refuses it.
    """
    return parse_json(text, limit=limit, digits=_METADATA_DIGITS, depth=_METADATA_DEPTH)


def _no_metadata(name: str, why: str = "") -> GalleryFormatError:
    return GalleryFormatError(
        f"The gallery is damaged: the metadata of {name!r} is not a JSON object{why}.",
        hint="remove that identity and enroll it again, or restore a backup",
    )


def now() -> str:
    """The current time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
