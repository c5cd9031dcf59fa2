"""A face without a name is recognized when it comes again, and events say so."""

from datetime import timezone

import numpy as np
import pytest

from edge_sphereface.cli.event_lines import plain_line
from edge_sphereface.liveness import Liveness
from edge_sphereface.strangers import StrangerKeeper, StrangerStore
from edge_sphereface.stream import RecognitionSettings, StreamSettings, TrackingSettings
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.recognition.frame_processor import FrameProcessor

SETTINGS = StreamSettings(
    name="door",
    tracking=TrackingSettings(detect_fps=1000.0, whole_frame_s=0.0),
    recognition=RecognitionSettings(min_quality=0.0),
)


class Checker:
    """Every face is a picture."""

    threshold = 0.5

    def check(self, _, faces):
        return [Liveness(state="spoof", score=0.0) for _ in faces]


@pytest.fixture
def visits(script, gallery_of, tmp_path, stage):
    """Somebody stands before the camera for four seconds, several times; gives the events and the strangers."""

    def run(who, times=1, *, after=None, enrolled=("ann",), **parts):
        seen = [name for _ in range(times) for name in [who] * 100 + [None] * 50]
        acting = script(lambda i: [] if seen[i] is None else [(seen[i], stage.face_at(100, 60))])
        gallery = gallery_of(acting, enrolled)
        keeper = StrangerKeeper(tmp_path / "strangers.db", gallery=gallery, keep_s=3600.0)
        processor = FrameProcessor(
            detector=acting, embedder=acting, gallery=gallery, settings=SETTINGS, events=EventMaker("door"),
            strangers=keeper, **parts,
        )  # fmt: skip
        events = []
        for index in range(len(seen)):
            frame = stage.frame_of(index, acting.image(index), 25.0)
            events += processor.step(frame).events
            if events and events[-1].kind == "lost":
                keeper.turn()
        if after is not None:
            after(processor, gallery, frame)
        events += processor.clear(frame)
        keeper.turn()
        with StrangerStore(tmp_path / "strangers.db") as store:
            return events, store.strangers()

    return run


def test_an_unknown_face_is_told_again_when_it_comes_again(visits):
    events, (stranger,) = visits("cid", 3)
    told = [(event.kind, event.stranger and event.stranger.sightings) for event in events if event.kind != "appeared"]
    assert told == [
        ("unknown", None), ("lost", None), ("unknown", 1), ("lost", 1), ("unknown", 2), ("lost", 2),
    ]  # fmt: skip
    assert {event.stranger.id for event in events[-2:]} == {stranger.id}
    assert (stranger.sightings, stranger.cameras) == (3, ("door",))
    assert stranger.first.timestamp() == pytest.approx(1e9, abs=0.2)
    assert stranger.last.timestamp() == pytest.approx(1e9 + 16.0, abs=0.5)
    assert events[-1].as_json()["stranger"] == {
        "id": stranger.id,
        "sightings": 2,
        "days": 1,
        "first": stranger.first.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "last": events[-1].as_json()["stranger"]["last"],
        "cameras": ["door"],
    }
    assert "stranger" not in events[1].as_json()
    lines = [plain_line(event) for event in events if event.kind == "unknown"]
    seen = f", seen before: {stranger.id}, "
    assert [line.partition(seen)[2] for line in lines] == ["", "1 sighting", "2 sightings"]


def test_whoever_has_a_name_is_no_stranger(visits):
    events, strangers = visits("ann", 2)
    assert {event.kind for event in events} == {"appeared", "identified", "lost"}
    assert strangers == ()


def test_a_face_that_resembles_somebody_enough_is_no_stranger(visits):
    """Such as one that lost its name to a more similar one, or that is a picture of somebody."""
    assert visits("twin", liveness=Checker())[1] == ()


def test_a_picture_of_a_face_is_no_stranger(visits):
    assert visits("cid", liveness=Checker())[1] == ()


def test_a_stranger_who_is_enrolled_leaves(visits):
    def enroll(processor, gallery, frame):
        gallery.enroll("Cid", np.eye(16, dtype=np.float32)[2])
        processor.reconsider(frame)

    assert visits("cid", 2, after=enroll)[1] == ()
