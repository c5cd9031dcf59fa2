"""Check measures of quality against recognition, and the bounds of strict enrollment.

A photograph of a known person counts as an error if the template of the person's other photographs does not recognize
it at the threshold that 1 % of strangers reach. The errors of the tenth of the photographs that a measure calls worst
are compared with those of the tenth that it calls best.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.enrollment.occlusion import COVERS, cover
from benchmarks.enrollment.recognition import Templates, resampled, stranger_threshold
from edge_sphereface.alignment import align_for
from edge_sphereface.compare import normalize
from edge_sphereface.enrollment.person import REDUNDANT, duplicates_of, is_harmful, to_the_nearest, to_the_others
from edge_sphereface.enrollment.refusal import MAX_NODDED, MAX_TURNED, judge_photograph
from edge_sphereface.json_output import rounded
from edge_sphereface.quality import assess, direction, sharpness
from edge_sphereface.types import EmbeddedFace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.enrollment.photographs import Faces, Labeled
    from benchmarks.environment import Environment
    from edge_sphereface.detection import Detector
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import BoolArray, Face, Float32Array, Float64Array, Int64Array, UInt8Array

    Progress = Callable[[int, int], None]

EYES_PX = (20, 14, 10, 7)
"""Distances between the eyes of shrunk photographs, in pixels."""
SIGMAS_PX = (2, 3, 4, 6)
"""Standard deviations of blurred photographs, in pixels; the eyes are 42 apart."""
_COPY_SCALE = 0.8
"""Size of copies of photographs."""
_MOVED = 0.6
"""Largest distance of a face from where it was, in eye distances; another one was found beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRow:
    """A measure of quality.

    Attributes:
        measure: name of the measure.
        worst_tenth: share of errors among the tenth of the photographs with the lowest values.
        best_tenth: share of errors among the tenth with the highest values.
        ratio: the first over the second.
        ratio_interval: 95 % confidence interval of the ratio, by resampling people.
    """

    measure: str
    worst_tenth: float = field(metadata=rounded(5))
    best_tenth: float = field(metadata=rounded(5))
    ratio: float = field(metadata=rounded(3))
    ratio_interval: tuple[float, float] = field(metadata=rounded(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRow:
    """Photographs of one kind, and what strict enrollment does with them.

    Attributes:
        kind: what was done to the photographs.
        photographs: number of photographs in which the face was found.
        recognized: share of these that the person's other photographs recognize.
        quality: median quality.
        sharpness: median sharpness.
        refused: share that is refused.
        reasons: number of photographs that each reason refuses.
    """

    kind: str
    photographs: int
    recognized: float = field(metadata=rounded(4))
    quality: float = field(metadata=rounded(4))
    sharpness: float = field(metadata=rounded(5))
    refused: float = field(metadata=rounded(4))
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseRow:
    """Photographs within or beyond the bounds of a turned face.

    Attributes:
        pose: ``within`` or ``beyond``.
        photographs: number of photographs.
        recognized: share that the person's other photographs recognize.
    """

    pose: str
    photographs: int
    recognized: float = field(metadata=rounded(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class NotThisPersonRow:
    """What strict enrollment says about photographs of the person, and of somebody else among them.

    Attributes:
        together: number of photographs that are enrolled together.
        own_refused: share of the person's photographs that strict enrollment refuses.
        foreign_refused: share of the photographs of somebody else that it refuses.
        own_harmful: share of the person's photographs that the report calls harmful.
        foreign_harmful: share of the photographs of somebody else that it calls harmful.
        trials: number of people.
    """

    together: int
    own_refused: float = field(metadata=rounded(4))
    foreign_refused: float = field(metadata=rounded(4))
    own_harmful: float = field(metadata=rounded(4))
    foreign_harmful: float = field(metadata=rounded(4))
    trials: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatRow:
    """Copies of photographs, and other photographs of the same people, that the report tells as repetitions.

    Attributes:
        bound: cosine similarity of two photographs from which the second one adds nothing.
        copies: number of copies: smaller, brighter and compressed.
        copies_told: share of the copies that reach the bound.
        copies_p5: 5th percentile of the similarity of a copy to its photograph.
        others_told: share of the photographs that repeat another photograph of their person.
    """

    bound: float
    copies: int
    copies_told: float = field(metadata=rounded(4))
    copies_p5: float = field(metadata=rounded(4))
    others_told: float = field(metadata=rounded(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRow:
    """Quality checked by one model.

    Attributes:
        model: file name of the model.
        precision: precision of the model.
        detector: name of the detector.
        people: number of known people.
        photographs: number of their photographs.
        strangers: number of strangers.
        threshold: cosine similarity that 1 % of strangers reach.
        errors: share of the photographs that are not recognized.
        measures: measures of quality.
        refusals: degraded photographs, and why they are refused.
        poses: photographs within and beyond the bounds of a turned face.
        not_this_person: photographs of somebody else among a person's.
        repeats: copies of photographs.
    """

    model: str
    precision: str
    detector: str
    people: int
    photographs: int
    strangers: int
    threshold: float = field(metadata=rounded(5))
    errors: float = field(metadata=rounded(5))
    measures: tuple[MeasureRow, ...]
    refusals: tuple[RefusalRow, ...]
    poses: tuple[PoseRow, ...]
    not_this_person: tuple[NotThisPersonRow, ...]
    repeats: RepeatRow


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """What ``quality`` measured.

    Attributes:
        environment: machine and versions.
        quality: one row for each model.
    """

    environment: Environment
    quality: tuple[QualityRow, ...]


class Known(NamedTuple):
    """Photographs of known people, and who is recognized.

    Attributes:
        faces: the faces.
        raw: (N, D) float32, embeddings before normalization.
        unit: (N, D) float32 unit embeddings.
        templates: templates of the people.
        threshold: cosine similarity that 1 % of strangers reach.
        missed: (N,) whether a photograph is not recognized.
    """

    faces: Faces
    raw: Float32Array
    unit: Float32Array
    templates: Templates
    threshold: float
    missed: BoolArray


def recognize(faces: Faces, raw: Float32Array, strangers: Float32Array) -> Known:
    """See which photographs are recognized by their person's others, at the threshold that 1 % of strangers reach."""
    unit = normalize(raw.copy())
    templates = Templates.of(unit, faces.person)
    threshold = stranger_threshold(templates, strangers)
    recognized = templates.recognized(unit, unit, templates.row, threshold)
    return Known(faces, raw, unit, templates, threshold, ~recognized)


def measure_rows(known: Known, mirrored: Float32Array) -> tuple[MeasureRow, ...]:
    """Compare measures of quality by the errors of their worst and best tenth.

    Args:
        known: photographs of known people.
        mirrored: (N, D) float32 unit embeddings of the mirrored crops.
    """
    found = [assess(points, crop) for points, crop in zip(known.faces.landmarks, known.faces.crops, strict=True)]
    measures = {
        "quality": [each.value for each in found],
        "pose": [each.pose for each in found],
        "sharpness": [each.sharpness for each in found],
        "light": [each.light for each in found],
        "eye distance": [direction(points).reach_px for points in known.faces.landmarks],
        "length of the embedding": np.linalg.norm(known.raw, axis=1).tolist(),
        "likeness to the mirror image": np.einsum("nd,nd->n", known.unit, mirrored).tolist(),
    }
    return tuple(_measure_row(name, np.array(values), known) for name, values in measures.items())


def _measure_row(name: str, values: Float64Array, known: Known) -> MeasureRow:
    def ratio(numbers: Int64Array) -> float:
        worst, best = tenths(values[numbers], known.missed[numbers])
        return worst / max(best, 1 / len(numbers))

    worst, best = tenths(values, known.missed)
    everybody = np.arange(len(values))
    return MeasureRow(
        measure=name,
        worst_tenth=worst,
        best_tenth=best,
        ratio=ratio(everybody),
        ratio_interval=resampled(known.templates.row, ratio),
    )


def tenths(values: Float64Array, missed: BoolArray) -> tuple[float, float]:
    """Share of errors among the tenth with the lowest and with the highest values; equal values are in random order."""
    order = np.lexsort((np.random.default_rng(0).permutation(len(values)), values))
    count = max(len(values) // 10, 1)
    return float(missed[order[:count]].mean()), float(missed[order[-count:]].mean())


def refusal_rows(
    known: Known,
    photographs: Sequence[Labeled],
    embedder: Embedder,
    detector: Detector,
    *,
    count: int,
    progress: Progress,
) -> tuple[RefusalRow, ...]:
    """Degrade photographs, and see which are recognized and which are refused."""
    random = np.random.default_rng(0)
    chosen = np.sort(random.choice(len(known.faces.number), min(count, len(known.faces.number)), replace=False))
    kinds = ["as they are", *(f"eyes {px} pixels apart" for px in EYES_PX), *(f"blurred by {px}" for px in SIGMAS_PX)]
    kinds += [f"with {kind}" for kind in COVERS]
    shown: dict[str, list[tuple[int, EmbeddedFace]]] = {kind: [] for kind in kinds}
    for done, number in enumerate(chosen.tolist(), start=1):
        image = photographs[int(known.faces.number[number])].load()
        landmarks = known.faces.landmarks[number]
        versions = zip(kinds, _versions(image, landmarks, random), strict=True)
        found = [(kind, *_face(version, where, embedder, detector)) for kind, (version, where) in versions]
        usable = [(kind, face, crop) for kind, face, crop in found if face is not None and crop is not None]
        embeddings = embedder.embed(np.stack([crop for _, _, crop in usable]))
        for (kind, face, crop), embedding in zip(usable, embeddings, strict=True):
            shown[kind].append((number, EmbeddedFace(face=face, crop=crop, embedding=embedding)))
        progress(done, len(chosen))
    return tuple(_refusal_row(kind, faces, known, embedder) for kind, faces in shown.items() if faces)


def _versions(
    image: UInt8Array, landmarks: Float32Array, random: np.random.Generator
) -> Iterator[tuple[UInt8Array, Float32Array]]:
    """The photograph as it is, shrunk, blurred and covered, each with where its landmarks are."""
    import cv2

    yield image, landmarks
    for px in EYES_PX:
        scale = px / direction(landmarks).reach_px
        shrunk = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        yield np.asarray(shrunk, dtype=np.uint8), ((landmarks + 0.5) * scale - 0.5).astype(np.float32)
    for px in SIGMAS_PX:
        yield np.asarray(cv2.GaussianBlur(image, (0, 0), px), dtype=np.uint8), landmarks
    for kind in COVERS:
        yield cover(kind, image, landmarks, random), landmarks


def _face(
    image: UInt8Array, expected: Float32Array, embedder: Embedder, detector: Detector
) -> tuple[Face | None, UInt8Array | None]:
    """The face that is where it is expected, and its crop; None if the detector does not find it."""
    found = detector.detect(image)
    if not found:
        return None, None
    middle = expected.mean(axis=0)
    face = min(found, key=lambda each: float(np.hypot(*(each.landmarks.mean(axis=0) - middle))))
    reach = _MOVED * direction(expected).reach_px
    if float(np.hypot(*(face.landmarks.mean(axis=0) - middle))) > reach:
        return None, None
    return face, align_for(embedder.spec, image, face.landmarks[None])[0]


def _refusal_row(kind: str, faces: Sequence[tuple[int, EmbeddedFace]], known: Known, embedder: Embedder) -> RefusalRow:
    numbers = np.array([number for number, _ in faces])
    probes = np.stack([face.embedding for _, face in faces])
    recognized = known.templates.recognized(probes, known.unit[numbers], known.templates.row[numbers], known.threshold)
    reasons = [{refusal.reason for refusal in judge_photograph(Path(kind), face, embedder)} for _, face in faces]
    found = [assess(face.face.landmarks, face.crop) for _, face in faces]
    return RefusalRow(
        kind=kind,
        photographs=len(faces),
        recognized=float(recognized.mean()),
        quality=float(np.median([each.value for each in found])),
        sharpness=float(np.median([sharpness(face.crop) for _, face in faces])),
        refused=float(np.mean([bool(each) for each in reasons])),
        reasons=dict(sorted(Counter(reason for each in reasons for reason in each).items())),
    )


def pose_rows(known: Known) -> tuple[PoseRow, ...]:
    """Recognition within and beyond the bounds of a turned face, of the photographs as they are."""
    found = [direction(points) for points in known.faces.landmarks]
    beyond = np.array([abs(each.turned) > MAX_TURNED or abs(each.nodded) > MAX_NODDED for each in found])
    return tuple(
        PoseRow(pose=pose, photographs=int(chosen.sum()), recognized=float(1 - known.missed[chosen].mean()))
        for pose, chosen in (("within", ~beyond), ("beyond", beyond))
        if chosen.any()
    )


def not_this_person_rows(known: Known, threshold: float) -> tuple[NotThisPersonRow, ...]:
    """Enroll photographs of each person together, once alone and once with one of somebody else among them.

    Args:
        known: photographs of known people.
        threshold: the model's threshold, by which strict enrollment judges.

    Returns:
        A row for each number of photographs that somebody has.
    """
    random = np.random.default_rng(0)
    rows = []
    for together in (3, 5):
        own, foreign, own_harmful, foreign_harmful = [], [], [], []
        members = [np.flatnonzero(known.templates.row == person) for person in range(len(known.templates.sums))]
        for person, numbers in enumerate(members):
            if len(numbers) < together:
                continue
            chosen = random.choice(numbers, together, replace=False)
            own += (to_the_nearest(known.unit[chosen]) < threshold).tolist()
            other = random.choice(np.flatnonzero(known.templates.row != person))
            mixed = np.array([other, *chosen[1:]])
            foreign.append(bool(to_the_nearest(known.unit[mixed])[0] < threshold))
            own_harmful += _harmful(known, chosen, person)
            foreign_harmful.append(_harmful(known, mixed, person)[0])
        if not foreign:
            continue
        rows.append(
            NotThisPersonRow(
                together=together,
                own_refused=float(np.mean(own)),
                foreign_refused=float(np.mean(foreign)),
                own_harmful=float(np.mean(own_harmful)),
                foreign_harmful=float(np.mean(foreign_harmful)),
                trials=len(foreign),
            )
        )
    return tuple(rows)


def _harmful(known: Known, chosen: Int64Array, person: int) -> list[bool]:
    """Which of the photographs that are enrolled together the report calls harmful."""
    rows = known.unit[chosen]
    rivals = np.delete(rows @ known.templates.unit().T, person, axis=1).max(axis=1)
    own = to_the_others(rows)
    return [is_harmful(*each, known.threshold) for each in zip(own.tolist(), rivals.tolist(), strict=True)]


def repeat_row(
    known: Known, photographs: Sequence[Labeled], embedder: Embedder, detector: Detector, *, count: int
) -> RepeatRow:
    """Copy photographs, smaller, brighter and compressed, and see which copies are told as such."""
    random = np.random.default_rng(1)
    numbers = random.choice(len(known.faces.number), min(count, len(known.faces.number)), replace=False)
    found = []
    for number in numbers.tolist():
        image = photographs[int(known.faces.number[number])].load()
        landmarks = known.faces.landmarks[number]
        _, crop = _face(_copy(image), ((landmarks + 0.5) * _COPY_SCALE - 0.5).astype(np.float32), embedder, detector)
        if crop is not None:
            found.append(float(embedder.embed(crop[None])[0] @ known.unit[number]))
    repeats = [
        duplicate is not None
        for person in range(len(known.templates.sums))
        for duplicate in duplicates_of(known.unit[known.templates.row == person])
    ]
    return RepeatRow(
        bound=REDUNDANT,
        copies=len(found),
        copies_told=float(np.mean(np.array(found) >= REDUNDANT)),
        copies_p5=float(np.percentile(found, 5)),
        others_told=float(np.mean(repeats)),
    )


def _copy(image: UInt8Array) -> UInt8Array:
    import cv2

    small = cv2.resize(image, None, fx=_COPY_SCALE, fy=_COPY_SCALE, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.convertScaleAbs(small, alpha=1.1), [cv2.IMWRITE_JPEG_QUALITY, 70])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def text(rows: Sequence[QualityRow]) -> str:
    """Format the rows as tables."""
    lines = []
    for row in rows:
        lines.append(
            f"{row.model} ({row.precision}), {row.detector}: {row.photographs} photographs of {row.people} people, "
            f"{row.strangers} strangers, threshold {row.threshold:.3f}, {100 * row.errors:.1f} % errors"
        )
        lines.append(f"{'measure':<30}{'worst tenth':>13}{'best tenth':>12}{'ratio':>8}{'95 %':>18}")
        lines += [
            f"{each.measure:<30}{100 * each.worst_tenth:>11.1f} %{100 * each.best_tenth:>10.1f} %{each.ratio:>8.2f}"
            f"{f'{each.ratio_interval[0]:.2f} to {each.ratio_interval[1]:.2f}':>18}"
            for each in row.measures
        ]
        lines += ["", f"{'photographs':<30}{'number':>8}{'recognized':>12}{'refused':>10}  reasons"]
        lines += [
            f"{each.kind:<30}{each.photographs:>8}{100 * each.recognized:>10.1f} %{100 * each.refused:>8.1f} %  "
            f"{', '.join(f'{reason} {count}' for reason, count in each.reasons.items())}"
            for each in row.refusals
        ]
        lines += [
            f"{each.pose + ' the bounds of pose':<30}{each.photographs:>8}{100 * each.recognized:>10.1f} %"
            for each in row.poses
        ]
        lines += [
            f"not this person, {each.together} together: {100 * each.own_refused:.1f} % of the own refused, "
            f"{100 * each.foreign_refused:.1f} % of the others; harmful {100 * each.own_harmful:.1f} % and "
            f"{100 * each.foreign_harmful:.1f} %"
            for each in row.not_this_person
        ]
        lines.append(
            f"repetitions: {100 * row.repeats.copies_told:.1f} % of {row.repeats.copies} copies, "
            f"{100 * row.repeats.others_told:.1f} % of other photographs (5th percentile of copies "
            f"{row.repeats.copies_p5:.3f})"
        )
    return "\n".join(lines)
