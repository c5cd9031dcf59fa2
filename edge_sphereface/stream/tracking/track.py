"""A tracked face: a frozen snapshot for callers, and the state that the tracker works on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from edge_sphereface.liveness.result import CHECKS_AVERAGED
from edge_sphereface.types import Face

if TYPE_CHECKING:
    from edge_sphereface.gallery import Candidate
    from edge_sphereface.liveness.result import Liveness, LivenessState
    from edge_sphereface.strangers import Stranger
    from edge_sphereface.types import Float32Array, UInt8Array

Standing: TypeAlias = Literal["undecided", "identified", "unknown", "ignored"]

_BELIEVED_MISSES = 2
"""Number of missed detections up to which the optical flow of a face is trusted."""
MOST_EVIDENCE = 20.0
"""Limit of the evidence of a track: older embeddings lose weight, so that errors do not persist."""


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
        liveness: whether it is live; None where that is not checked at all.
        stranger: the stranger whom an unknown face shows again; None for others, and where strangers are not kept.
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
    liveness: LivenessState | None = None
    stranger: Stranger | None = None

    @property
    def person(self) -> str | None:
        """Who it is, reported or not, for records by which a person's files are found and removed."""
        if self.standing != "ignored":
            return self.name
        return next((found.name for found in self.candidates if found.ignored), None)


@dataclass(slots=True, eq=False)
class TrackState:
    """The state of a track, which changes with each frame. Times are in seconds of the stream's clock.

    Attributes:
        number: from 1, never used twice in a run.
        face: where it is in the newest frame.
        began_s: first detection.
        seen_s: last detection. Optical flow does not count: it also tracks a still image.
        detections: number of detections.
        misses: number of detections without this face since the last one with it.
        confirmed: whether it was detected often enough to count as a face.
        reported: whether its event ``appeared`` was emitted, and none since that it was lost.
        doubtful: whether it may have become another person: it was hidden, met another face, looked different from one
            frame to the next, or was not seen for long.
        agreed_s: first embedding in this doubt that agreed with the template; infinity before.
        looked_unlike: whether the last embedding was unlike the template.
        met_s: since when it has overlapped another face without a break; infinity while it does not.
        weight: evidence, the sum of the qualities of its embeddings.
        embeddings: number of embeddings.
        embedded_s: last embedding.
        best_quality: highest quality of an embedded crop, 0 to 1.
        crop: (H, W, 3) uint8 BGR, the crop of that quality; None before.
        standing: the decision on its identity.
        name: the identity; None unless ``standing`` is ``identified``.
        candidates: the nearest identities at the last decision, the best first.
        liveness: whether it is live, by its newest checks; None before the first.
        stranger: the stranger whom an unknown face shows again; None for others.
    """

    number: int
    face: Face
    began_s: float
    seen_s: float
    detections: int = 1
    misses: int = 0
    confirmed: bool = False
    reported: bool = False
    doubtful: bool = False
    agreed_s: float = np.inf
    looked_unlike: bool = False
    met_s: float = np.inf
    velocity: Float32Array = field(default_factory=lambda: np.zeros(2, dtype=np.float32))
    weight: float = 0.0
    embeddings: int = 0
    embedded_s: float = -np.inf
    best_quality: float = 0.0
    crop: UInt8Array | None = None
    standing: Standing = "undecided"
    name: str | None = None
    candidates: tuple[Candidate, ...] = ()
    liveness: LivenessState | None = None
    stranger: Stranger | None = None
    _live_scores: deque[float] = field(default_factory=lambda: deque(maxlen=CHECKS_AVERAGED))
    _sum: Float32Array | None = None
    _moved_s: float = -np.inf

    def snapshot(self) -> Track:
        """The track as it is now."""
        return Track(
            number=self.number,
            face=Face(box=_read_only(self.face.box), landmarks=_read_only(self.face.landmarks), score=self.face.score),
            began_s=self.began_s,
            seen_s=self.seen_s,
            in_sight=self.in_sight,
            standing=self.standing,
            name=self.name,
            similarity=self.similarity,
            candidates=self.candidates,
            evidence=self.weight,
            embeddings=self.embeddings,
            liveness=self.liveness,
            stranger=self.stranger,
        )

    @property
    def in_sight(self) -> bool:
        """Whether its optical flow is trusted; otherwise it is hidden, and soon lost."""
        return self.misses <= _BELIEVED_MISSES

    @property
    def similarity(self) -> float | None:
        """Cosine similarity to its identity, else to the nearest one; None before the first embedding."""
        for candidate in self.candidates:
            if self.name is None or candidate.name == self.name:
                return candidate.similarity
        return None

    @property
    def template(self) -> Float32Array | None:
        """(D,) float32 of length one: mean of the embeddings, weighted by quality; None before the first."""
        if self._sum is None:
            return None
        norm = float(np.linalg.norm(self._sum))
        return (self._sum / norm).astype(np.float32) if norm > 0 else None

    def doubt(self) -> None:
        """Begin to doubt that it is still the same person; earlier embeddings that agreed no longer count."""
        self.doubtful, self.agreed_s = True, np.inf

    def add(self, embedding: Float32Array, crop: UInt8Array, quality: float, now_s: float) -> None:
        """Add an embedding."""
        if self._sum is None:
            self._sum = np.zeros_like(embedding)
        if self.weight + quality > MOST_EVIDENCE:
            fade = max(MOST_EVIDENCE - quality, 0.0) / self.weight
            self._sum *= fade
            self.weight *= fade
        self._sum += embedding * np.float32(quality)
        self.weight += quality
        self.embeddings += 1
        self.embedded_s = now_s
        if quality >= self.best_quality or self.crop is None:
            self.best_quality, self.crop = quality, crop

    def judge_liveness(self, result: Liveness, threshold: float) -> None:
        """Add a check. The mean of the newest ones decides, since single ones vary from frame to frame."""
        if result.score is None:
            self.liveness = "not_checked"
            return
        self._live_scores.append(result.score)
        mean = sum(self._live_scores) / len(self._live_scores)
        self.liveness = "live" if mean >= threshold else "spoof"

    def move(self, face: Face, now_s: float) -> None:
        """Move to a new position."""
        passed = now_s - self._moved_s
        if 0 < passed < np.inf:
            shift = (face.landmarks - self.face.landmarks).mean(axis=0) / passed
            self.velocity = (0.5 * self.velocity + 0.5 * shift).astype(np.float32)
        self.face, self._moved_s = face, now_s

    def see(self, face: Face, now_s: float) -> None:
        """Move to the position of a detection."""
        self.move(face, now_s)
        self.seen_s = now_s
        self.detections += 1
        self.misses = 0


def _read_only(values: Float32Array) -> Float32Array:
    """A copy that nobody can change: the tracker goes on with the original."""
    kept = values.copy()
    kept.setflags(write=False)
    return kept
