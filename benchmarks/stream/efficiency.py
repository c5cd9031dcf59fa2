"""Compare the work and the accuracy of `watch` with simpler ways to process the same frames.

Several casts are pooled; each has a video of its own people and new trackers. A detection or an embedding that several
contenders request for one frame is computed once, and its time is charged to each of them. Frames are rendered before
the clock starts. Every visible face of every frame is judged: a known person must have the correct name, a stranger
none.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gallery.identification import FALSE_ALARMS, fill, threshold_at
from benchmarks.stream import scenarios
from benchmarks.stream.baselines import EveryFace, OrdinaryTracker, Watch
from benchmarks.stream.shared_looks import SharedDetector, SharedEmbedder
from benchmarks.stream.video import middle_of
from edge_sphereface.gallery import open_gallery
from edge_sphereface.json_output import INLINE
from edge_sphereface.stream.capture.frame import Frame
from edge_sphereface.stream.settings import RecognitionSettings, StreamSettings, TrackingSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.stream.baselines import Said
    from benchmarks.stream.video import Truth, Video
    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import Float32Array, Float64Array

_NEAR = 0.8
"""Largest distance between an answer and its face, in interocular distances."""
_RESAMPLES = 1000
EVERY, TRACKED, ORDINARY = "every face, every frame", "the same, tracked", "ordinary tracker"
WHOLE = "watch --whole-frame-s 0"
"""`watch` that detects in whole frames only."""
BASELINES = (EVERY, TRACKED, ORDINARY, WHOLE)
"""Every row has the paired differences from each of them."""


@dataclass(slots=True)
class Marks:
    """Judgment of one visit, in numbers of frames.

    Attributes:
        act: name of the scene.
        stranger: whether the person is not in the gallery.
        visible: frames in which the face is visible.
        right: frames with the correct name, or without a name for a stranger.
        wrong: frames with the name of another person.
        unfound: frames without an answer for the face.
        found_after: frames in which the face was visible before the first answer for it; None without one.
        right_after: the same before the first correct answer.
    """

    act: str = ""
    stranger: bool = False
    visible: int = 0
    right: int = 0
    wrong: int = 0
    unfound: int = 0
    found_after: int | None = None
    right_after: int | None = None


@dataclass(slots=True)
class Tally:
    """Work and judgments of one contender.

    Attributes:
        work_ms: work on each frame in milliseconds.
        marks: judgments by number of the visit.
    """

    work_ms: list[float] = field(default_factory=list)
    marks: dict[int, Marks] = field(default_factory=dict)

    def add(self, truths: Sequence[Truth], answers: Sequence[Said], *, act: str = "", first: int = 0) -> None:
        """Judge one frame.

        Args:
            truths: ground truth of the frame.
            answers: answers of the contender.
            act: name of the scene.
            first: number of the video's first visit among the visits of all videos.
        """
        for truth in truths:
            if truth.visible:
                said = _about(truth, answers)
                expected = truth.person if truth.known else None
                name = None if said is None else said.name
                marks = self.marks.setdefault(first + truth.visit, Marks(act=act, stranger=not truth.known))
                is_right = said is not None and name == expected
                if said is not None and marks.found_after is None:
                    marks.found_after = marks.visible
                if is_right and marks.right_after is None:
                    marks.right_after = marks.visible
                marks.visible += 1
                marks.right += is_right
                marks.wrong += name is not None and name != expected
                marks.unfound += said is None

    def shares(self, visits: Sequence[int] | None = None) -> Shares:
        """Shares of the visible faces by judgment.

        Args:
            visits: numbers of the visits to count, possibly with repetitions; None for each visit once.
        """
        chosen = [self.marks[visit] for visit in (self.marks if visits is None else visits)]
        visible = max(sum(marks.visible for marks in chosen), 1)
        return Shares(
            right=sum(marks.right for marks in chosen) / visible,
            wrong=sum(marks.wrong for marks in chosen) / visible,
            unfound=sum(marks.unfound for marks in chosen) / visible,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Shares of the visible faces by judgment.

    Attributes:
        right: with the correct name, or without a name for a stranger.
        wrong: with the name of another person.
        unfound: without an answer.
    """

    right: float
    wrong: float
    unfound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficiencyRow:
    """Work and accuracy of one contender.

    Attributes:
        contender: name of the contender.
        threshold: least cosine similarity of a match.
        false_alarm_rate: share of other strangers' photographs that reach the threshold.
        frames: number of frames of all videos.
        seconds: duration of all videos in seconds.
        visits: number of visits in which a face is visible.
        visible: number of visible faces in all frames.
        embeddings: number of requested embeddings.
        embeddings_per_s: embeddings per second of video.
        detections_per_s: detections per second of video.
        work_ms: mean work on a frame in milliseconds.
        work_ms_p99: 99th percentile of the work on a frame in milliseconds.
        shares: shares of the visible faces by judgment.
        less: 95 % confidence interval of the difference of the share ``right`` from each baseline's, by baseline.
        found_after_s: mean time in which a face was visible before the first answer for it, in seconds; None if no face
            was found.
        named_after_s: the same before the first correct name of a known person.
        visits_right: number of visits that are right in more than half of the frames.
        strangers: number of visits of strangers.
        strangers_named: number of visits of strangers with a name in at least one frame.
        by_act: shares by scene.
        work_ratio: work over that of the first baseline.
        embeddings_ratio: embeddings over those of the first baseline.
    """

    contender: str
    threshold: float
    false_alarm_rate: float
    frames: int
    seconds: float
    visits: int
    visible: int
    embeddings: int
    embeddings_per_s: float
    detections_per_s: float
    work_ms: float
    work_ms_p99: float
    shares: Shares = field(metadata=INLINE)
    less: Mapping[str, tuple[float, float]]
    found_after_s: float | None
    named_after_s: float | None
    visits_right: int
    strangers: int
    strangers_named: int
    by_act: Mapping[str, Shares]
    work_ratio: float
    embeddings_ratio: float


@dataclass(slots=True)
class Counts:
    """Totals of one contender over all videos.

    Attributes:
        tally: work and judgments.
        embeddings: number of requested embeddings.
        detections: number of requested detections.
    """

    tally: Tally = field(default_factory=Tally)
    embeddings: int = 0
    detections: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Results of all videos.

    Attributes:
        contenders: totals by name of the contender.
        frames: number of frames of all videos.
        threshold: least cosine similarity of a match.
    """

    contenders: Mapping[str, Counts]
    frames: int
    threshold: float


def measure(
    videos: Sequence[Video],
    *,
    embedder: Embedder,
    detector: Detector,
    photographs: Mapping[str, Float32Array],
    budgets_ms: Sequence[float],
    report: Callable[[int, int], None],
) -> Found:
    """Run all contenders on all videos.

    Args:
        videos: videos with ground truth and the same gallery.
        embedder: embedder of all contenders.
        detector: detector of all contenders.
        photographs: embeddings of enrolled people, and of strangers for the threshold.
        budgets_ms: budgets of work per frame in milliseconds; each one is another contender.
        report: progress function.
    """
    total, done, first = sum(map(len, videos)), 0, 0
    counts: dict[str, Counts] = {}
    finds, shared = SharedDetector(detector), SharedEmbedder(embedder)
    with TemporaryDirectory() as folder, open_gallery(Path(folder) / "people.db", embedder, create=True) as gallery:
        fill(gallery, videos[0].protocol, photographs)
        threshold = threshold_at(_alarms(gallery, videos[0], photographs), FALSE_ALARMS)
        for video in videos:
            contenders = _contenders(finds, shared.as_embedder(), gallery, threshold, budgets_ms)
            names = list(contenders)
            for number, (picture, truths) in enumerate(video.frames()):
                finds.forget()
                shared.forget()
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    found = counts.setdefault(name, Counts())
                    frame = Frame(
                        image=picture,
                        number=number,
                        time_s=number / scenarios.FPS,
                        read_at=time.monotonic(),
                        unix_time=number / scenarios.FPS,
                    )
                    charged = finds.charged_s + shared.charged_s
                    begin = time.perf_counter()
                    answers = contenders[name].look(frame)
                    spent = time.perf_counter() - begin + finds.charged_s + shared.charged_s - charged
                    found.tally.work_ms.append(spent * 1000)
                    found.tally.add(truths, answers, act=video.act_at(number).name, first=first)
                done += 1
                report(done, total)
            for name, contender in contenders.items():
                counts[name].embeddings += contender.embeddings
                counts[name].detections += contender.detections
            first += len(video.visits)
    return Found(contenders=counts, frames=total, threshold=threshold)


def rows_of(found: Found) -> list[EfficiencyRow]:
    """Return one row per contender."""
    return [_row(name, counts, found) for name, counts in found.contenders.items()]


def text(rows: Sequence[EfficiencyRow]) -> str:
    """Format the rows as a table."""
    head = (
        f"{'':<26}{'embeddings/s':>13}{'detections/s':>14}{'ms/frame':>10}{'right':>10}"
        f"{'less every face, 95 %':>24}{'less tracked, 95 %':>20}{'less ordinary, 95 %':>21}"
        f"{'less whole frames, 95 %':>25}"
        f"{'wrong':>9}{'strangers named':>17}{'found, named after s':>22}"
    )
    lines = [head, "-" * len(head)]
    lines += [
        f"{row.contender:<26}{row.embeddings_per_s:>13.2f}{row.detections_per_s:>14.1f}{row.work_ms:>10.2f}"
        f"{100 * row.shares.right:>8.2f} %{_interval(row.less[EVERY]):>24}{_interval(row.less[TRACKED]):>20}"
        f"{_interval(row.less[ORDINARY]):>21}{_interval(row.less[WHOLE]):>25}{100 * row.shares.wrong:>7.2f} %"
        f"{row.strangers_named:>14}/{row.strangers:<2}{_seconds(row.found_after_s):>14}, {_seconds(row.named_after_s)}"
        for row in rows
    ]
    first = rows[0]
    foot = (
        f"{first.frames} frames of {first.seconds:.0f} s, {first.visits} visits, {first.visible} visible "
        f"faces; threshold {first.threshold:.3f}. Differences in points, by resampling visits. Strangers named: "
        "visits of strangers with a name in at least one frame"
    )
    return "\n".join([*lines, "", foot])


def _alarms(gallery: Gallery, video: Video, photographs: Mapping[str, Float32Array]) -> Float64Array:
    """Return the cosine similarity of each stranger's best candidate."""
    rows = [photographs[path] for path in video.protocol.strangers if path in photographs]
    usable = np.stack([row for row in rows if np.isfinite(row).all()])
    return np.array([candidates[0].similarity for candidates in gallery.search(usable, top=1)])


def _contenders(
    detector: Detector, embedder: Embedder, gallery: Gallery, threshold: float, budgets_ms: Sequence[float]
) -> dict[str, EveryFace | OrdinaryTracker | Watch]:
    settings = StreamSettings(recognition=RecognitionSettings(threshold=threshold))
    instant = 1e-6
    always = StreamSettings(
        tracking=TrackingSettings(detect_fps=1000, whole_frame_s=0),
        recognition=RecognitionSettings(
            threshold=threshold, min_quality=0, better=1, retry_s=0, refresh_s=instant, refresh_unknown_s=instant
        ),
    )
    found: dict[str, EveryFace | OrdinaryTracker | Watch] = {
        EVERY: EveryFace(detector, embedder, gallery, threshold),
        TRACKED: Watch(detector, embedder, gallery, always),
        ORDINARY: OrdinaryTracker(detector, embedder, gallery, threshold),
        WHOLE: Watch(detector, embedder, gallery, replace(settings, tracking=TrackingSettings(whole_frame_s=0))),
        "watch": Watch(detector, embedder, gallery, settings),
    }
    for budget_ms in budgets_ms:
        held = replace(settings, tracking=TrackingSettings(budget_ms=budget_ms))
        found[f"watch --budget-ms {budget_ms:g}"] = Watch(detector, embedder, gallery, held)
    return found


def _row(name: str, counts: Counts, found: Found) -> EfficiencyRow:
    tally, reference = counts.tally, found.contenders[EVERY]
    seconds, work = found.frames / scenarios.FPS, float(np.mean(tally.work_ms))
    strangers = [marks for marks in tally.marks.values() if marks.stranger]
    return EfficiencyRow(
        contender=name,
        threshold=found.threshold,
        false_alarm_rate=FALSE_ALARMS,
        frames=found.frames,
        seconds=seconds,
        visits=len(tally.marks),
        visible=sum(marks.visible for marks in tally.marks.values()),
        embeddings=counts.embeddings,
        embeddings_per_s=counts.embeddings / seconds,
        detections_per_s=counts.detections / seconds,
        work_ms=work,
        work_ms_p99=float(np.percentile(tally.work_ms, 99)),
        shares=tally.shares(),
        less={other: _differences(tally, found.contenders[other].tally) for other in BASELINES},
        found_after_s=_mean_s([marks.found_after for marks in tally.marks.values()]),
        named_after_s=_mean_s([marks.right_after for marks in tally.marks.values() if not marks.stranger]),
        visits_right=sum(marks.right > marks.visible / 2 for marks in tally.marks.values()),
        strangers=len(strangers),
        strangers_named=sum(marks.wrong > 0 for marks in strangers),
        by_act=_by_act(tally),
        work_ratio=work / float(np.mean(reference.tally.work_ms)),
        embeddings_ratio=counts.embeddings / max(reference.embeddings, 1),
    )


def _mean_s(frames: Sequence[int | None]) -> float | None:
    known = [count for count in frames if count is not None]
    return float(np.mean(known)) / scenarios.FPS if known else None


def _differences(tally: Tally, reference: Tally) -> tuple[float, float]:
    """Return the 95 % confidence interval of the difference of the shares ``right``, by resampling visits."""
    random = np.random.default_rng(0)
    visits = list(tally.marks)
    counts = np.array(
        [(tally.marks[visit].right - reference.marks[visit].right, tally.marks[visit].visible) for visit in visits]
    )
    drawn = counts[random.integers(0, len(visits), (_RESAMPLES, len(visits)))].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return float(low), float(high)


def _by_act(tally: Tally) -> dict[str, Shares]:
    names = [make.__name__ for make, _ in scenarios.ACTS]
    return {name: tally.shares([visit for visit, marks in tally.marks.items() if marks.act == name]) for name in names}


def _about(truth: Truth, answers: Sequence[Said]) -> Said | None:
    """Return the answer nearest to a face if it is near enough, else None."""
    middle = middle_of(truth.landmarks)
    nearest = min(answers, key=lambda said: float(np.linalg.norm(said.middle - middle)), default=None)
    if nearest is None or float(np.linalg.norm(nearest.middle - middle)) > _NEAR * truth.eyes:
        return None
    return nearest


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:+.2f} to {100 * bounds[1]:+.2f}"
