"""A model of reduced precision held against its float model: embeddings, labelled pairs, latency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface import metrics
from edge_sphereface.errors import PairsError
from export.quantization.policy import Judgment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_sphereface.pairs import LabelledPairs
    from edge_sphereface.timing import LatencySummary
    from edge_sphereface.types import BoolArray, Float64Array, JsonObject
    from export.quantization.embedded import Embedded
    from export.quantization.policy import Policy

FAR = 1e-2
_LINE_CROPS = 200
"""Without labelled pairs the scores of all pairs of so many crops relate the two models' scales."""


class Latency(NamedTuple):
    """One crop at a time.

    Attributes:
        rows: by name of the model, the reduced one first; empty if it was not measured.
        reason: why it was not.
    """

    rows: Mapping[str, LatencySummary]
    reason: str = ""


class Side(NamedTuple):
    """One model's figures on labelled pairs."""

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
    """Both models on the same labelled pairs.

    Attributes:
        count: pairs whose photographs both show a usable face.
        original: of the float model.
        reduced: of the other.
        scores: (count, 2) float model's and other's.
        same: (count,) labels.
    """

    count: int
    original: Side
    reduced: Side
    scores: Float64Array
    same: BoolArray

    def as_json(self) -> JsonObject:
        """The same as plain JSON values, without the scores."""
        sides = {"float": self.original._asdict(), "reduced": self.reduced._asdict()}
        return {"count": self.count, "far": FAR, **sides}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Everything that was measured.

    Attributes:
        source: what the crops are, in words.
        skipped: path and reason of photographs without a usable face.
        cosines: (crops,) between the embeddings of the two models.
        pairs: on labelled pairs; None without.
        threshold: the float model's threshold as the other model's scores have it.
        latency: of both.
        judgments: each bound of the policy.
    """

    source: str
    skipped: tuple[tuple[str, str], ...]
    cosines: Float64Array
    pairs: PairsResult | None
    threshold: float
    latency: Latency
    judgments: tuple[Judgment, ...]

    @property
    def passed(self) -> bool:
        """Whether every bound is kept."""
        return all(judgment.holds for judgment in self.judgments)

    @property
    def missed(self) -> list[str]:
        """The bounds that are not, in words."""
        return [str(judgment) for judgment in self.judgments if not judgment.holds]

    @property
    def drift(self) -> tuple[float, float, float]:
        """Mean, 1st percentile and minimum of the cosines."""
        return float(self.cosines.mean()), float(np.percentile(self.cosines, 1)), float(self.cosines.min())

    def as_json(self) -> JsonObject:
        """The same as plain JSON values."""
        mean, p1, low = self.drift
        return {
            "passed": self.passed,
            "missed": self.missed,
            "crops": len(self.cosines),
            "source": self.source,
            "skipped": [{"path": path, "reason": reason} for path, reason in self.skipped],
            "cosine": {"mean": mean, "p1": p1, "min": low},
            "pairs": None if self.pairs is None else self.pairs.as_json(),
            "threshold": self.threshold,
            "latency": {name: row.as_json() for name, row in self.latency.rows.items()},
            "latency_reason": self.latency.reason,
            "judgments": [judgment.as_json() for judgment in self.judgments],
        }


def judge(
    threshold: float, embedded: Embedded, labelled: LabelledPairs | None, latency: Latency, policy: Policy
) -> Proof:
    """Put what was measured together and hold it against a policy.

    Args:
        threshold: of the float model.
        embedded: photographs, by both models.
        labelled: pairs of those photographs, or None.
        latency: of both, as :func:`export.speed.measure_latency` gives it.
        policy: the bounds.

    Raises:
        PairsError: too few pairs are usable.
    """
    pairs = None if labelled is None else _judge_pairs(embedded, labelled)
    cosines = embedded.cosines
    return Proof(
        source=embedded.source,
        skipped=tuple(embedded.skipped),
        cosines=cosines,
        pairs=pairs,
        threshold=_carried_threshold(threshold, embedded, pairs),
        latency=latency,
        judgments=tuple(_judgments(cosines, pairs, latency, policy)),
    )


def _judge_pairs(embedded: Embedded, labelled: LabelledPairs) -> PairsResult:
    row = {name: index for index, name in enumerate(embedded.names)}
    usable = [pair for pair in labelled.pairs if pair.first in row and pair.second in row]
    if len(usable) < metrics.FOLDS:
        raise PairsError(
            f"Expected at least {metrics.FOLDS} pairs whose photographs show usable faces, got {len(usable)} of "
            f"{len(labelled.pairs)}.",
            hint="check the folder of the photographs",
        )
    first = [row[pair.first] for pair in usable]
    second = [row[pair.second] for pair in usable]
    same = np.array([pair.same for pair in usable])
    scores = np.stack(
        [np.einsum("nd,nd->n", rows[first], rows[second]) for rows in (embedded.expected, embedded.got)], axis=1
    ).astype(np.float64)
    original, reduced = (_side(column, same) for column in scores.T)
    return PairsResult(count=len(usable), original=original, reduced=reduced, scores=scores, same=same)


def _side(scores: Float64Array, same: BoolArray) -> Side:
    folds = metrics.ten_fold(scores, same)
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


def _carried_threshold(threshold: float, embedded: Embedded, pairs: PairsResult | None) -> float:
    """The float threshold on the scale of the other model's scores, by a line through the scores of both.

    The line is fitted to the labelled pairs or, without them, to all pairs of some photographs.
    """
    if pairs is not None:
        x, y = pairs.scores.T
    else:
        expected, got = embedded.expected[:_LINE_CROPS], embedded.got[:_LINE_CROPS]
        upper = np.triu_indices(len(expected), k=1)
        x, y = (expected @ expected.T)[upper], (got @ got.T)[upper]
    if len(x) < 2 or np.ptp(x) == 0:
        return threshold
    slope, offset = np.polyfit(x.astype(np.float64), y.astype(np.float64), 1)
    return round(float(slope * threshold + offset), 4)


def _judgments(
    cosines: Float64Array, pairs: PairsResult | None, latency: Latency, policy: Policy
) -> Iterator[Judgment]:
    yield Judgment("mean cosine to float", float(cosines.mean()), policy.mean, at_least=True)
    yield Judgment("1st percentile of it", float(np.percentile(cosines, 1)), policy.p1, at_least=True)
    yield Judgment("minimum of it", float(cosines.min()), policy.min, at_least=True)
    without = "no labelled pairs were given"
    lost = None if pairs is None else 100 * (pairs.original.accuracy - pairs.reduced.accuracy)
    yield Judgment("points of 10-fold accuracy lost", lost, policy.accuracy, at_least=False, why_not=without)
    lost = None if pairs is None else 100 * (pairs.original.tar - pairs.reduced.tar)
    yield Judgment(f"points of TAR at FAR = {FAR:.0%} lost", lost, policy.tar, at_least=False, why_not=without)
    if not latency.rows:
        yield Judgment("latency over float", None, policy.latency, at_least=False, why_not=latency.reason)
        return
    (_, reduced), *others = latency.rows.items()
    for name, row in others:
        ratio = reduced.median_ms / row.median_ms
        yield Judgment(f"latency over {name}", ratio, policy.latency, at_least=False)
