"""Requests and answers of the page's HTTP interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.json_output import INLINE, OMIT_NONE, rounded
from edge_sphereface.storage.record import Record

if TYPE_CHECKING:
    from edge_sphereface.stream.statistics import StreamHealth, StreamStatistics


class RequestError(EdgeSphereFaceError, ValueError):
    """A request is not valid."""

    code = "usage"


class TooLargeError(RequestError):
    """A request has too many bytes."""

    code = "too-large"


class Request(Record):
    """Base of requests. Fields that a request has besides are ignored."""

    __slots__ = ()
    record_name = "The request"
    record_error = RequestError
    record_hint = ""
    record_is_partial = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollRequest(Request):
    """Enroll a tracked face.

    Attributes:
        track: ID of the track.
        name: name of the identity.
    """

    track: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveRequest(Request):
    """Remove an identity.

    Attributes:
        name: name of the identity.
    """

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """Statistics and health of the stream.

    Attributes:
        statistics: statistics of the last seconds.
        health: whether the stream works.
    """

    statistics: StreamStatistics = field(metadata=INLINE)
    health: StreamHealth = field(metadata=INLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFace:
    """A face in the shown frame.

    Attributes:
        track: ID of the track.
        box: left, top, right and bottom edge in pixels.
        standing: what is known of the face.
        name: name of the identity; None without one.
        similarity: cosine similarity to the identity; None without a comparison.
    """

    track: int
    box: tuple[float, float, float, float] = field(metadata=rounded(1))
    standing: str
    name: str | None
    similarity: float | None = field(metadata=rounded(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFrame:
    """The shown frame and its faces.

    Attributes:
        number: number of the frame.
        width: width of the frame in pixels.
        height: height of the frame in pixels.
        age_ms: time since the frame was read, in milliseconds.
        faces: tracked faces.
    """

    number: int
    width: int
    height: int
    age_ms: float = field(metadata=rounded(1))
    faces: tuple[ShownFace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoFrame:
    """There is no new frame.

    Attributes:
        number: 0.
    """

    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameAnswer:
    """Answer to a request for a frame.

    Attributes:
        frame: the new frame, or that there is none.
        stream: name of the stream.
        wait_ms: time until the viewer may ask again, in milliseconds.
        statistics: state of the stream.
    """

    frame: ShownFrame | NoFrame = field(metadata=INLINE)
    stream: str
    wait_ms: int
    statistics: StreamState


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraTile:
    """A camera among all.

    Attributes:
        name: name of the camera.
        state: ``starting``, ``up``, ``down``, ``failed`` or ``ended``.
        reason: why it does not work; empty if it does.
        healthy: whether frames come and are processed in time.
        names: identities in sight.
        strangers: number of faces in sight that are nobody in the gallery.
    """

    name: str
    state: str
    reason: str
    healthy: bool
    names: tuple[str, ...]
    strangers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A decision on a face.

    Attributes:
        number: of the decision, from 1.
        camera: name of the camera.
        name: name of the identity; None for unknown.
        unix_time: seconds since 1970.
    """

    number: int
    camera: str
    name: str | None
    unix_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StateAnswer:
    """All cameras.

    Attributes:
        cameras: the cameras.
        problems: what is wrong besides their sources, as sentences.
        recent: the latest decisions, the oldest first.
        keeps_strangers: whether people without a name are kept.
    """

    cameras: tuple[CameraTile, ...]
    problems: tuple[str, ...]
    recent: tuple[Decision, ...]
    keeps_strangers: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """Where and when a person was seen.

    Attributes:
        camera: name of the camera.
        unix_time: seconds since 1970.
    """

    camera: str
    unix_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An enrolled identity.

    Attributes:
        name: name of the identity.
        embeddings: number of embeddings.
        crops: number of embeddings whose crop is stored.
        enrolled_at: time of the first enrollment, UTC, ISO 8601.
        ignored: whether this person is never reported.
        seen: where and when the person was seen last since the start; None if nowhere.
    """

    name: str
    embeddings: int
    crops: int
    enrolled_at: str
    ignored: bool
    seen: Sighting | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleAnswer:
    """Enrolled identities.

    Attributes:
        people: the first identities by name; None without a gallery.
        total: number of all identities; left out without a gallery.
    """

    people: tuple[Person, ...] | None
    total: int | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollAnswer:
    """An enrollment.

    Attributes:
        name: name of the identity.
        embeddings: number of its embeddings.
        lookalikes: names of other identities that resemble it; none for a token without the scope ``identify``.
    """

    name: str
    embeddings: int
    lookalikes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAnswer:
    """A removal.

    Attributes:
        removed: name of the removed identity.
    """

    removed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What went wrong.

    Attributes:
        code: kind of the error.
        message: what was expected and what came.
        hint: what to do about it; left out if there is none.
    """

    code: str
    message: str
    hint: str | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemAnswer:
    """Answer to a request that failed.

    Attributes:
        error: what went wrong.
    """

    error: Problem
