"""Long run of a whole stream: memory, open files, threads and latency.

All features of ``watch`` are enabled: events to a rotated file and to a callback, the page with a viewer, requests for
health and metrics, snapshots, and a recording.
"""

from __future__ import annotations

import http.client
import resource
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_sphereface.json_output import INLINE, named, rounded
from edge_sphereface.stream import (
    FaceStream,
    FileSink,
    RecognitionSettings,
    Snapshots,
    StreamSettings,
    VideoRecorder,
)
from edge_sphereface.stream.capture.images import IteratorSource
from edge_sphereface.stream.monitoring import HealthEndpoint
from edge_sphereface.web import PageView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.stream.video import Video
    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.stream import Event, FrameResult
    from edge_sphereface.types import Float64Array, UInt8Array

_SIZE = (640, 360)
_EVERY = 250
"""Number of frames between samples."""
_WARM = 0.2
"""Share of the run that is the warm-up, after which nothing may grow."""
_WINDOW = 0.1
"""Share of the run over which the median of a level is computed."""
_ASK_S = 1.0
_MOST_GROWTH_MIB = 5.0
_COMING = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Levels of one quantity after the warm-up and at the end.

    Attributes:
        warm: median after the warm-up.
        end: median at the end.
        growth: difference of both.
        most: maximum after the warm-up.
    """

    warm: float
    end: float
    growth: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Percentiles of the time from reading a frame to the end of its work, in milliseconds.

    Attributes:
        p50: median.
        p99: 99th percentile.
        p99_9: 99.9th percentile.
    """

    p50: float
    p99: float
    p99_9: float = field(metadata=named("p99.9"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFigures:
    """Memory, files, threads and latency over a run.

    Attributes:
        rss_mib: resident memory in MiB.
        files: open file descriptors.
        threads: running threads.
        latency_ms: latency after the warm-up in milliseconds.
        rss_samples_mib: samples of the resident memory in MiB.
    """

    rss_mib: Levels
    files: Levels
    threads: Levels
    latency_ms: Percentiles
    rss_samples_mib: tuple[float, ...] = field(metadata=rounded(2))


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakFigures:
    """Figures of a long run.

    Attributes:
        frames: number of frames.
        paced: whether frames were delivered at the speed of a camera.
        dropped: number of dropped frames.
        seconds: duration of the run in seconds.
        frames_per_s: frames per second.
        process: memory, files, threads and latency.
        events: number of events.
        events_undelivered: number of events that no output got.
        events_lost: number of events that the callback did not get.
        problems: problems of the outputs.
        embeddings: number of embeddings.
    """

    frames: int
    paced: bool
    dropped: int
    seconds: float
    frames_per_s: float
    process: ProcessFigures = field(metadata=INLINE)
    events: int
    events_undelivered: int
    events_lost: int
    problems: tuple[str, ...]
    embeddings: int


@dataclass(slots=True)
class Samples:
    """Samples of the process at regular numbers of frames.

    Attributes:
        rss_mib: resident memory in MiB.
        files: number of open file descriptors.
        threads: number of running threads.
        latencies_ms: time from reading a frame to the end of its work in milliseconds; allocated in full size.
        seen: number of frames so far.
    """

    latencies_ms: Float64Array
    seen: int = 0
    rss_mib: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def take(self) -> None:
        """Take a sample."""
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        self.rss_mib.append(pages * resource.getpagesize() / (1 << 20))
        self.files.append(len(list(Path("/proc/self/fd").iterdir())) - 1)  # without the one that lists them
        self.threads.append(len(list(Path("/proc/self/task").iterdir())))

    def describe(self) -> ProcessFigures:
        """Return the levels after the warm-up and at the end."""
        count = len(self.rss_mib)
        warm, window = int(count * _WARM), max(int(count * _WINDOW), 1)

        def levels(values: Sequence[float]) -> Levels:
            before, after = float(np.median(values[warm : warm + window])), float(np.median(values[-window:]))
            return Levels(warm=before, end=after, growth=after - before, most=float(max(values[warm:])))

        p50, p99, p99_9 = np.percentile(self.latencies_ms[int(self.seen * _WARM) : self.seen], [50, 99, 99.9]).tolist()
        return ProcessFigures(
            rss_mib=levels(self.rss_mib),
            files=levels(self.files),
            threads=levels(self.threads),
            latency_ms=Percentiles(p50=p50, p99=p99, p99_9=p99_9),
            rss_samples_mib=tuple(self.rss_mib),
        )


def measure(  # noqa: PLR0913 -- the parts of a stream, by name
    video: Video,
    *,
    frames: int,
    embedder: Embedder,
    detector: Detector,
    gallery: Gallery,
    threshold: float,
    paced: bool,
    report: Callable[[int, int], None],
) -> SoakFigures:
    """Run a stream on the repeated video.

    Args:
        video: video; its frames are reduced to 640 x 360 and kept as JPEG files in memory.
        frames: number of frames of the run.
        embedder: embedder of the gallery.
        detector: finds faces.
        gallery: enrolled identities.
        threshold: least cosine similarity of a match.
        paced: deliver 25 frames per second, as a camera; otherwise every frame, as fast as possible.
        report: progress function.
    """
    pictures = [cv2.imencode(".jpg", cv2.resize(picture, _SIZE))[1] for picture, _ in video.frames()]
    samples, told = Samples(np.full(frames, -1.0)), [0]

    def seen(result: FrameResult) -> None:
        samples.latencies_ms[samples.seen] = (time.monotonic() - result.frame.read_at) * 1000
        samples.seen += 1
        if samples.seen % _EVERY == 0:
            samples.take()
            report(samples.seen, frames)

    def heard(_: Event) -> None:
        told[0] += 1

    with TemporaryDirectory() as name, ExitStack() as stack:
        folder, page = Path(name), PageView(port=0)
        stream = FaceStream(
            IteratorSource(_endless(pictures, frames), live=False, fps=25),
            detector=detector,
            embedder=embedder,
            gallery=gallery,
            settings=StreamSettings(pace=paced, recognition=RecognitionSettings(threshold=threshold)),
            sinks=[FileSink(folder / "events.jsonl", max_bytes=1 << 17, keep=3)],
            on_event=heard,
            on_frame=seen,
            frame_sinks=[
                page,
                Snapshots(folder / "snapshots", keep=100),
                VideoRecorder(folder / "video", minutes=0.5, keep=3),
            ],
        )
        endpoint = stack.enter_context(HealthEndpoint(stream, port=0))
        over = threading.Event()
        for path, port, pause_s in (
            ("/api/frame?after=0", lambda: page.port, 0.2),
            ("/api/gallery", lambda: page.port, _ASK_S),
            ("/metrics", lambda: endpoint.port, _ASK_S),
            ("/health", lambda: endpoint.port, _ASK_S),
        ):
            threading.Thread(target=_ask, args=(port, path, pause_s, over), daemon=True).start()
        stack.callback(over.set)
        began = time.perf_counter()
        counts = stream.run()
        seconds = time.perf_counter() - began
    return SoakFigures(
        frames=samples.seen,
        paced=paced,
        dropped=counts.dropped,
        seconds=seconds,
        frames_per_s=samples.seen / seconds,
        process=samples.describe(),
        events=counts.events,
        events_undelivered=stream.undelivered,
        events_lost=counts.events - told[0],
        problems=tuple(counts.problems),
        embeddings=counts.embeddings,
    )


def holds(row: SoakFigures) -> bool:
    """Whether nothing grew and no event was lost. A viewer adds and removes one or two files and threads."""
    process = row.process
    grew = process.rss_mib.growth >= _MOST_GROWTH_MIB
    returned = all(levels.growth <= _COMING for levels in (process.files, process.threads))
    return not grew and returned and not row.events_lost


def text(row: SoakFigures) -> str:
    """Format the result as text."""
    memory, files, threads = row.process.rss_mib, row.process.files, row.process.threads
    late = row.process.latency_ms
    return "\n".join(
        [
            f"{row.frames} frames in {row.seconds:.0f} s ({row.frames_per_s:.0f} a second)",
            f"memory        {memory.warm:.1f} MiB after the first fifth, {memory.growth:+.2f} at the end",
            f"files         {files.warm:.0f}, {files.end:.0f} at the end; at most {files.most:.0f}",
            f"threads       {threads.warm:.0f}, {threads.end:.0f} at the end; at most {threads.most:.0f}",
            f"latency       {late.p50:.2f} ms in the middle, p99 {late.p99:.2f} ms, p99.9 {late.p99_9:.2f} ms",
            f"events        {row.events}, {row.events_lost} lost",
        ]
    )


def _endless(pictures: Sequence[UInt8Array], frames: int) -> Iterator[UInt8Array]:
    for number in range(frames):
        picture = cv2.imdecode(pictures[number % len(pictures)], cv2.IMREAD_COLOR)
        yield np.asarray(picture, dtype=np.uint8)


def _ask(port: Callable[[], int], path: str, pause_s: float, over: threading.Event) -> None:
    """Request a page repeatedly, each time over a new connection."""
    while not over.wait(pause_s):
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port(), timeout=10)
            connection.request("GET", path)
            connection.getresponse().read()
            connection.close()
