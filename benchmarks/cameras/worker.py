"""Process that watches made cameras for a while, and prints what it cost as one JSON line."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.cameras.made_video import unpack
from edge_sphereface.cameras import Camera, CameraGroup
from edge_sphereface.detection import open_detector
from edge_sphereface.evaluation.process_memory import peak_rss_mib, rss_mib
from edge_sphereface.gallery import open_gallery
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.resident_memory import bound_heaps, release_loading_memory
from edge_sphereface.stream import RecognitionSettings, StreamSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_sphereface.types import UInt8Array

THRESHOLD = 0.5
_GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, modulo 1, lie apart."""
_APART = 61
"""Frames of the video between two cameras."""
WARM_S = 4.0
"""Time before the measurement, in which the first faces are found and memory settles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker does.

    Attributes:
        video: path of frames, as :func:`~benchmarks.cameras.made_video.pack` writes them.
        model: path of the model.
        gallery: path of the gallery.
        cameras: number of cameras.
        first: number of the first camera, which decides where in the video it begins.
        fps: frames per second of each camera.
        seconds: duration of the measurement.
        begin_at: ``time.time()`` at which all workers begin to measure.
    """

    video: str
    model: str
    gallery: str
    cameras: int
    first: int
    fps: float
    seconds: float
    begin_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a worker measured.

    Attributes:
        frames: number of processed frames.
        dropped: number of frames that a newer one replaced.
        detections: number of frames in which faces were detected.
        embeddings: number of embedded faces.
        batches: number of runs of the model.
        events: number of events.
        processor_s: processor time in seconds.
        rss_mib: resident memory at the end in MiB.
        peak_mib: peak resident memory in MiB.
        ages_ms: age of each frame when its processing began, in milliseconds.
        latencies_ms: time from reading each frame to the end of its processing, in milliseconds.
    """

    frames: int
    dropped: int
    detections: int
    embeddings: int
    batches: int
    events: int
    processor_s: float
    rss_mib: float
    peak_mib: float
    ages_ms: tuple[float, ...]
    latencies_ms: tuple[float, ...]


def made_camera(
    files: Sequence[UInt8Array], number: int, fps: float, *, start_at: float = 0.0
) -> Callable[[], Iterator[UInt8Array]]:
    """A camera that decodes the files in a circle, paced by the clock as a camera is.

    What it shows at a moment depends on nothing else, so that measurements of the same length see the same. Its frames
    come between those of the cameras with other numbers.

    Args:
        files: JPEG files of frames.
        number: of the camera.
        fps: frames per second.
        start_at: ``time.time()`` of the first frame.
    """
    phase = number * _GOLDEN % 1

    def frames() -> Iterator[UInt8Array]:
        index = math.ceil((time.time() - start_at) * fps - phase)
        while True:
            time.sleep(max(start_at + (index + phase) / fps - time.time(), 0.0))
            picture = cv2.imdecode(files[(index + number * _APART) % len(files)], cv2.IMREAD_COLOR)
            yield np.asarray(picture, dtype=np.uint8)
            index += 1

    return frames


def flooding_camera(files: Sequence[UInt8Array], number: int, fps: float) -> Iterator[UInt8Array]:
    """A camera that shows what :func:`made_camera` shows, decoded and delivered again and again without any wait.

    Args:
        files: JPEG files of frames.
        number: of the camera.
        fps: rate at which what it shows changes, in frames per second.
    """
    phase = number * _GOLDEN % 1
    while True:
        index = math.floor(time.time() * fps - phase)
        picture = cv2.imdecode(files[(index + number * _APART) % len(files)], cv2.IMREAD_COLOR)
        yield np.asarray(picture, dtype=np.uint8)


def watch(job: Job) -> Work:
    """Watch the cameras of a job."""
    bound_heaps()
    files, embedder = unpack(job.video), Embedder(job.model)
    settings = StreamSettings(statistics_s=0, recognition=RecognitionSettings(threshold=THRESHOLD))
    with open_gallery(Path(job.gallery), embedder) as gallery:
        numbers = range(job.first, job.first + job.cameras)
        group = CameraGroup(
            [
                Camera(
                    name=f"camera {n}",
                    source=made_camera(files, n, job.fps, start_at=job.begin_at),
                    settings=settings,
                )
                for n in numbers
            ],
            detector=open_detector(),
            embedder=embedder,
            gallery=gallery,
            on_turn=lambda: turn(),  # noqa: PLW0108 -- bound when it is called
        )
        before: list[tuple[int, ...]] = []
        began: list[float] = []
        end_at = float("inf")

        def counts() -> tuple[int, ...]:
            all_of = [stream.statistics() for stream in group.streams]
            totals = [
                sum(getattr(one, name) for one in all_of)
                for name in ("frames", "dropped", "detections", "embeddings", "events")
            ]
            return (*totals, group.inference.batches)

        def turn() -> None:
            nonlocal end_at
            now = time.time()
            if not began and now >= job.begin_at:
                release_loading_memory()
                for stream in group.streams:
                    stream.counters.begin_interval()
                before.append(counts())
                began.append(time.process_time())
                end_at = time.time() + job.seconds  # also of a process that was started late
            elif now >= end_at:
                before.append(counts())
                began.append(time.process_time())
                group.stop()

        group.run()
        frames, dropped, detections, embeddings, events, batches = (
            after - earlier for earlier, after in zip(before[0], before[1], strict=True)
        )
        return Work(
            frames=frames,
            dropped=dropped,
            detections=detections,
            embeddings=embeddings,
            batches=batches,
            events=events,
            processor_s=began[1] - began[0],
            rss_mib=rss_mib() or 0.0,
            peak_mib=peak_rss_mib() or 0.0,
            ages_ms=tuple(age for stream in group.streams for age in stream.counters.ages_ms),
            latencies_ms=tuple(late for stream in group.streams for late in stream.counters.latencies_ms),
        )


def main() -> None:
    """Read a job as JSON from the arguments, and print the work as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job")
    job = Job(**json.loads(parser.parse_args().job))
    sys.stdout.write(json.dumps(asdict(watch(job))) + "\n")


if __name__ == "__main__":
    main()
