"""``CameraGroup``: several cameras in one process."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from edge_sphereface.cameras.camera import GroupHealth, require_distinct_names
from edge_sphereface.cameras.fair_queue import fair_parts
from edge_sphereface.cameras.runner import CameraRunner
from edge_sphereface.cameras.shared_inference import SharedInference
from edge_sphereface.errors import CameraError, CameraNotFoundError
from edge_sphereface.pipeline import FacePipeline
from edge_sphereface.stream.face_stream import FaceStream
from edge_sphereface.stream.outputs.events.dispatcher import EventDispatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edge_sphereface.cameras.camera import Camera, CameraStatus
    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import CropEmbedder, Embedder
    from edge_sphereface.strangers import StrangerKeeper
    from edge_sphereface.stream.outputs.events.dispatcher import EventSink
    from edge_sphereface.stream.outputs.frames.frame_output import FrameSink
    from edge_sphereface.stream.settings import StreamSettings
    from edge_sphereface.types import JsonObject

BUDGET_PERCENT = 75.0
"""Share of the time in which detector and model may work, for all cameras together."""
_TURN_S = 0.2
_DIVIDE_S = 1.0
"""Interval at which the budget is divided anew."""
_STUCK_S = 10.0
"""An inference that takes longer makes the group unhealthy."""
_STOP_S = 3.0
"""Limit for the streams to end, and for one that is changed or removed."""
_FLUSH_S = 0.7
_MOST_FPS = 30.0
"""Frames a second of a camera without a limit of its own."""
_FLOOD_FPS = 15.0
"""The same while it floods: it must not take more time from the others than a camera that works."""
_SIDE = 1280
_QUALITY = 85


class CameraGroup:
    """Several cameras in one process, with one detector, one model and one gallery.

    Each camera has a :class:`~edge_sphereface.FaceStream` in a thread of its own. Detector and model serve one camera
    at a time: next is the camera that they have served least. Faces that wait when the model becomes free are embedded
    in one batch. The budget is divided fairly: a camera that needs less than its part leaves the rest to the others,
    and one that needs more is searched less often and in smaller images.

    A camera that fails ends only itself. Cameras are added, changed and removed while the group runs, from any thread.

    Args:
        cameras: the first cameras.
        detector: finds faces.
        embedder: the model; None to track faces without recognizing them.
        gallery: the known identities, opened for that model.
        strangers: keeps tracks that end without a name, of all cameras together. Whoever made it starts and ends it.
            None to keep none.
        sinks: outputs of the events of all cameras; each has one thread.
        frame_sinks: makes the outputs of frames of a camera.
        budget_percent: share of the time in which detector and model work, for all cameras together, in percent.
        on_turn: called several times a second in the thread that runs the group, while the group works. A watchdog
            can rely on it.
        read: reads a camera from the values of a request; see :meth:`read`.
        clock: gives seconds that never run backwards.

    Raises:
        CameraError: two cameras have the same name.
        SourceError: no source has such an address.
        ThresholdError: the gallery has no threshold, and none was given.
        ValueError: a gallery without a model.
    """

    def __init__(  # noqa: PLR0913 -- the parts that a user puts together, by name
        self,
        cameras: Iterable[Camera] = (),
        *,
        detector: Detector,
        embedder: CropEmbedder | None = None,
        gallery: Gallery | None = None,
        strangers: StrangerKeeper | None = None,
        sinks: Sequence[EventSink] = (),
        frame_sinks: Callable[[Camera], Sequence[FrameSink]] = lambda _: (),
        budget_percent: float = BUDGET_PERCENT,
        on_turn: Callable[[], object] = lambda: None,
        read: Callable[[JsonObject], Camera] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gallery, self.strangers = gallery, strangers
        self._inference = SharedInference(detector, embedder, clock=clock)
        self._frame_sinks, self._budget_percent = frame_sinks, budget_percent
        self._sinks, self._on_turn, self._read, self._clock = tuple(sinks), on_turn, read, clock
        self._dispatchers: list[EventDispatcher] = []
        self._changing = threading.RLock()
        self._runners: dict[str, CameraRunner] = {}
        """Replaced, never changed, so that readers need no lock."""
        self._stopping = threading.Event()
        self._is_running = False
        self._divided_at = float("-inf")
        self.undelivered = 0
        for camera in cameras:
            self.add(camera)

    # ---- cameras ----------------------------------------------------------------------------------------------

    def add(self, camera: Camera) -> None:
        """Add a camera; it starts at once if the group runs.

        Raises:
            CameraError: there is a camera of that name, or of a name that files cannot tell from it.
            SourceError: no source has such an address.
        """
        with self._changing:
            require_distinct_names([*self.configured(), camera])
            runner = self._runner(camera)
            self._runners = {**self._runners, camera.name: runner}
            if self._is_running:
                runner.start()

    def read(self, values: JsonObject) -> Camera:
        """Read a camera from the values of a request.

        Raises:
            CameraError: the group was told no way to read one.
            EdgeSphereFaceError: the values are no camera.
        """
        if self._read is None:
            raise CameraError("This program reads no cameras from requests.", hint="name them in its settings")
        return self._read(values)

    def change(self, camera: Camera) -> None:
        """Replace the camera of that name; one that is equal goes on untouched.

        Raises:
            CameraNotFoundError: there is no camera of that name.
            SourceError: no source has such an address; the old camera goes on.
        """
        with self._changing:
            before = self._find(camera.name)
            if before.camera == camera and not before.is_over:
                return
            runner = self._runner(camera)
            self._runners = {**self._runners, camera.name: runner}
            self._end([before], _STOP_S)
            if self._is_running:
                runner.start()

    def remove(self, name: str) -> None:
        """Remove a camera: faces in sight are lost, and its outputs are closed.

        Raises:
            CameraNotFoundError: there is no camera of that name.
        """
        with self._changing:
            removed = self._find(name)
            self._runners = {other: runner for other, runner in self._runners.items() if other != name}
            self._end([removed], _STOP_S)

    def cameras(self) -> tuple[CameraStatus, ...]:
        """What there is to tell about each camera, in the order in which they were added."""
        return tuple(runner.status() for runner in self._all())

    def configured(self) -> tuple[Camera, ...]:
        """The cameras as they were added or changed."""
        return tuple(runner.camera for runner in self._all())

    def stream(self, name: str) -> FaceStream:
        """The stream of a camera, until the camera is changed or fails.

        Raises:
            CameraNotFoundError: there is no camera of that name.
        """
        return self._find(name).stream

    @property
    def streams(self) -> tuple[FaceStream, ...]:
        """The streams of all cameras."""
        return tuple(runner.stream for runner in self._all())

    def snapshot(self, name: str) -> bytes:
        """The newest frame of a camera as a JPEG file.

        Raises:
            CameraNotFoundError: there is no camera of that name.
            CameraError: no frame has come yet.
        """
        import cv2

        from edge_sphereface.stream.outputs.frames.drawing import fitted

        frame = self._find(name).stream.newest
        if frame is None:
            raise CameraError(f"No frame of {name!r} has come yet.", hint="wait for the camera")
        picture, _ = fitted(frame.image, _SIDE)
        return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()

    @property
    def inference(self) -> SharedInference:
        """The detector and the model that the cameras share; others may take turns there."""
        return self._inference

    # ---- running ----------------------------------------------------------------------------------------------

    def run(self, *, until_ended: bool = True) -> None:
        """Work until :meth:`stop`.

        Args:
            until_ended: return when no camera works any more: all recordings are over, or all cameras have failed for
                good.

        Raises:
            SinkError: an output cannot work as it was asked to.
            RuntimeError: the group has run already.
        """
        if self._dispatchers or self._is_running or self._stopping.is_set():
            raise RuntimeError("Expected a group that has not run yet: make another CameraGroup to run again.")
        try:
            for sink in self._sinks:
                self._dispatchers.append(EventDispatcher(sink))
            with self._changing:
                self._is_running = True
                for runner in self._runners.values():
                    runner.start()
            while not self._stopping.is_set() and not (until_ended and all(one.is_over for one in self._all())):
                if self.is_working:
                    self._on_turn()
                self._divide_budget()
                self._stopping.wait(_TURN_S)
        finally:
            self._stopping.set()
            with self._changing:
                self._is_running = False
                self._end(self._all(), _STOP_S)
            deadline = time.monotonic() + _FLUSH_S
            self.undelivered = sum(
                dispatcher.close(max(deadline - time.monotonic(), 0.05)) for dispatcher in self._dispatchers
            )

    def stop(self) -> None:
        """End soon. May be called from any thread or a signal handler."""
        self._stopping.set()

    @property
    def is_working(self) -> bool:
        """Whether what the cameras deliver is processed: no inference hangs."""
        return self._inference.busy_s < _STUCK_S

    def health(self) -> GroupHealth:
        """Whether the group works, and which of its cameras do. May be called from any thread."""
        cameras = tuple(runner.health() for runner in self._all())
        down = tuple(camera.name for camera in cameras if not camera.healthy)
        return GroupHealth(healthy=self._is_running and self.is_working, down=down, cameras=cameras)

    def problems(self) -> tuple[str, ...]:
        """What is wrong besides sources, as sentences; those of one camera begin with its name."""
        shared = [problem for dispatcher in self._dispatchers if (problem := dispatcher.problem)]
        found = list(shared)
        for runner in self._all():
            own = [problem for problem in runner.stream.health().problems if problem not in shared]
            found += [f"{runner.camera.name}: {problem}" for problem in own]
        return tuple(found)

    def failures(self) -> tuple[str, ...]:
        """Which cameras failed for good and why, as sentences that begin with their names."""
        return tuple(f"{runner.camera.name}: {runner.failure}" for runner in self._all() if runner.failure)

    def pending(self) -> int:
        """Number of events that have not reached every output yet."""
        return sum(dispatcher.pending() for dispatcher in self._dispatchers)

    def pipeline(self, name: str, detector: Detector | None = None) -> FacePipeline | None:
        """Detector and model for pictures that come from no camera; they take turns with the cameras.

        Args:
            name: of what the pictures come from.
            detector: for these pictures alone, so that cameras do not wait for them, nor they for cameras; they take
                turns at the model alone. None to use that of the cameras.

        Returns:
            A pipeline for one thread; None without a model.
        """
        share = self._inference.join(name)
        embedder = self._inference.embedder(share)
        if embedder is None:
            self._inference.leave(share)
            return None
        # It has what a pipeline calls: the specification and ``embed``.
        return FacePipeline(
            cast("Embedder", embedder), self._inference.detector(share) if detector is None else detector
        )

    # ---- parts ------------------------------------------------------------------------------------------------

    def _runner(self, camera: Camera) -> CameraRunner:
        share = self._inference.join(camera.name)
        detector, embedder = self._inference.detector(share), self._inference.embedder(share)
        try:
            return CameraRunner(
                camera,
                share,
                lambda: FaceStream(
                    camera.source,
                    detector=detector,
                    embedder=embedder,
                    gallery=self.gallery,
                    liveness=camera.liveness,
                    strangers=self.strangers,
                    settings=_limited(camera.settings),
                    frame_sinks=self._frame_sinks(camera),
                    dispatchers=self._dispatchers,
                    flood_fps=_FLOOD_FPS if camera.settings.fps is None else None,
                    work_clock=share.work_clock,
                    clock=self._clock,
                ),
            )
        except BaseException:
            self._inference.leave(share)
            raise

    def _end(self, runners: Sequence[CameraRunner], timeout_s: float) -> None:
        for runner in runners:
            runner.stop()
        deadline = time.monotonic() + timeout_s
        for runner in runners:
            if runner.join(max(deadline - time.monotonic(), 0.05)):
                self._inference.leave(runner.share)

    def _divide_budget(self) -> None:
        now = self._clock()
        if now - self._divided_at < _DIVIDE_S:
            return
        self._divided_at = now
        streams = self.streams
        parts = fair_parts([stream.inference_demand_ms_per_s for stream in streams], self._budget_percent * 10)
        demanded = sum(parts)
        is_short = demanded >= self._budget_percent * 10 * (1 - 1e-9)
        for stream, part in zip(streams, parts, strict=True):
            stream.limit_inference(part if is_short else None)

    def _all(self) -> list[CameraRunner]:
        return list(self._runners.values())

    def _find(self, name: str) -> CameraRunner:
        runner = self._runners.get(name)
        if runner is None:
            raise CameraNotFoundError(f"There is no camera {name!r:.80}.", hint="list the cameras for their names")
        return runner


def _limited(settings: StreamSettings) -> StreamSettings:
    """Settings with a limit of the rate."""
    return settings if settings.fps is not None else replace(settings, fps=_MOST_FPS)
