"""Events as records: what a program reads, and the JSON lines that are written from them."""

import json
from dataclasses import FrozenInstanceError, replace
from datetime import datetime, timedelta, timezone
from typing import get_args

import jsonschema
import pytest

from edge_sphereface import FaceStream, StreamSettings
from edge_sphereface.json_output import json_object
from edge_sphereface.stream.events import AnyEvent, SavedImage
from edge_sphereface.stream.settings import TrackingSettings

COMMON = ["version", "event", "stream", "run", "sequence", "time"]
FACE = ["track", "frame", "position_s", "box", "score"]
IDENTITY = [*FACE, "name", "similarity", "candidates", "evidence", "embeddings"]
STATISTICS = [
    "seconds", "frames", "detections", "embeddings", "fps", "work_ms", "age_ms", "latency_ms",
    "read", "dropped", "source_up", "openings", "faces", "ignored", "detect_fps", "detect_side",
    "events", "events_pending", "events_dropped", "problems", "final",
]  # fmt: skip
FIELDS = {
    "source-up": ["source", "width", "height"],
    "appeared": FACE,
    "identified": IDENTITY,
    "unknown": IDENTITY,
    "lost": [*IDENTITY, "seconds"],
    "source-down": ["source", "reason", "hint", "retry_s"],
    "statistics": STATISTICS,
}


@pytest.fixture
def events(script, stage, fake_source, gallery_of):
    """The events of a stream in which Ann's twin has her name until Ann comes, and again when she has left."""

    def people(index):
        ann = [("ann", stage.face_at(200, 60))] if 25 <= index < 75 else []
        return [("twin", stage.face_at(20, 60)), *ann]

    acting = script(people)
    source = fake_source([[acting.image(index) for index in range(130)]], live=False, fps=25.0)
    settings = StreamSettings(name="door", pace=False, tracking=TrackingSettings(detect_fps=25.0))
    gallery = gallery_of(acting, ["ann"])
    return list(FaceStream(source, detector=acting, embedder=acting, gallery=gallery, settings=settings))


def test_each_kind_has_a_class_of_its_own(events):
    assert {type(event) for event in events} == set(get_args(AnyEvent))
    assert {event.kind for event in events} == set(FIELDS)


def test_lines_have_the_fields_of_their_kind_in_order(events):
    """What reads them may rely on it."""
    for event in events:
        fields = list(json.loads(event.line()))
        optional = ["before"] if "before" in fields else []
        assert fields == [*COMMON, *FIELDS[event.kind], *optional]
        assert event.detail == {name: value for name, value in event.as_json().items() if name not in COMMON}


def test_the_decision_before_is_absent_in_the_first_one_alone(events):
    """A name, null for unknown, or no field at all are three different things."""
    decisions = [event for event in events if event.kind in ("identified", "unknown") and event.track == 1]
    assert [event.before and event.before.name for event in decisions] == [None, "ann", None]
    assert [event.before is None for event in decisions] == [True, False, False]
    assert [json.loads(event.line()).get("before", "absent") for event in decisions] == ["absent", "ann", None]


@pytest.mark.slow
def test_the_schema_describes_every_event(events, require_schema):
    for event in events:
        require_schema("watch", json.loads(event.line()))
    identified = next(event for event in events if event.kind == "identified")
    require_schema("watch", replace(identified, snapshot=SavedImage(file_name="door.jpg")).as_json())
    with pytest.raises(jsonschema.ValidationError):
        require_schema("watch", {**identified.as_json(), "track": "1"})


def test_the_schema_describes_the_health(require_schema, black, fake_source, script):
    stream = FaceStream(fake_source([[black]], live=False), detector=script(lambda _: []))
    require_schema("health", json_object(stream.health()))
    stream.run()
    require_schema("health", json_object(stream.health()))


def test_an_event_cannot_be_changed(events):
    for event in events:
        with pytest.raises(FrozenInstanceError):
            event.stream = "another"
        with pytest.raises(FrozenInstanceError):
            event.sequence = 1


def test_the_time_is_utc_in_milliseconds(events):
    event = events[0]
    assert event.time.utcoffset() == timedelta(0)
    written = datetime.fromisoformat(event.as_json()["time"].replace("Z", "+00:00"))
    assert written == event.time.replace(microsecond=event.time.microsecond // 1000 * 1000)
    assert datetime.fromtimestamp(event.unix_time, timezone.utc) == event.time


def test_the_last_statistics_are_those_that_the_stream_returns(black, fake_source, script):
    acting = script(lambda _: [])
    stream = FaceStream(
        fake_source([[black] * 3], live=False, fps=25.0), detector=acting, settings=StreamSettings(pace=False)
    )
    emitted = list(stream)
    assert emitted[-1].final is True
    assert emitted[-1].frames == stream.statistics().frames == 3
    assert emitted[-1].problems == ()
