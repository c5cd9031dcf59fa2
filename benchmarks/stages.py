"""Time each stage of recognition with the components and settings of ``FacePipeline`` and ``watch``.

Each start is a separate process, as for contenders, so that ``compare`` can judge stages over several starts.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.recorded import read_record
from edge_sphereface.alignment import align_for, stack_landmarks
from edge_sphereface.cli.runner import THREADS_VARIABLES, UsageError
from edge_sphereface.compare import cosine_similarity
from edge_sphereface.detection import open_detector
from edge_sphereface.detection.scaled_detector import ScaledDetector
from edge_sphereface.errors import EdgeSphereFaceError, ModelNotFoundError, NoFaceError, Remedy
from edge_sphereface.evaluation.timing import LatencySummary, measure_interleaved, summarize
from edge_sphereface.image import load_image
from edge_sphereface.inference.embedder import Embedder, preprocess
from edge_sphereface.json_output import INLINE, json_text, rounded
from edge_sphereface.pipeline import FacePipeline
from edge_sphereface.stream.settings import TrackingSettings
from export.faces import astronaut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import UInt8Array

ROOT = Path(__file__).resolve().parents[1]
GALLERY = 1000
"""Number of embeddings that the stage ``compare`` searches."""
BATCHES = (1, 4, 16)
_WARMUP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSetup:
    """Inputs of the measurement.

    Attributes:
        model: path of the ONNX file.
        photo: path of a photograph with at least one face; None for the built-in photograph.
        video: path of a video; None for the moving photograph.
        yunet: path of YuNet's ONNX file; None for the one in the cache.
    """

    model: Path
    photo: Path | None = None
    video: Path | None = None
    yunet: Path | None = None

    def absolute(self) -> StageSetup:
        """Return the same files by their absolute paths, for a process elsewhere."""
        named = (self.photo, self.video, self.yunet)
        photo, video, yunet = (None if path is None else path.absolute() for path in named)
        return StageSetup(model=self.model.absolute(), photo=photo, video=video, yunet=yunet)

    def photograph(self) -> UInt8Array:
        """Read the photograph, (H, W, 3) uint8 BGR.

        Raises:
            ImageError: the photograph cannot be read.
        """
        return astronaut() if self.photo is None else load_image(self.photo)

    def frames(self) -> list[UInt8Array]:
        """Return the frames of the video; empty if OpenCV cannot read it."""
        return moving_frames(self.photograph()) if self.video is None else read_video(self.video)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the stages were measured with.

    Attributes:
        model: file name of the model.
        precision: precision of the model.
        form: ``plain``, or the rewrites of its graph.
        provider: execution provider of the model.
        shipped_detector: whether the commands use this detector by default on the machine of the measurement.
    """

    model: str
    precision: str
    form: str
    provider: str
    shipped_detector: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """Latency of one stage.

    Attributes:
        stage: name of the stage.
        subject: model and detector; None in a result of an earlier version.
        detector: name of the detector.
        threads: number of threads of inference and detection.
        batch: number of crops in one run of ``embed``; else 1.
        faces: number of faces in the photograph.
        image: height and width of the photograph in pixels.
        latency: latency of the stage.
        samples_ms: raw samples in milliseconds.
        starts: number of process starts.
        start_samples: number of samples of each start; empty in a result of an earlier version.
    """

    stage: str
    subject: Subject | None = field(metadata=INLINE)
    detector: str
    threads: int
    batch: int
    faces: int
    image: tuple[int, int]
    latency: LatencySummary
    samples_ms: tuple[float, ...] = field(metadata=rounded(4))
    starts: int = 1
    start_samples: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What one process is to measure.

    Attributes:
        setup: inputs of the measurement.
        threads: number of threads of inference and detection.
        rounds: number of samples of each stage.
    """

    setup: StageSetup
    threads: int
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why a process could not measure.

    Attributes:
        message: message of the error.
        hint: hint of the error.
        remedy: remedy of the error.
    """

    message: str
    hint: str
    remedy: Remedy | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What one process measured.

    Attributes:
        rows: one row for each stage.
        failure: why there are none.
    """

    rows: tuple[StageRow, ...] = ()
    failure: _Failure | None = None


def measure(
    setup: StageSetup,
    *,
    threads: Sequence[int],
    rounds: int = 50,
    starts: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[StageRow]:
    """Time detect, find, improve, align, preprocess, embed, compare, and the whole, with every available detector.

    :class:`FacePipeline` runs ``detect``. ``watch`` runs ``find`` on a frame and ``improve`` on each face that it
    embeds.

    Args:
        setup: inputs of the measurement.
        threads: numbers of threads of inference and detection.
        rounds: number of samples of each stage in total.
        starts: number of process starts, over which the samples are spread.
        progress: called with a description, starts done and starts in total.

    Returns:
        One row per stage, detector and number of threads.

    Raises:
        EdgeSphereFaceError: the process of a start failed.
    """
    starts = min(starts, rounds)
    rows: list[StageRow] = []
    for count in threads:
        taken: list[tuple[StageRow, ...]] = []
        for number in range(starts):
            taken.append(_start(setup, count, rounds // starts + (number < rounds % starts)))
            if progress is not None:
                progress(f"starts of the stages, threads {count}", number + 1, starts)
        rows += [_together(same) for same in zip(*taken, strict=True)]
    return rows


def _start(setup: StageSetup, threads: int, rounds: int) -> tuple[StageRow, ...]:
    """Return the rows of one process start."""
    request = _Request(setup=setup.absolute(), threads=threads, rounds=rounds)
    bounds = dict.fromkeys(THREADS_VARIABLES, str(threads))  # as `--threads` of the commands
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.stages", json_text(request)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **bounds},
        capture_output=True,
        text=True,
        check=False,
    )
    answer = _answer(done.stdout)
    if answer is None:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EdgeSphereFaceError(
            f"The process that measures the stages ended with exit code {done.returncode}: {reason}.",
            hint="leave the stages out: --no-stages",
        )
    if answer.failure is not None:
        raise EdgeSphereFaceError(answer.failure.message, hint=answer.failure.hint, remedy=answer.failure.remedy)
    return answer.rows


def _answer(output: str) -> _Answer | None:
    """Parse the last line of a process's output, which may be incomplete."""
    try:
        return read_record(_Answer, json.loads(output.splitlines()[-1]))
    except (ValueError, IndexError, UsageError):
        return None


def _together(rows: Sequence[StageRow]) -> StageRow:
    """Combine the rows of one stage from all starts."""
    samples = tuple(sample for row in rows for sample in row.samples_ms)
    return replace(
        rows[0],
        starts=len(rows),
        start_samples=tuple(len(row.samples_ms) for row in rows),
        latency=summarize(np.array(samples)),
        samples_ms=samples,
    )


def measure_here(setup: StageSetup, *, threads: int, rounds: int) -> list[StageRow]:
    """Measure one start in this process.

    Args:
        setup: inputs of the measurement.
        threads: number of threads of inference and detection.
        rounds: number of samples of each stage.

    Raises:
        ImageError: the photograph cannot be read.
        ModelError: the model cannot be used.
        NoFaceError: a detector finds no face in the photograph.
    """
    import cv2

    cv2.setNumThreads(threads)
    photograph, frames = setup.photograph(), setup.frames()
    embedder = Embedder(setup.model, threads=threads)
    shipped = _shipped(setup.yunet, threads)
    rows: list[StageRow] = []
    for detector in _detectors(setup.yunet, threads):
        subject = Subject(
            model=setup.model.name,
            precision=embedder.spec.precision,
            form=form_of(embedder.spec),
            provider=embedder.provider.active[0],
            shipped_detector=detector.name == shipped,
        )
        cases, faces = _cases(embedder, detector, photograph, frames)
        samples = measure_interleaved(cases, rounds=rounds, warmup=_WARMUP)
        for stage, values in samples.items():
            kind, _, batch = stage.partition(" x")
            rows.append(
                StageRow(
                    stage=kind,
                    subject=subject,
                    detector=detector.name,
                    threads=threads,
                    batch=int(batch) if batch else 1,
                    faces=faces,
                    image=(photograph.shape[0], photograph.shape[1]),
                    latency=summarize(values),
                    samples_ms=tuple(values.tolist()),
                    start_samples=(len(values),),
                )
            )
    return rows


def form_of(spec: ModelSpec) -> str:
    """Return ``plain``, or the rewrites of the graph, such as ``winograd, prelu``."""
    return ", ".join(spec.rewrites) or "plain"


def moving_frames(photograph: UInt8Array, count: int = 24) -> list[UInt8Array]:
    """Make a video of a photograph that moves and changes its size, the default input."""
    import cv2

    height, width = photograph.shape[:2]
    frames: list[UInt8Array] = []
    for number in range(count):
        phase = 2 * np.pi * number / count
        scale = 1 + 0.1 * np.sin(phase)
        shift = np.array([width, height]) * 0.05 * np.array([np.cos(phase), np.sin(phase)])
        corner = np.array([width, height]) * (1 - scale) / 2 + shift
        matrix = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        frames.append(cv2.warpAffine(photograph, matrix, (width, height)).astype(np.uint8))
    return frames


def read_video(path: Path, limit: int = 240) -> list[UInt8Array]:
    """Read the first frames of a video file; empty if OpenCV cannot read it."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    frames: list[UInt8Array] = []
    while len(frames) < limit:
        good, frame = capture.read()
        if not good:
            break
        frames.append(frame.astype(np.uint8))
    capture.release()
    return frames


def _detectors(yunet: Path | None, threads: int) -> list[Detector]:
    found: list[Detector] = []
    for name, model in (("yunet", yunet), ("mtcnn", None)):
        try:
            found.append(open_detector(name, model=model, threads=threads))
        except ModelNotFoundError:
            continue  # not on this machine: its rows are missing from the table
    return found


def _shipped(yunet: Path | None, threads: int) -> str | None:
    """Return the default detector of the commands on this machine."""
    try:
        return open_detector(model=yunet, threads=threads).name
    except ModelNotFoundError:
        return None


def _cases(
    embedder: Embedder, detector: Detector, photograph: UInt8Array, frames: Sequence[UInt8Array]
) -> tuple[dict[str, Callable[[], object]], int]:
    faces = detector.detect(photograph)
    if not faces:
        raise NoFaceError(
            f"{detector.name} finds no face in the photograph, so that no stage after it can be timed.",
            hint="give a photograph with a face: --photo FILE",
        )
    landmarks = stack_landmarks([face.landmarks for face in faces])
    spec = embedder.spec
    cut = partial(align_for, spec, photograph, landmarks)
    crops = cut()
    gallery = np.random.default_rng(0).standard_normal((GALLERY, spec.embedding_size)).astype(np.float32)
    probes = embedder.embed(crops)
    pipeline, finder = FacePipeline(embedder, detector), ScaledDetector(detector)
    video = itertools.cycle(frames)
    cases: dict[str, Callable[[], object]] = {
        "detect": partial(detector.detect, photograph),
        "find": partial(finder.find, photograph, TrackingSettings().detect_side),
        "improve": partial(finder.improve, photograph, faces[:1]),
        "align": cut,
        "preprocess": partial(preprocess, crops, spec),
        **{
            f"embed x{batch}": partial(embedder.embed, np.resize(crops, (batch, *spec.crop_shape))) for batch in BATCHES
        },
        "compare": partial(cosine_similarity, probes, gallery),
        "photograph": partial(pipeline.process, photograph),
        "video frame": lambda: pipeline.process(next(video)),
    }
    return cases, len(faces)


def text(rows: Sequence[StageRow]) -> str:
    """Format the rows as one table per model."""
    parts = []
    for name, group in itertools.groupby(rows, key=_heading):
        lines = [name] if name else []
        lines.append(
            f"{'stage':<14} {'detector':<9} {'threads':>7} {'batch':>5} {'median ms':>9} {'p95':>8} {'p99':>8}"
        )
        for row in group:
            latency = row.latency
            lines.append(
                f"{row.stage:<14} {row.detector:<9} {row.threads:>7} {row.batch:>5} "
                f"{latency.median_ms:>9.3f} {latency.p95_ms:>8.3f} {latency.p99_ms:>8.3f}"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _heading(row: StageRow) -> str:
    """Heading of a model's table; empty for a result of an earlier version, which does not name its model."""
    subject = row.subject
    return "" if subject is None else f"{subject.model} ({subject.precision}, {subject.form}), {subject.provider}"


def _serve(request: _Request) -> _Answer:
    try:
        return _Answer(rows=tuple(measure_here(request.setup, threads=request.threads, rounds=request.rounds)))
    except EdgeSphereFaceError as error:
        return _Answer(failure=_Failure(message=error.message, hint=error.hint, remedy=error.remedy))


if __name__ == "__main__":
    sys.stdout.write(json_text(_serve(read_record(_Request, json.loads(sys.argv[1])))) + "\n")
