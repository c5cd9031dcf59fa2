"""A tracked face: a frozen snapshot for callers, and the state that the tracker works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from edge_sphereface.gallery import Candidate
    from edge_sphereface.types import Face, Float32Array, UInt8Array

Standing: TypeAlias = Literal["undecided", "identified", "unknown"]

_BELIEVED_MISSES = 2
"""Detections without a face, up to which the motion of its landmarks is believed."""
_MOST_EVIDENCE = 20.0
"""Of a face that stays for hours: older looks fade, so that a mistake does not stay for ever."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track:
    """A tracked face as it was in one frame. Later frames do not change it.

    Attributes:
        number: from 1, never used twice in a run; it denotes one person.
        face: where it is, in pixels of the frame.
        began_s: first detection, in seconds of the stream's clock.
        seen_s: last detection, likewise.
        in_sight: whether it is seen in the frame; otherwise it is hidden, and soon lost.
        standing: the decision on its identity.
        name: the identity; None unless ``standing`` is ``identified``.
        similarity: cosine similarity to that identity, else to the nearest; None before the first embedding.
        candidates: the nearest identities at the last decision, the best first.
        evidence: sum of the qualities, each 0 to 1, of its embeddings.
        embeddings: number of its embeddings.
    """

    number: int
    face: Face
    began_s: float
    seen_s: float
    in_sight: bool = True
    standing: Standing = "undecided"
    name: str | None = None
    similarity: float | None = None
    candidates: tuple[Candidate, ...] = ()
    evidence: float = 0.0
    embeddings: int = 0


@dataclass(slots=True, eq=False)
class TrackState:
    """A face that is tracked, and what is known of it. It changes with each frame.

    Attributes:
        number: from 1, never used twice in a run.
        face: where it is in the newest frame.
        began_s: of the stream's clock.
        seen_s: when the detector last saw it. Motion alone is no sign: a picture that stands still moves nowhere.
        detections: how often the detector saw it.
        misses: how often it did not, since.
        confirmed: whether it was announced.
        doubtful: whether it may have become another person: it was hidden, met another face, changed its looks from
            one frame to the next, or was not looked at for long.
        agreed_s: when the first look in this doubt was that agreed with its template; infinity before.
        looked_unlike: whether the last look at it showed somebody else.
        weight: sum of the qualities of its embeddings; what is known of it.
        embeddings: how many were made.
        embedded_s: when the last one was made.
        best_quality: of an embedded look.
        crop: (H, W, 3) uint8 BGR of that look; None before.
        standing: what was decided.
        name: if it is identified.
        candidates: the nearest identities at the last decision.
    """

    number: int
    face: Face
    began_s: float
    seen_s: float
    detections: int = 1
    misses: int = 0
    confirmed: bool = False
    doubtful: bool = False
    agreed_s: float = np.inf
    looked_unlike: bool = False
    velocity: Float32Array = field(default_factory=lambda: np.zeros(2, dtype=np.float32))
    weight: float = 0.0
    embeddings: int = 0
    embedded_s: float = -np.inf
    best_quality: float = 0.0
    crop: UInt8Array | None = None
    standing: Standing = "undecided"
    name: str | None = None
    candidates: tuple[Candidate, ...] = ()
    _sum: Float32Array | None = None
    _moved_s: float = -np.inf

    def snapshot(self) -> Track:
        """The track as it is now."""
        return Track(
            number=self.number,
            face=self.face,
            began_s=self.began_s,
            seen_s=self.seen_s,
            in_sight=self.in_sight,
            standing=self.standing,
            name=self.name,
            similarity=self.similarity,
            candidates=self.candidates,
            evidence=self.weight,
            embeddings=self.embeddings,
        )

    @property
    def in_sight(self) -> bool:
        """Whether the motion of its landmarks is believed; else it is hidden, and soon lost."""
        return self.misses <= _BELIEVED_MISSES

    @property
    def similarity(self) -> float | None:
        """To the one whose name it has, else to the nearest."""
        for candidate in self.candidates:
            if self.name is None or candidate.name == self.name:
                return candidate.similarity
        return None

    @property
    def template(self) -> Float32Array | None:
        """(D,) of length one: mean of the embeddings, weighted by quality; None before the first."""
        if self._sum is None:
            return None
        norm = float(np.linalg.norm(self._sum))
        return (self._sum / norm).astype(np.float32) if norm > 0 else None

    def doubt(self) -> None:
        """It may have become another person: looks that agreed so far say nothing of what comes after them."""
        self.doubtful, self.agreed_s = True, np.inf

    def add(self, embedding: Float32Array, crop: UInt8Array, quality: float, now_s: float) -> None:
        """Take one more look into account."""
        if self._sum is None:
            self._sum = np.zeros_like(embedding)
        if self.weight + quality > _MOST_EVIDENCE:
            fade = max(_MOST_EVIDENCE - quality, 0.0) / self.weight
            self._sum *= fade
            self.weight *= fade
        self._sum += embedding * np.float32(quality)
        self.weight += quality
        self.embeddings += 1
        self.embedded_s = now_s
        if quality >= self.best_quality or self.crop is None:
            self.best_quality, self.crop = quality, crop

    def move(self, face: Face, now_s: float) -> None:
        """Take a new place."""
        passed = now_s - self._moved_s
        if 0 < passed < np.inf:
            shift = (face.landmarks.mean(axis=0) - self.face.landmarks.mean(axis=0)) / passed
            self.velocity = (0.5 * self.velocity + 0.5 * shift).astype(np.float32)
        self.face, self._moved_s = face, now_s

    def see(self, face: Face, now_s: float) -> None:
        """Take the place where the detector sees it."""
        self.move(face, now_s)
        self.seen_s = now_s
        self.detections += 1
        self.misses = 0
