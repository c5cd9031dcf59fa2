"""Open-set identification of enrolled people and strangers.

References:
    ISO/IEC 19795-1: closed-set rank-1 rate; detection-and-identification rate (DIR) at a false alarm rate: the share of
    probes of enrolled people whose best candidate is correct *and* reaches the threshold, where the threshold is the
    one that the given share of strangers reaches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_sphereface.errors import PairsError
from edge_sphereface.gallery import open_gallery
from edge_sphereface.json_output import INLINE, rounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.environment import Environment
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.inference.session import ProviderReport
    from edge_sphereface.types import BoolArray, Float32Array, Float64Array, Int64Array

ENROLLED_FROM, EACH = 20, 5
"""Least number of photographs of an enrolled person, and number of photographs enrolled per person."""
STRANGERS, MIN_STRANGERS = 500, 100
"""Number of strangers, and least number for a false alarm rate of 1 %."""
FALSE_ALARMS = 0.01
PAIR_FALSE_ACCEPTS = 0.001
"""False accept rate of the pair threshold that identification is compared with."""
_RESAMPLES = 1000
_RATES = np.logspace(-2.7, 0, 60)


class Protocol(NamedTuple):
    """Division of the photographs, as paths relative to the folder.

    Attributes:
        enrolled: enrolled photographs by name.
        probes: other photographs of these people, with their names.
        strangers: one photograph of each stranger.
    """

    enrolled: Mapping[str, Sequence[str]]
    probes: Sequence[tuple[str, str]]
    strangers: Sequence[str]

    def images(self) -> list[str]:
        """Paths of all photographs."""
        return [
            *(path for paths in self.enrolled.values() for path in paths),
            *(path for path, _ in self.probes),
            *self.strangers,
        ]


class Answers(NamedTuple):
    """Results of the probes that show a usable face.

    Attributes:
        similarity: (N,) cosine similarity of the best candidate.
        right: (N,) bool, whether the best candidate is correct.
        person: (N,) number of the person.
        strangers: (M,) cosine similarity of each stranger's best candidate.
        pair_threshold: cosine similarity that one in a thousand pairs of strangers reaches.
        enrolled: number of identities in the gallery.
    """

    similarity: Float64Array
    right: BoolArray
    person: Int64Array
    strangers: Float64Array
    pair_threshold: float
    enrolled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """DIR at several false alarm rates.

    Attributes:
        false_alarm_rate: false alarm rates.
        dir: detection-and-identification rate at each of them.
    """

    false_alarm_rate: tuple[float, ...]
    dir: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarities:
    """Cosine similarity of each best candidate.

    Attributes:
        probes: those of the probes.
        strangers: those of the strangers.
    """

    probes: tuple[float, ...] = field(metadata=rounded(4))
    strangers: tuple[float, ...] = field(metadata=rounded(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """Rates of identification, with 95 % confidence intervals.

    Attributes:
        enrolled: number of enrolled people.
        probes: number of other photographs of them.
        strangers: number of strangers.
        rank_1: share of the probes whose best candidate is correct.
        rank_1_interval: confidence interval of it.
        false_alarm_rate: share of the strangers that may reach the threshold.
        threshold: threshold at that rate, a cosine similarity.
        dir: detection-and-identification rate at the threshold.
        dir_interval: confidence interval of it.
        pair_false_accept_rate: share of the pairs of strangers that reach the pair threshold.
        pair_threshold: threshold at that share, a cosine similarity.
        false_alarm_rate_at_pair_threshold: share of the strangers that reach the pair threshold.
        curve: DIR at several false alarm rates.
        similarities: cosine similarity of each best candidate.
    """

    enrolled: int
    probes: int
    strangers: int
    rank_1: float
    rank_1_interval: tuple[float, float]
    false_alarm_rate: float
    threshold: float
    dir: float
    dir_interval: tuple[float, float]
    pair_false_accept_rate: float
    pair_threshold: float
    false_alarm_rate_at_pair_threshold: float
    curve: Curve
    similarities: Similarities


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentificationRow:
    """Identification by one model, and how it was measured.

    Attributes:
        label: name in tables.
        model: file name of the model.
        precision: precision of the model.
        landmarks: ``given``, or the name of the detector.
        provider: what the model ran on.
        figures: rates of identification.
    """

    label: str
    model: str
    precision: str
    landmarks: str
    provider: ProviderReport
    figures: Identification = field(metadata=INLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentificationReport:
    """What ``identification`` measured.

    Attributes:
        environment: machine and versions.
        identification: one row for each model.
    """

    environment: Environment
    identification: tuple[IdentificationRow, ...]


def make_protocol(folder: Path, *, seed: int = 0) -> Protocol:
    """Divide the photographs FOLDER/NAME/photo.jpg deterministically.

    Raises:
        PairsError: there are too few photographs.
    """
    if not folder.is_dir():
        raise PairsError(f"There is no folder {folder} with photographs.", hint="give LFW's folder of images")
    people = {
        path.name: sorted(f"{path.name}/{image.name}" for image in path.iterdir())
        for path in sorted(folder.iterdir())
        if path.is_dir()
    }
    known = {name: images for name, images in people.items() if len(images) >= ENROLLED_FROM}
    others = [images[0] for name, images in people.items() if name not in known and images]
    if len(known) < 2 or len(others) < MIN_STRANGERS:
        raise PairsError(
            f"Expected people with {ENROLLED_FROM} photographs and at least {MIN_STRANGERS} others below {folder}, got "
            f"{len(known)} and {len(others)}.",
            hint="give LFW's folder of images",
        )
    chosen = np.random.default_rng(seed).choice(len(others), min(STRANGERS, len(others)), replace=False)
    return Protocol(
        enrolled={name: images[:EACH] for name, images in known.items()},
        probes=[(image, name) for name, images in known.items() for image in images[EACH:]],
        strangers=[others[number] for number in sorted(chosen)],
    )


def ask(protocol: Protocol, found: Mapping[str, Float32Array], embedder: Embedder) -> Answers:
    """Enroll into a gallery file and identify the probes, as the runtime does."""
    usable = {name: row for name, row in found.items() if np.isfinite(row).all()}
    probes = [(usable[path], name) for path, name in protocol.probes if path in usable]
    strangers = np.stack([usable[path] for path in protocol.strangers if path in usable])
    pairs = (strangers @ strangers.T)[np.triu_indices(len(strangers), k=1)].astype(np.float64)
    names = sorted(protocol.enrolled)
    with TemporaryDirectory() as folder, open_gallery(Path(folder) / "people.db", embedder, create=True) as gallery:
        fill(gallery, protocol, found)
        best = [candidates[0] for candidates in gallery.search(np.stack([row for row, _ in probes]), top=1)]
        alarms = [candidates[0] for candidates in gallery.search(strangers, top=1)]
        return Answers(
            similarity=np.array([candidate.similarity for candidate in best]),
            right=np.array([candidate.name == name for candidate, (_, name) in zip(best, probes, strict=True)]),
            person=np.array([names.index(name) for _, name in probes]),
            strangers=np.array([candidate.similarity for candidate in alarms]),
            pair_threshold=threshold_at(pairs, PAIR_FALSE_ACCEPTS),
            enrolled=len(gallery),
        )


def fill(gallery: Gallery, protocol: Protocol, found: Mapping[str, Float32Array]) -> None:
    """Enroll all people from photographs that show a usable face."""
    for name, paths in protocol.enrolled.items():
        rows = [found[path] for path in paths if path in found and np.isfinite(found[path]).all()]
        gallery.enroll(name, np.stack(rows))


def threshold_at(strangers: Float64Array, false_alarms: float) -> float:
    """Threshold at a false alarm rate, rounded to the strict side.

    Args:
        strangers: (M,) cosine similarity of each stranger's best candidate.
        false_alarms: share of the strangers that may reach the threshold.
    """
    falling = np.sort(strangers)[::-1]
    allowed = int(false_alarms * len(falling) + 1e-9)
    return float(np.nextafter(falling[allowed], 2.0)) if allowed < len(falling) else -1.0


def judge(answers: Answers) -> Identification:
    """Compute the rank-1 rate, DIR and its curve; 95 % confidence intervals by resampling people and strangers."""
    rate, threshold = _identified(answers, FALSE_ALARMS)
    random = np.random.default_rng(0)
    resampled = [_resample(answers, random) for _ in range(_RESAMPLES)]
    ranks = [float(sample.right.mean()) for sample in resampled]
    rates = [_identified(sample, FALSE_ALARMS)[0] for sample in resampled]
    curve = [_identified(answers, float(alarm))[0] for alarm in _RATES]
    return Identification(
        enrolled=answers.enrolled,
        probes=len(answers.right),
        strangers=len(answers.strangers),
        rank_1=float(answers.right.mean()),
        rank_1_interval=_interval_of(ranks),
        false_alarm_rate=FALSE_ALARMS,
        threshold=threshold,
        dir=rate,
        dir_interval=_interval_of(rates),
        pair_false_accept_rate=PAIR_FALSE_ACCEPTS,
        pair_threshold=answers.pair_threshold,
        false_alarm_rate_at_pair_threshold=float((answers.strangers >= answers.pair_threshold).mean()),
        curve=Curve(false_alarm_rate=tuple(_RATES.tolist()), dir=tuple(curve)),
        similarities=Similarities(
            probes=tuple(answers.similarity.tolist()), strangers=tuple(answers.strangers.tolist())
        ),
    )


def _interval_of(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def text(rows: Sequence[IdentificationRow]) -> str:
    """Format the rows as a table."""
    head = f"{'model':<28}{'rank-1':>9}{'95 %':>18}{'DIR at 1 %':>13}{'95 %':>18}{'threshold':>11}"
    lines = [head, "-" * len(head)]
    for row in rows:
        found = row.figures
        lines.append(
            f"{row.label:<28}{100 * found.rank_1:>7.2f} %{_interval(found.rank_1_interval):>18}"
            f"{100 * found.dir:>11.2f} %{_interval(found.dir_interval):>18}{found.threshold:>11.3f}"
        )
    first = rows[0].figures
    foot = (
        f"{first.enrolled} people enrolled from {EACH} photographs each, {first.probes} other photographs of "
        f"them, {first.strangers} strangers"
    )
    return "\n".join([*lines, "", foot])


def _identified(answers: Answers, false_alarms: float) -> tuple[float, float]:
    """Return DIR and the threshold at a false alarm rate."""
    threshold = threshold_at(answers.strangers, false_alarms)
    return float((answers.right & (answers.similarity >= threshold)).mean()), threshold


def _resample(answers: Answers, random: np.random.Generator) -> Answers:
    people = np.unique(answers.person)
    rows = np.concatenate([np.flatnonzero(answers.person == number) for number in random.choice(people, len(people))])
    strangers: Any = random.choice(answers.strangers, len(answers.strangers))
    return answers._replace(
        similarity=answers.similarity[rows],
        right=answers.right[rows],
        person=answers.person[rows],
        strangers=strangers,
    )


def _interval(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f}"
