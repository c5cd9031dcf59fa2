"""Time detection beside what it replaced, and count the faces that only one of the two finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.before import OpenCvDetector
from edge_sphereface.batch.operator import OperatorConfig, PhotographOperator
from edge_sphereface.detection.landmarks import CloserLooks
from edge_sphereface.detection.yunet import YuNet
from edge_sphereface.errors import NoFaceError
from edge_sphereface.evaluation.timing import LatencySummary, measure_interleaved, summarize
from edge_sphereface.image import find_images, load_image, save_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import SessionConfig
from edge_sphereface.json_output import rounded
from edge_sphereface.metrics import interval_at_once
from edge_sphereface.pipeline import FacePipeline
from export.faces import astronaut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.environment import TimedEnvironment
    from edge_sphereface.types import Face, Float32Array, Float64Array, UInt8Array

PHOTOGRAPH, SQUARE = (640, 480), (320, 320)
"""Width and height of the photographs in pixels."""
LARGE = (4000, 3000)
"""Width and height of the photographs of ``embed-folder``: 12 megapixels."""
FILES = 8
"""Photographs in one sample of ``embed-folder``: so many that reading the first and embedding the last, which nothing
overlaps, weigh little, as in a folder."""
_AHEAD = 2
"""Photographs that are read while others are embedded."""
_NOISE = 6.0
"""Standard deviation of the noise of a large photograph in levels: a smooth JPEG file would be decoded too fast."""
_SAME_FACE = 0.5
"""Least overlap of the boxes of one face, as a share of their union."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageComparison:
    """Time of one stage, and of what it replaced; both took turns.

    Attributes:
        stage: name of the stage.
        replaced: what it replaced.
        threads: number of threads.
        ours: latency of the stage; of ``embed-folder`` for one photograph.
        before: latency of what it replaced.
        ratio: median of the stage divided by the median of what it replaced.
        interval: 95 % confidence interval of the ratio.
        ours_ms: raw samples in milliseconds.
        before_ms: raw samples of what it replaced, in the same order.
    """

    stage: str
    replaced: str
    threads: int
    ours: LatencySummary
    before: LatencySummary
    ratio: float = field(metadata=rounded(4))
    interval: tuple[float, float] = field(metadata=rounded(4))
    ours_ms: tuple[float, ...] = field(metadata=rounded(4))
    before_ms: tuple[float, ...] = field(metadata=rounded(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFaces:
    """Faces of a folder's photographs by our YuNet and by OpenCV's, with the same file and score threshold.

    Attributes:
        folder: name of the folder.
        photographs: number of photographs.
        faces: number of faces that OpenCV finds.
        missed: number of those that we do not find.
        additional: number of faces that only we find.
    """

    folder: str
    photographs: int
    faces: int
    missed: int
    additional: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionReport:
    """What ``detection`` measured.

    Attributes:
        environment: machine and versions.
        model: file name of the model.
        comparisons: one row for each stage and number of threads.
        found: one row for each folder of photographs.
    """

    environment: TimedEnvironment
    model: str
    comparisons: tuple[StageComparison, ...]
    found: tuple[FoundFaces, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage, and what it replaced.

    Attributes:
        name: name of the stage.
        replaced: what it replaced.
        ours: runs the stage once.
        before: runs what it replaced once.
        items: number of photographs in one run.
    """

    name: str
    replaced: str
    ours: Callable[[], object]
    before: Callable[[], object]
    items: int = 1


def make_stages(model: Path, detector: Path, folder: Path, threads: int) -> list[Stage]:
    """Make the stages.

    Args:
        model: path of the embedding model.
        detector: path of YuNet's ONNX file.
        folder: folder of the photographs of :func:`write_large_photographs`.
        threads: number of threads.

    Raises:
        EdgeSphereFaceError: the model or the detector cannot be used, or the extra ``mtcnn`` is not installed.
    """
    session = SessionConfig(provider="cpu", threads=threads)
    yunet, opencv = YuNet(detector, session=session), OpenCvDetector(detector)
    embedder = Embedder(model, session=session)
    photograph, square = (_portrait(*size) for size in (PHOTOGRAPH, SQUARE))
    faces = yunet.find(photograph)[:1]
    if not faces:
        raise NoFaceError("YuNet finds no face in the built-in photograph.", hint="give the published YuNet file")
    looks, pair = CloserLooks(partial(_rows, yunet)), [(photograph, faces[0])]
    config = OperatorConfig(folder=folder, model=model, detector="yunet", detector_model=detector, session=session)
    operator, pipeline = PhotographOperator(config), FacePipeline(embedder, opencv)
    names = [path.name for path in find_images(folder)]
    batches = [names[start : start + _AHEAD] for start in range(0, len(names), _AHEAD)]
    at = " x ".join(map(str, PHOTOGRAPH))
    return [
        Stage(
            name=f"YuNet, {at}",
            replaced="FaceDetectorYN",
            ours=partial(yunet.find, photograph),
            before=partial(opencv.find, photograph),
        ),
        Stage(
            name=f"YuNet, {' x '.join(map(str, SQUARE))}",
            replaced="FaceDetectorYN",
            ours=partial(yunet.find, square),
            before=partial(opencv.find, square),
        ),
        Stage(
            name="landmarks by O-Net",
            replaced="two closer looks by FaceDetectorYN",
            ours=partial(yunet.improve, photograph, faces),
            before=partial(opencv.improve, photograph, faces),
        ),
        Stage(
            name="landmarks by closer looks",
            replaced="two closer looks by FaceDetectorYN",
            ours=partial(looks.improve, pair),
            before=partial(opencv.improve, photograph, faces),
        ),
        Stage(
            name=f"photograph of {at} to embedding",
            replaced="FaceDetectorYN, two closer looks, the same network",
            ours=partial(FacePipeline(embedder, yunet).process, photograph),
            before=partial(pipeline.process, photograph),
        ),
        Stage(
            name=f"embed-folder, {' x '.join(map(str, LARGE))}",
            replaced="one photograph after the other, decoded in full, by the stages above",
            ours=lambda: list(operator.run(batches)),
            before=lambda: [pipeline.process(load_image(folder / name)) for name in names],
            items=len(names),
        ),
    ]


def write_large_photographs(folder: Path, count: int = FILES) -> None:
    """Write JPEG files of ``LARGE`` pixels that show one face each, with the noise of a camera."""
    import cv2

    random = np.random.default_rng(0)
    large = cv2.resize(_portrait(*PHOTOGRAPH), LARGE, interpolation=cv2.INTER_CUBIC)
    noisy = np.empty(large.shape, dtype=np.float32)
    for number in range(count):
        random.standard_normal(dtype=np.float32, out=noisy)
        noisy *= _NOISE
        noisy += large
        np.rint(noisy, out=noisy)
        save_image(folder / f"{number}.jpg", np.clip(noisy, 0, 255, out=noisy).astype(np.uint8))


def compare(
    stages: Sequence[Stage],
    *,
    threads: int,
    rounds: int,
    warmup: int = 1,
    progress: Callable[[int], None] | None = None,
    measure: Callable[..., Mapping[str, Float64Array]] = measure_interleaved,
) -> list[StageComparison]:
    """Time the stages and what they replaced, all in turn.

    Args:
        stages: the stages.
        threads: their number of threads, which OpenCV gets for the whole process.
        rounds: samples of each.
        warmup: additional rounds before those, which are not counted.
        progress: called after each counted round with its number.
        measure: runs functions by name in turn and returns their times in milliseconds.
    """
    import cv2

    cv2.setNumThreads(threads)
    cases = {f"{which} {stage.name}": getattr(stage, which) for stage in stages for which in ("ours", "before")}
    samples = measure(cases, rounds=rounds, warmup=warmup, progress=progress)
    rows = []
    for stage in stages:
        ours, before = (samples[f"{which} {stage.name}"] / stage.items for which in ("ours", "before"))
        rows.append(
            StageComparison(
                stage=stage.name,
                replaced=stage.replaced,
                threads=threads,
                ours=summarize(ours),
                before=summarize(before),
                ratio=float(np.median(ours) / np.median(before)),
                interval=interval_at_once(partial(_ratios, ours, before), rounds),
                ours_ms=tuple(ours.tolist()),
                before_ms=tuple(before.tolist()),
            )
        )
    return rows


def agree(detector: Path, folder: Path, *, progress: Callable[[int, int], None] | None = None) -> FoundFaces:
    """Count the faces in a folder's photographs that only one of the two finds.

    Args:
        detector: path of YuNet's ONNX file.
        folder: folder of photographs, searched with its subfolders.
        progress: called with photographs done and their total.

    Raises:
        ImageError: a photograph cannot be read.
    """
    yunet = YuNet(detector, refine=False, session=SessionConfig(provider="cpu"))
    opencv = OpenCvDetector(detector, max_side=yunet.max_side)
    paths = find_images(folder)
    faces = missed = additional = 0
    for number, path in enumerate(paths, start=1):
        image = load_image(path)
        ours, theirs = yunet.find(image), opencv.find(image)
        faces += len(theirs)
        missed += sum(not _is_among(face, ours) for face in theirs)
        additional += sum(not _is_among(face, theirs) for face in ours)
        if progress is not None:
            progress(number, len(paths))
    return FoundFaces(folder=folder.name, photographs=len(paths), faces=faces, missed=missed, additional=additional)


def text(report: DetectionReport) -> str:
    """Format the report as two tables."""
    lines = [f"{'stage':<34} {'threads':>7} {'ms':>8} {'before':>8} {'ratio':>6} {'interval':>15}"]
    lines += [
        f"{row.stage:<34} {row.threads:>7} {row.ours.median_ms:>8.2f} {row.before.median_ms:>8.2f} {row.ratio:>6.3f} "
        f"{f'{row.interval[0]:.3f} to {row.interval[1]:.3f}':>15}"
        for row in report.comparisons
    ]
    lines += [
        f"{row.folder}: {row.photographs} photographs, {row.faces} faces by OpenCV, {row.missed} of them missed, "
        f"{row.additional} additional"
        for row in report.found
    ]
    return "\n".join(lines)


def _portrait(width: int, height: int) -> UInt8Array:
    """The built-in photograph, cut to this shape."""
    import cv2

    image = astronaut()
    rows = image.shape[1] * height // width
    return np.asarray(cv2.resize(image[:rows], (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _rows(yunet: YuNet, views: Sequence[UInt8Array]) -> Iterator[Float32Array]:
    """Rows (N, 15) of the faces in views, of which closer looks read the landmarks."""
    for faces in map(yunet.find, views):
        rows = np.zeros((len(faces), 15), np.float32)
        for row, face in zip(rows, faces, strict=True):
            row[4:14] = face.landmarks.ravel()
        yield rows


def _ratios(ours: Float64Array, before: Float64Array, drawn: np.ndarray) -> Float64Array:
    return np.asarray(np.median(ours[drawn], axis=1) / np.median(before[drawn], axis=1))


def _is_among(face: Face, faces: Sequence[Face]) -> bool:
    return any(_overlap(face, other) >= _SAME_FACE for other in faces)


def _overlap(one: Face, other: Face) -> float:
    """Intersection of two boxes as a share of their union."""
    low, high = np.maximum(one.box[:2], other.box[:2]), np.minimum(one.box[2:], other.box[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (one.area + other.area - shared)
