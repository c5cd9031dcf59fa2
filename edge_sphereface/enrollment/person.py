"""How the photographs of one person go together, and whom they could be confused with.

Each photograph is compared with the template of the person's other photographs (leave one out), as a new photograph
would be.

References:
    E. B. Wilson: Probable inference, the law of succession, and statistical inference, Journal of the American
    Statistical Association 22, 1927: the interval of a share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.enrollment.appraisal import LIGHTS, POSES, Appraisal
from edge_sphereface.gallery.vectors import LENGTH_TOLERANCE, ROUNDING
from edge_sphereface.json_output import rounded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_sphereface.enrollment.appraisal import Light, Pose
    from edge_sphereface.gallery import Candidate, Gallery, Portrait, Threshold
    from edge_sphereface.types import Float32Array, Float64Array

REDUNDANT = 0.95
"""Similarity of two photographs from which the second one adds nothing."""
UNLIKE = 0.5
"""Share of the threshold below which a photograph is unlike the person's others."""
_Z = 1.959964
"""Quantile of the normal distribution for an interval of 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotographReport:
    """One enrolled photograph.

    Attributes:
        number: number of the photograph among those of the person, from 1.
        path: path of the photograph; None if it was enrolled before.
        similarity: cosine similarity to the template of the person's other photographs; None if there are none.
        nearest: the other person that it resembles most; None if nobody else is enrolled.
        looks_like: name of that person if the photograph resembles them as much as the person's others, and reaches
            the gallery's threshold; else None.
        duplicate_of: number of an earlier photograph that is nearly the same; None if there is none.
        harmful: whether it resembles another person as much as its own, or its own less than half the threshold.
        appraisal: what the photograph is like; None if neither photograph nor crop is there.
    """

    number: int
    path: Path | None
    similarity: float | None = field(metadata=rounded(4))
    nearest: Candidate | None
    looks_like: str | None
    duplicate_of: int | None
    harmful: bool
    appraisal: Appraisal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRecognition:
    """How often a new photograph of the person is expected to be recognized.

    The estimate is the share of the photographs that the person's *other* photographs recognize. It holds for
    photographs like the enrolled ones: those of one afternoon promise too much.

    Attributes:
        rate: share of the photographs that reach the threshold and resemble nobody else more.
        low: lower bound of its 95 % interval, by Wilson's formula.
        high: upper bound of that interval.
        photographs: number of photographs that the share is of.
        threshold: the gallery's threshold, a cosine similarity.
        calibrated: whether that threshold was calibrated.
    """

    rate: float = field(metadata=rounded(4))
    low: float = field(metadata=rounded(4))
    high: float = field(metadata=rounded(4))
    photographs: int
    threshold: float = field(metadata=rounded(4))
    calibrated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonReport:
    """The photographs of one person.

    Attributes:
        name: name of the person.
        similarity: mean cosine similarity of the photographs, each to the template of the others; None for one
            photograph.
        least_similarity: smallest of these similarities.
        nearest: the other person that the template resembles most; None if nobody else is enrolled.
        margin: mean similarity less the similarity of the nearest person; None if one of them is missing.
        redundant: numbers of photographs that are nearly the same as an earlier one.
        harmful: numbers of photographs that resemble another person as much, or their own person too little.
        missing_poses: poses that no photograph shows; None if no pose is known.
        missing_light: kinds of light that no photograph shows; None if no light is known.
        expected: how often a new photograph is expected to be recognized; None for one photograph, and without a
            threshold.
        photographs: the photographs.
    """

    name: str
    similarity: float | None = field(metadata=rounded(4))
    least_similarity: float | None = field(metadata=rounded(4))
    nearest: Candidate | None
    margin: float | None = field(metadata=rounded(4))
    redundant: tuple[int, ...]
    harmful: tuple[int, ...]
    missing_poses: tuple[Pose, ...] | None
    missing_light: tuple[Light, ...] | None
    expected: ExpectedRecognition | None
    photographs: tuple[PhotographReport, ...]


def report_person(
    gallery: Gallery,
    name: str,
    embeddings: Float32Array,
    *,
    appraisals: Sequence[Appraisal | None],
    paths: Sequence[Path | None] = (),
) -> PersonReport:
    """Report on the photographs of one person.

    Args:
        gallery: where the other people are.
        name: name of the person.
        embeddings: (N, D) float32 unit rows of the person's photographs, N at least 1.
        appraisals: what each photograph is like.
        paths: path of each photograph; empty if they are not known.

    Raises:
        EdgeSphereFaceError: as :meth:`Gallery.rivals` does.
    """
    own = to_the_others(embeddings)
    rivals = gallery.rivals(name, embeddings)
    known_threshold = gallery.threshold
    threshold = None if known_threshold is None else known_threshold.value
    duplicates = duplicates_of(embeddings)
    photographs = tuple(
        PhotographReport(
            number=number,
            path=path,
            similarity=None if math.isnan(similarity) else similarity,
            nearest=rival,
            looks_like=rival.name if rival is not None and is_of(rival, similarity, threshold) else None,
            duplicate_of=duplicate,
            harmful=is_harmful(similarity, None if rival is None else rival.similarity, threshold),
            appraisal=appraisal,
        )
        for number, path, similarity, rival, duplicate, appraisal in zip(
            range(1, len(embeddings) + 1),
            paths or [None] * len(embeddings),
            own.tolist(),
            rivals,
            duplicates,
            appraisals,
            strict=True,
        )
    )
    mean = embeddings.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    (nearest,) = gallery.rivals(name, mean / length) if length >= LENGTH_TOLERANCE else [None]
    is_alone = len(embeddings) == 1
    similarity = None if is_alone else float(own.mean())
    known = [appraisal for appraisal in appraisals if appraisal is not None]
    poses, lights = {each.pose for each in known} - {None}, {each.light for each in known}
    return PersonReport(
        name=name,
        similarity=similarity,
        least_similarity=None if is_alone else float(own.min()),
        nearest=nearest,
        margin=None if similarity is None or nearest is None else similarity - nearest.similarity,
        redundant=tuple(each.number for each in photographs if each.duplicate_of is not None),
        harmful=tuple(each.number for each in photographs if each.harmful),
        missing_poses=tuple(pose for pose in POSES if pose not in poses) if poses else None,
        missing_light=tuple(light for light in LIGHTS if light not in lights) if lights else None,
        expected=None if is_alone or known_threshold is None else _expected(photographs, known_threshold),
        photographs=photographs,
    )


def to_the_others(embeddings: Float32Array) -> Float64Array:
    """Compare each of several embeddings (N, D) with the template of the others.

    Returns:
        (N,) cosine similarities; NaN for a single embedding, and -1 where the others cancel one another.
    """
    rows = embeddings.astype(np.float64)
    others = rows.sum(axis=0) - rows
    lengths = np.linalg.norm(others, axis=1)
    dots = np.einsum("nd,nd->n", rows, others)
    nothing = np.full(len(rows), np.nan if len(rows) == 1 else -1.0)
    np.divide(dots, lengths, out=nothing, where=lengths > LENGTH_TOLERANCE)
    return nothing


def to_the_nearest(embeddings: Float32Array) -> Float64Array:
    """Compare each of several embeddings (N, D) with the other that it resembles most.

    Returns:
        (N,) cosine similarities; NaN for a single embedding.
    """
    cosines = embeddings.astype(np.float64) @ embeddings.T
    np.fill_diagonal(cosines, -np.inf if len(embeddings) > 1 else np.nan)
    return np.asarray(cosines.max(axis=1))


def duplicates_of(embeddings: Float32Array) -> list[int | None]:
    """The number, from 1, of the first earlier embedding (N, D) that each one repeats; None if there is none."""
    cosines = embeddings @ embeddings.T
    found: list[int | None] = []
    for number, row in enumerate(cosines):
        earlier = np.flatnonzero(row[:number] >= REDUNDANT)
        found.append(int(earlier[0]) + 1 if earlier.size else None)
    return found


def is_harmful(similarity: float, rival: float | None, threshold: float | None) -> bool:
    """Whether a photograph may show somebody else, or harm recognition.

    Args:
        similarity: to the template of the person's other photographs; NaN if there are none, so that nothing shows what
            is the person's own.
        rival: to the template of the most similar other person; None if there is none.
        threshold: the gallery's threshold; None if it has none.
    """
    if math.isnan(similarity):
        return False
    is_unlike = threshold is not None and similarity < UNLIKE * threshold
    return is_unlike or (rival is not None and rival >= similarity - ROUNDING)


def is_of(rival: Candidate, similarity: float, threshold: float | None) -> bool:
    """Whether a photograph looks like one of another person.

    Args:
        rival: the other person that it resembles most.
        similarity: to the person's other photographs; NaN if there are none.
        threshold: the gallery's threshold; None if it has none.
    """
    return rival.similarity >= similarity - ROUNDING and (threshold is None or rival.similarity >= threshold)


def best_crop(gallery: Gallery, portrait: Portrait) -> bytes | None:
    """The kept crop that is most alike the person's other photographs, as a PNG file; None if no crop was kept.

    A photograph that may show somebody else is taken only if there is no other.

    Args:
        gallery: where the other people are.
        portrait: the person.

    Raises:
        EdgeSphereFaceError: as :meth:`Gallery.rivals` does.
    """
    found = report_person(gallery, portrait.name, portrait.embeddings, appraisals=[None] * len(portrait.embeddings))
    kept = [
        (
            photograph.looks_like is None,
            not photograph.harmful,
            photograph.similarity or 0.0,
            -1.0 if photograph.nearest is None else -photograph.nearest.similarity,  # two are as alike to each other
            photograph.number,
            crop,
        )
        for photograph, crop in zip(found.photographs, portrait.crops, strict=True)
        if crop is not None
    ]
    return max(kept)[-1] if kept else None


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share, by Wilson's formula."""
    share, weight = successes / trials, _Z * _Z / trials
    middle = (share + weight / 2) / (1 + weight)
    reach = _Z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def _expected(photographs: Sequence[PhotographReport], threshold: Threshold) -> ExpectedRecognition:
    recognized = sum(
        each.similarity is not None
        and each.similarity >= threshold.value
        and (each.nearest is None or each.similarity > each.nearest.similarity)
        for each in photographs
    )
    low, high = wilson(recognized, len(photographs))
    return ExpectedRecognition(
        rate=recognized / len(photographs),
        low=low,
        high=high,
        photographs=len(photographs),
        threshold=threshold.value,
        calibrated=threshold.calibrated,
    )
