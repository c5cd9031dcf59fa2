"""Events of a stream: one record for each kind. ``docs/watch.md`` describes their JSON lines."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypedDict

from edge_sphereface.gallery.records import Candidate
from edge_sphereface.json_output import INLINE, OMIT_NONE, json_object, json_text, named, rounded
from edge_sphereface.liveness.result import LivenessState  # noqa: TC001 -- read for the JSON Schema
from edge_sphereface.strangers.records import Stranger  # noqa: TC001 -- read for the JSON Schema
from edge_sphereface.stream.event_kinds import EventKind  # noqa: TC001 -- read for the JSON Schema
from edge_sphereface.stream.statistics import StreamStatistics

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.capture.reader import SourceChange
    from edge_sphereface.stream.tracking.track import Track
    from edge_sphereface.types import JsonObject

SCHEMA_VERSION: Final = 1
"""Grows when a field changes its meaning or is removed; a new field alone does not change it."""

_MOST_CANDIDATES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a stream. Each kind is a subclass with fields of its own.

    Attributes:
        version: version of the format.
        event: kind of the event.
        stream: name of the stream.
        run: this run of the stream, 8 hexadecimal digits. With ``sequence`` it identifies the event permanently.
        sequence: number of the event in its run, from 1, without gaps.
        time: when it happened: UTC, ISO 8601 with milliseconds.
    """

    version: Literal[1] = SCHEMA_VERSION
    event: EventKind
    stream: str
    run: str
    sequence: int
    time: datetime

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
        return json_object(self)

    def line(self) -> str:
        """The event as one line of JSON, without a line break."""
        return (
            json_text(self).encode("utf-8", "backslashreplace").decode()
        )  # half a surrogate pair is JSON only as an escape


_COMMON = frozenset(Event.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceEvent(Event):
    """An event of one tracked face.

    Attributes:
        track: number of the track. Each number denotes one person and is never used again in the run.
        frame: number of the frame in its source, from 0.
        position_s: time of the frame on the stream's clock, in seconds: position in a recording, or monotonic time of a
            camera.
        box: left, top, right and bottom of the face, in pixels of the frame. It may reach over the border.
        score: confidence of the detector, from 0 to 1. It is not comparable between detectors.
    """

    track: int
    frame: int
    position_s: float
    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceAppeared(FaceEvent):
    """A new face was detected twice."""

    event: Literal["appeared"] = "appeared"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityEvent(FaceEvent):
    """An event of a face with what is known of its identity.

    Attributes:
        name: the identity in the gallery; None if the face has none.
        similarity: cosine similarity, from -1 to 1, to the identity, else to the nearest one, who may be ignored; None
            before the first embedding.
        candidates: up to three nearest identities, the best first; no ignored ones.
        evidence: sum of the qualities, each from 0 to 1, of the embeddings of the track.
        embeddings: number of embeddings of the track.
        liveness: whether the face is live, ``spoof`` or ``not_checked``; absent where liveness is not checked.
        stranger: who an unknown face was seen as before, without this time; absent for a face that was not seen before
            or has a name, and where strangers are not kept.
    """

    name: str | None
    similarity: float | None = field(metadata=rounded(4))
    candidates: tuple[Candidate, ...]
    evidence: float
    embeddings: int
    liveness: LivenessState | None = field(default=None, metadata=OMIT_NONE)
    stranger: Stranger | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierDecision:
    """The decision on the identity of a track before its newest one.

    Attributes:
        name: the identity before; None for unknown.
    """

    name: str | None = field(metadata=named("before"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """An image that was saved for an event.

    Attributes:
        file_name: name of its file, without the folder.
    """

    file_name: str = field(metadata=named("snapshot"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEvent(IdentityEvent):
    """The identity of a face was decided, for the first time or anew.

    Attributes:
        before: the decision before this one; None in the first decision of a track.
        snapshot: the image of the face; None if none was saved.
    """

    before: EarlierDecision | None = field(default=None, metadata=INLINE)
    snapshot: SavedImage | None = field(default=None, metadata=INLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceIdentified(DecisionEvent):
    """A face has a name now, or another one than before."""

    event: Literal["identified"] = "identified"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceUnknown(DecisionEvent):
    """A face was seen well enough, and is nobody in the gallery."""

    event: Literal["unknown"] = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceLost(IdentityEvent):
    """A face left, or its source ended.

    Attributes:
        seconds: time from the first to the last detection of the face, in seconds.
    """

    event: Literal["lost"] = "lost"
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUp(Event):
    """The source delivers frames, or frames of another size than before.

    Attributes:
        source: name of the source, without credentials.
        width: width of its frames, in pixels.
        height: height of its frames, in pixels.
    """

    event: Literal["source-up"] = "source-up"
    source: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDown(Event):
    """The source delivers no frames any more.

    Attributes:
        source: name of the source, without credentials.
        reason: why, as a sentence.
        hint: what to do about it; empty if nothing is known.
        retry_s: seconds until the source is opened again; None if it is not.
    """

    event: Literal["source-down"] = "source-down"
    source: str
    reason: str
    hint: str
    retry_s: float | None


@dataclass(frozen=True, kw_only=True)
class StatisticsReported(StreamStatistics, Event):  # without slots: two bases cannot both have them
    """The statistics of the stream, at intervals and at its end.

    Attributes:
        final: whether the stream has ended.
    """

    event: Literal["statistics"] = "statistics"
    final: bool


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

    def decided(self, track: Track, frame: Frame, before: EarlierDecision | None) -> FaceIdentified | FaceUnknown:
        """The identity of a face was decided.

        Args:
            track: with the new decision.
            frame: the newest frame.
            before: the decision before; None in the first decision.
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
    liveness: LivenessState | None
    stranger: Stranger | None


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
            for found in [found for found in track.candidates if not found.ignored][:_MOST_CANDIDATES]
        ),
        "evidence": round(track.evidence, 2),
        "embeddings": track.embeddings,
        "liveness": track.liveness,
        "stranger": track.stranger,
    }
