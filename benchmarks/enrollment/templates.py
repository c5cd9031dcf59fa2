"""Compare templates of people, and normalization of scores by a cohort, on held-out photographs.

A cohort is a set of embeddings of people who are neither enrolled nor probes. The mean similarity of a probe to the
members of the cohort that it resembles most is subtracted from its similarities to the enrolled people: a face that
resembles many is given a name less readily.

References:
    R. Auckenthaler, M. Carey, H. Lloyd-Thomas: Score normalization for text-independent speaker verification systems,
    Digital Signal Processing 10, 2000 (T-norm), here without the division by the deviation, which a cohort of some
    hundred faces does not give.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.enrollment.recognition import FALSE_ALARMS, RESAMPLES
from benchmarks.gallery.identification import threshold_at
from edge_sphereface.compare import normalize
from edge_sphereface.enrollment.person import to_the_others, wilson
from edge_sphereface.json_output import rounded
from edge_sphereface.quality import assess, direction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchmarks.enrollment.photographs import Faces
    from benchmarks.environment import Environment
    from edge_sphereface.types import BoolArray, Float32Array, Float64Array, Int64Array

EACH = 5
"""Largest number of photographs that a person is enrolled from."""
ORL_ENROLLED = 30
"""People of the ORL faces who are enrolled; the others are strangers."""
SMALL_COHORT = 100
NEAREST = 10
"""Members of the cohort whose similarity is subtracted."""
_TURNED = 0.25
"""Shift of the nose, in half eye distances, from which a photograph belongs to the template of a side."""
_PROBES_EACH = 5
"""Least number of probes of a person whose expected recognition is compared with the share that is recognized."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A kind of template, or of score.

    Attributes:
        name: what it is.
        rank_1: share of the probes whose best candidate is correct.
        dir: share of the probes whose best candidate is correct and reaches the threshold of 1 % false alarms.
        dir_interval: 95 % confidence interval of it, by resampling people and strangers.
        gain_interval: 95 % confidence interval of the difference from the mean, in the same samples.
        false_alarm_rate_before: share of the strangers that reach the threshold of the mean.
        dir_before: share of the probes whose best candidate is correct and reaches that threshold.
    """

    name: str
    rank_1: float = field(metadata=rounded(5))
    dir: float = field(metadata=rounded(5))
    dir_interval: tuple[float, float] = field(metadata=rounded(5))
    gain_interval: tuple[float, float] = field(metadata=rounded(5))
    false_alarm_rate_before: float = field(metadata=rounded(5))
    dir_before: float = field(metadata=rounded(5))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectationRow:
    """The expected recognition that enrollment reports, compared with that of the probes.

    Attributes:
        people: number of people with at least 5 probes.
        expected: mean of what was expected of them.
        recognized: mean share of their probes that is recognized.
        covered: share of the people whose interval holds the share of their probes.
    """

    people: int
    expected: float = field(metadata=rounded(4))
    recognized: float = field(metadata=rounded(4))
    covered: float = field(metadata=rounded(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRow:
    """Variants on one set of photographs.

    Attributes:
        photographs: name of the set.
        people: number of enrolled people.
        enrolled: number of enrolled photographs.
        probes: number of other photographs of these people.
        strangers: number of photographs of strangers.
        variants: the variants; the first is the mean, which the gallery uses.
        expectation: what was expected from the enrolled photographs.
    """

    photographs: str
    people: int
    enrolled: int
    probes: int
    strangers: int
    variants: tuple[Variant, ...]
    expectation: ExpectationRow


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatesRow:
    """Templates and cohorts compared by one model.

    Attributes:
        model: file name of the model.
        precision: precision of the model.
        detector: name of the detector.
        sets: one row for each set of photographs.
    """

    model: str
    precision: str
    detector: str
    sets: tuple[SetRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatesReport:
    """What ``templates`` measured.

    Attributes:
        environment: machine and versions.
        templates: one row for each model.
    """

    environment: Environment
    templates: tuple[TemplatesRow, ...]


class Described(NamedTuple):
    """Photographs as templates need them.

    Attributes:
        unit: (N, D) float32 unit embeddings.
        length: (N,) length of the embeddings before normalization.
        quality: (N,) quality, 0 to 1.
        side: (N,) -1, 0 or 1: turned to the left of the picture, frontal, turned to the right.
        person: (N,) number of the person.
    """

    unit: Float32Array
    length: Float64Array
    quality: Float64Array
    side: Int64Array
    person: Int64Array

    def taken(self, numbers: Int64Array) -> Described:
        """The photographs with these numbers."""
        return Described(
            self.unit[numbers], self.length[numbers], self.quality[numbers], self.side[numbers], self.person[numbers]
        )


class Trial(NamedTuple):
    """People enrolled, probes of them, and strangers.

    Attributes:
        name: name of the set of photographs.
        enrolled: photographs that people are enrolled from.
        probes: other photographs of these people.
        strangers: photographs of others.
        cohorts: unit embeddings of other people again, by name.
    """

    name: str
    enrolled: Described
    probes: Described
    strangers: Described
    cohorts: Mapping[str, Float32Array]


class Scores(NamedTuple):
    """Scores of the probes.

    Attributes:
        own: (N,) score with the right person.
        right: (N,) whether that is the best candidate.
        strangers: (M,) score of each stranger's best candidate.
    """

    own: Float64Array
    right: BoolArray
    strangers: Float64Array


def described(faces: Faces, raw: Float32Array) -> Described:
    """Describe photographs by their raw embeddings (N, D)."""
    turned = np.array([direction(points).turned for points in faces.landmarks])
    return Described(
        unit=normalize(raw.copy()),
        length=np.linalg.norm(raw, axis=1).astype(np.float64),
        quality=np.array(
            [assess(points, crop).value for points, crop in zip(faces.landmarks, faces.crops, strict=True)]
        ),
        side=np.where(np.abs(turned) < _TURNED, 0, np.sign(turned)).astype(np.int64),
        person=faces.person,
    )


def compare(known: Described, others: Described, orl: Described) -> tuple[SetRow, ...]:
    """Compare all variants on both sets.

    Args:
        known: all photographs of people of LFW with several.
        others: one photograph of each other person of LFW.
        orl: the ORL faces.
    """
    random = np.random.default_rng(0)
    mixed = random.permutation(len(others.person))
    half = len(mixed) // 2
    strangers, cohort = others.taken(mixed[half:]), others.taken(mixed[:half]).unit
    is_enrolled = orl.person <= np.unique(orl.person)[:ORL_ENROLLED].max()
    return (
        _judged(
            _trial(
                "LFW",
                known,
                strangers,
                {
                    f"cohort: {len(cohort):,} people of LFW": cohort,
                    f"cohort: {SMALL_COHORT} people of LFW": cohort[:SMALL_COHORT],
                    "cohort: the ORL faces": orl.unit,
                },
            )
        ),
        _judged(
            _trial(
                "ORL",
                orl.taken(np.flatnonzero(is_enrolled)),
                orl.taken(np.flatnonzero(~is_enrolled)),
                {f"cohort: {len(cohort):,} people of LFW": cohort},
            )
        ),
    )


def _trial(name: str, known: Described, strangers: Described, cohorts: Mapping[str, Float32Array]) -> Trial:
    enrolled: list[int] = []
    probes: list[int] = []
    for person in np.unique(known.person):
        numbers = np.flatnonzero(known.person == person).tolist()
        count = min(EACH, len(numbers) // 2)
        enrolled += numbers[:count]
        probes += numbers[count:]
    return Trial(name, known.taken(np.array(enrolled)), known.taken(np.array(probes)), strangers, cohorts)


def _judged(trial: Trial) -> SetRow:
    people = np.unique(trial.enrolled.person)
    row = np.searchsorted(people, trial.probes.person)
    mean = _weighted(trial.enrolled, np.ones(len(trial.enrolled.person)))
    scores = {name: _scored(score, trial, row) for name, score in _templates(trial.enrolled, mean).items()}
    scores |= {
        name: _scored(_less_cohort(mean, members), trial, row)
        for name, members in trial.cohorts.items()
        if len(members) >= NEAREST
    }
    scores["less the five next people"] = _less_rivals(mean, trial, row)
    return SetRow(
        photographs=trial.name,
        people=len(people),
        enrolled=len(trial.enrolled.person),
        probes=len(row),
        strangers=len(trial.strangers.person),
        variants=tuple(_variants(scores, row)),
        expectation=_expectation(trial, mean, scores["mean"], row),
    )


def _templates(enrolled: Described, mean: Float64Array) -> Mapping[str, Callable[[Float32Array], Float64Array]]:
    """Functions from probes (N, D) to scores (N, P), by kind of template."""
    groups = [np.flatnonzero(enrolled.person == person) for person in np.unique(enrolled.person)]

    def best_of(parts: Iterable[Float64Array]) -> Callable[[Float32Array], Float64Array]:
        templates = list(parts)
        return lambda probes: np.stack([(probes @ part.T).max(axis=1) for part in templates], axis=1)

    def by_pose(numbers: Int64Array) -> Float64Array:
        sides = enrolled.side[numbers]
        sums = [enrolled.unit[numbers[sides == side]].sum(axis=0, dtype=np.float64) for side in np.unique(sides)]
        return _unit(np.stack(sums))

    with_mean = [np.vstack([by_pose(numbers), mean[place]]) for place, numbers in enumerate(groups)]
    return {
        "mean": lambda probes: probes @ mean.T,
        "mean weighted by quality": _linear(_weighted(enrolled, enrolled.quality + 1e-3)),
        "mean weighted by length": _linear(_weighted(enrolled, enrolled.length)),
        "without photographs unlike the others": _linear(_weighted(enrolled, _like_the_others(enrolled, groups))),
        "several by pose": best_of(by_pose(numbers) for numbers in groups),
        "several by pose, and the mean": best_of(with_mean),
        "nearest photograph": best_of(enrolled.unit[numbers].astype(np.float64) for numbers in groups),
    }


def _like_the_others(enrolled: Described, groups: Sequence[Int64Array]) -> Float64Array:
    """1 for a photograph that its person's others recognize better than anybody else's, 0 for another."""
    kept = np.ones(len(enrolled.person))
    mean = _weighted(enrolled, kept)
    for place, numbers in enumerate(groups):
        own = to_the_others(enrolled.unit[numbers])
        others = enrolled.unit[numbers] @ np.delete(mean, place, axis=0).T
        is_like = np.isnan(own) | (own > others.max(axis=1))
        if is_like.any():
            kept[numbers] = is_like
    return kept


def _weighted(enrolled: Described, weights: Float64Array) -> Float64Array:
    """Templates (P, D): weighted means of each person's unit embeddings."""
    _, row = np.unique(enrolled.person, return_inverse=True)
    sums = np.zeros((int(row.max()) + 1, enrolled.unit.shape[1]))
    np.add.at(sums, row, enrolled.unit * weights[:, None])
    return _unit(sums)


def _linear(templates: Float64Array) -> Callable[[Float32Array], Float64Array]:
    return lambda probes: np.asarray(probes @ templates.T)


def _unit(rows: Float64Array) -> Float64Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _less_cohort(templates: Float64Array, cohort: Float32Array) -> Callable[[Float32Array], Float64Array]:
    """Similarities less what a probe resembles the nearest members of a cohort (C, D) more than they do one another."""
    among = cohort @ cohort.T
    np.fill_diagonal(among, -1.0)
    usual = float(_to_nearest(among).mean())

    def score(probes: Float32Array) -> Float64Array:
        excess = _to_nearest(probes @ cohort.T) - usual
        return np.asarray(probes @ templates.T - excess[:, None])

    return score


def _to_nearest(similarities: Float32Array) -> Float64Array:
    """Mean of the highest similarities of each row (N, C)."""
    nearest = np.partition(similarities, -NEAREST, axis=1)[:, -NEAREST:]
    return np.asarray(nearest.mean(axis=1, dtype=np.float64))


def _less_rivals(templates: Float64Array, trial: Trial, row: Int64Array) -> Scores:
    """Similarities less the mean of the five next candidates: the other enrolled people are the cohort."""

    def lead(similarities: Float64Array) -> Float64Array:
        ordered = np.sort(similarities, axis=1)[:, ::-1]
        return np.asarray(ordered[:, 0] - ordered[:, 1:6].mean(axis=1))

    found = _scored(_linear(templates), trial, row)
    own = lead(trial.probes.unit @ templates.T)
    return Scores(own, found.right, lead(trial.strangers.unit @ templates.T))


def _scored(score: Callable[[Float32Array], Float64Array], trial: Trial, row: Int64Array) -> Scores:
    found = score(trial.probes.unit)
    own = found[np.arange(len(row)), row]
    others = found.copy()
    others[np.arange(len(row)), row] = -np.inf
    return Scores(own, own > others.max(axis=1), score(trial.strangers.unit).max(axis=1))


def _variants(scores: Mapping[str, Scores], row: Int64Array) -> Iterable[Variant]:
    members = [np.flatnonzero(row == person) for person in range(int(row.max()) + 1)]
    random = np.random.default_rng(0)
    samples: dict[str, list[float]] = {name: [] for name in scores}
    count = len(scores["mean"].strangers)
    for _ in range(RESAMPLES):
        people = random.integers(0, len(members), len(members))
        probes = np.concatenate([members[person] for person in people])
        strangers = random.integers(0, count, count)
        for name, found in scores.items():
            sample = Scores(found.own[probes], found.right[probes], found.strangers[strangers])
            samples[name].append(identified(sample))
    before = threshold_at(scores["mean"].strangers, FALSE_ALARMS)
    for name, found in scores.items():
        rates = np.array(samples[name])
        yield Variant(
            name=name,
            rank_1=float(found.right.mean()),
            dir=identified(found),
            dir_interval=_interval(rates),
            gain_interval=_interval(rates - np.array(samples["mean"])),
            false_alarm_rate_before=float((found.strangers >= before).mean()),
            dir_before=float((found.right & (found.own >= before)).mean()),
        )


def identified(scores: Scores) -> float:
    """Share of the probes that are identified at 1 % false alarms."""
    threshold = threshold_at(scores.strangers, FALSE_ALARMS)
    return float((scores.right & (scores.own >= threshold)).mean())


def _expectation(trial: Trial, mean: Float64Array, scores: Scores, row: Int64Array) -> ExpectationRow:
    """Compare with the probes what :class:`edge_sphereface.enrollment.ExpectedRecognition` says before them."""
    threshold = threshold_at(scores.strangers, FALSE_ALARMS)
    recognized = scores.right & (scores.own >= threshold)
    expected, found, covered = [], [], []
    for place, person in enumerate(np.unique(trial.enrolled.person)):
        enrolled = trial.enrolled.unit[trial.enrolled.person == person]
        probes = recognized[row == place]
        if len(enrolled) < 2 or len(probes) < _PROBES_EACH:
            continue
        rivals = (enrolled @ np.delete(mean, place, axis=0).T).max(axis=1)
        own = to_the_others(enrolled)
        hits = int(((own >= threshold) & (own > rivals)).sum())
        low, high = wilson(hits, len(enrolled))
        share = float(probes.mean())
        expected.append(hits / len(enrolled))
        found.append(share)
        covered.append(low <= share <= high)
    return ExpectationRow(
        people=len(expected),
        expected=float(np.mean(expected)),
        recognized=float(np.mean(found)),
        covered=float(np.mean(covered)),
    )


def _interval(values: Float64Array) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def text(rows: Sequence[TemplatesRow]) -> str:
    """Format the rows as tables."""
    lines = []
    for row in rows:
        for each in row.sets:
            lines.append(
                f"{row.model} ({row.precision}), {row.detector}, {each.photographs}: {each.people} people enrolled "
                f"from {each.enrolled} photographs, {each.probes} probes, {each.strangers} strangers"
            )
            lines.append(
                f"{'variant':<40}{'rank-1':>9}{'DIR at 1 %':>12}{'95 %':>18}{'gain, points':>18}"
                f"{'same threshold: alarms, DIR':>30}"
            )
            lines += [
                f"{found.name:<40}{100 * found.rank_1:>7.2f} %{100 * found.dir:>10.2f} %"
                f"{_shown(found.dir_interval):>18}{_shown(found.gain_interval):>18}"
                f"{100 * found.false_alarm_rate_before:>17.2f} %{100 * found.dir_before:>9.2f} %"
                for found in each.variants
            ]
            expected = each.expectation
            lines.append(
                f"expected recognition of {expected.people} people {100 * expected.expected:.1f} %, found "
                f"{100 * expected.recognized:.1f} %, within the interval of {100 * expected.covered:.0f} %"
            )
    return "\n".join(lines)


def _shown(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f}"
