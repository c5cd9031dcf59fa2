"""The sink of events that keeps Home Assistant's entities: their discovery, states and removal."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from edge_sphereface.errors import EdgeSphereFaceError, OutputError
from edge_sphereface.json_output import json_text
from edge_sphereface.stream.events import StatisticsReported
from edge_sphereface.stream.outputs.events.home_assistant.discovery import CAMERA_PARTS, Discovery
from edge_sphereface.stream.outputs.events.home_assistant.settings import DEFAULT_PREFIX
from edge_sphereface.stream.outputs.events.home_assistant.sightings import CameraView, PersonView, Sightings
from edge_sphereface.stream.outputs.events.home_assistant.state import StateFile, Subject
from edge_sphereface.stream.outputs.events.retained import RetainedTopics

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.gallery import Gallery
    from edge_sphereface.stream.events import Event
    from edge_sphereface.stream.outputs.events.home_assistant.discovery import Entity
    from edge_sphereface.stream.outputs.events.home_assistant.images import FaceImages
    from edge_sphereface.stream.outputs.events.home_assistant.settings import HomeAssistantSettings

People: TypeAlias = Callable[[], tuple[int, Iterable[Subject]]]
"""Gives the number of enrolled people, and the people themselves, read only where they are asked for."""
Cameras: TypeAlias = Callable[[], Sequence[Subject]]
"""Gives the cameras with their addresses, without credentials."""

_LOOK_S = 1.0
_PEOPLE_S = 30.0
"""Between two readings of all names, which notice a renaming; a changed number of people is noticed at each look."""
_MISSING_S = 30.0
"""Time after which a camera is removed. One that is renamed goes, and comes again with its new name."""
_SAVE_S = 60.0
_NAMES = 50
"""Names in the attributes of a camera: Home Assistant records attributes of up to 16 KiB."""
_TEXT = 255
"""Characters of a state in Home Assistant."""
_PROBLEMS = 20
_JOIN_S = 0.4


def people_of(gallery: Gallery) -> People:
    """The people of a gallery who are not ignored; what stays when somebody is renamed is the time of enrollment."""
    return lambda: (
        len(gallery) - gallery.count_ignored(),
        (Subject(name=one.name, mark=one.enrolled_at) for one in gallery.identities() if not one.ignored),
    )


class HomeAssistantSink:
    """Publishes entities and their states as retained messages over the connection of an MQTT sink.

    Discovery and states are sent when the connection begins, when Home Assistant starts (its birth message), and
    whenever they change. A thread looks once a second for changes of the gallery and of the cameras, and for presence
    windows that end.

    Args:
        settings: what is announced; its prefix is set.
        topic: topic of the connection.
        state: file of the identifiers.
        cameras: see :data:`Cameras`; asked at every look.
        people: see :data:`People`; asked at every look. None without a gallery.
        images: frame sink of the streams, whose images are published; None for none.
        clock: monotonic time in seconds.

    Attributes:
        name: in messages.
        retained: the messages; for the MQTT sink.
    """

    def __init__(
        self,
        settings: HomeAssistantSettings,
        *,
        topic: str,
        state: Path,
        cameras: Cameras,
        people: People | None = None,
        images: FaceImages | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = "Home Assistant"
        self.dropped = 0
        self._settings, self._topic, self._path = settings, topic, state
        self._prefix = settings.home_assistant or DEFAULT_PREFIX
        self._images = images
        self._read_cameras, self._read_people, self._clock = cameras, people, clock
        self.retained = RetainedTopics(listen={f"{self._prefix}/status": self._on_status})
        self._lock = threading.Lock()
        self._sightings = Sightings()
        self._camera_ids: dict[str, str] = {}
        self._person_ids: dict[str, str] = {}
        self._cameras: tuple[Subject, ...] = ()
        self._has_cameras = False
        self._missing_s: dict[str, float] = {}
        self._enrolled = -1
        self._was_born = False
        self._people_at = self._saved_at = float("-inf")
        self._gallery_problem = self._disk_problem = self._bound_problem = ""
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def problem(self) -> str:
        """Why entities are not what they should be; empty if they are."""
        return self._gallery_problem or self._disk_problem or self._bound_problem

    def pending(self) -> int:
        """None: of each topic only the newest message counts, which the MQTT sink sends."""
        return 0

    def open(self) -> None:
        """Read the state, and announce what is known. See :meth:`EventSink.open`."""
        self._file = StateFile(self._path, topic=self._topic)
        self._discovery = Discovery(prefix=self._prefix, topic=self._topic, node=self._file.state.node)
        for entity in self._discovery.connection():
            self.retained.put(entity.topic, entity.payload)
        self.look()
        self._thread = threading.Thread(target=self._run, name="home-assistant", daemon=True)
        self._thread.start()

    def write(self, event: Event) -> None:
        """Take an event of a known camera; see :meth:`EventSink.write`."""
        if event.stream not in self._camera_ids:
            self._look_for_cameras()
        with self._lock:
            if event.stream not in self._camera_ids:
                return
            touched = self._sightings.follow(event, self._clock())
            self._publish_camera(event.stream)
            for name in touched:
                self._publish_person(name)
            if isinstance(event, StatisticsReported):
                self._publish_diagnostics(event)

    def close(self) -> None:
        """Save the state, and end the thread. The MQTT sink tells that the connection ends."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        with self._lock:
            self._save()

    def look(self) -> None:
        """Take changes of the gallery and of the cameras, and end presence windows. The thread does so every second."""
        self._look_for_cameras()
        people = self._newest_people()
        with self._lock:
            if self._was_born:
                self._was_born = False
                self.retained.send_all()
            if people is not None:
                self._set_people(*people)
            for name in self._sightings.expired(self._clock(), self._settings.presence_window):
                self._publish_person(name)
            self._publish_images()
            if not self.retained.removals:
                self._file.forget_gone()
            if self._clock() - self._saved_at >= _SAVE_S:
                self._save()

    def _on_status(self, payload: bytes) -> None:
        """Home Assistant starts: its birth message."""
        if payload == b"online":
            self._was_born = True

    def _run(self) -> None:
        while not self._ends.wait(_LOOK_S):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 -- a thread that ends would say nothing
                self._gallery_problem = f"{type(error).__name__}: {error}"

    # ---- people and cameras ---------------------------------------------------------------------------------------

    def _look_for_cameras(self) -> None:
        declared, now_s = self._read_cameras(), self._clock()
        known = {value for camera in declared for value in (camera.name, camera.mark)}
        with self._lock:
            missing = [one for one in self._cameras if one.name not in known and one.mark not in known]
            self._missing_s = {one.name: self._missing_s.get(one.name, now_s) for one in missing}
            kept = [one for one in missing if now_s - self._missing_s[one.name] < _MISSING_S]
            cameras = (*declared, *kept)
            if cameras != self._cameras or not self._has_cameras:
                self._has_cameras = True
                self._set_cameras(cameras)

    def _newest_people(self) -> tuple[int, list[Subject]] | None:
        """The number of enrolled people and those to announce; None where nothing has changed."""
        if self._read_people is None:  # nobody is enrolled; whoever was announced by an earlier run is removed
            return (0, []) if self._enrolled < 0 else None
        now_s = self._clock()
        try:
            enrolled, people = self._read_people()
            if enrolled == self._enrolled and now_s - self._people_at < _PEOPLE_S:
                return None
            most = self._settings.home_assistant_people
            chosen = heapq.nsmallest(most, people, key=lambda person: (person.mark, person.name))
        except (EdgeSphereFaceError, OSError) as error:
            self._gallery_problem = f"the gallery cannot be read: {error}"
            return None
        self._people_at, self._gallery_problem = now_s, ""
        return enrolled, chosen

    def _set_people(self, enrolled: int, people: Sequence[Subject]) -> None:
        self._remember()
        before, self._person_ids = self._person_ids, self._file.set_people(people)
        is_changed = enrolled != self._enrolled or before != self._person_ids
        self._enrolled = enrolled
        if not is_changed:
            return
        names = {one: name for name, one in self._person_ids.items()}
        for name, one in before.items():
            if names.get(one, name) != name:
                self._sightings.rename(name, names[one])
        self._sightings.forget(self._sightings.people.keys() - self._person_ids.keys())
        cameras = {one: name for name, one in self._camera_ids.items()}
        for record in self._file.state.people:
            earlier = PersonView(seen=record.seen, camera=cameras.get(record.camera or ""))
            self._sightings.people.setdefault(names[record.id], earlier)
        for one in self._file.state.gone_people:
            self._remove(self._discovery.person(one, ""), [self._discovery.person_topic(one)])
        for name, one in self._person_ids.items():
            self._announce(self._discovery.person(one, name))
            self._publish_person(name)
        self.retained.put(
            self._discovery.summary_topic, json_text({"enrolled": enrolled, "announced": len(self._person_ids)})
        )
        most = self._settings.home_assistant_people
        is_bounded = 0 < most < enrolled  # with 0 nobody is meant to be announced
        # Without the number of people, whose every change would make it another problem
        self._bound_problem = f"only the {most} people enrolled first are announced" if is_bounded else ""
        self._save()

    def _set_cameras(self, cameras: tuple[Subject, ...]) -> None:
        self._remember()
        before, self._camera_ids = self._camera_ids, self._file.set_cameras(cameras)
        self._cameras = cameras
        for name in before.keys() - self._camera_ids.keys():
            for person in self._sightings.remove(name, self._clock()):
                self._publish_person(person)
        for one in self._file.state.gone_cameras:
            topics = [self._discovery.camera_topic(one, part) for part in CAMERA_PARTS]
            self._remove(self._discovery.camera(one, "", images=True), topics)
        counts = {record.id: record.unknown for record in self._file.state.cameras}
        for name, one in self._camera_ids.items():
            self._sightings.cameras.setdefault(name, CameraView(unknown=counts[one]))
            self._announce(self._discovery.camera(one, name, images=self._images is not None))
            self._publish_camera(name)

    def _announce(self, entities: Iterable[Entity]) -> None:
        for entity in entities:
            self.retained.put(entity.topic, entity.payload)

    def _remove(self, entities: Iterable[Entity], topics: Iterable[str]) -> None:
        for topic in chain((entity.topic for entity in entities), topics):
            self.retained.remove(topic)

    # ---- states ---------------------------------------------------------------------------------------------------

    def _publish_camera(self, name: str) -> None:
        view, one = self._sightings.cameras[name], self._camera_ids[name]
        names = view.names()
        faces = {
            "faces": len(view.faces),
            "unknown": view.strangers(),
            "names": names[:_NAMES],
            "names_omitted": len(names[_NAMES:]),
        }
        pictures = view.pictures()
        if pictures is not None:
            faces["spoof"] = pictures
        put, topic = self.retained.put, self._discovery.camera_topic
        put(topic(one, "status"), "online" if view.is_up else "offline")
        put(topic(one, "faces"), json_text(faces))
        put(topic(one, "unknown"), str(view.unknown))

    def _publish_diagnostics(self, event: StatisticsReported) -> None:
        state = {"fps": event.fps, "work_ms": event.work_ms, "problems": event.problems[:_PROBLEMS]}
        self.retained.put(self._discovery.camera_topic(self._camera_ids[event.stream], "diagnostics"), json_text(state))

    def _publish_images(self) -> None:
        for name, image in ({} if self._images is None else self._images.take_newest()).items():
            if name in self._camera_ids:
                topic = self._discovery.camera_topic(self._camera_ids[name], "image")
                self.retained.put(topic, image, retain=False)

    def _publish_person(self, name: str) -> None:
        view, one = self._sightings.people.get(name), self._person_ids.get(name)
        if view is None or one is None:
            return
        seen = None if view.seen is None else datetime.fromtimestamp(view.seen, timezone.utc)
        state = {
            "in_sight": "ON" if view.in_sight(self._clock(), self._settings.presence_window) else "OFF",
            "cameras": sorted(view.cameras),
            "seen": seen,
            "camera": view.camera and view.camera[:_TEXT],
        }
        self.retained.put(self._discovery.person_topic(one), json_text(state))

    def _remember(self) -> None:
        """Take into the state what was seen."""
        seen = {}
        for name, one in self._person_ids.items():
            view = self._sightings.people.get(name)
            if view is not None:
                seen[one] = (view.seen, self._camera_ids.get(view.camera or ""))
        unknown = {one: self._sightings.cameras[name].unknown for name, one in self._camera_ids.items()}
        self._file.remember(people=seen, cameras=unknown)

    def _save(self) -> None:
        """Write what has changed; where the disk is full, that is a problem, and the next time tries again."""
        self._remember()
        self._saved_at = self._clock()
        try:
            self._file.save()
            self._disk_problem = ""
        except OutputError as error:
            self._disk_problem = str(error)
