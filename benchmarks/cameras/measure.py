"""What several cameras cost in one process, and with a process for each."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmarks.cameras.worker import WARM_S, Job, Work
from edge_sphereface.json_output import rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_START_S = 5.0
"""Time for all workers to import, open the model and find the first faces."""
Arrangement = Literal["one process", "a process per camera"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CamerasRow:
    """A number of cameras in one arrangement.

    Attributes:
        cameras: number of cameras.
        arrangement: all in one process, or a process for each.
        seconds: duration of the measurement.
        frames: number of processed frames of all cameras.
        frames_per_s: the same per second and camera.
        dropped: number of frames that a newer one replaced before they were processed.
        detections: number of frames in which faces were detected.
        embeddings: number of embedded faces.
        faces_per_batch: mean number of faces in a run of the model; None without one.
        age_ms_p50: median age of a frame when its processing began, in milliseconds.
        age_ms_p95: 95th percentile of the same.
        latency_ms_p50: median time from reading a frame to the end of its processing, in milliseconds.
        latency_ms_p95: 95th percentile of the same.
        processors: mean number of busy processors.
        rss_mib: resident memory of all processes at the end in MiB; pages that processes share count in each.
        further_camera_mib: growth of the resident memory for each camera beyond the first in MiB; None for the first.
    """

    cameras: int
    arrangement: Arrangement
    seconds: float
    frames: int
    frames_per_s: float = field(metadata=rounded(2))
    dropped: int
    detections: int
    embeddings: int
    faces_per_batch: float | None = field(metadata=rounded(3))
    age_ms_p50: float = field(metadata=rounded(2))
    age_ms_p95: float = field(metadata=rounded(2))
    latency_ms_p50: float = field(metadata=rounded(2))
    latency_ms_p95: float = field(metadata=rounded(2))
    processors: float = field(metadata=rounded(3))
    rss_mib: float = field(metadata=rounded(1))
    further_camera_mib: float | None = field(metadata=rounded(1))


def measure(job: Job, numbers: Sequence[int], report: Callable[[int, int], None]) -> list[CamerasRow]:
    """Measure each number of cameras in both arrangements.

    Args:
        job: everything except the number of cameras.
        numbers: numbers of cameras, ascending.
        report: progress function.
    """
    rows: list[CamerasRow] = []
    for done, number in enumerate(numbers):
        together = replace(job, cameras=number)
        rows.append(row_of(number, "one process", run([together]), job.seconds, rows))
        alone = [replace(job, cameras=1, first=first) for first in range(number)]
        rows.append(row_of(number, "a process per camera", run(alone), job.seconds, rows))
        report(done + 1, len(numbers))
    return rows


def text(rows: Sequence[CamerasRow]) -> str:
    """Format the rows as a table."""
    head = (
        f"{'cameras':>7}  {'arrangement':<22}{'frames/s':>9}{'dropped':>9}{'age p50':>9}{'p95':>8}"
        f"{'latency p50':>13}{'p95':>8}{'processors':>12}{'MiB':>8}{'further':>9}{'faces/run':>11}"
    )
    lines = [head, "-" * len(head)]
    for row in rows:
        further = "" if row.further_camera_mib is None else f"{row.further_camera_mib:.1f}"
        batch = "" if row.faces_per_batch is None else f"{row.faces_per_batch:.2f}"
        lines.append(
            f"{row.cameras:>7}  {row.arrangement:<22}{row.frames_per_s:>9.1f}{row.dropped:>9}{row.age_ms_p50:>9.1f}"
            f"{row.age_ms_p95:>8.1f}{row.latency_ms_p50:>13.1f}{row.latency_ms_p95:>8.1f}{row.processors:>12.2f}"
            f"{row.rss_mib:>8.0f}{further:>9}{batch:>11}"
        )
    return "\n".join(
        [*lines, "", "times in ms; frames/s of each camera; further: MiB for each camera beyond the first"]
    )


def run(jobs: Sequence[Job], *, start_s: float = _START_S + WARM_S) -> list[Work]:
    """Run one worker for each job at the same time.

    Args:
        jobs: what each does.
        start_s: time to start for one worker, in seconds; each further one gets a second more.

    Raises:
        subprocess.CalledProcessError: a worker failed.
    """
    begin_at = time.time() + start_s + len(jobs)
    started = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "benchmarks.cameras.worker", json.dumps(asdict(replace(job, begin_at=begin_at)))],
            stdout=subprocess.PIPE,
        )
        for job in jobs
    ]
    found = []
    for process in started:
        answer, _ = process.communicate()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        found.append(Work(**json.loads(answer)))
    return found


def row_of(
    number: int, arrangement: Arrangement, works: Sequence[Work], seconds: float, before: Sequence[CamerasRow]
) -> CamerasRow:
    """The row of a number of cameras.

    Args:
        number: number of cameras.
        arrangement: all in one process, or a process for each.
        works: what each worker measured.
        seconds: duration of the measurement.
        before: earlier rows; the first of the same arrangement is what a further camera is compared with.
    """
    ages = np.concatenate([work.ages_ms for work in works])
    latencies = np.concatenate([work.latencies_ms for work in works])
    rss, batches = sum(work.rss_mib for work in works), sum(work.batches for work in works)
    embeddings, frames = sum(work.embeddings for work in works), sum(work.frames for work in works)
    first = next((row for row in before if row.arrangement == arrangement), None)
    return CamerasRow(
        cameras=number,
        arrangement=arrangement,
        seconds=seconds,
        frames=frames,
        frames_per_s=frames / seconds / number,
        dropped=sum(work.dropped for work in works),
        detections=sum(work.detections for work in works),
        embeddings=embeddings,
        faces_per_batch=embeddings / batches if batches else None,
        age_ms_p50=float(np.percentile(ages, 50)),
        age_ms_p95=float(np.percentile(ages, 95)),
        latency_ms_p50=float(np.percentile(latencies, 50)),
        latency_ms_p95=float(np.percentile(latencies, 95)),
        processors=sum(work.processor_s for work in works) / seconds,
        rss_mib=rss,
        further_camera_mib=None if first is None else (rss - first.rss_mib) / max(number - first.cameras, 1),
    )
