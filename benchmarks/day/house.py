"""A house with cameras whose clock is simulated: the parts that ``watch`` puts together, frame by frame."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.day.schedule import CAMERAS, MIDNIGHT
from benchmarks.day.traces import Traces
from benchmarks.stream.strangers import FRAMES_PER_S
from edge_sphereface.retention.keeper import EventTimes, RetentionKeeper
from edge_sphereface.retention.limits import RetentionLimits
from edge_sphereface.retention.moment import Moment
from edge_sphereface.strangers import StrangerKeeper, StrangerStore
from edge_sphereface.stream import FaceStream, FileSink, Snapshots
from edge_sphereface.stream.capture.frame import Frame
from edge_sphereface.stream.events import DecisionEvent, EventMaker, FaceIdentified, SavedImage
from edge_sphereface.stream.recognition.frame_processor import FrameProcessor
from edge_sphereface.stream.settings import StreamSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.liveness import LivenessChecker
    from edge_sphereface.stream.events import Event
    from edge_sphereface.types import UInt8Array

HOUR_S = 3600.0
KEEP_KNOWN_S, KEEP_UNKNOWN_S, KEEP_EVENTS_S, KEEP_STRANGERS_S = (hours * HOUR_S for hours in (6, 12, 12, 24))


class Clock:
    """The simulated time, in seconds after midnight."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def moment(self) -> Moment:
        """It, for what judges ages."""
        return Moment(start="day", uptime_s=self.now_s, unix_s=MIDNIGHT + self.now_s)


class Kept(NamedTuple):
    """A sighting that the store of strangers keeps: whose it is said to be, and when and where it began."""

    stranger: str
    camera: str
    at_s: float


class House:
    """Cameras of one house, their outputs, and what deletes these.

    Args:
        folder: where everything is written.
        detector: finds faces.
        embedder: the model.
        gallery: the enrolled and the ignored people, with a threshold.
        liveness: checks whether faces are live.
    """

    def __init__(
        self,
        folder: Path,
        *,
        detector: Detector,
        embedder: Embedder,
        gallery: Gallery,
        liveness: LivenessChecker | None,
    ) -> None:
        self.clock = Clock()
        self.traces = Traces(
            folder,
            {
                "events": KEEP_EVENTS_S,
                "known": KEEP_KNOWN_S,
                "unknown": KEEP_UNKNOWN_S,
                "strangers": KEEP_STRANGERS_S,
            },
        )
        self._folder, self._detector = folder, detector
        self._snapshots, self._store = folder / "snapshots", folder / "strangers.db"
        events = folder / "events.jsonl"
        self._sinks = (FileSink(events), EventTimes(folder, moment=self.clock.moment))
        for sink in self._sinks:
            sink.open()
        self._retention = RetentionKeeper(
            RetentionLimits(keep_known=KEEP_KNOWN_S, keep_unknown=KEEP_UNKNOWN_S, keep_events=KEEP_EVENTS_S),
            folders=[self._snapshots],
            events=events,
            times=folder,
            moment=self.clock.moment,
        )
        self._strangers = StrangerKeeper(
            self._store, gallery=gallery, keep_s=KEEP_STRANGERS_S, moment=self.clock.moment
        )
        self._cameras = {
            name: FrameProcessor(
                detector=detector,
                embedder=embedder,
                gallery=gallery,
                settings=StreamSettings(name=name),
                events=EventMaker(name),
                liveness=liveness,
                strangers=self._strangers,
            )
            for name in CAMERAS
        }
        self._frames = 0
        self._pictures: set[Path] = set()
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sink in self._sinks:
            sink.close()
        self._strangers.close()

    def show(self, camera: str, at_s: float, frames: Iterable[UInt8Array]) -> tuple[list[Event], int]:
        """Show frames to a camera; returns the events, and the number of new snapshots.

        Args:
            camera: name of the camera.
            at_s: moment of the first frame, in seconds after midnight.
            frames: (H, W, 3) uint8 BGR.
        """
        processor = self._cameras[camera]
        events: list[Event] = []
        snapshots = Snapshots(self._snapshots, moment=self.clock.moment)
        snapshots.open(FaceStream([], detector=self._detector, settings=StreamSettings(name=camera)))
        for number, image in enumerate(frames):
            self.clock.now_s = at_s + number / FRAMES_PER_S
            moment_s = self.clock.now_s
            frame = Frame(
                image=image, number=self._frames, time_s=moment_s, read_at=moment_s, unix_time=MIDNIGHT + moment_s
            )
            self._frames += 1
            result = processor.step(frame)
            for event in result.events:
                if isinstance(event, DecisionEvent):
                    name = snapshots.snapshot(event, frame)
                    event = event if name is None else replace(event, snapshot=SavedImage(file_name=name))  # noqa: PLW2901
                for sink in self._sinks:
                    sink.write(event)
                events.append(event)
            snapshots.take(result)
        snapshots.close(10.0)
        self.tidy()
        return events, self._trace(events)

    def wait_until(self, at_s: float) -> None:
        """Let time pass, hour by hour; what is too old is deleted and looked for."""
        while self.clock.now_s < at_s:
            self.clock.now_s = min(self.clock.now_s + HOUR_S / 2, at_s)
            self.tidy()
            self.traces.look(self.clock.now_s)

    def tidy(self) -> None:
        """Do what the threads of ``watch`` do at their turns."""
        self._strangers.turn()
        while self._retention.turn().more:
            pass

    def kept_strangers(self) -> list[Kept]:
        """The sightings in the store of strangers."""
        with StrangerStore(self._store, moment=self.clock.moment) as store:
            return [
                Kept(stranger.id, sighting.camera, sighting.start.timestamp() - MIDNIGHT)
                for stranger in store.strangers()
                for sighting in store.sightings(stranger.id)
            ]

    def _trace(self, events: Iterable[Event]) -> int:
        """Remember what was written; returns the number of new snapshots."""
        now_s, new = self.clock.now_s, set(self._snapshots.glob("*.jpg")) - self._pictures
        self._pictures |= new
        self.traces.add("events", (event.line().encode() for event in events), now_s, is_whole=True)
        known = {
            event.snapshot.file_name
            for event in events
            if isinstance(event, FaceIdentified) and event.snapshot is not None
        }
        self.traces.add("known", (path.read_bytes() for path in sorted(new) if path.name in known), now_s)
        self.traces.add("unknown", (path.read_bytes() for path in sorted(new) if path.name not in known), now_s)
        with closing(sqlite3.connect(f"{self._store.as_uri()}?mode=ro", uri=True)) as database:
            query = "SELECT number, embedding, crop FROM sighting WHERE number > ? ORDER BY number"
            rows = database.execute(query, (self._rows,)).fetchall()
        self._rows = max((number for number, _, _ in rows), default=self._rows)
        self.traces.add("strangers", (value for _, *values in rows for value in values), now_s)
        return len(new)
