"""Derive a plan for a camera from measured stages: how often to detect, number of threads, batch size.

The model: a camera delivers a frame every T = 1000 / fps milliseconds. Every k-th frame (the stride) is processed; the
others are skipped. The work on a frame is that of ``watch`` if it embeds every face: S = find + faces x (improve +
align + compare) + embedding all faces in batches, each as measured with the components and settings of the runtime.
Only the newest frame waits. The average work per frame is therefore S / k. If S > k T, a share 1 - k T / S of the
frames to be processed is dropped. The simulation replays the camera with the raw samples of every stage instead of
medians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.stages import Subject
from edge_sphereface.json_output import INLINE, rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.stages import StageRow
    from edge_sphereface.types import Float64Array

MAX_STRIDE = 60
MAX_DROP = 0.01


class PlanError(ValueError):
    """The measurements do not allow a plan."""


_MEASURE_AGAIN = "Measure again: python -m benchmarks latency MODEL.onnx -o FILE.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Measurement that a plan is based on.

    Attributes:
        model: file name of the model.
        precision: precision of the model.
        form: ``plain``, or the rewrites of its graph.
        provider: execution provider of the model.
        detector: detector that found faces and improved landmarks.
        image: height and width of the frame in pixels.
    """

    model: str
    precision: str
    form: str
    provider: str
    detector: str
    image: tuple[int, int]

    def __str__(self) -> str:
        height, width = self.image
        return (
            f"{self.model} ({self.precision}, {self.form}) on {self.provider}, {self.detector}, "
            f"a frame of {width} x {height} pixels"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of a stage in the work on a frame.

    Attributes:
        stage: name of the stage.
        batch: number of crops in one run.
        times: number of runs for one frame.
        median_ms: median duration of one run in milliseconds.
    """

    stage: str
    batch: int
    times: float = field(metadata=rounded(4))
    median_ms: float = field(metadata=rounded(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Plan for a camera.

    Attributes:
        measured: measurement that the plan is based on.
        threads: number of threads of inference.
        batch: number of crops per inference.
        stride: process every stride-th frame.
        work_ms: median work on one processed frame in milliseconds.
        work_per_frame_ms: work averaged over all frames in milliseconds.
        predicted_drop: predicted share of the frames to be processed that are dropped.
        simulated_drop: share of the frames to be processed that are dropped in the simulation.
        simulated_age_p95_ms: 95th percentile of a frame's age when its faces are known, in the simulation.
        fits: whether budget and drop rate are met; if not, the exit code is 1.
        costs: costs of the stages.
    """

    measured: Measured = field(metadata=INLINE)
    threads: int
    batch: int
    stride: int
    work_ms: float = field(metadata=rounded(4))
    work_per_frame_ms: float = field(metadata=rounded(4))
    predicted_drop: float = field(metadata=rounded(4))
    simulated_drop: float = field(metadata=rounded(4))
    simulated_age_p95_ms: float = field(metadata=rounded(4))
    fits: bool
    costs: tuple[Cost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What ``plan`` found.

    Attributes:
        fps: frames per second of the camera.
        faces: faces in a frame.
        budget_ms: wanted work per frame in milliseconds.
        plan: plan for the camera.
    """

    fps: float
    faces: int
    budget_ms: float
    plan: Plan = field(metadata=INLINE)


def select(
    rows: Sequence[StageRow], *, model: str | None = None, detector: str = "auto"
) -> tuple[Subject, list[StageRow]]:
    """Select the rows of one model with one detector, and return them with what they measured.

    Args:
        rows: rows of :func:`benchmarks.stages.measure`.
        model: file name of the model; None if the rows have only one.
        detector: name of the detector; ``auto`` for the default detector on the machine of the measurement.

    Raises:
        PlanError: no rows or several models remain, or the rows do not name what was measured.
    """
    if not rows:
        raise PlanError(f"Expected rows of measured stages, got none. {_MEASURE_AGAIN}.")
    named = [(row.subject, row) for row in rows if row.subject is not None]
    if len(named) < len(rows):
        missing = _words(sorted(field.name for field in fields(Subject)))
        raise PlanError(f"The stages of this record do not say what they measured ({missing}). {_MEASURE_AGAIN}.")
    found = sorted({subject.model for subject, _ in named})
    if model is None and len(found) > 1:
        raise PlanError(f"The record holds the stages of several models: choose one with --model: {_words(found)}.")
    chosen = [(subject, row) for subject, row in named if subject.model == (model or found[0])]
    if not chosen:
        raise PlanError(f"The record holds no stages of {model}, but of {_words(found)}.")
    variants = sorted({f"{subject.precision}, {subject.form} on {subject.provider}" for subject, _ in chosen})
    if len(variants) > 1:
        raise PlanError(
            f"The record holds measurements of several files named {model or found[0]} ({'; '.join(variants)}); "
            "give a record with one of them."
        )
    with_detector = [
        (subject, row)
        for subject, row in chosen
        if (row.detector == detector if detector != "auto" else subject.shipped_detector)
    ]
    if not with_detector:
        others = _words(sorted({row.detector for _, row in chosen}))
        raise PlanError(f"The record holds no stages with the detector {detector}, but with {others}.")
    return with_detector[0][0], [row for _, row in with_detector]


def _words(names: Sequence[str]) -> str:
    return ", ".join(names)


def make_plan(
    rows: Sequence[StageRow],
    *,
    fps: float,
    faces: int,
    budget_ms: float,
    model: str | None = None,
    detector: str = "auto",
) -> Plan:
    """Return the plan with the smallest stride within the budget; then with the least work, then the fewest threads.

    Args:
        rows: rows of :func:`benchmarks.stages.measure`.
        fps: frames per second of the camera.
        faces: number of faces in a frame.
        budget_ms: largest work per frame in milliseconds, averaged over all frames.
        model: see :func:`select`.
        detector: see :func:`select`.

    Raises:
        PlanError: see :func:`select`; or a stage is missing in the rows, or an argument is invalid.
    """
    if not (fps > 0 and budget_ms > 0 and faces >= 0):
        raise PlanError("Expected a positive frame rate and budget, and no negative number of faces.")
    subject, chosen = select(rows, model=model, detector=detector)
    measured = _measured(subject, chosen[0])
    threads = sorted({row.threads for row in chosen})
    batches = sorted({row.batch for row in chosen if row.stage == "embed"})
    plans = [
        _plan(measured, work_samples(chosen, count, batch, faces), count, batch, fps=fps, budget_ms=budget_ms)
        for count in threads
        for batch in batches
    ]
    if not plans:
        raise PlanError(f"The stage embed was not measured. {_MEASURE_AGAIN}.")
    return min(plans, key=lambda plan: (not plan.fits, plan.stride, plan.work_ms, plan.threads))


def _measured(subject: Subject, row: StageRow) -> Measured:
    return Measured(
        model=subject.model,
        precision=subject.precision,
        form=subject.form,
        provider=subject.provider,
        detector=row.detector,
        image=row.image,
    )


def _plan(
    measured: Measured,
    sampled: tuple[Float64Array, tuple[Cost, ...]],
    threads: int,
    batch: int,
    *,
    fps: float,
    budget_ms: float,
) -> Plan:
    work, costs = sampled
    median, interval = float(np.median(work)), 1000 / fps
    stride = 1
    while stride < MAX_STRIDE and (median / stride > budget_ms or predicted_drop(median, stride, interval) > MAX_DROP):
        stride += 1
    predicted = predicted_drop(median, stride, interval)
    simulated, age = simulate(work, stride=stride, interval_ms=interval)
    return Plan(
        measured=measured,
        threads=threads,
        batch=batch,
        stride=stride,
        work_ms=median,
        work_per_frame_ms=median / stride,
        predicted_drop=predicted,
        simulated_drop=simulated,
        simulated_age_p95_ms=age,
        fits=median / stride <= budget_ms and predicted <= MAX_DROP,
        costs=costs,
    )


def work_samples(
    rows: Sequence[StageRow], threads: int, batch: int, faces: int
) -> tuple[Float64Array, tuple[Cost, ...]]:
    """Return samples of the work on one frame in milliseconds (sums of the stages' raw samples), and its stages.

    Args:
        rows: rows of :func:`select`.
        threads: number of threads of inference.
        batch: number of crops per inference.
        faces: number of faces in a frame.

    Raises:
        PlanError: a stage was not measured.
    """
    parts, costs = [], []
    for name, size, times in _work(rows[0].faces, batch, faces):
        samples = _samples(rows, name, threads, size)
        parts.append(samples * times)
        costs.append(Cost(stage=name, batch=size, times=times, median_ms=float(np.median(samples))))
    count = min(map(len, parts))
    total: Float64Array = np.sum([part[:count] for part in parts], axis=0)
    return total, tuple(costs)


def _work(measured_faces: int, batch: int, faces: int) -> list[tuple[str, int, float]]:
    """Stages, batch sizes and runs per frame; ``align`` and ``compare`` were measured with all faces at once."""
    work = [("find", 1, 1.0)]
    if faces:
        at_once = faces / measured_faces
        work += [("improve", 1, float(faces)), ("align", 1, at_once), ("embed", batch, float(math.ceil(faces / batch)))]
        work.append(("compare", 1, at_once))
    return work


def _samples(rows: Sequence[StageRow], stage: str, threads: int, batch: int) -> Float64Array:
    for row in rows:
        if (row.stage, row.threads, row.batch) == (stage, threads, batch):
            return np.asarray(row.samples_ms, dtype=np.float64)
    raise PlanError(f"The stage {stage} (batch {batch}, {threads} threads) was not measured. {_MEASURE_AGAIN}.")


def predicted_drop(work_ms: float, stride: int, interval_ms: float) -> float:
    """Share of the frames to be processed that are dropped since the previous one is still in progress."""
    return max(0.0, 1.0 - stride * interval_ms / work_ms)


def simulate(work: Float64Array, *, stride: int, interval_ms: float, frames: int = 20_000) -> tuple[float, float]:
    """Simulate a camera: every stride-th frame is to be processed, the newest one waits, older ones are dropped.

    Returns:
        Share of dropped frames, and the 95th percentile of a frame's age at the end of its work, in milliseconds.
    """
    random = np.random.default_rng(0)
    arrivals = np.arange(0, frames, stride) * interval_ms
    costs = random.choice(work, size=len(arrivals))
    ages, number, free = [], 0, 0.0
    while number < len(arrivals):
        # A free worker takes the newest frame that has arrived, or waits for the next one.
        newest = int(np.searchsorted(arrivals, free, side="right")) - 1
        number = max(number, newest)
        start = max(free, arrivals[number])
        free = start + costs[number]
        ages.append(free - arrivals[number])
        number += 1
    return 1 - len(ages) / len(arrivals), float(np.percentile(ages, 95))


def text(plan: Plan, *, fps: float, faces: int, budget_ms: float) -> str:
    """Format the plan as text."""
    often = "every frame" if plan.stride == 1 else f"one frame in {plan.stride}"
    verdict = "fits" if plan.fits else f"does NOT fit, even with a stride of {plan.stride}"
    return "\n".join(
        [
            f"{fps:g} frames/s, {faces} faces, {budget_ms:g} ms of work per frame: {verdict}",
            f"measured     {plan.measured}",
            f"work on      {often}, with threads {plan.threads}, batches of {plan.batch}",
            f"stages       {', '.join(map(_cost_text, plan.costs))}",
            f"work         {plan.work_ms:.1f} ms on such a frame, {plan.work_per_frame_ms:.1f} ms per frame on average",
            f"drop rate    {plan.predicted_drop:.1%} predicted, {plan.simulated_drop:.1%} simulated with raw samples",
            f"age          {plan.simulated_age_p95_ms:.0f} ms when the faces are known (95th percentile, simulated)",
        ]
    )


def _cost_text(cost: Cost) -> str:
    batch = f" of {cost.batch}" if cost.stage == "embed" else ""
    return f"{cost.times:g} x {cost.stage}{batch} {cost.median_ms:.2f} ms"
