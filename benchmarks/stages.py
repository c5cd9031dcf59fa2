"""What each stage of recognition costs, on a photograph and on a video, in this process."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import align_for, stack_landmarks
from edge_sphereface.compare import cosine_similarity
from edge_sphereface.detect import open_detector
from edge_sphereface.embed import Embedder, preprocess
from edge_sphereface.errors import ModelNotFoundError
from edge_sphereface.pipeline import FacePipeline
from edge_sphereface.timing import measure_interleaved, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge_sphereface.detect import Detector
    from edge_sphereface.types import JsonObject, UInt8Array

GALLERY = 1000
"""Embeddings that the stage ``compare`` searches."""
BATCHES = (1, 4, 16)


def measure(
    model: Path,
    photograph: UInt8Array,
    *,
    frames: Sequence[UInt8Array],
    threads: Sequence[int],
    rounds: int = 50,
    yunet: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[JsonObject]:
    """Time detect, align, preprocess, embed, compare, and the whole, with every detector that is here.

    Args:
        model: ONNX file.
        photograph: (H, W, 3) uint8 BGR with at least one face.
        frames: of a video, processed one after the other.
        threads: of inference and of detection.
        rounds: samples of each stage.
        yunet: YuNet's ONNX file, if it is not in the cache.
        progress: called with what is measured, rounds done and rounds in total.

    Returns:
        One row per stage: stage, detector, threads, batch, faces, latency, raw samples.
    """
    import cv2

    rows: list[JsonObject] = []
    before = cv2.getNumThreads()
    for count in threads:
        cv2.setNumThreads(count)
        embedder = Embedder(model, provider="cpu", threads=count)
        for detector in _detectors(yunet, count):
            cases, faces = _cases(embedder, detector, photograph, frames)
            name = f"{count} threads, {detector.name}"
            report = None if progress is None else lambda done, what=name: progress(what, done, rounds)
            samples = measure_interleaved(cases, rounds=rounds, warmup=3, progress=report)
            for stage, values in samples.items():
                kind, _, batch = stage.partition(" x")
                rows.append(
                    {
                        "stage": kind,
                        "detector": detector.name,
                        "threads": count,
                        "batch": int(batch) if batch else 1,
                        "faces": faces,
                        "image": [photograph.shape[0], photograph.shape[1]],
                        "latency": summarize(values).as_json(),
                        "samples_ms": [round(float(value), 4) for value in values],
                    }
                )
    cv2.setNumThreads(before)
    return rows


def moving_frames(photograph: UInt8Array, count: int = 24) -> list[UInt8Array]:
    """A video of a photograph that drifts and breathes, for where none is given."""
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
    """The first frames of a video file; none if OpenCV cannot read it."""
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


def _cases(
    embedder: Embedder, detector: Detector, photograph: UInt8Array, frames: Sequence[UInt8Array]
) -> tuple[dict[str, Callable[[], object]], int]:
    faces = detector.detect(photograph)
    landmarks = stack_landmarks([face.landmarks for face in faces])
    spec = embedder.spec
    cut = partial(align_for, spec, photograph, landmarks)
    crops = cut()
    gallery = np.random.default_rng(0).standard_normal((GALLERY, spec.embedding_size)).astype(np.float32)
    probes = embedder.embed(crops)
    pipeline = FacePipeline(embedder, detector)
    video = itertools.cycle(frames)
    cases: dict[str, Callable[[], object]] = {
        "detect": partial(detector.detect, photograph),
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
    """The rows as a table."""
    lines = [f"{'stage':<14} {'detector':<9} {'threads':>7} {'batch':>5} {'median ms':>9} {'p95':>8} {'p99':>8}"]
    for row in rows:
        latency = row["latency"]
        lines.append(
            f"{row['stage']:<14} {row['detector']:<9} {row['threads']:>7} {row['batch']:>5} "
            f"{latency['median_ms']:>9.3f} {latency['p95_ms']:>8.3f} {latency['p99_ms']:>8.3f}"
        )
    return "\n".join(lines)
