"""What tracking saves, and what it costs in accuracy: against embedding every face in every frame.

All contenders see the same frames in turns, in one process; a frame is drawn before the clock starts. Judged is
every visible face of every frame: is it called by its name? Of a stranger: is it given none?
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gallery.identification import FALSE_ALARMS, fill, threshold_at
from benchmarks.stream import acts
from benchmarks.stream.video import middle_of
from benchmarks.stream.watchers import EveryFace, Watch
from edge_sphereface.gallery import open_gallery
from edge_sphereface.stream.frames import Frame
from edge_sphereface.stream.settings import RecognitionSettings, StreamSettings, TrackingSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.stream.video import Truth, Video
    from benchmarks.stream.watchers import Said
    from edge_sphereface.detect import Detector
    from edge_sphereface.embed import Embedder
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.types import Float32Array, Float64Array, JsonObject

_NEAR = 0.8
"""Distance of an answer from a face, in distances of its eyes, up to which it is about that face."""
_RESAMPLES = 1000


@dataclass(slots=True)
class Marks:
    """Of one visit: frames in which the face is visible, and what was said of it in them.

    Attributes:
        visible: frames.
        right: it was called by its name, or a stranger by none.
        wrong: it was called by the name of somebody else.
        unfound: nothing was said of it.
    """

    visible: int = 0
    right: int = 0
    wrong: int = 0
    unfound: int = 0


@dataclass(slots=True)
class Tally:
    """What one contender did.

    Attributes:
        work_ms: of each frame.
        marks: by number of the visit.
    """

    work_ms: list[float] = field(default_factory=list)
    marks: dict[int, Marks] = field(default_factory=dict)

    def add(self, truths: Sequence[Truth], answers: Sequence[Said]) -> None:
        """Judge one frame."""
        for truth in truths:
            if truth.visible:
                said = _about(truth, answers)
                expected = truth.person if truth.known else None
                name = None if said is None else said.name
                marks = self.marks.setdefault(truth.visit, Marks())
                marks.visible += 1
                marks.right += said is not None and name == expected
                marks.wrong += name is not None and name != expected
                marks.unfound += said is None

    def share(self, what: str, visits: Sequence[int] | None = None) -> float:
        """Of all visible faces, those with this mark.

        Args:
            what: right, wrong or unfound.
            visits: to count, some perhaps several times; None for each once.
        """
        chosen = [self.marks[visit] for visit in (self.marks if visits is None else visits)]
        having: int = sum(getattr(marks, what) for marks in chosen)
        return having / max(sum(marks.visible for marks in chosen), 1)


def measure(
    video: Video,
    *,
    embedder: Embedder,
    make_detector: Callable[[], Detector],
    photographs: Mapping[str, Float32Array],
    budgets_ms: Sequence[float],
    report: Callable[[int, int], None],
) -> list[JsonObject]:
    """Every contender over the whole video.

    Args:
        video: with its truth.
        embedder: makes all embeddings.
        make_detector: one for each contender.
        photographs: embeddings of those who are enrolled, and of strangers for the threshold.
        budgets_ms: work per frame to hold the stream to, for a contender each.
        report: progress.
    """
    with TemporaryDirectory() as folder, open_gallery(Path(folder) / "people.db", embedder, create=True) as gallery:
        fill(gallery, video.protocol, photographs)
        threshold = threshold_at(_alarms(gallery, video, photographs), FALSE_ALARMS)
        contenders = _contenders(make_detector, embedder, gallery, threshold, budgets_ms)
        tallies = {name: Tally() for name in contenders}
        names = list(contenders)
        for number, (picture, truths) in enumerate(video.frames()):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                now = time.monotonic()
                frame = Frame(
                    image=picture, number=number, time_s=number / acts.FPS, read_at=now, unix_time=number / acts.FPS
                )
                begin = time.perf_counter()
                answers = contenders[name].look(frame)
                tallies[name].work_ms.append((time.perf_counter() - begin) * 1000)
                tallies[name].add(truths, answers)
            report(number + 1, len(video))
    rows: list[JsonObject] = []
    for name, contender in contenders.items():
        rows.append({"contender": name, "threshold": threshold, "false_alarm_rate": FALSE_ALARMS})
        rows[-1].update(_row(video, contender, tallies[name], tallies[names[0]]))
        rows[-1]["embeddings_ratio"] = contender.embeddings / max(contenders[names[0]].embeddings, 1)
    return rows


def text(rows: Sequence[JsonObject]) -> str:
    """A table for people."""
    head = (
        f"{'':<30}{'embeddings/s':>13}{'ratio':>7}{'detections/s':>14}{'ms/frame':>10}{'ratio':>7}"
        f"{'right':>10}{'less the first, 95 %':>23}{'wrong':>9}{'visits':>9}"
    )
    lines = [head, "-" * len(head)]
    lines += [
        f"{row['contender']:<30}{row['embeddings_per_s']:>13.2f}{row['embeddings_ratio']:>7.3f}"
        f"{row['detections_per_s']:>14.1f}{row['work_ms']:>10.2f}{row['work_ratio']:>7.3f}"
        f"{100 * row['right']:>8.2f} %{_interval(row['right_difference_interval']):>23}"
        f"{100 * row['wrong']:>7.2f} %{row['visits_right']:>5}/{row['visits']}"
        for row in rows
    ]
    first = rows[0]
    foot = (
        f"{first['frames']} frames of {first['seconds']:.0f} s, {first['visits']} visits, {first['visible']} visible "
        f"faces; threshold {first['threshold']:.3f}. visits: where most frames are right"
    )
    return "\n".join([*lines, "", foot])


def _alarms(gallery: Gallery, video: Video, photographs: Mapping[str, Float32Array]) -> Float64Array:
    """Similarity of each stranger's best candidate."""
    rows = [photographs[path] for path in video.protocol.strangers if path in photographs]
    usable = np.stack([row for row in rows if np.isfinite(row).all()])
    return np.array([candidates[0].similarity for candidates in gallery.search(usable, top=1)])


def _contenders(
    make_detector: Callable[[], Detector],
    embedder: Embedder,
    gallery: Gallery,
    threshold: float,
    budgets_ms: Sequence[float],
) -> dict[str, EveryFace | Watch]:
    settings = StreamSettings(recognition=RecognitionSettings(threshold=threshold))
    instant = 1e-6
    always = StreamSettings(
        tracking=TrackingSettings(detect_fps=1000),
        recognition=RecognitionSettings(
            threshold=threshold, min_quality=0, better=1, retry_s=0, refresh_s=instant, refresh_unknown_s=instant
        ),
    )
    found: dict[str, EveryFace | Watch] = {
        "every face, every frame": EveryFace(make_detector(), embedder, gallery, threshold),
        "the same, tracked": Watch(make_detector(), embedder, gallery, always),
        "watch": Watch(make_detector(), embedder, gallery, settings),
    }
    for budget_ms in budgets_ms:
        held = replace(settings, tracking=TrackingSettings(budget_ms=budget_ms))
        found[f"watch --budget-ms {budget_ms:g}"] = Watch(make_detector(), embedder, gallery, held)
    return found


def _row(video: Video, contender: EveryFace | Watch, tally: Tally, reference: Tally) -> JsonObject:
    seconds, work = len(video) / acts.FPS, float(np.mean(tally.work_ms))
    return {
        "frames": len(video),
        "seconds": seconds,
        "visits": len(tally.marks),
        "visible": sum(marks.visible for marks in tally.marks.values()),
        "embeddings": contender.embeddings,
        "embeddings_per_s": contender.embeddings / seconds,
        "detections_per_s": contender.detections / seconds,
        "work_ms": work,
        "work_ms_p99": float(np.percentile(tally.work_ms, 99)),
        "work_ratio": work / float(np.mean(reference.work_ms)),
        **{what: tally.share(what) for what in ("right", "wrong", "unfound")},
        "right_difference_interval": _differences(tally, reference),
        "visits_right": sum(marks.right > marks.visible / 2 for marks in tally.marks.values()),
        "by_act": _by_act(video, tally),
    }


def _differences(tally: Tally, reference: Tally) -> list[float]:
    """Interval of 95 % of the difference of the shares that are right, by resampling visits."""
    random = np.random.default_rng(0)
    visits = list(tally.marks)
    drawn = [random.choice(visits, len(visits)).tolist() for _ in range(_RESAMPLES)]
    found = [tally.share("right", sample) - reference.share("right", sample) for sample in drawn]
    return [float(bound) for bound in np.percentile(found, [2.5, 97.5])]


def _by_act(video: Video, tally: Tally) -> JsonObject:
    found: JsonObject = {}
    for make, _ in acts.ACTS:
        name = make.__name__
        visits = [video.visits.index(visit) for act in video.acts if act.name == name for visit in act.visits]
        seen = [visit for visit in visits if visit in tally.marks]
        found[name] = {what: tally.share(what, seen) for what in ("right", "wrong", "unfound")}
    return found


def _about(truth: Truth, answers: Sequence[Said]) -> Said | None:
    """The answer nearest to a face, if it is about it."""
    middle = middle_of(truth.landmarks)
    nearest = min(answers, key=lambda said: float(np.linalg.norm(said.middle - middle)), default=None)
    if nearest is None or float(np.linalg.norm(nearest.middle - middle)) > _NEAR * truth.eyes:
        return None
    return nearest


def _interval(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:+.2f} to {100 * bounds[1]:+.2f}"
