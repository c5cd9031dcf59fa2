"""Identifiers that never change, and what else outlives a restart: last sightings, counts, removals to announce."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeVar

from edge_sphereface.errors import EdgeSphereFaceError, OutputError, SinkError
from edge_sphereface.storage.files import PRIVATE, atomic_write, ensure_folder
from edge_sphereface.storage.record import Count, Length, Pattern, Record
from edge_sphereface.storage.regular_file import RegularFile
from edge_sphereface.stream.outputs.events.home_assistant.settings import MOST_PEOPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

_BYTES = 8 << 20
MOST_CAMERAS = 256
_MOST_GONE = 1000
_DIGITS = 16
_NOT_USABLE = "is it a file of this program? delete it to begin a new one"
_FILE = RegularFile(what="state of Home Assistant's entities", limit=_BYTES, error=SinkError, hint=_NOT_USABLE)

Identifier = Annotated[str, Pattern(r"[0-9a-f]{16}", "of 16 hexadecimal digits")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What has entities: a person or a camera.

    Attributes:
        name: as it is shown.
        mark: what stays the same when the name changes: the time of enrollment, the address of the camera.
    """

    name: str
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRecord(Record):
    """A person who was announced. It holds no name, so that no removal has to look for one here.

    Attributes:
        id: identifier in topics and entities.
        name: digest of the name.
        mark: digest of the time of enrollment.
        seen: last sighting, in seconds since 1970; None for never.
        camera: identifier of the camera of that sighting; None for never.
    """

    record_name: ClassVar = "a person in the state for Home Assistant"
    record_error: ClassVar = SinkError
    record_hint: ClassVar = _NOT_USABLE

    id: Identifier
    name: Identifier
    mark: Identifier
    seen: float | None = None
    camera: Identifier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraRecord(Record):
    """A camera that was announced.

    Attributes:
        id: identifier in topics and entities.
        name: digest of the name.
        mark: digest of the address.
        unknown: number of faces that were decided to be unknown.
    """

    record_name: ClassVar = "a camera in the state for Home Assistant"
    record_error: ClassVar = SinkError
    record_hint: ClassVar = _NOT_USABLE

    id: Identifier
    name: Identifier
    mark: Identifier
    unknown: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityState(Record):
    """The file.

    Attributes:
        kind: of the file.
        schema_version: of its form.
        node: identifier of everything that one connection announces.
        people: who were announced.
        cameras: that were announced.
        gone_people: identifiers whose removal the broker has not confirmed.
        gone_cameras: likewise.
    """

    record_name: ClassVar = "the state for Home Assistant"
    record_error: ClassVar = SinkError
    record_hint: ClassVar = _NOT_USABLE
    record_bytes: ClassVar = _BYTES

    kind: Literal["edge_sphereface-home-assistant"] = "edge_sphereface-home-assistant"
    schema_version: Literal[1] = 1
    node: Identifier
    people: Annotated[tuple[PersonRecord, ...], Length(MOST_PEOPLE)] = ()
    cameras: Annotated[tuple[CameraRecord, ...], Length(MOST_CAMERAS)] = ()
    gone_people: Annotated[tuple[Identifier, ...], Length(_MOST_GONE)] = ()
    gone_cameras: Annotated[tuple[Identifier, ...], Length(_MOST_GONE)] = ()


RecordT = TypeVar("RecordT", PersonRecord, CameraRecord)


class StateFile:
    """Reads and writes the state; a damaged file is set aside with a warning, and a new one begins.

    The identifiers follow from the first names. So they are the same again where the file was lost, as long as nobody
    was renamed.

    Args:
        path: of the file (mode 0600); its folder is made if it is missing.
        topic: topic of the connection, from which the identifier of a new file follows.

    Raises:
        SinkError: the file or its folder cannot be used.
    """

    def __init__(self, path: Path, *, topic: str) -> None:
        self._path = path
        self.state = self._written = EntityState(node=digest("node", topic))
        try:
            ensure_folder(path.parent, mode=0o700)
        except OutputError as error:
            raise SinkError(f"Cannot keep the state for Home Assistant: {error.message}", hint=error.hint) from error
        if path.exists():
            data = _FILE.read(path)
            try:
                self.state = self._written = EntityState.from_json(data, name=str(path))
            except SinkError as error:
                self._set_aside(error)

    def save(self) -> None:
        """Write the state if it has changed.

        Raises:
            OutputError: the disk is full, or does not answer.
        """
        state = self.state
        if state != self._written:
            with atomic_write(self._path, mode=PRIVATE) as stream:
                stream.write(state.to_json().encode())
            self._written = state

    def set_people(self, people: Sequence[Subject]) -> dict[str, str]:
        """Take the announced people; returns their identifiers by name. Those who are missing are gone."""
        before = self.state.people
        found = _matched("person", people, before)
        gone = _gone(self.state.gone_people, before, found)
        self.state = replace(self.state, people=_records(found, before, PersonRecord), gone_people=gone)
        return {subject.name: one for one, subject in found.items()}

    def set_cameras(self, cameras: Sequence[Subject]) -> dict[str, str]:
        """Take the cameras; returns their identifiers by name. Those that are missing are gone."""
        before = self.state.cameras
        found = _matched("camera", cameras[:MOST_CAMERAS], before)
        gone = _gone(self.state.gone_cameras, before, found)
        self.state = replace(self.state, cameras=_records(found, before, CameraRecord), gone_cameras=gone)
        return {subject.name: one for one, subject in found.items()}

    def remember(self, *, people: Mapping[str, tuple[float | None, str | None]], cameras: Mapping[str, int]) -> None:
        """Take last sightings (time and identifier of the camera) and counts of unknown faces, by identifiers."""
        self.state = replace(
            self.state,
            people=tuple(
                replace(record, seen=people[record.id][0], camera=people[record.id][1])
                if record.id in people
                else record
                for record in self.state.people
            ),
            cameras=tuple(
                replace(record, unknown=cameras.get(record.id, record.unknown)) for record in self.state.cameras
            ),
        )

    def forget_gone(self) -> None:
        """The broker has confirmed every removal."""
        if self.state.gone_people or self.state.gone_cameras:
            self.state = replace(self.state, gone_people=(), gone_cameras=())

    def _set_aside(self, why: EdgeSphereFaceError) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged")
        try:
            self._path.replace(aside)
        except OSError as error:
            raise SinkError(f"{why.message} It cannot be renamed: {error.strerror}.", hint="delete it") from error
        warnings.warn(
            f"{why.message} It was renamed to {aside.name}: entities of renamed people get new identifiers.",
            stacklevel=2,
        )


def state_name(topic: str) -> str:
    """Name of the file of a connection, which is the same whatever its streams are called."""
    return f"{digest('node', topic)}.json"


def digest(kind: str, text: str) -> str:
    """The first digits of a hash of a text of that kind."""
    return hashlib.sha256(f"{kind}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def _matched(
    kind: str, subjects: Sequence[Subject], before: Sequence[PersonRecord] | Sequence[CameraRecord]
) -> dict[str, Subject]:
    """Each subject by its identifier: that of its name, else of the only missing one with its mark, else a new one."""
    by_name = {record.name: record.id for record in before}
    found: dict[str, Subject] = {}
    new = []
    for subject in subjects:
        known = by_name.get(digest("name", subject.name))
        if known is None or known in found:
            new.append(subject)
        else:
            found[known] = subject
    missing: dict[str, list[str]] = {}
    for record in before:
        if record.id not in found:
            missing.setdefault(record.mark, []).append(record.id)
    marks = [digest("mark", subject.mark) for subject in new]
    for subject, mark in zip(new, marks, strict=True):
        candidates = missing.get(mark, [])
        is_renamed = len(candidates) == 1 and marks.count(mark) == 1
        found[candidates[0] if is_renamed else _new_id(kind, subject.name, {*found, *_ids(before)})] = subject
    return found


def _records(
    found: Mapping[str, Subject], before: Iterable[RecordT], kind: Callable[..., RecordT]
) -> tuple[RecordT, ...]:
    """The record of each subject: the one before with its present name and mark, or a new one."""
    known = {record.id: record for record in before}
    return tuple(
        replace(known[one], name=digest("name", subject.name), mark=digest("mark", subject.mark))
        if one in known
        else kind(id=one, name=digest("name", subject.name), mark=digest("mark", subject.mark))
        for one, subject in found.items()
    )


def _new_id(kind: str, name: str, taken: set[str]) -> str:
    """An identifier that follows from a name, unless somebody who was renamed has it."""
    number, made = 0, digest(kind, name)
    while made in taken:
        number += 1
        made = digest(f"{kind} {number}", name)
    return made


def _ids(records: Iterable[PersonRecord | CameraRecord]) -> set[str]:
    return {record.id for record in records}


def _gone(earlier: Sequence[str], before: Iterable[PersonRecord | CameraRecord], now: Iterable[str]) -> tuple[str, ...]:
    present = set(now)
    gone = [one for one in earlier if one not in present] + [one.id for one in before if one.id not in present]
    return tuple(gone[-_MOST_GONE:])
