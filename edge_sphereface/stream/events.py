"""Events of a stream: one record for each kind. ``docs/watch.md`` describes their JSON lines."""

from __future__ import annotations

import itertools
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypedDict

from edge_sphereface.gallery.records import Candidate
from edge_sphereface.stream.statistics import StreamStatistics

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.capture.reader import SourceChange
    from edge_sphereface.stream.tracking.track import Track
    from edge_sphereface.types import JsonObject

SCHEMA_VERSION: Final = 1
"""Grows when a field changes its meaning or is removed; a new field alone does not change it."""

_MOST_CANDIDATES = 3

EventKind: TypeAlias = Literal["appeared", "identified", "unknown", "lost", "source-up", "source-down", "statistics"]


class Absent(Enum):
    """The value of a field that is left out of the JSON object. It is false, unlike every value in its place."""

    ABSENT = "absent"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a stream. Each kind is a subclass with fields of its own."""

    version: Literal[1] = SCHEMA_VERSION
    """Version of the format."""
    event: EventKind
    """Kind of the event."""
    stream: str
    """Name of the stream."""
    run: str
    """This run of the stream, 8 hexadecimal digits. Together with `sequence` it identifies the event for ever."""
    sequence: int
    """Number of the event in its run, from 1, without gaps."""
    time: datetime
    """When it happened: UTC, ISO 8601 with milliseconds."""

    @property
    def kind(self) -> EventKind:
        """Kind of the event."""
        return self.event

    @property
    def unix_time(self) -> float:
        """When it happened, in seconds since 1970."""
        return self.time.timestamp()

    @property
    def detail(self) -> JsonObject:
        """The fields of its kind as plain JSON values."""
        return {name: value for name, value in self.as_json().items() if name not in _COMMON}

    def as_json(self) -> JsonObject:
        """All fields as plain JSON values."""
        values = {name: value for name, value in asdict(self).items() if value is not ABSENT}
        values["time"] = self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return values

    def line(self) -> str:
        """The event as one line of JSON, without a line break."""
        text = json.dumps(self.as_json(), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair is JSON only as an escape


_COMMON = frozenset(Event.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceEvent(Event):
    """An event of one tracked face."""

    track: int
    """Number of the track. Each number denotes one person and is never used again in the run."""
    frame: int
    """Number of the frame in its source, from 0."""
    position_s: float
    """Time of the frame on the stream's clock, in seconds: position in a recording, or monotonic time of a camera."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the face, in pixels of the frame. It may reach over the border."""
    score: float
    """Confidence of the detector, from 0 to 1. It is not comparable between detectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceAppeared(FaceEvent):
    """A new face was detected twice."""

    event: Literal["appeared"] = "appeared"
    """Kind of the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityEvent(FaceEvent):
    """An event of a face with what is known of its identity."""

    name: str | None
    """The identity in the gallery; null if the face has none."""
    similarity: float | None
    """Cosine similarity, from -1 to 1, to the identity, else to the nearest one; null before the first embedding."""
    candidates: tuple[Candidate, ...]
    """Up to three nearest identities, the best first."""
    evidence: float
    """Sum of the qualities, each from 0 to 1, of the embeddings of the track."""
    embeddings: int
    """Number of embeddings of the track."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEvent(IdentityEvent):
    """The identity of a face was decided, for the first time or anew."""

    before: str | Absent | None = ABSENT
    """The decision before this one: a name, or null for unknown. Absent in the first decision of a track."""
    snapshot: str | Absent = ABSENT
    """Name of the file with an image of the face. Absent if no snapshot was taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceIdentified(DecisionEvent):
    """A face has a name now, or another one than before."""

    event: Literal["identified"] = "identified"
    """Kind of the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceUnknown(DecisionEvent):
    """A face was seen well enough, and is nobody in the gallery."""

    event: Literal["unknown"] = "unknown"
    """Kind of the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceLost(IdentityEvent):
    """A face left, or its source ended."""

    event: Literal["lost"] = "lost"
    """Kind of the event."""
    seconds: float
    """Time from the first to the last detection of the face, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUp(Event):
    """The source delivers frames, or frames of another size than before."""

    event: Literal["source-up"] = "source-up"
    """Kind of the event."""
    source: str
    """Name of the source, without credentials."""
    width: int
    """Width of its frames, in pixels."""
    height: int
    """Height of its frames, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDown(Event):
    """The source delivers no frames any more."""

    event: Literal["source-down"] = "source-down"
    """Kind of the event."""
    source: str
    """Name of the source, without credentials."""
    reason: str
    """Why, as a sentence."""
    hint: str
    """What to do about it; empty if nothing is known."""
    retry_s: float | None
    """Seconds until the source is opened again; null if it is not."""


@dataclass(frozen=True, kw_only=True)
class StatisticsReported(StreamStatistics, Event):  # without slots: two bases cannot both have them
    """The statistics of the stream, at intervals and at its end."""

    event: Literal["statistics"] = "statistics"
    """Kind of the event."""
    final: bool
    """Whether the stream has ended."""


AnyEvent: TypeAlias = (
    FaceAppeared | FaceIdentified | FaceUnknown | FaceLost | SourceUp | SourceDown | StatisticsReported
)


class EventMaker:
    """Makes the events of one run and numbers them.

    Args:
        stream: name of the stream.
    """

    def __init__(self, stream: str) -> None:
        self.run = secrets.token_hex(4)
        self._stream = stream
        self._numbers = itertools.count(1)

    def appeared(self, track: Track, frame: Frame) -> FaceAppeared:
        """A face was confirmed in a frame."""
        return FaceAppeared(**self._header(frame.unix_time), **_place(track, frame))

    def decided(self, track: Track, frame: Frame, before: str | Absent | None) -> FaceIdentified | FaceUnknown:
        """The identity of a face was decided.

        Args:
            track: with the new decision.
            frame: the newest frame.
            before: name by the decision before, None for unknown, absent for none.
        """
        kind = FaceIdentified if track.standing == "identified" else FaceUnknown
        return kind(**self._header(frame.unix_time), **_place(track, frame), **_identity(track), before=before)

    def lost(self, track: Track, frame: Frame) -> FaceLost:
        """A face left; ``frame`` is the newest."""
        seconds = round(track.seen_s - track.began_s, 2)
        return FaceLost(**self._header(frame.unix_time), **_place(track, frame), **_identity(track), seconds=seconds)

    def source_changed(self, name: str, change: SourceChange, unix_time: float) -> SourceUp | SourceDown:
        """The source came or went.

        Args:
            name: of the source, without credentials.
            change: what happened.
            unix_time: when, in seconds since 1970.
        """
        header = self._header(unix_time)
        if change.up:
            return SourceUp(**header, source=name, width=change.width, height=change.height)
        return SourceDown(**header, source=name, reason=change.reason, hint=change.hint, retry_s=change.retry_s)

    def statistics(self, statistics: StreamStatistics, unix_time: float, *, final: bool) -> StatisticsReported:
        """The statistics at a moment.

        Args:
            statistics: of the stream.
            unix_time: when, in seconds since 1970.
            final: whether the stream has ended.
        """
        values = {name: getattr(statistics, name) for name in StreamStatistics.__dataclass_fields__}
        return StatisticsReported(**self._header(unix_time), **values, final=final)

    def _header(self, unix_time: float) -> _Header:
        return {
            "stream": self._stream,
            "run": self.run,
            "sequence": next(self._numbers),
            "time": datetime.fromtimestamp(unix_time, timezone.utc),
        }


class _Header(TypedDict):
    stream: str
    run: str
    sequence: int
    time: datetime


class _Place(TypedDict):
    track: int
    frame: int
    position_s: float
    box: tuple[float, float, float, float]
    score: float


class _Identity(TypedDict):
    name: str | None
    similarity: float | None
    candidates: tuple[Candidate, ...]
    evidence: float
    embeddings: int


def _place(track: Track, frame: Frame) -> _Place:
    left, top, right, bottom = (round(float(edge), 1) for edge in track.face.box)
    return {
        "track": track.number,
        "frame": frame.number,
        "position_s": round(frame.time_s, 3),
        "box": (left, top, right, bottom),
        "score": round(track.face.score, 3),
    }


def _identity(track: Track) -> _Identity:
    similarity = track.similarity
    return {
        "name": track.name,
        "similarity": None if similarity is None else round(similarity, 4),
        "candidates": tuple(
            Candidate(name=found.name, similarity=round(found.similarity, 4))
            for found in track.candidates[:_MOST_CANDIDATES]
        ),
        "evidence": round(track.evidence, 2),
        "embeddings": track.embeddings,
    }
