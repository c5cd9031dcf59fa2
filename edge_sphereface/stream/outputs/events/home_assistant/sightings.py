"""Who is in sight of which camera, from the events of the streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_sphereface.stream.events import (
    FaceEvent,
    FaceIdentified,
    FaceLost,
    FaceUnknown,
    IdentityEvent,
    SourceDown,
    SourceUp,
    StatisticsReported,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_sphereface.liveness.result import LivenessState
    from edge_sphereface.stream.events import Event

_MOST_TRACKS = 1000
"""Faces of one camera, the most that a stream tracks."""
_REFRESH_S = 60.0
"""Between two moments of somebody who stays in sight."""


@dataclass(slots=True)
class Face:
    """A face in sight.

    Attributes:
        name: None for unknown, or not decided yet.
        was_unknown: whether it was ever decided to be unknown.
        liveness: whether it is live; None where that is not checked, or not decided yet.
    """

    name: str | None = None
    was_unknown: bool = False
    liveness: LivenessState | None = None


@dataclass(slots=True)
class CameraView:
    """What one camera sees.

    Attributes:
        run: of its stream.
        is_up: whether frames arrive.
        faces: in sight, by their tracks.
        unknown: number of faces that were decided to be unknown.
        checks_liveness: whether its events say which faces are live.
    """

    run: str = ""
    is_up: bool = False
    faces: dict[int, Face] = field(default_factory=dict)
    unknown: int = 0
    checks_liveness: bool = False

    def names(self) -> list[str]:
        """Who is in sight, sorted."""
        return sorted({face.name for face in self.faces.values() if face.name is not None})

    def strangers(self) -> int:
        """How many faces in sight are unknown now."""
        return sum(face.name is None and face.was_unknown for face in self.faces.values())

    def pictures(self) -> int | None:
        """How many faces in sight look like pictures of faces; None where liveness is not checked."""
        return sum(face.liveness == "spoof" for face in self.faces.values()) if self.checks_liveness else None


@dataclass(slots=True)
class PersonView:
    """Where somebody is, or was last.

    Attributes:
        cameras: names of the cameras that see a face of this person now.
        seen: newest sighting, in seconds since 1970; None for never.
        camera: name of the camera of that sighting.
        left_s: when the last face left, on the clock; None while one is in sight, or before the first.
    """

    cameras: dict[str, int] = field(default_factory=dict)
    seen: float | None = None
    camera: str | None = None
    left_s: float | None = None

    def in_sight(self, now_s: float, window_s: float) -> bool:
        """Whether a face is in sight, or was within the presence window."""
        return bool(self.cameras) or (self.left_s is not None and now_s - self.left_s < window_s)


class Sightings:
    """Follows the events of all streams of a process; from one thread at a time.

    Events that are missing do not matter for long: a new run and a source that fails end what was in sight, and so do
    statistics without a face.
    """

    def __init__(self) -> None:
        self.cameras: dict[str, CameraView] = {}
        self.people: dict[str, PersonView] = {}

    def follow(self, event: Event, now_s: float) -> set[str]:
        """Take an event; returns the names of the people whose state it changes.

        Args:
            event: of any stream.
            now_s: this moment, on the clock.
        """
        camera = self.cameras.setdefault(event.stream, CameraView())
        touched: set[str] = set()
        if camera.run != event.run:
            touched |= self.end(event.stream, now_s)
            camera.run = event.run
        if isinstance(event, FaceLost):
            left = self._leave(event.stream, camera.faces.pop(event.track, Face()).name, now_s)
            for name in left:
                self._see(name, event)
            touched |= left
        elif isinstance(event, FaceEvent):
            touched |= self._face(camera, event, now_s)
        elif isinstance(event, SourceUp):
            camera.is_up = True
        elif isinstance(event, SourceDown):
            camera.is_up = False
            touched |= self.end(event.stream, now_s)
        elif isinstance(event, StatisticsReported):
            if event.final or not event.faces:
                touched |= self.end(event.stream, now_s)
            if event.final:
                camera.is_up = False
            touched |= self._refresh(event)
        return touched

    def end(self, stream: str, now_s: float) -> set[str]:
        """No face is in sight of a camera any more; returns the names of the people whose state that changes."""
        camera = self.cameras.get(stream, CameraView())
        touched: set[str] = set()
        for face in camera.faces.values():
            touched |= self._leave(stream, face.name, now_s)
        camera.faces.clear()
        return touched

    def remove(self, stream: str, now_s: float) -> set[str]:
        """A camera is not there any more; returns what :meth:`end` does."""
        touched = self.end(stream, now_s)
        self.cameras.pop(stream, None)
        return touched

    def forget(self, names: Iterable[str]) -> None:
        """Forget people who are not enrolled any more."""
        for name in names:
            self.people.pop(name, None)

    def rename(self, before: str, name: str) -> None:
        """Somebody has another name now."""
        if before in self.people:
            self.people[name] = self.people.pop(before)
        for camera in self.cameras.values():
            for face in camera.faces.values():
                face.name = name if face.name == before else face.name

    def expired(self, now_s: float, window_s: float) -> set[str]:
        """The people whose presence window has ended since the last call."""
        ended = {
            name
            for name, person in self.people.items()
            if person.left_s is not None and now_s - person.left_s >= window_s
        }
        for name in ended:
            self.people[name].left_s = None
        return ended

    def _face(self, camera: CameraView, event: FaceEvent, now_s: float) -> set[str]:
        face = camera.faces.setdefault(event.track, Face())
        while len(camera.faces) > _MOST_TRACKS:
            del camera.faces[next(iter(camera.faces))]
        if isinstance(event, IdentityEvent) and event.liveness is not None:
            face.liveness, camera.checks_liveness = event.liveness, True
        if isinstance(event, FaceUnknown):
            if not face.was_unknown:
                camera.unknown += 1
            face.was_unknown = True
            before, face.name = face.name, None
            return self._leave(event.stream, before, now_s)
        if not isinstance(event, FaceIdentified) or event.name is None:
            return set()
        touched: set[str] = set()
        if face.name != event.name:
            touched |= self._leave(event.stream, face.name, now_s)
            person = self.people.setdefault(event.name, PersonView())
            person.cameras[event.stream] = person.cameras.get(event.stream, 0) + 1
            person.left_s = None
            face.name = event.name
        self._see(event.name, event)
        return {*touched, event.name}

    def _leave(self, stream: str, name: str | None, now_s: float) -> set[str]:
        """A face of that name is not in sight of that camera any more."""
        person = None if name is None else self.people.get(name)
        if name is None or person is None:
            return set()
        faces = person.cameras.pop(stream, 0) - 1
        if faces > 0:
            person.cameras[stream] = faces
        elif not person.cameras:
            person.left_s = now_s
        return {name}

    def _see(self, name: str, event: Event) -> None:
        if name in self.people:
            self.people[name].seen, self.people[name].camera = event.unix_time, event.stream

    def _refresh(self, event: Event) -> set[str]:
        """Renew the moment of those who stay in sight."""
        names = set()
        for name in self.cameras[event.stream].names():
            person = self.people.get(name)
            if person is not None and event.unix_time - (person.seen or 0.0) >= _REFRESH_S:
                self._see(name, event)
                names.add(name)
        return names
