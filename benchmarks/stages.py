"""Time each stage of recognition with the components and settings of ``FacePipeline`` and ``watch``.

Each start is a separate process, as for contenders, so that ``compare`` can judge stages over several starts.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import align_for, stack_landmarks
from edge_sphereface.cli.runner import THREADS_VARIABLES
from edge_sphereface.compare import cosine_similarity
from edge_sphereface.detection import open_detector
from edge_sphereface.detection.scaled_detector import ScaledDetector
from edge_sphereface.errors import EdgeSphereFaceError, ModelNotFoundError, NoFaceError
from edge_sphereface.evaluation.timing import measure_interleaved, summarize
from edge_sphereface.image import load_image
from edge_sphereface.inference.embedder import Embedder, preprocess
from edge_sphereface.json_output import json_object
from edge_sphereface.pipeline import FacePipeline
from edge_sphereface.stream.settings import TrackingSettings
from export.faces import astronaut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import JsonObject, UInt8Array

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

    def photograph(self) -> UInt8Array:
        """Read the photograph, (H, W, 3) uint8 BGR.

        Raises:
            ImageError: the photograph cannot be read.
        """
        return astronaut() if self.photo is None else load_image(self.photo)

    def frames(self) -> list[UInt8Array]:
        """Return the frames of the video; empty if OpenCV cannot read it."""
        return moving_frames(self.photograph()) if self.video is None else read_video(self.video)


def measure(
    setup: StageSetup,
    *,
    threads: Sequence[int],
    rounds: int = 50,
    starts: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[JsonObject]:
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
        One row per stage: model, provider, detector, threads, batch, faces, latency, raw samples of each start.

    Raises:
        EdgeSphereFaceError: the process of a start failed.
    """
    starts = min(starts, rounds)
    rows: list[JsonObject] = []
    for count in threads:
        taken: list[list[JsonObject]] = []
        for number in range(starts):
            taken.append(_start(setup, count, rounds // starts + (number < rounds % starts)))
            if progress is not None:
                progress(f"starts of the stages, threads {count}", number + 1, starts)
        rows += [_together(same) for same in zip(*taken, strict=True)]
    return rows


def _start(setup: StageSetup, threads: int, rounds: int) -> list[JsonObject]:
    """Return the rows of one process start."""
    named = {"model": setup.model, "photo": setup.photo, "video": setup.video, "yunet": setup.yunet}
    files = {name: None if path is None else str(path.absolute()) for name, path in named.items()}
    request = {"files": files, "threads": threads, "rounds": rounds}
    bounds = dict.fromkeys(THREADS_VARIABLES, str(threads))  # as `--threads` of the commands
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.stages", json.dumps(request)],
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
    if "error" in answer:
        raise EdgeSphereFaceError(answer["error"], hint=answer["hint"], remedy=answer["remedy"])
    return list(answer["rows"])


def _answer(output: str) -> JsonObject | None:
    """Parse the last line of a process's output, which may be incomplete."""
    try:
        return dict(json.loads(output.splitlines()[-1]))
    except (ValueError, IndexError):
        return None


def _together(rows: Sequence[JsonObject]) -> JsonObject:
    """Combine the rows of one stage from all starts."""
    samples = [sample for row in rows for sample in row["samples_ms"]]
    return {
        **rows[0],
        "starts": len(rows),
        "start_samples": [len(row["samples_ms"]) for row in rows],
        "latency": json_object(summarize(np.array(samples))),
        "samples_ms": samples,
    }


def measure_here(setup: StageSetup, *, threads: int, rounds: int) -> list[JsonObject]:
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
    rows: list[JsonObject] = []
    for detector in _detectors(setup.yunet, threads):
        cases, faces = _cases(embedder, detector, photograph, frames)
        samples = measure_interleaved(cases, rounds=rounds, warmup=_WARMUP)
        for stage, values in samples.items():
            kind, _, batch = stage.partition(" x")
            rows.append(
                {
                    "stage": kind,
                    "model": setup.model.name,
                    "precision": embedder.spec.precision,
                    "form": form_of(embedder.spec),
                    "provider": embedder.provider.active[0],
                    "detector": detector.name,
                    "shipped_detector": detector.name == shipped,
                    "threads": threads,
                    "batch": int(batch) if batch else 1,
                    "faces": faces,
                    "image": [photograph.shape[0], photograph.shape[1]],
                    "latency": json_object(summarize(values)),
                    "samples_ms": [round(float(value), 4) for value in values],
                }
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


def text(rows: Sequence[JsonObject]) -> str:
    """Format the rows as one table per model."""
    parts = []
    for name, group in itertools.groupby(rows, key=_heading):
        lines = [name] if name else []
        lines.append(
            f"{'stage':<14} {'detector':<9} {'threads':>7} {'batch':>5} {'median ms':>9} {'p95':>8} {'p99':>8}"
        )
        for row in group:
            latency = row["latency"]
            lines.append(
                f"{row['stage']:<14} {row['detector']:<9} {row['threads']:>7} {row['batch']:>5} "
                f"{latency['median_ms']:>9.3f} {latency['p95_ms']:>8.3f} {latency['p99_ms']:>8.3f}"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _heading(row: JsonObject) -> str:
    """Heading of a model's table; empty for an older record, which does not name its model."""
    return f"{row['model']} ({row['precision']}, {row['form']}), {row['provider']}" if "model" in row else ""


def _serve(request: JsonObject) -> JsonObject:
    files = request["files"]
    photo, video, yunet = (None if files[name] is None else Path(files[name]) for name in ("photo", "video", "yunet"))
    setup = StageSetup(model=Path(files["model"]), photo=photo, video=video, yunet=yunet)
    try:
        return {"rows": measure_here(setup, threads=request["threads"], rounds=request["rounds"])}
    except EdgeSphereFaceError as error:
        return {"error": error.message, "hint": error.hint, "remedy": error.remedy}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_serve(json.loads(sys.argv[1]))) + "\n")
