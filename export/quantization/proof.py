"""Compare a model of reduced precision with its float model: embeddings, labeled pairs, latency."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface import metrics
from edge_sphereface.errors import PairsError
from edge_sphereface.json_output import named
from export.quantization.paired import MIN_OF_A_KIND, MIN_PAIRS, accuracy_loss, people_of, tar_loss
from export.quantization.paired_embeddings import BUILT_IN_CROPS
from export.quantization.policy import Judgment
from export.threshold import MeasuredThreshold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_sphereface.evaluation.labeled_photos import SkippedPhoto
    from edge_sphereface.evaluation.latency import Ratio
    from edge_sphereface.evaluation.machine_load import MachineLoad
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from edge_sphereface.evaluation.timing import LatencySummary
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import BoolArray, Float64Array
    from export.quantization.paired import Loss
    from export.quantization.paired_embeddings import Embedded
    from export.quantization.policy import Policy
    from export.speed import Race

FAR = 1e-2
_RISK = 0.05
_LATENCY_OVER = "latency over "
_Z = 1.6448536269514722
"""95th percentile of the standard normal distribution."""
_LINE_CROPS = 200
"""Number of crops whose pairs relate the scales of both models' scores if there are no labeled pairs."""


class Latency(NamedTuple):
    """Latency of one crop.

    Attributes:
        race: latency of the reduced model and the float models; None if it was not measured.
        reason: reason why it was not measured.
    """

    race: Race | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Accuracy of one model on labeled pairs.

    Attributes:
        accuracy: mean accuracy of the original's 10-fold protocol, 0 to 1.
        accuracy_std: standard deviation of the accuracy over the folds.
        threshold: mean threshold over the folds, a cosine similarity.
        tar: TAR at FAR = 1 %, 0 to 1.
        genuine_mean: mean cosine similarity of genuine pairs.
        genuine_std: standard deviation of the cosine similarity of genuine pairs.
        impostor_mean: mean cosine similarity of impostor pairs.
        impostor_std: standard deviation of the cosine similarity of impostor pairs.
    """

    accuracy: float
    accuracy_std: float
    threshold: float
    tar: float
    genuine_mean: float
    genuine_std: float
    impostor_mean: float
    impostor_std: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsResult:
    """Accuracy of both models on the same labeled pairs.

    Attributes:
        count: number of pairs whose photographs show usable faces and were not used by the calibration.
        left_out: number of other pairs, whose photographs were used by the calibration.
        original: accuracy of the float model.
        reduced: accuracy of the reduced model.
        accuracy: loss of 10-fold accuracy in percentage points.
        tar: loss of TAR in percentage points.
        scores: (count, 2) cosine similarities by the float model and by the reduced model.
        same: (count,) bool, True for genuine pairs.
    """

    count: int
    left_out: int
    original: Side
    reduced: Side
    accuracy: Loss
    tar: Loss
    scores: Float64Array
    same: BoolArray

    def report(self) -> PairsReport:
        """Return the result as commands print it, without the scores."""
        return PairsReport(
            count=self.count,
            left_out=self.left_out,
            far=FAR,
            original=self.original,
            reduced=self.reduced,
            accuracy_points_lost=self.accuracy,
            tar_points_lost=self.tar,
        )

    @property
    def why_not(self) -> str:
        """Reason why the pairs are too few to be judged; empty if there are enough."""
        fewest = min(int(self.same.sum()), int((~self.same).sum()))
        if self.count >= MIN_PAIRS and fewest >= MIN_OF_A_KIND:
            return ""
        return f"{self.count} pairs are too few: {MIN_PAIRS} are needed, {MIN_OF_A_KIND} of either kind"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsReport:
    """Accuracy of both models on the same labeled pairs.

    Attributes:
        count: number of pairs whose photographs show usable faces and were not used by the calibration.
        left_out: number of other pairs, whose photographs were used by the calibration.
        far: FAR of the TAR.
        original: accuracy of the float model.
        reduced: accuracy of the reduced model.
        accuracy_points_lost: loss of 10-fold accuracy in percentage points.
        tar_points_lost: loss of TAR in percentage points.
    """

    count: int
    left_out: int
    far: float
    original: Side = field(metadata=named("float"))
    reduced: Side
    accuracy_points_lost: Loss
    tar_points_lost: Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Cosine similarity of the two embeddings of each crop.

    Attributes:
        mean: mean over all crops.
        p1: 1st percentile over all crops.
        min: minimum over all crops.
    """

    mean: float
    p1: float
    min: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofReport:
    """Comparison of a model of reduced precision with its float model.

    Attributes:
        passed: whether every bound is met.
        missed: descriptions of the bounds that are not met.
        crops: number of crops.
        source: description of the crops.
        skipped: photographs without a usable face.
        cosine: similarity of the two embeddings of each crop.
        pairs: accuracy on labeled pairs; None without labeled pairs.
        threshold: threshold of the reduced model, a cosine similarity.
        threshold_source: origin of the threshold, in words.
        latency: latency by name of the model; empty where it was not measured.
        latency_ratios: latency of the reduced model over that of each other model, by its name.
        latency_reason: reason why latency was not measured; empty if it was.
        load: other work on the machine meanwhile; None where latency was not measured.
        judgments: one for each bound of the policy.
    """

    passed: bool
    missed: tuple[str, ...]
    crops: int
    source: str
    skipped: tuple[SkippedPhoto, ...]
    cosine: Drift
    pairs: PairsReport | None
    threshold: float
    threshold_source: str
    latency: Mapping[str, LatencySummary]
    latency_ratios: Mapping[str, Ratio]
    latency_reason: str
    load: MachineLoad | None
    judgments: tuple[Judgment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Result of the comparison of both models.

    Attributes:
        source: description of the crops.
        skipped: photographs without a usable face.
        cosines: (N,) cosine similarity of the two embeddings of each crop.
        pairs: accuracy on labeled pairs; None without pairs.
        threshold: threshold of the reduced model.
        threshold_source: origin of the threshold, in words.
        latency: latency of both models.
        judgments: one judgment for each bound of the policy.
    """

    source: str
    skipped: tuple[SkippedPhoto, ...]
    cosines: Float64Array
    pairs: PairsResult | None
    threshold: float
    threshold_source: str
    latency: Latency
    judgments: tuple[Judgment, ...]

    @property
    def passed(self) -> bool:
        """Whether every bound is met."""
        return all(judgment.holds for judgment in self.judgments)

    @property
    def missed(self) -> list[str]:
        """Descriptions of the bounds that are not met."""
        return [str(judgment) for judgment in self.judgments if not judgment.holds]

    @property
    def misses_latency_only(self) -> bool:
        """Whether latency on this machine is all that misses its bounds."""
        missed = [judgment.what for judgment in self.judgments if not judgment.holds]
        return bool(missed) and all(what.startswith(_LATENCY_OVER) for what in missed)

    @property
    def not_judged(self) -> list[str]:
        """Descriptions of the bounds of the policy that could not be judged."""
        return [str(judgment) for judgment in self.judgments if judgment.why_not and judgment.bound is not None]

    @property
    def drift(self) -> tuple[float, float, float]:
        """Mean, 1st percentile and minimum of the cosine similarities."""
        return float(self.cosines.mean()), float(np.percentile(self.cosines, 1)), float(self.cosines.min())

    def report(self) -> ProofReport:
        """Return the proof as commands print it."""
        mean, p1, low = self.drift
        race = self.latency.race
        return ProofReport(
            passed=self.passed,
            missed=tuple(self.missed),
            crops=len(self.cosines),
            source=self.source,
            skipped=self.skipped,
            cosine=Drift(mean=mean, p1=p1, min=low),
            pairs=None if self.pairs is None else self.pairs.report(),
            threshold=self.threshold,
            threshold_source=self.threshold_source,
            latency={} if race is None else race.latency,
            latency_ratios={} if race is None else race.ratios,
            latency_reason=self.latency.reason,
            load=None if race is None else race.load,
            judgments=self.judgments,
        )


def judge(
    spec: ModelSpec,
    embedded: Embedded,
    labeled: LabeledPairs | None,
    latency: Latency,
    policy: Policy,
    *,
    own: MeasuredThreshold | None = None,
    from_pairs: bool = False,
) -> Proof:
    """Evaluate the measurements of both models by a policy.

    Args:
        spec: specification of the float model.
        embedded: embeddings of photographs by both models.
        labeled: labeled pairs of those photographs, or None.
        latency: latency of both models.
        policy: bounds.
        own: threshold that the reduced model has already; None to transfer the float model's threshold.
        from_pairs: measure the threshold on the labeled pairs instead.

    Raises:
        PairsError: too few pairs are usable.
    """
    pairs = None if labeled is None else _judge_pairs(embedded, labeled)
    threshold = own or _carried_threshold(spec, embedded, pairs)
    if from_pairs and pairs is not None:
        threshold = MeasuredThreshold.of_pairs(pairs.scores[:, 1], pairs.same)
    return Proof(
        source=embedded.source,
        skipped=tuple(embedded.skipped),
        cosines=embedded.cosines,
        pairs=pairs,
        threshold=threshold.value,
        threshold_source=threshold.source,
        latency=latency,
        judgments=tuple(_judgments(embedded, pairs, latency, policy)),
    )


def _judge_pairs(embedded: Embedded, labeled: LabeledPairs) -> PairsResult:
    row = {name: index for index, name in enumerate(embedded.names)}
    faces = [pair for pair in labeled.pairs if pair.first in row and pair.second in row]
    usable = [pair for pair in faces if embedded.unseen[row[pair.first]] and embedded.unseen[row[pair.second]]]
    if len(usable) < metrics.FOLDS or len({pair.same for pair in usable}) == 1:
        raise PairsError(
            f"Expected at least {metrics.FOLDS} pairs, of the same and of different people, whose photographs show "
            f"usable faces and were not used by the calibration, got {len(usable)} of {len(labeled.pairs)}.",
            hint="check the folder of the photographs, and calibrate with other photographs than those of the pairs",
        )
    first = [row[pair.first] for pair in usable]
    second = [row[pair.second] for pair in usable]
    same = np.array([pair.same for pair in usable])
    scores = np.stack(
        [np.einsum("nd,nd->n", rows[first], rows[second]) for rows in (embedded.expected, embedded.got)], axis=1
    ).astype(np.float64)
    people = people_of(usable)
    before, after = (metrics.ten_fold(column, same) for column in scores.T)
    return PairsResult(
        count=len(usable),
        left_out=len(faces) - len(usable),
        original=_side(scores[:, 0], same, before),
        reduced=_side(scores[:, 1], same, after),
        accuracy=accuracy_loss(before.correct, after.correct, people),
        tar=tar_loss(scores, same, FAR, people),
        scores=scores,
        same=same,
    )


def _side(scores: Float64Array, same: BoolArray, folds: metrics.TenFold) -> Side:
    genuine, impostor = scores[same], scores[~same]
    return Side(
        accuracy=folds.accuracy,
        accuracy_std=folds.std,
        threshold=folds.threshold,
        tar=metrics.tar_at_far(scores, same, FAR),
        genuine_mean=float(genuine.mean()),
        genuine_std=float(genuine.std()),
        impostor_mean=float(impostor.mean()),
        impostor_std=float(impostor.std()),
    )


def _carried_threshold(spec: ModelSpec, embedded: Embedded, pairs: PairsResult | None) -> MeasuredThreshold:
    """Transfer the float model's threshold to the scale of the reduced model's scores by a linear fit.

    The line is fitted to the labeled pairs or, without them, to all pairs of some photographs.
    """
    if pairs is not None:
        x, y = pairs.scores.T
    else:
        expected, got = embedded.expected[:_LINE_CROPS], embedded.got[:_LINE_CROPS]
        upper = np.triu_indices(len(expected), k=1)
        x, y = (expected @ expected.T)[upper], (got @ got.T)[upper]
    threshold = spec.threshold
    if len(x) >= 2 and np.ptp(x) > 0:
        slope, offset = np.polyfit(x.astype(np.float64), y.astype(np.float64), 1)
        threshold = round(float(slope * threshold + offset), 4)
    source = f"the float model's {spec.threshold:g} ({spec.threshold_source}), carried over by a line fitted to the "
    return MeasuredThreshold(threshold, f"{source}scores of both")


def _judgments(embedded: Embedded, pairs: PairsResult | None, latency: Latency, policy: Policy) -> Iterator[Judgment]:
    yield from _drift(embedded.cosines, policy)
    without = "no labeled pairs were given" if pairs is None else pairs.why_not
    for what, loss, bound in (
        ("points of 10-fold accuracy lost", pairs.accuracy if pairs else None, policy.accuracy),
        (f"points of TAR at FAR = {FAR:.0%} lost", pairs.tar if pairs else None, policy.tar),
    ):
        points, most = (None, None) if loss is None else (loss.points, loss.most)
        yield Judgment(what, points, bound, at_least=False, worst=most, why_not=without)
    if latency.race is None:
        yield Judgment(f"{_LATENCY_OVER}float", None, policy.latency, at_least=False, why_not=latency.reason)
        return
    for name, ratio in latency.race.ratios.items():
        yield Judgment(f"{_LATENCY_OVER}{name}", ratio.ratio, policy.latency, at_least=False, worst=ratio.high)


def _drift(cosines: Float64Array, policy: Policy) -> Iterator[Judgment]:
    """Judge the mean, a quantile and the minima of the cosines; the built-in photograph's crops come last."""
    mean = float(cosines.mean())
    least = mean - _Z * float(cosines.std()) / math.sqrt(len(cosines))
    yield Judgment("mean cosine to float", mean, policy.mean, at_least=True, worst=least)
    p1, low = float(np.percentile(cosines, 1)), least_quantile(cosines, 0.01)
    few = "" if low is not None else f"{len(cosines)} crops are too few to tell it"
    yield Judgment("1st percentile of it", p1, policy.p1, at_least=True, worst=low, why_not=few)
    known = float(cosines[-BUILT_IN_CROPS:].min())
    yield Judgment("minimum over the built-in photograph", known, policy.known, at_least=True)
    yield Judgment("minimum over all crops", float(cosines.min()), policy.min, at_least=True)


def least_quantile(values: Float64Array, share: float) -> float | None:
    """Lower end of the one-sided 95 % confidence interval of a quantile by order statistics, for any distribution.

    Args:
        values: (N,) sample.
        share: share of the distribution below the quantile, from 0 to 1.

    Returns:
        The largest value of the sample that is below the quantile with that confidence; None if the sample is too
        small.
    """
    count = len(values)
    steps = np.arange(count)
    logs = np.array([math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in steps])
    chances = np.exp(logs + steps * math.log(share) + (count - steps) * math.log1p(-share))
    allowed = int(
        np.searchsorted(np.cumsum(chances), _RISK, side="right")
    )  # so many lower values have that little chance
    return float(np.sort(values)[allowed - 1]) if allowed else None
