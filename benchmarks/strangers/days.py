"""Strangers over simulated days: which linkage and threshold find out best who is seen again, and how well.

Each photograph is one sighting, which is harder than a track: a track has the mean of several embeddings. The
photographs are dealt to thirty days at random. Half of the people choose linkage and threshold; the measures are those
of the other half.

References:
    E. Amigó et al.: A comparison of extrinsic clustering evaluation metrics based on formal constraints, Information
    Retrieval 12, 2009 (pairwise precision and recall).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.errors import PairsError
from edge_sphereface.strangers import group_faces
from edge_sphereface.strangers.grouping import average

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.environment import Environment
    from edge_sphereface.strangers.grouping import Linkage
    from edge_sphereface.types import BoolArray, Float32Array, Int64Array

DAYS = (1, 7, 30)
"""Days after which the groups are judged."""
THRESHOLDS = tuple(round(0.2 + 0.02 * step, 2) for step in range(26))
SHUFFLES = 5
TIMED_SIGHTINGS = 1000
PAIR_FALSE_ACCEPTS = 0.001
_ALL_DAYS = 30
_TIMED_ROUNDS = 7
_LEAST_PEOPLE = 4


def single(one: Float32Array, other: Float32Array, sizes: tuple[int, int]) -> Float32Array:  # noqa: ARG001 -- the interface's
    """Single linkage: two groups are as similar as their most similar embeddings."""
    return np.maximum(one, other)


def complete(one: Float32Array, other: Float32Array, sizes: tuple[int, int]) -> Float32Array:  # noqa: ARG001 -- the interface's
    """Complete linkage: two groups are as similar as their least similar embeddings."""
    return np.minimum(one, other)


LINKAGES: dict[str, Linkage] = {"average": average, "complete": complete, "single": single}


class Sightings(NamedTuple):
    """Sightings of one set of people.

    Attributes:
        embeddings: (N, D) float32 unit rows.
        people: (N,) number of the person.
        days: (N,) day of the sighting, 1 to 30.
    """

    embeddings: Float32Array
    people: Int64Array
    days: Int64Array

    def only(self, kept: BoolArray) -> Sightings:
        """Some of them."""
        return Sightings(self.embeddings[kept], self.people[kept], self.days[kept])


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAgreement:
    """PairAgreement of groups with people, over all pairs of sightings.

    Attributes:
        precision: share of the pairs in one group that show one person; None without such pairs.
        recall: share of the pairs of one person that are in one group; None without such pairs.
        f1: harmonic mean of both; None without pairs of one person.
    """

    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkageChoice:
    """The best threshold of a linkage.

    Attributes:
        linkage: ``average``, ``complete`` or ``single``.
        threshold: similarity from which two groups are merged.
        f1: mean of the pairwise F1 of all sets after 7 and 30 days, of the people who choose.
        judged_f1: the same of the other people.
    """

    linkage: str
    threshold: float
    f1: float
    judged_f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerDays:
    """The groups of a set of people after some days, by the best linkage and threshold.

    Attributes:
        set: name of the set.
        days: number of days.
        sightings: number of sightings until then.
        people: number of people who were seen.
        recurring: number of people who were seen twice or more often.
        groups: number of groups.
        recurring_groups: number of groups of two sightings or more.
        agreement: of the groups with the people.
        shuffles: number of other orders of arrival, which gave the same groups.
    """

    set: str
    days: int
    sightings: int
    people: int
    recurring: int
    groups: int
    recurring_groups: int
    agreement: PairAgreement
    shuffles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerQualityReport:
    """What ``strangers`` measured.

    Attributes:
        environment: machine and versions.
        model: file name of the model.
        detector: name of the detector.
        chosen: the best linkage with its threshold.
        choices: the best threshold of each linkage, the best linkage first.
        pair_false_accepts: share of the pairs of different people that reach the pair threshold.
        pair_thresholds: the pair threshold of each set, of the people who choose.
        strangers: quality after some days, of the other people.
        timed_sightings: number of sightings whose grouping was timed.
        grouping_ms: processor time of grouping them in milliseconds, the median of several rounds.
    """

    environment: Environment
    model: str
    detector: str
    chosen: LinkageChoice
    choices: tuple[LinkageChoice, ...]
    pair_false_accepts: float
    pair_thresholds: dict[str, float]
    strangers: tuple[StrangerDays, ...]
    timed_sightings: int
    grouping_ms: float


def deal(found: Mapping[str, Float32Array], people: Mapping[str, str]) -> Sightings:
    """Deal photographs to thirty days, the same way in each run.

    Args:
        found: embeddings (D,) of length one by photograph; NaN for one without a usable face.
        people: name of the person of each photograph.

    Raises:
        PairsError: there are too few people.
    """
    usable = [name for name in sorted(found) if np.isfinite(found[name]).all()]
    names = sorted({people[name] for name in usable})
    if len(names) < _LEAST_PEOPLE:
        raise PairsError(f"Expected photographs of at least {_LEAST_PEOPLE} people, got {len(names)}.")
    order = np.random.RandomState(0).permutation(len(usable))  # the same stream in every numpy
    days = np.empty(len(usable), dtype=np.int64)
    days[order] = np.arange(len(usable)) * _ALL_DAYS // len(usable) + 1
    return Sightings(
        np.stack([found[name] for name in usable]),
        np.array([names.index(people[name]) for name in usable], dtype=np.int64),
        days,
    )


def halves(sightings: Sightings) -> tuple[Sightings, Sightings]:
    """Divide the people at random into those who choose and those who are judged."""
    people = np.unique(sightings.people)
    chosen = np.random.RandomState(1).permutation(people)[: len(people) // 2]
    chooses = np.isin(sightings.people, chosen)
    return sightings.only(chooses), sightings.only(~chooses)


def agreement(groups: Int64Array, people: Int64Array) -> PairAgreement:
    """Compare groups (N,) with people (N,) over all pairs of sightings."""
    table = np.zeros((groups.max(initial=-1) + 1, people.max(initial=-1) + 1), dtype=np.int64)
    np.add.at(table, (groups, people), 1)
    right, joined, same = (int((counts * (counts - 1) // 2).sum()) for counts in (table, table.sum(1), table.sum(0)))
    return PairAgreement(
        precision=right / joined if joined else None,
        recall=right / same if same else None,
        f1=2 * right / (joined + same) if same else None,
    )


def choose(sets: Mapping[str, tuple[Sightings, Sightings]]) -> list[LinkageChoice]:
    """The best threshold of each linkage, the best linkage first."""
    choices = []
    for name, linkage in LINKAGES.items():
        scores = {t: _mean_f1([chooses for chooses, _ in sets.values()], t, linkage) for t in THRESHOLDS}
        best = max(scores, key=lambda threshold: scores[threshold])
        judged = _mean_f1([judged for _, judged in sets.values()], best, linkage)
        choices.append(LinkageChoice(linkage=name, threshold=best, f1=scores[best], judged_f1=judged))
    return sorted(choices, key=lambda choice: -choice.f1)


def judge(name: str, sightings: Sightings, choice: LinkageChoice) -> list[StrangerDays]:
    """Judge the groups of a set after some days.

    Raises:
        PairsError: another order of arrival gave other groups.
    """
    rows = []
    linkage = LINKAGES[choice.linkage]
    for days in DAYS:
        seen = sightings.only(sightings.days <= days)
        groups = group_faces(seen.embeddings, choice.threshold, linkage=linkage)
        for seed in range(SHUFFLES):
            order = np.random.RandomState(seed).permutation(len(groups))
            shuffled = np.empty_like(groups)
            shuffled[order] = group_faces(seen.embeddings[order], choice.threshold, linkage=linkage)
            if _partition(shuffled) != _partition(groups):
                raise PairsError(f"The order of arrival changed the groups of {name} after {days} days.")
        rows.append(
            StrangerDays(
                set=name,
                days=days,
                sightings=len(groups),
                people=len(np.unique(seen.people)),
                recurring=_recurring(seen.people),
                groups=len(np.unique(groups)),
                recurring_groups=_recurring(groups),
                agreement=agreement(groups, seen.people),
                shuffles=SHUFFLES,
            )
        )
    return rows


def pair_threshold(sightings: Sightings) -> float:
    """Similarity that one in a thousand pairs of different people reaches."""
    first, second = np.triu_indices(len(sightings.people), k=1)
    similar = (sightings.embeddings @ sightings.embeddings.T)[first, second]
    different = similar[sightings.people[first] != sightings.people[second]]
    return float(np.quantile(different, 1 - PAIR_FALSE_ACCEPTS))


def time_grouping(embeddings: Float32Array, choice: LinkageChoice) -> float:
    """Median processor time of grouping, in milliseconds."""
    times_ms = []
    for _ in range(_TIMED_ROUNDS):
        began = time.process_time()
        group_faces(embeddings, choice.threshold, linkage=LINKAGES[choice.linkage])
        times_ms.append((time.process_time() - began) * 1000)
    return float(np.median(times_ms))


def text(report: StrangerQualityReport) -> str:
    """Format a report as tables."""
    lines = [f"{'linkage':<12}{'threshold':>10}{'F1':>8}{'F1, others':>12}"]
    lines += [
        f"{choice.linkage:<12}{choice.threshold:>10.2f}{choice.f1:>8.3f}{choice.judged_f1:>12.3f}"
        for choice in report.choices
    ]
    head = f"{'set':<8}{'days':>5}{'sightings':>10}{'people':>8}{'groups':>8}{'again':>7}{'groups':>8}"
    lines += ["", f"{head}{'precision':>11}{'recall':>8}{'F1':>7}"]
    for row in report.strangers:
        rates = "".join(
            f"{'-' if rate is None else format(rate, '.3f'):>{width}}"
            for rate, width in ((row.agreement.precision, 11), (row.agreement.recall, 8), (row.agreement.f1, 7))
        )
        lines.append(
            f"{row.set:<8}{row.days:>5}{row.sightings:>10}{row.people:>8}{row.groups:>8}{row.recurring:>7}"
            f"{row.recurring_groups:>8}{rates}"
        )
    lines += ["", f"{report.timed_sightings} sightings are grouped in {report.grouping_ms:.0f} ms of processor time"]
    return "\n".join(lines)


def _mean_f1(sets: Sequence[Sightings], threshold: float, linkage: Linkage) -> float:
    found = []
    for sightings in sets:
        for days in DAYS[1:]:
            seen = sightings.only(sightings.days <= days)
            f1 = agreement(group_faces(seen.embeddings, threshold, linkage=linkage), seen.people).f1
            if f1 is not None:
                found.append(f1)
    return float(np.mean(found)) if found else 0.0


def _partition(groups: Int64Array) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in np.unique(groups)}


def _recurring(numbers: Int64Array) -> int:
    return int((np.unique(numbers, return_counts=True)[1] > 1).sum())
