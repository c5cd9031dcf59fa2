"""Events of a stream, as JSON objects; docs/watch.md describes them."""

from __future__ import annotations

import itertools
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.capture.reader import SourceChange
    from edge_sphereface.stream.tracking.track import Track
    from edge_sphereface.types import JsonObject

SCHEMA_VERSION = 1
"""Grows when a field changes its meaning or goes; a new field alone does not change it."""

EventKind: TypeAlias = Literal["appeared", "identified", "unknown", "lost", "source-up", "source-down", "statistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        kind: what.
        stream: name of the stream.
        run: of this run of the stream; with ``sequence`` it names the event for ever.
        sequence: from 1, without gaps.
        unix_time: when, in seconds.
        detail: the fields of its kind.
    """

    kind: EventKind
    stream: str
    run: str
    sequence: int
    unix_time: float
    detail: JsonObject

    def as_json(self) -> JsonObject:
        """All fields as plain JSON values."""
        moment = datetime.fromtimestamp(self.unix_time, timezone.utc).isoformat(timespec="milliseconds")
        return {
            "version": SCHEMA_VERSION,
            "event": self.kind,
            "stream": self.stream,
            "run": self.run,
            "sequence": self.sequence,
            "time": moment.replace("+00:00", "Z"),
            **self.detail,
        }

    def line(self) -> str:
        """The same as one line of JSON, without its end."""
        text = json.dumps(self.as_json(), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair is JSON only as an escape


class EventMaker:
    """Numbers the events of a run.

    Args:
        stream: name of the stream.
    """

    def __init__(self, stream: str) -> None:
        self.run = secrets.token_hex(4)
        self._stream = stream
        self._numbers = itertools.count(1)

    def make(self, kind: EventKind, unix_time: float, detail: JsonObject) -> Event:
        """The next event."""
        return Event(
            kind=kind,
            stream=self._stream,
            run=self.run,
            sequence=next(self._numbers),
            unix_time=unix_time,
            detail=detail,
        )


def about_track(track: Track, frame: Frame) -> JsonObject:
    """Where a face is; coordinates in pixels of the frame."""
    return {
        "track": track.number,
        "frame": frame.number,
        "position_s": round(frame.time_s, 3),
        "box": [round(float(edge), 1) for edge in track.face.box],
        "score": round(track.face.score, 3),
    }


def about_source(name: str, change: SourceChange) -> JsonObject:
    """What became of the source."""
    if change.up:
        return {"source": name, "width": change.width, "height": change.height}
    return {"source": name, "reason": change.reason, "hint": change.hint, "retry_s": change.retry_s}


def about_identity(track: Track) -> JsonObject:
    """Who it is, and on what grounds."""
    similarity = track.similarity
    return {
        "name": track.name,
        "similarity": None if similarity is None else round(similarity, 4),
        "candidates": [
            {"name": found.name, "similarity": round(found.similarity, 4)} for found in track.candidates[:3]
        ],
        "evidence": round(track.weight, 2),
        "embeddings": track.embeddings,
    }
