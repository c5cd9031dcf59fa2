"""A face that does not look live gets no name, and loses the one it had."""

import json

import pytest

from edge_sphereface.liveness import Liveness
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.recognition.frame_processor import FrameProcessor
from edge_sphereface.stream.settings import RecognitionSettings, StreamSettings, TrackingSettings
from edge_sphereface.stream.tracking.track import TrackState

SETTINGS = StreamSettings(
    tracking=TrackingSettings(detect_fps=25.0), recognition=RecognitionSettings(refresh_s=0.5, refresh_unknown_s=0.5)
)


class Scripted:
    """Says of each check what a script says; counts the faces."""

    threshold = 0.5

    def __init__(self, script):
        self._script = script
        self.checked = 0

    def check(self, _, faces):
        results = []
        for _face in faces:
            score = self._script(self.checked)
            state = "not_checked" if score is None else "live" if score >= self.threshold else "spoof"
            results.append(Liveness(state=state, score=score))
            self.checked += 1
        return results


@pytest.fixture
def play(script, gallery_of, stage):
    """Ann stands before the camera for some frames; gives the decisions and the checker."""

    def run(scores, frames=100):
        acting = script(lambda _: [("ann", stage.face_at(100, 60))], lambda _: 7)
        checker = Scripted(scores)
        processor = FrameProcessor(
            detector=acting,
            embedder=acting,
            gallery=gallery_of(acting, ("ann", "bob")),
            settings=SETTINGS,
            events=EventMaker("test"),
            liveness=checker,
        )
        results = [processor.step(stage.frame_of(index, acting.image(index), 25.0)) for index in range(frames)]
        events = [event for result in results for event in result.events if event.kind in ("identified", "unknown")]
        return [(event.kind, event.name, event.liveness) for event in events], checker, acting

    return run


def test_a_live_face_has_its_name(play):
    decisions, checker, acting = play(lambda _: 0.9)
    assert decisions == [("identified", "ann", "live")]
    assert checker.checked == len(acting.embedded), "a face is checked when it is embedded"


@pytest.mark.parametrize(("score", "state"), [(0.1, "spoof"), (None, "not_checked")])
def test_a_face_that_is_not_live_is_unknown(play, score, state):
    decisions, _, _ = play(lambda _: score)
    assert decisions == [("unknown", None, state)]


def test_a_face_that_turns_out_to_be_a_picture_loses_its_name(play):
    decisions, _, _ = play(lambda number: 0.9 if number < 2 else 0.0, frames=200)
    assert decisions == [("identified", "ann", "live"), ("unknown", None, "spoof")]


def test_one_bad_look_does_not_take_the_name(play):
    decisions, _, _ = play(lambda number: 0.0 if number == 2 else 0.9, frames=200)
    assert decisions == [("identified", "ann", "live")]


def test_a_face_that_cannot_be_checked_any_more_is_not_live(stage):
    track = TrackState(number=1, face=stage.face_at(100, 60), began_s=0.0, seen_s=0.0)
    track.judge_liveness(Liveness(state="live", score=0.9), 0.5)
    assert track.liveness == "live"
    track.judge_liveness(Liveness(state="not_checked", reason="small"), 0.5)
    assert track.liveness == "not_checked"


def test_events_without_a_checker_have_no_such_field(script, gallery_of, stage):
    acting = script(lambda _: [("ann", stage.face_at(100, 60))], lambda _: 7)
    processor = FrameProcessor(
        detector=acting,
        embedder=acting,
        gallery=gallery_of(acting, ("ann",)),
        settings=SETTINGS,
        events=EventMaker("test"),
    )
    results = [processor.step(stage.frame_of(index, acting.image(index), 25.0)) for index in range(20)]
    events = [event for result in results for event in result.events if event.kind == "identified"]
    assert events
    assert "liveness" not in json.loads(json.dumps(events[0].as_json()))
