"""Recognition policy: when to embed a face, and which identity its embeddings support."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.gallery import Candidate
    from edge_sphereface.stream.settings import RecognitionSettings
    from edge_sphereface.stream.tracking.track import Standing, TrackState

_DIFFERENT_PERSON = 0.1
"""Below the threshold for identification: looks of one person in one track are more alike than any two photographs."""
_SETTLE_S = 0.5
"""Between two looks of a decided or doubtful face, however much better the second is."""


def worth_embedding(
    track: TrackState, quality: float, now_s: float, settings: RecognitionSettings, *, slower: float = 1.0
) -> bool:
    """Whether a face that is seen now should be embedded.

    Args:
        track: of the face.
        quality: of what is seen, 0 to 1.
        now_s: of the stream's clock.
        settings: intervals and limits.
        slower: factor on every interval, where the budget is short.
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
    refresh_s = settings.refresh_s if track.standing == "identified" else settings.refresh_unknown_s
    return refresh_s > 0 and since_s >= refresh_s * slower


def unlike(similarity: float, threshold: float) -> bool:
    """Whether a look that has this similarity to a track's template may show somebody else."""
    return similarity < threshold - _DIFFERENT_PERSON


def end_doubt(track: TrackState, now_s: float) -> None:
    """End the doubt of a track with the second look in a row that agrees with its template, some time after the first.

    The first may show one face that dissolves into another, and be like both.

    Args:
        track: of which a look agreed.
        now_s: of the stream's clock.
    """
    if track.embeddings == 0 or now_s - track.agreed_s >= _SETTLE_S:
        track.doubtful = False
    elif track.agreed_s == np.inf:
        track.agreed_s = now_s


def decide_identity(
    track: TrackState, candidates: Sequence[Candidate], threshold: float, settings: RecognitionSettings
) -> tuple[Standing, str | None]:
    """Who a track is, by its template's nearest identities and by what was said before.

    A name is given when the evidence is enough and the best reaches the threshold with the margin. It is kept until
    the similarity falls below the threshold by the hysteresis, or another leads it by as much.

    Args:
        track: with its standing so far.
        candidates: identities nearest to its template, the best first; at least two where there are two.
        threshold: to reach.
        settings: margin, hysteresis and what is enough.
    """
    best = candidates[0] if candidates else None
    second = candidates[1].similarity if len(candidates) > 1 else -1.0
    if track.standing == "identified":
        held = next((found for found in candidates if found.name == track.name), None)
        kept = held is not None and held.similarity >= threshold - settings.hysteresis
        if best is not None and held is not None and kept and best.similarity - held.similarity < settings.hysteresis:
            return "identified", track.name
    if best is not None and best.similarity >= threshold and best.similarity - second >= settings.margin:
        if track.weight >= settings.enough_evidence or track.standing != "undecided":
            return "identified", best.name
        return "undecided", None
    if track.weight >= settings.enough_doubt or track.standing != "undecided":
        return "unknown", None
    return "undecided", None
