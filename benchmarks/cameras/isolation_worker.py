"""Process that watches made cameras beside one that fails, and prints the latencies of the others as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.cameras.made_video import unpack
from benchmarks.cameras.worker import THRESHOLD, WARM_S, flooding_camera, made_camera
from edge_sphereface.cameras import Camera, CameraGroup
from edge_sphereface.detection import open_detector
from edge_sphereface.errors import CameraNotFoundError
from edge_sphereface.gallery import open_gallery
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.resident_memory import bound_heaps, release_loading_memory
from edge_sphereface.stream import RecognitionSettings, SourceOptions, StreamSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_sphereface.types import UInt8Array

CONDITIONS = ("absent", "works", "hangs", "dies", "begins to flood", "floods", "changes size")
BASELINES = {
    "hangs": "absent",
    "dies": "absent",
    "begins to flood": "works",
    "floods": "works",
    "changes size": "works",
}
"""What a disturbance is compared with. A camera that delivers nothing must cost no more than none."""
_BEGIN = 150
"""First frame of the video that is shown; people are in sight from then on."""
_GUEST, _NUMBER = "guest", 3
_STALL_S = 1.0
"""A camera that hangs is noticed, interrupted and opened again within a measurement."""
_LIVES_S = 0.5
_FLOODS_AFTER_S = 45.0
"""Until then what comes may be a backlog, and is read faster."""
_OTHER_SIZES = ((640, 360), (960, 540), (320, 180))
_SIZE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationJob:
    """What the worker does.

    Attributes:
        video: path of frames, as :func:`~benchmarks.cameras.made_video.pack` writes them.
        model: path of the model.
        gallery: path of the gallery.
        others: number of cameras beside the one that fails.
        fps: frames per second of each camera that works.
        rounds: number of rounds; each has every condition once.
        seconds: duration of a condition; all cameras show the same in each.
        settling_s: time before it that does not count, in seconds; longer for a camera that has flooded for a while.
    """

    video: str
    model: str
    gallery: str
    others: int = 3
    fps: float
    rounds: int
    seconds: float
    settling_s: float = 1.2


class Guests:
    """Sources of the camera that fails.

    Args:
        files: JPEG files of its frames.
        fps: frames per second while it works.
    """

    def __init__(self, files: Sequence[UInt8Array], fps: float) -> None:
        self._files, self._fps = files, fps
        self._released = threading.Event()

    def source(self, condition: str) -> Callable[[], Iterator[UInt8Array]]:
        """The source of a camera that does what a condition says."""
        return {
            "works": self._works,
            "hangs": self._hangs,
            "dies": self._dies,
            "begins to flood": self._floods,
            "floods": self._floods,
            "changes size": self._changes_size,
        }[condition]

    def release(self) -> None:
        """End what hangs."""
        self._released.set()
        self._released = threading.Event()

    def _works(self) -> Iterator[UInt8Array]:
        return made_camera(self._files, _NUMBER, self._fps)()

    def _for(self, seconds: float) -> Iterator[UInt8Array]:
        end = time.monotonic() + seconds
        for frame in self._works():
            yield frame
            if time.monotonic() > end:
                return

    def _hangs(self) -> Iterator[UInt8Array]:
        released = self._released
        yield from self._for(_LIVES_S)
        released.wait()

    def _dies(self) -> Iterator[UInt8Array]:
        yield from self._for(_LIVES_S)
        raise RuntimeError("the camera was switched off")

    def _floods(self) -> Iterator[UInt8Array]:
        return flooding_camera(self._files, _NUMBER, self._fps)

    def _changes_size(self) -> Iterator[UInt8Array]:
        began = time.monotonic()
        for frame in self._works():
            size = _OTHER_SIZES[int((time.monotonic() - began) / _SIZE_S) % len(_OTHER_SIZES)]
            yield np.asarray(cv2.resize(frame, size), dtype=np.uint8)


def watch(job: IsolationJob) -> dict[str, list[list[float]]]:
    """Latencies of the other cameras in milliseconds, for each condition one list for each round."""
    bound_heaps()
    files, embedder = unpack(job.video), Embedder(job.model)
    files = files[_BEGIN : _BEGIN + round(job.seconds * job.fps)]
    settings = StreamSettings(
        statistics_s=0,
        recognition=RecognitionSettings(threshold=THRESHOLD),
        source=SourceOptions(stall_s=_STALL_S),
    )
    guests, found = Guests(files, job.fps), {condition: list[list[float]]() for condition in CONDITIONS}
    names = [f"camera {number}" for number in range(job.others)]
    with open_gallery(Path(job.gallery), embedder) as gallery:
        group = CameraGroup(
            [
                Camera(name=name, source=made_camera(files, number, job.fps), settings=settings)
                for number, name in enumerate(names)
            ],
            detector=open_detector(),
            embedder=embedder,
            gallery=gallery,
        )

        def measure(condition: str) -> list[float]:
            with suppress(CameraNotFoundError):
                group.remove(_GUEST)
            guests.release()
            if condition != "absent":
                group.add(Camera(name=_GUEST, source=guests.source(condition), settings=settings))
            time.sleep(_FLOODS_AFTER_S if condition == "floods" else job.settling_s)
            for name in names:
                group.stream(name).counters.begin_interval()
            time.sleep(job.seconds)
            return [ms for name in names for ms in tuple(group.stream(name).counters.latencies_ms)]

        def work_through() -> None:
            try:
                time.sleep(WARM_S)
                release_loading_memory()
                order, draw = list(CONDITIONS), np.random.default_rng(0)
                for _ in range(job.rounds):
                    draw.shuffle(order)
                    for condition in order:
                        found[condition].append(measure(condition))
            finally:
                guests.release()
                group.stop()

        worker = threading.Thread(target=work_through)
        worker.start()
        group.run(until_ended=False)
        worker.join()
    if any(len(rounds) < job.rounds for rounds in found.values()):
        raise RuntimeError("The rounds were not finished.")
    return found


def main() -> None:
    """Read a job as JSON from the arguments, and print the latencies as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job")
    job = IsolationJob(**json.loads(parser.parse_args().job))
    sys.stdout.write(json.dumps(watch(job)) + "\n")


if __name__ == "__main__":
    main()
