"""``FaceStream``: reads a source, tracks and recognizes faces, and emits events and frames."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import SourceError, TrackError
from edge_sphereface.redaction import redact
from edge_sphereface.stream.capture.factory import make_source
from edge_sphereface.stream.capture.reader import FrameReader
from edge_sphereface.stream.command_queue import CommandQueue
from edge_sphereface.stream.events import DecisionEvent, EventMaker, SavedImage
from edge_sphereface.stream.outputs.events.dispatcher import EventDispatcher
from edge_sphereface.stream.outputs.events.jsonl import CallbackSink
from edge_sphereface.stream.outputs.frames.frame_output import SnapshotSink
from edge_sphereface.stream.recognition.frame_processor import FrameProcessor
from edge_sphereface.stream.settings import StreamSettings
from edge_sphereface.stream.statistics import Counters, Quantiles, StreamHealth, StreamStatistics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
    from concurrent.futures import Future

    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery import Enrollment, Gallery
    from edge_sphereface.inference.embedder import CropEmbedder
    from edge_sphereface.liveness import LivenessChecker
    from edge_sphereface.pipeline import FacePipeline
    from edge_sphereface.strangers import StrangerKeeper
    from edge_sphereface.stream.capture.factory import Source
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.capture.reader import SourceChange
    from edge_sphereface.stream.capture.source import FrameSource
    from edge_sphereface.stream.events import Event
    from edge_sphereface.stream.outputs.events.dispatcher import EventSink
    from edge_sphereface.stream.outputs.frames.frame_output import FrameSink
    from edge_sphereface.stream.recognition.frame_processor import FrameResult

_TURN_S = 0.2
"""Longest wait for a frame before the stream does its other work."""
_CLOSE_S = 0.5
"""Limit for closing pages, recordings and snapshots. With those of reader and events it is below two seconds."""
_FLUSH_S = 0.7
"""Limit for delivering the last events."""
_SILENT_S = 5.0
"""Time without a turn after which a stream is not healthy."""


class FaceStream:
    """Live recognition: reads a source, tracks and recognizes faces, and emits events.

    There are three ways to run a stream, once each stream:

    * ``stream.run()`` works until the source ends, or ``stop`` is called from another thread or a signal handler.
    * ``for event in stream`` does the same and yields the events. The stream waits while the body of the loop works.
      When the loop is left, the stream ends in order, and its outputs get the last events.
    * ``async for event in stream`` runs the stream in a thread of its own and yields the events in the event loop. The
      stream waits only for a consumer that is 1000 events behind. When the loop is left or canceled, the stream ends in
      order; leave the loop through ``contextlib.aclosing(aiter(stream))`` to wait for that end.

    Sinks and ``on_event`` have a thread each, so that a slow one never delays the stream.

    Args:
        source: number of a camera, ``/dev/video*``, URL, GStreamer pipeline, path of a video or of a folder of
            images; or an iterable of frames (H, W, 3) uint8 BGR, or a function that returns one, or a ``FrameSource``.
        pipeline: detector and embedder, as :func:`~edge_sphereface.load_pipeline` opens them; instead of ``detector``
            and ``embedder``. Nothing else may use its detector while the stream runs.
        detector: finds faces; instead of ``pipeline``. Nothing else may use it while the stream runs.
        embedder: the model, with ``detector``; None to track faces without recognizing them.
        gallery: the known identities, opened for that embedder.
        liveness: checks whether faces are live; those that are not get no name. None to check nothing.
        strangers: keeps tracks that end without a name, and recognizes them again. Whoever made it starts and ends it.
            None to keep none.
        settings: everything else.
        sinks: outputs of events.
        on_event: called with each event, in a thread of its own.
        on_frame: called with the result of each frame, in the stream's thread. It must be quick.
        frame_sinks: outputs of frames: a page, a recorder, snapshots.
        on_turn: called in the stream's thread several times a second while it works, with or without frames. A
            watchdog can rely on it.
        dispatchers: of outputs that several streams share; whoever made them closes them. Statistics count the events
            of all these streams as pending or dropped there.
        flood_fps: maximum number of frames to process per second while a live source delivers more than a camera does,
            60 per second; None for no other limit than that of the settings.
        work_clock: gives seconds; work is measured with it. One that stands still while a shared detector or model is
            busy for others keeps their work out.
        clock: gives seconds that never run backwards; ages, intervals and stalls are measured with it.

    Raises:
        SourceError: no source has such an address.
        SinkError: a sink cannot work as it was asked to.
        ThresholdError: the gallery has no threshold, and none was given.
        ValueError: a gallery without an embedder, or both a pipeline and one of its parts.
        TypeError: neither a pipeline nor a detector.
    """

    def __init__(  # noqa: PLR0913 -- the parts that a user puts together, by name
        self,
        source: Source | FrameSource,
        *,
        pipeline: FacePipeline | None = None,
        detector: Detector | None = None,
        embedder: CropEmbedder | None = None,
        gallery: Gallery | None = None,
        liveness: LivenessChecker | None = None,
        strangers: StrangerKeeper | None = None,
        settings: StreamSettings | None = None,
        sinks: Sequence[EventSink] = (),
        on_event: Callable[[Event], object] | None = None,
        on_frame: Callable[[FrameResult], object] | None = None,
        frame_sinks: Sequence[FrameSink] = (),
        on_turn: Callable[[], object] | None = None,
        dispatchers: Sequence[EventDispatcher] = (),
        flood_fps: float | None = None,
        work_clock: Callable[[], float] = time.perf_counter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.strangers = strangers
        detector, embedder = _parts(pipeline, detector, embedder)
        self.settings = settings or StreamSettings()
        self.counters = Counters(clock)
        self._maker = EventMaker(self.settings.name)
        self._processor = FrameProcessor(
            detector=detector,
            embedder=embedder,
            gallery=gallery,
            settings=self.settings,
            events=self._maker,
            liveness=liveness,
            strangers=strangers,
            work_clock=work_clock,
        )
        self._reader = FrameReader(
            lambda: self._source(source),
            pace=self.settings.pace,
            stall_s=self.settings.source.stall_s,
            fps=self.settings.fps,
            flood_fps=flood_fps,
            reopen=self.settings.reopen,
            clock=clock,
        )
        self._on_frame, self._on_turn = on_frame, on_turn or (lambda: None)
        self._frame_sinks = tuple(frame_sinks)
        self._snapshot_sinks = [sink for sink in self._frame_sinks if isinstance(sink, SnapshotSink)]
        self._sinks = [*sinks, *([] if on_event is None else [CallbackSink(on_event)])]
        self._own_dispatchers: list[EventDispatcher] = []
        self._shared_dispatchers = dispatchers
        self._commands = CommandQueue()
        self._stopping = threading.Event()
        self._has_begun = False
        self._last: Frame | None = None
        self._unread: list[Event] = []
        self._faces = self._ignored = 0
        self._source_reason = ""
        self._turned_at = self._framed_at = float("-inf")
        self.undelivered = 0

    @property
    def name(self) -> str:
        """Name of the source, without credentials."""
        return self._reader.name

    @property
    def gallery(self) -> Gallery | None:
        """The known identities."""
        return self._processor.gallery

    @property
    def embedder(self) -> CropEmbedder | None:
        """The model; None where faces are only tracked. Only frame sinks may use it, in the stream's thread."""
        return self._processor.embedder

    @property
    def threshold(self) -> float:
        """Minimum cosine similarity for a name."""
        return self._processor.threshold

    @property
    def newest(self) -> Frame | None:
        """The frame that was processed last; None before the first. May be asked from any thread."""
        return self._last

    @property
    def source_up(self) -> bool:
        """Whether the source delivers frames."""
        return self._reader.up

    @property
    def source_reason(self) -> str:
        """Why the source delivers no frames; empty if it does, or was not opened yet."""
        return "" if self._reader.up else self._source_reason

    @property
    def streams(self) -> tuple[FaceStream]:
        """This stream, where monitoring takes one or several."""
        return (self,)

    @property
    def inference_demand_ms_per_s(self) -> float:
        """Time that detection and embedding would take without any limit, in milliseconds per second."""
        return self._processor.budget.demand_ms_per_s

    def limit_inference(self, ms_per_s: float | None) -> None:
        """Limit detection and embedding, as ``budget_ms`` limits the work per frame. May be called from any thread.

        Args:
            ms_per_s: milliseconds per second; None for no limit.
        """
        self._processor.budget.inference_ms_per_s = ms_per_s

    def run(self) -> StreamStatistics:
        """Work until the end; returns the last statistics.

        Raises:
            SourceError: a recording cannot be read, or not all of it; a source hangs and cannot be opened again.
            ProviderError: the model failed.
            RuntimeError: the stream has run already.
        """
        for _ in self:
            pass
        return self.statistics()

    def __iter__(self) -> Generator[Event, None, None]:
        self._begin()
        yield from self._events()

    def __aiter__(self) -> AsyncGenerator[Event, None]:
        from edge_sphereface.stream.async_iteration import iterate_in_thread

        self._begin()
        return iterate_in_thread(self._events(), stop=self.stop)

    def _begin(self) -> None:
        if self._has_begun:
            raise RuntimeError("Expected a stream that has not run yet: make another FaceStream to run again.")
        self._has_begun = True

    def _events(self) -> Generator[Event, None, None]:
        opened: list[FrameSink] = []
        try:
            for sink in self._frame_sinks:  # first: one that fails must not fail after a broker was connected
                sink.open(self)
                opened.append(sink)
            self._own_dispatchers.extend(map(EventDispatcher, self._sinks))
            self._reader.start()
            try:
                failure = yield from self._turns()
            except BaseException:  # its consumer has left, or a part failed: the outputs still get the last events
                self._end()
                raise
            if failure is None or self.counters.total.frames:
                self._end()
                yield from self._drain()
            if failure is not None:
                raise failure
        finally:
            self._reader.stop()
            self._stopping.set()
            self._commands.close()
            deadline = time.monotonic() + _CLOSE_S
            for sink in opened:
                sink.close(max(deadline - time.monotonic(), 0.05))
            deadline = time.monotonic() + _FLUSH_S
            self.undelivered = sum(
                dispatcher.close(max(deadline - time.monotonic(), 0.05)) for dispatcher in self._own_dispatchers
            )

    def _turns(self) -> Generator[Event, None, SourceError | None]:
        """Process frames until the end; returns the failure of the source after the events of the frames before."""
        failure: SourceError | None = None
        while not self._stopping.is_set():
            self._turned_at = self._clock()
            self._on_turn()
            frame = None
            try:
                frame = self._reader.next(_TURN_S)
            except SourceError as error:
                failure = error
                if not self.counters.total.frames:
                    break
            earlier, later = _around_frame(self._reader.changes(), has_frame=frame is not None)
            self._report_source(earlier)
            self._commands.serve()
            if frame is not None:
                self._process(frame)
            self._report_source(later)
            self._emit_statistics()
            yield from self._drain()
            if failure is not None or (frame is None and self._reader.ended):
                break
        return failure

    def stop(self) -> None:
        """End soon, after the current frame and its events. May be called from any thread or a signal handler."""
        self._stopping.set()

    def enroll(self, track: int, name: str) -> Future[Enrollment]:
        """Add a face in sight to the gallery, between two frames. May be called from any thread.

        Args:
            track: number of the track, from its events.
            name: name of the identity.

        Returns:
            The enrollment. Its ``result`` raises TrackError if no such face is in sight, or GalleryError.
        """
        return self._commands.ask(lambda: self._enroll(track, name))

    def reconsider(self) -> Future[None]:
        """Identify all faces in sight again, after a change of the gallery. May be called from any thread."""
        return self._commands.ask(self._reconsider)

    def statistics(self) -> StreamStatistics:
        """The current statistics, as the ``statistics`` events report them. May be called from any thread."""
        counters, budget, counts = self.counters, self._processor.budget, self._reader.counts
        now = self._clock()
        return StreamStatistics(
            seconds=round(now - counters.began, 3),
            frames=counters.total.frames,
            detections=counters.total.detections,
            embeddings=counters.total.embeddings,
            fps=round(counters.recent.frames / max(now - counters.recent_began, 1e-9), 2),
            work_ms=counters.recent.mean_work_ms,
            age_ms=Quantiles.of(counters.ages_ms),
            latency_ms=Quantiles.of(counters.latencies_ms),
            read=counts.read,
            dropped=counts.dropped,
            source_up=self._reader.up,
            openings=counts.openings,
            faces=self._faces,
            ignored=self._ignored,
            detect_fps=round(1 / budget.detect_interval_s, 3),
            detect_side=budget.detect_side,
            events=sum(counters.events.values()),
            events_pending=sum(dispatcher.pending() for dispatcher in self._dispatchers),
            events_dropped=sum(dispatcher.dropped for dispatcher in self._dispatchers),
            problems=self._problems(),
        )

    def health(self) -> StreamHealth:
        """Whether the stream works. May be called from any thread."""
        now = self._clock()
        turn_s, frame_s = now - self._turned_at, now - self._framed_at
        rare_s = 3 / self.settings.fps if self.settings.fps else 0.0
        works = turn_s < _SILENT_S and frame_s < max(self.settings.source.stall_s, _SILENT_S, rare_s)
        return StreamHealth(
            healthy=bool(works and self._reader.up),
            source_up=self._reader.up,
            turn_s=_seconds(turn_s),
            frame_s=_seconds(frame_s),
            problems=self._problems(),
        )

    # ---- one turn -------------------------------------------------------------------------------------------------

    def _process(self, frame: Frame) -> None:
        age_ms = (self._clock() - frame.read_at) * 1000
        result = self._processor.step(frame)
        result = replace(result, events=self._with_snapshots(result.events, frame))
        for sink in self._frame_sinks:
            sink.take(result)
        self._ignored = sum(track.standing == "ignored" for track in result.tracks)
        self._last, self._faces, self._framed_at = frame, len(result.tracks) - self._ignored, self._clock()
        self.counters.add(result, age_ms=age_ms, latency_ms=(self._clock() - frame.read_at) * 1000)
        self._emit(result.events)
        if self._on_frame is not None:
            self._on_frame(result)

    def _with_snapshots(self, events: Sequence[Event], frame: Frame) -> tuple[Event, ...]:
        """Add the names of snapshots to events, before any output sees them."""
        return tuple(self._with_snapshot(event, frame) for event in events)

    def _with_snapshot(self, event: Event, frame: Frame) -> Event:
        if isinstance(event, DecisionEvent):
            for sink in self._snapshot_sinks:
                name = sink.snapshot(event, frame)
                event = event if name is None else replace(event, snapshot=SavedImage(file_name=name))
        return event

    def _report_source(self, changes: Iterable[SourceChange]) -> None:
        for change in changes:
            self._source_reason = change.reason
            if not change.up:
                self._emit(self._processor.clear(self._last))
                self._faces = self._ignored = 0
            self._emit([self._maker.source_changed(self.name, change, time.time())])

    def _emit_statistics(self) -> None:
        if 0 < self.settings.statistics_s <= self._clock() - self.counters.recent_began:
            self._emit([self._maker.statistics(self.statistics(), time.time(), final=False)])
            self.counters.begin_interval()

    def _end(self) -> None:
        self._emit(self._processor.clear(self._last))
        self._faces = self._ignored = 0
        self._report_source(self._reader.changes())
        self._emit([self._maker.statistics(self.statistics(), time.time(), final=True)])

    def _emit(self, events: Sequence[Event]) -> None:
        for event in events:
            self.counters.events[event.kind] = self.counters.events.get(event.kind, 0) + 1
            for dispatcher in self._dispatchers:
                dispatcher.give(event)
            self._unread.append(event)

    def _drain(self) -> Generator[Event, None, None]:
        unread, self._unread = self._unread, []
        yield from unread

    @property
    def _dispatchers(self) -> tuple[EventDispatcher, ...]:
        return (*self._own_dispatchers, *self._shared_dispatchers)

    def _problems(self) -> tuple[str, ...]:
        parts: list[EventDispatcher | FrameSink] = [*self._dispatchers, *self._frame_sinks]
        found = [redact(problem) for part in parts if (problem := part.problem)]
        return (*found, *([self._processor.gallery_problem] if self._processor.gallery_problem else []))

    # ---- commands of other threads --------------------------------------------------------------------------------

    def _enroll(self, track: int, name: str) -> Enrollment:
        if self._last is None:
            raise TrackError("No frame has come yet.", hint="wait for the camera")
        enrollment, events = self._processor.enroll(track, name, self._last)
        self._emit(self._with_snapshots(events, self._last))
        return enrollment

    def _reconsider(self) -> None:
        if self._last is not None:
            self._emit(self._with_snapshots(self._processor.reconsider(self._last), self._last))

    def _source(self, source: Source | FrameSource) -> FrameSource:
        from edge_sphereface.stream.capture.source import FrameSource

        if isinstance(source, FrameSource):
            return source
        return make_source(str(source) if isinstance(source, Path) else source, self.settings.source)


def _parts(
    pipeline: FacePipeline | None, detector: Detector | None, embedder: CropEmbedder | None
) -> tuple[Detector, CropEmbedder | None]:
    if pipeline is not None:
        if detector is not None or embedder is not None:
            raise ValueError("Expected a pipeline, or a detector and an embedder, got both: leave out one of them.")
        return pipeline.detector, pipeline.embedder
    if detector is None:
        raise TypeError("Expected a pipeline or a detector, got neither: load_pipeline opens one.")
    return detector, embedder


def _seconds(passed: float) -> float | None:
    return None if passed == float("inf") else round(passed, 2)


def _around_frame(
    changes: Iterable[SourceChange], *, has_frame: bool
) -> tuple[Sequence[SourceChange], Sequence[SourceChange]]:
    """The changes of the source before a frame and after it: what follows the last time that frames arrived."""
    ordered = list(changes)
    if not has_frame:
        return ordered, ()
    place = len(ordered)
    while place and not ordered[place - 1].up:
        place -= 1
    return ordered[:place], ordered[place:]
