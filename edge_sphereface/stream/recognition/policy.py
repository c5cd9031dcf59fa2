"""Recognition policy: when to embed a face, and which identity its embeddings support."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.stream.tracking.track import MOST_EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.gallery import Candidate
    from edge_sphereface.stream.settings import RecognitionSettings
    from edge_sphereface.stream.tracking.track import Standing, TrackState

_DIFFERENT_PERSON = 0.1
"""Margin below the threshold of identification: crops of one track are more similar than two photographs."""
_NEAR_IGNORED = 2.0
"""Factor on the evidence for ``unknown`` of a face that may be an ignored person: a wrong report cannot be taken back.
At a threshold calibrated for identification, few others are as near to one; they are reported later."""
_SETTLE_S = 0.5
"""Minimum interval between two embeddings of a decided or doubtful face."""


def worth_embedding(
    track: TrackState, quality: float, now_s: float, settings: RecognitionSettings, *, slower: float = 1.0
) -> bool:
    """Whether a visible face should be embedded now.

    Args:
        track: track of the face.
        quality: quality of the face in this frame, 0 to 1.
        now_s: time of the frame on the stream's clock, in seconds.
        settings: intervals and limits.
        slower: factor on every interval, from the compute budget.
    """
    since_s = now_s - track.embedded_s
    if quality < settings.min_quality:
        return False
    if track.embeddings == 0 or (track.doubtful and since_s >= _SETTLE_S * slower):
        return True
    if track.standing == "undecided":
        return since_s >= settings.retry_s * slower
    if quality >= track.best_quality * settings.better and since_s >= _SETTLE_S * slower:
        return True
    is_known = track.standing in ("identified", "ignored")
    refresh_s = settings.refresh_s if is_known else settings.refresh_unknown_s
    return refresh_s > 0 and since_s >= refresh_s * slower


def unlike(similarity: float, threshold: float) -> bool:
    """Whether an embedding with this similarity to a track's template may be of another person."""
    return similarity < threshold - _DIFFERENT_PERSON


def end_doubt(track: TrackState, now_s: float) -> None:
    """End the doubt of a track with the second embedding in a row that agrees with its template, half a second later.

    One alone is not enough: while one face dissolves into another, it may resemble both.

    Args:
        track: a track whose newest embedding agreed.
        now_s: time of the frame on the stream's clock, in seconds.
    """
    if track.embeddings == 0 or now_s - track.agreed_s >= _SETTLE_S:
        track.doubtful = False
    elif track.agreed_s == np.inf:
        track.agreed_s = now_s


def decide_identity(
    track: TrackState, candidates: Sequence[Candidate], threshold: float, settings: RecognitionSettings
) -> tuple[Standing, str | None]:
    """Decide the identity of a track from the nearest identities and the decision before.

    A name is given when there is enough evidence, and the best candidate reaches the threshold and leads by the margin.
    It is kept until its similarity falls below the threshold by the hysteresis, or another candidate leads by as much.
    A face that is nearest to an ignored person is that person in the same way, without a name and so without a margin.
    One that may be an ignored person is called unknown upon twice the evidence.

    Args:
        track: the track with its decision so far.
        candidates: identities nearest to its template, the best first; at least two if the gallery has two.
        threshold: minimum cosine similarity for a name.
        settings: margin, hysteresis and amounts of evidence.

    Returns:
        The standing, and the name if it is identified.
    """
    best = candidates[0] if candidates else None
    second = candidates[1].similarity if len(candidates) > 1 else -1.0
    if track.standing in ("identified", "ignored"):
        held = next((found for found in candidates if _is_held(found, track)), None)
        kept = held is not None and held.similarity >= threshold - settings.hysteresis
        if best is not None and held is not None and kept and best.similarity - held.similarity < settings.hysteresis:
            return track.standing, track.name
    if best is not None and best.similarity >= threshold:
        leads = bool(best.ignored) or best.similarity - second >= settings.margin
        if leads and track.weight < settings.enough_evidence and track.standing == "undecided":
            return "undecided", None
        if leads:
            return ("ignored", None) if best.ignored else ("identified", best.name)
    may_be_ignored = best is not None and bool(best.ignored) and best.similarity > threshold - _DIFFERENT_PERSON
    enough_doubt = settings.enough_doubt
    if may_be_ignored:  # no track has more than the most evidence
        enough_doubt = max(enough_doubt, min(enough_doubt * _NEAR_IGNORED, MOST_EVIDENCE / 2))
    if track.weight >= enough_doubt or track.standing != "undecided":
        return "unknown", None
    return "undecided", None


def _is_held(candidate: Candidate, track: TrackState) -> bool:
    """Whether a candidate is whom the track was decided to be: of several ignored people, any."""
    if track.standing == "ignored":
        return bool(candidate.ignored)
    return candidate.name == track.name and not candidate.ignored
