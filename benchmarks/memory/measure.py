"""Measure resident memory by cause, each start in a process of its own.

Pages of files count for the library that they belong to. Allocated memory of embedding is divided by the step that
allocated it. The command ``watch`` is observed from outside, as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.memory.worker import ALLOCATED, STEPS, snapshot
from benchmarks.stages import moving_frames
from edge_sphereface.cli.runner import THREADS_VARIABLES
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.evaluation.process_memory import peak_rss_mib
from edge_sphereface.gallery import open_gallery
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import rounded
from export.faces import astronaut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.environment import TimedEnvironment
    from edge_sphereface.types import UInt8Array

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = 100
"""Number of people in the gallery of ``watch``."""
FRAME = (480, 640)
"""Height and width of the video in pixels."""
_FPS = 15
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A share of the resident memory.

    Attributes:
        cause: library whose files are mapped, or what was allocated.
        rss_mib: resident memory in MiB.
        pss_mib: the same, where a page that N processes share counts as 1 / N.
    """

    cause: str
    rss_mib: float = field(metadata=rounded(1))
    pss_mib: float = field(metadata=rounded(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """Resident memory of one use of a model, from the start with the median.

    Attributes:
        use: ``embed``: one crop after another; ``watch``: the whole command on a video, with a gallery.
        model: file name of the model.
        precision: precision of the model.
        threads: number of threads.
        starts: number of processes.
        peak_mib: peak resident memory in MiB.
        rss_mib: resident memory in MiB: after the last inference; of `watch` the median over its second half.
        pss_mib: the same, where a page that N processes share counts as 1 / N.
        starts_mib: resident memory of each start in MiB.
        causes: shares of the resident memory, largest first.
    """

    use: str
    model: str
    precision: str
    threads: int
    starts: int
    peak_mib: float = field(metadata=rounded(1))
    rss_mib: float = field(metadata=rounded(1))
    pss_mib: float = field(metadata=rounded(1))
    starts_mib: tuple[float, ...] = field(metadata=rounded(1))
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """What ``memory`` measured.

    Attributes:
        environment: machine, versions and load by other programs.
        people: number of people in the gallery of ``watch``.
        frame: height and width of the video in pixels.
        memory: one row for each model and use.
    """

    environment: TimedEnvironment
    people: int
    frame: tuple[int, int]
    memory: tuple[MemoryRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """Memory of one process: peak, and causes with their resident and proportional memory, in MiB."""

    peak: float
    causes: Mapping[str, tuple[float, float]]

    @property
    def rss(self) -> float:
        """Resident memory in MiB."""
        return sum(resident for resident, _ in self.causes.values())


def measure(
    models: Sequence[Path],
    *,
    threads: int,
    starts: int,
    seconds: float,
    detector: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[MemoryRow]:
    """Measure embedding alone, and the command ``watch``, with each model.

    Args:
        models: ONNX files.
        threads: number of threads.
        starts: number of processes of each row.
        seconds: length of the video of ``watch``.
        detector: YuNet's ONNX file; None for the one in the cache.
        progress: called with the number of finished processes and their total.

    Raises:
        EdgeSphereFaceError: a process failed, or the system does not tell the memory of a process.
    """
    rows: list[MemoryRow] = []
    done, total = 0, 2 * starts * len(models)
    with TemporaryDirectory() as name:
        folder = Path(name)
        video = write_video(folder / "camera.avi", seconds)
        for model in models:
            embedder = Embedder(model, provider="cpu", threads=threads)
            gallery = _fill_gallery(folder / f"{model.stem}.db", embedder)
            watch = [*_watch_words(video, gallery, model, threads), *_detector_words(detector)]
            uses: dict[str, Callable[[], _Start]] = {
                "embed": partial(_embed, model, threads),
                "watch": partial(_observe, watch, threads),
            }
            for use, start in uses.items():
                found = []
                for _ in range(starts):
                    found.append(start())
                    done += 1
                    if progress is not None:
                        progress(done, total)
                rows.append(_row(use, model, embedder.spec.precision, threads, found))
    return rows


def write_video(path: Path, seconds: float) -> Path:
    """Write a video of a moving face, as a camera gives it: 640 x 480 pixels, 15 frames per second, MJPEG."""
    height, width = FRAME
    frames = [_framed(frame) for frame in moving_frames(astronaut())]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), _FPS, (width, height))
    for number in range(round(seconds * _FPS)):
        writer.write(frames[number % len(frames)])
    writer.release()
    return path


def _framed(photograph: UInt8Array) -> UInt8Array:
    """Place a photograph on the middle of a black frame, and cut what is outside."""
    frame = np.zeros((*FRAME, 3), dtype=np.uint8)
    height, width = (min(size, most) for size, most in zip(photograph.shape, FRAME, strict=False))
    left = (FRAME[1] - width) // 2
    frame[:height, left : left + width] = photograph[:height, :width]
    return frame


def _fill_gallery(path: Path, embedder: Embedder) -> Path:
    embeddings = np.random.default_rng(0).standard_normal((PEOPLE, 1, embedder.spec.embedding_size)).astype(np.float32)
    with open_gallery(path, embedder, create=True) as gallery:
        for number, rows in enumerate(embeddings):
            gallery.enroll(f"person {number}", rows)
    return path


def _watch_words(video: Path, gallery: Path, model: Path, threads: int) -> list[str]:
    named = ["--gallery", str(gallery), "--model", str(model.absolute()), "--provider", "cpu"]
    return ["watch", str(video), *named, "--threads", str(threads)]


def _detector_words(detector: Path | None) -> list[str]:
    return [] if detector is None else ["--detector-model", str(detector.absolute())]


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **dict.fromkeys(THREADS_VARIABLES, str(threads))}


def _embed(model: Path, threads: int) -> _Start:
    """Embed in a separate process."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.memory.worker", str(model.absolute()), str(threads)],
        env=_environment(threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise _failed("the process that embeds", done.returncode, done.stderr)
    answer = json.loads(done.stdout)
    return _Start(peak=answer["peak"], causes=by_step(answer["steps"]))


def by_step(steps: Sequence[Mapping[str, tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """Divide allocated memory by the step that allocated it; libraries are those of the last step.

    Args:
        steps: a snapshot after each of ``STEPS``.
    """
    causes = {name: (values[0], values[1]) for name, values in steps[-1].items() if name != ALLOCATED}
    before = (0.0, 0.0)
    for name, step in zip(STEPS, steps, strict=True):
        now = step[ALLOCATED]
        causes[f"{ALLOCATED}: {name}"] = (now[0] - before[0], now[1] - before[1])
        before = (now[0], now[1])
    return causes


def _observe(words: Sequence[str], threads: int) -> _Start:
    """Observe the memory of a command from outside until it ends."""
    command = [sys.executable, "-m", "edge_sphereface", *words]
    seen: list[_Start] = []
    with subprocess.Popen(  # noqa: S603
        command, env=_environment(threads), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        proc = Path("/proc") / str(process.pid)
        while process.poll() is None:
            with suppress(OSError):  # it has ended meanwhile
                causes, peak = snapshot(proc / "smaps"), peak_rss_mib(proc / "status")
                if causes and peak is not None:
                    seen.append(_Start(peak=peak, causes=causes))
            time.sleep(_LOOK_S)
        message = process.stderr.read() if process.stderr is not None else ""
    if process.returncode or not seen:
        raise _failed("`watch`", process.returncode, message)
    late = sorted(seen[len(seen) // 2 :], key=lambda start: start.rss)  # without loading, and most without the end
    return _Start(peak=max(start.peak for start in late), causes=late[len(late) // 2].causes)


def _failed(what: str, code: int, message: str) -> EdgeSphereFaceError:
    lines = message.strip().splitlines()
    if not code and not lines:
        return EdgeSphereFaceError(
            f"The system does not tell the memory of {what}, or it ended within {_LOOK_S} s.",
            hint="Linux alone tells it; a longer video gives watch more time",
        )
    reason = lines[-1] if lines else "it says nothing"
    return EdgeSphereFaceError(f"{what} ended with exit code {code}: {reason}.", hint="run it alone to see why")


def _row(use: str, model: Path, precision: str, threads: int, starts: Sequence[_Start]) -> MemoryRow:
    middle = sorted(starts, key=lambda start: start.rss)[len(starts) // 2]
    causes = [Cause(cause=name, rss_mib=rss, pss_mib=pss) for name, (rss, pss) in middle.causes.items()]
    return MemoryRow(
        use=use,
        model=model.name,
        precision=precision,
        threads=threads,
        starts=len(starts),
        peak_mib=middle.peak,
        rss_mib=middle.rss,
        pss_mib=sum(cause.pss_mib for cause in causes),
        starts_mib=tuple(start.rss for start in starts),
        causes=tuple(sorted(causes, key=lambda cause: -cause.rss_mib)),
    )


def text(rows: Sequence[MemoryRow]) -> str:
    """Format the rows, each with its causes."""
    parts = []
    for row in rows:
        name = f"{row.use}, {row.model} ({row.precision}), threads {row.threads}"
        lines = [f"{name}: {row.rss_mib:.1f} MiB resident, {row.pss_mib:.1f} proportional, {row.peak_mib:.1f} at most"]
        lines += [f"  {cause.rss_mib:>7.1f}  {cause.cause}" for cause in row.causes]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
