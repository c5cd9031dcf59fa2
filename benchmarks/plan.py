"""From measured stage costs to a plan for a camera: how often to detect, with how many threads, in what batches.

The model: a camera delivers a frame every T = 1000 / fps milliseconds; every k-th frame (the stride) is worked on,
the others are skipped. Work on a frame takes S = detect + faces x align + embedding all faces in batches + compare.
Only the newest frame waits. So the average work per frame is S / k, and if S > k T a share 1 - k T / S of the frames
that should be worked on is dropped. The simulation replays that camera with the raw samples of every stage instead of
medians.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import Float64Array, JsonObject

MAX_STRIDE = 60
MAX_DROP = 0.01


class PlanError(ValueError):
    """The measurements do not allow a plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to set.

    Attributes:
        detector: that was measured.
        threads: of inference.
        batch: crops per inference.
        stride: work on every stride-th frame.
        work_ms: median time of one worked frame.
        work_per_frame_ms: the same, averaged over all frames.
        predicted_drop: share of worked frames that come too soon.
        simulated_drop: the same in the simulation.
        simulated_age_p95_ms: age of a frame when its faces are known, 95th percentile, in the simulation.
        fits: whether budget and drop rate are kept.
    """

    detector: str
    threads: int
    batch: int
    stride: int
    work_ms: float
    work_per_frame_ms: float
    predicted_drop: float
    simulated_drop: float
    simulated_age_p95_ms: float
    fits: bool

    def as_json(self) -> JsonObject:
        """The same as plain JSON values, rounded."""
        return {name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(self).items()}


def make_plan(rows: Sequence[JsonObject], *, fps: float, faces: int, budget_ms: float) -> Plan:
    """The plan with the smallest stride that keeps the budget; among equals the least work, then the fewest threads.

    Args:
        rows: of :func:`benchmarks.stages.measure`.
        fps: frames per second of the camera.
        faces: in a frame.
        budget_ms: work per frame, averaged over all frames.

    Raises:
        PlanError: a stage is missing in the rows, or the wishes are impossible.
    """
    if not (fps > 0 and budget_ms > 0 and faces >= 0):
        raise PlanError("Expected a positive frame rate and budget, and no negative number of faces.")
    settings = sorted({(row["detector"], row["threads"]) for row in rows})
    batches = sorted({row["batch"] for row in rows if row["stage"] == "embed"})
    plans = [
        _plan(rows, detector, threads, batch, fps=fps, faces=faces, budget_ms=budget_ms)
        for detector, threads in settings
        for batch in batches
    ]
    if not plans:
        raise PlanError("Expected rows of measured stages, got none.")
    return min(plans, key=lambda plan: (not plan.fits, plan.stride, plan.work_ms, plan.threads))


def _plan(
    rows: Sequence[JsonObject], detector: str, threads: int, batch: int, *, fps: float, faces: int, budget_ms: float
) -> Plan:
    work = work_samples(rows, detector, threads, batch, faces)
    median, interval = float(np.median(work)), 1000 / fps
    stride = 1
    while stride < MAX_STRIDE and (median / stride > budget_ms or predicted_drop(median, stride, interval) > MAX_DROP):
        stride += 1
    predicted = predicted_drop(median, stride, interval)
    simulated, age = simulate(work, stride=stride, interval_ms=interval)
    return Plan(
        detector=detector,
        threads=threads,
        batch=batch,
        stride=stride,
        work_ms=median,
        work_per_frame_ms=median / stride,
        predicted_drop=predicted,
        simulated_drop=simulated,
        simulated_age_p95_ms=age,
        fits=median / stride <= budget_ms and predicted <= MAX_DROP,
    )


def work_samples(rows: Sequence[JsonObject], detector: str, threads: int, batch: int, faces: int) -> Float64Array:
    """Times of working on one frame, in milliseconds: sums of the stages' raw samples.

    Raises:
        PlanError: a stage was not measured.
    """

    def stage(name: str, size: int = 1) -> Float64Array:
        for row in rows:
            if (row["stage"], row["detector"], row["threads"], row["batch"]) == (name, detector, threads, size):
                return np.asarray(row["samples_ms"], dtype=np.float64)
        raise PlanError(f"The stage {name} (batch {size}, {threads} threads, {detector}) was not measured.")

    if not faces:
        return stage("detect")
    measured_faces = next(row["faces"] for row in rows if row["detector"] == detector) or 1
    parts = [stage("detect"), stage("align") * (faces / measured_faces), stage("compare") * (faces / measured_faces)]
    parts.append(stage("embed", batch) * math.ceil(faces / batch))
    count = min(map(len, parts))
    total: Float64Array = np.sum([part[:count] for part in parts], axis=0)
    return total


def predicted_drop(work_ms: float, stride: int, interval_ms: float) -> float:
    """Share of worked frames that are dropped because the one before is still worked on."""
    return max(0.0, 1.0 - stride * interval_ms / work_ms)


def simulate(work: Float64Array, *, stride: int, interval_ms: float, frames: int = 20_000) -> tuple[float, float]:
    """Replay a camera: every stride-th frame asks for work, the newest waits, older ones are dropped.

    Returns:
        Share of dropped frames, and the 95th percentile of a frame's age when it is done, in milliseconds.
    """
    random = np.random.default_rng(0)
    arrivals = np.arange(0, frames, stride) * interval_ms
    costs = random.choice(work, size=len(arrivals))
    ages, number, free = [], 0, 0.0
    while number < len(arrivals):
        # The worker takes the newest frame that has arrived when it is free, or waits for the next.
        newest = int(np.searchsorted(arrivals, free, side="right")) - 1
        number = max(number, newest)
        start = max(free, arrivals[number])
        free = start + costs[number]
        ages.append(free - arrivals[number])
        number += 1
    return 1 - len(ages) / len(arrivals), float(np.percentile(ages, 95))


def text(plan: Plan, *, fps: float, faces: int, budget_ms: float) -> str:
    """The plan for people."""
    often = "every frame" if plan.stride == 1 else f"one frame in {plan.stride}"
    verdict = "fits" if plan.fits else f"does NOT fit, even with a stride of {plan.stride}"
    return "\n".join(
        [
            f"{fps:g} frames/s, {faces} faces, {budget_ms:g} ms of work per frame: {verdict}",
            f"work on {often}: {plan.detector}, threads {plan.threads}, batches of {plan.batch}",
            f"work         {plan.work_ms:.1f} ms on such a frame, {plan.work_per_frame_ms:.1f} ms per frame on average",
            f"drop rate    {plan.predicted_drop:.1%} predicted, {plan.simulated_drop:.1%} simulated with raw samples",
            f"age          {plan.simulated_age_p95_ms:.0f} ms when the faces are known (95th percentile, simulated)",
        ]
    )
