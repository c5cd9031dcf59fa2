"""Events of several cameras, and entities whose messages a test reads."""

import json
from datetime import datetime, timezone

import pytest

from edge_sphereface.gallery.records import Candidate
from edge_sphereface.stream.events import (
    FaceAppeared,
    FaceIdentified,
    FaceLost,
    FaceUnknown,
    SourceDown,
    SourceUp,
    StatisticsReported,
)
from edge_sphereface.stream.outputs.events.home_assistant.settings import HomeAssistantSettings
from edge_sphereface.stream.outputs.events.home_assistant.sink import HomeAssistantSink
from edge_sphereface.stream.outputs.events.home_assistant.state import Subject
from edge_sphereface.stream.statistics import Quantiles

NOON = 1_795_780_800.0
"""2026-11-27T12:00:00Z."""
_QUANTILES = Quantiles(p50=1.0, p99=2.0)
_COUNTS = (
    "seconds", "frames", "detections", "embeddings", "read", "dropped", "openings", "ignored", "detect_fps",
    "detect_side", "events", "events_pending", "events_dropped",
)  # fmt: skip


class Events:
    """Events of a camera; each at the moment ``at``, in seconds after noon."""

    def __init__(self, stream, run="00000001"):
        self.stream, self.run, self.at, self.sequence = stream, run, 0.0, 0

    def _header(self):
        self.sequence += 1
        moment = datetime.fromtimestamp(NOON + self.at, timezone.utc)
        return {"stream": self.stream, "run": self.run, "sequence": self.sequence, "time": moment}

    def _face(self, track):
        return {**self._header(), "track": track, "frame": 1, "position_s": 1.0, "box": (0, 0, 9, 9), "score": 0.9}

    def _identity(self, track, name):
        candidates = () if name is None else (Candidate(name=name, similarity=0.7),)
        known = {"name": name, "similarity": 0.7, "candidates": candidates, "evidence": 1.0, "embeddings": 2}
        return {**self._face(track), **known}

    def appeared(self, track):
        return FaceAppeared(**self._face(track))

    def identified(self, track, name):
        return FaceIdentified(**self._identity(track, name))

    def unknown(self, track):
        return FaceUnknown(**self._identity(track, None))

    def lost(self, track, name=None):
        return FaceLost(**self._identity(track, name), seconds=1.0)

    def up(self):
        return SourceUp(**self._header(), source="camera 0", width=640, height=480)

    def down(self):
        return SourceDown(**self._header(), source="camera 0", reason="unplugged", hint="", retry_s=1.0)

    def statistics(self, *, faces=1, final=False, problems=()):
        counts = dict.fromkeys(_COUNTS, 1)
        rates = {"fps": 9.5, "work_ms": 20.25, "age_ms": _QUANTILES, "latency_ms": _QUANTILES}
        state = {"source_up": True, "faces": faces, "problems": problems, "final": final}
        return StatisticsReported(**self._header(), **counts, **rates, **state)


@pytest.fixture
def events():
    return Events


class Entities:
    """A sink, what its gallery and cameras are, and what a broker would hold."""

    def __init__(self, folder, images=None, **settings):
        self.folder, self.images, self.settings = folder, images, settings
        self.now_s, self.failure = 0.0, None
        self.people = [Subject(name="Ann", mark="monday"), Subject(name="Bob", mark="tuesday")]
        self.cameras = [Subject(name="door", mark="rtsp://door")]
        self.retained, self.sent = {}, {}
        self.sink = None

    def start(self):
        settings = HomeAssistantSettings(**{"home_assistant": "homeassistant", **self.settings})
        self.sink = HomeAssistantSink(
            settings,
            topic="house/faces",
            state=self.folder / "entities.json",
            cameras=lambda: self.cameras,
            people=None if self.people is None else self.read,
            images=self.images,
            clock=lambda: self.now_s,
        )
        self.sink.open()
        return self

    def read(self):
        if self.failure is not None:
            raise self.failure
        return len(self.people), iter(self.people)

    def give(self, *given):
        for event in given:
            self.sink.write(event)
        return self

    def deliver(self):
        """What is due arrives at the broker."""
        self.sent = {}
        for message in self.sink.retained.take(1_000_000):
            self.sent[message.topic] = message.payload
            if message.retain and message.payload:
                self.retained[message.topic] = message.payload
            else:
                self.retained.pop(message.topic, None)
        self.sink.retained.settle()
        return self

    def configs(self):
        """The discovery messages that the broker holds, by their unique ids."""
        self.deliver()
        found = [json.loads(text) for topic, text in self.retained.items() if topic.endswith("/config")]
        return {config["unique_id"]: config for config in found}

    def config(self, device, name):
        """The discovery message of one entity."""
        (found,) = (one for one in self.configs().values() if (one["device"]["name"], one["name"]) == (device, name))
        return found

    def state(self, device, name):
        """The state of an entity as the broker holds it, as JSON where it is JSON."""
        text = self.retained[self.config(device, name)["state_topic"]].decode()
        return json.loads(text) if text.startswith("{") else text


@pytest.fixture
def entities(tmp_path):
    """Makes entities that begin with two people and a camera; they end with the test."""
    made = []

    def make(**options):
        made.append(Entities(tmp_path, **options))
        return made[-1].start()

    yield make
    for one in made:
        one.sink.close()
