"""Ignored people in a stream: no event, no picture, no sighting; counted, and known where their traces are removed."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_sphereface import FaceStream, StreamSettings, open_gallery
from edge_sphereface.liveness import Liveness
from edge_sphereface.retention import FolderIndex
from edge_sphereface.retention.erasure import find_pictures
from edge_sphereface.stream import FrameResult, Snapshots, TrackingSettings, VideoRecorder
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.outputs.events.home_assistant.sink import people_of
from edge_sphereface.stream.recognition.frame_processor import FrameProcessor
from edge_sphereface.stream.tracking.track import Track
from edge_sphereface.web.sightings import Sightings

EVERY_FRAME = StreamSettings(tracking=TrackingSettings(detect_fps=25.0))


@pytest.fixture
def watch(script, gallery_of, stage):
    """Makes a processor whose gallery ignores bob; gives it, and a function that goes on to a frame."""

    def make(people, *, ignored=("bob",), liveness=None):
        acting = script(people)
        gallery = gallery_of(acting, ("ann", "bob"))
        for name in ignored:
            gallery.set_ignored(name, True)
        processor = FrameProcessor(
            detector=acting,
            embedder=acting,
            gallery=gallery,
            settings=EVERY_FRAME,
            events=EventMaker("test"),
            liveness=liveness,
        )
        told, results = [], []

        def until(frame):
            for index in range(len(results), frame):
                results.append(processor.step(stage.frame_of(index, acting.image(index))))
                told.extend((index, event) for event in results[-1].events)
            return [(event.kind, getattr(event, "name", None)) for _, event in told]

        return processor, until, told, results

    return make


def test_an_ignored_person_comes_and_goes_without_an_event(watch, stage):
    processor, until, _, results = watch(lambda i: [("bob", stage.face_at(100, 60))] if i < 50 else [])
    assert until(50) == []
    (track,) = results[-1].tracks
    assert (track.standing, track.name, track.person) == ("ignored", None, "bob")
    assert until(100) == []
    assert not processor.tracks


def test_others_are_reported_beside_an_ignored_person_and_once_they_are_decided(watch, stage):
    people = [("bob", stage.face_at(10, 60)), ("ann", stage.face_at(110, 60)), ("cid", stage.face_at(210, 60))]
    _, until, told, _ = watch(lambda i: people if i < 50 else [])
    until(100)
    by_track = {}
    for _, event in told:
        by_track.setdefault(event.track, []).append((event.kind, getattr(event, "name", None)))
    assert sorted(by_track.values()) == [
        [("appeared", None), ("identified", "ann"), ("lost", "ann")],
        [("appeared", None), ("unknown", None), ("lost", None)],
    ]
    named = {found.name for _, event in told for found in getattr(event, "candidates", ())}
    assert "bob" not in named, "not even as a candidate"
    assert [event.sequence for _, event in told] == list(range(1, 7)), "no number is left out"


def test_without_ignored_people_a_face_is_reported_at_once(watch, stage):
    _, until, told, _ = watch(lambda _: [("ann", stage.face_at(100, 60))], ignored=())
    until(20)
    assert (told[0][0], told[0][1].kind) == (1, "appeared")


def test_who_is_ignored_while_in_sight_is_lost_and_reported_again_after_the_undo(watch, stage):
    processor, until, _, _ = watch(lambda _: [("ann", stage.face_at(100, 60))])
    assert until(20) == [("appeared", None), ("identified", "ann")]
    for ignored, expected in ((True, [("lost", "ann")]), (False, [("appeared", None), ("identified", "ann")])):
        processor.gallery.set_ignored("ann", ignored)
        events = processor.reconsider(stage.frame_of(20))
        assert [(event.kind, getattr(event, "name", None)) for event in events] == expected
    assert events[1].before is None


def in_profile(stage):
    """A face that is never embedded."""
    face = stage.face_at(100, 60)
    nose = np.float32([[0, 0], [0, 0], [16, 0], [0, 0], [0, 0]])
    return replace(face, landmarks=face.landmarks + nose)


def test_a_face_that_cannot_be_decided_is_reported_after_a_while(watch, stage):
    """Somebody who hides the face must not profit from the postman."""
    _, until, told, _ = watch(lambda _: [("bob", in_profile(stage))])
    assert until(100) == [("appeared", None)]
    assert 75 <= told[0][0] <= 78, "three seconds"


def test_a_face_that_was_never_decided_is_reported_when_it_leaves(watch, stage):
    _, until, _, _ = watch(lambda i: [("cid", in_profile(stage))] if i < 20 else [])
    assert until(60) == [("appeared", None), ("lost", None)]


class Picture:
    """A check that takes every face for a printed one."""

    threshold = 0.5

    def check(self, _, faces):
        return [Liveness(score=0.1, state="spoof") for _ in faces]


def test_a_picture_of_an_ignored_person_is_reported(watch, stage):
    _, until, _, _ = watch(lambda _: [("bob", stage.face_at(100, 60))], liveness=Picture())
    assert until(60) == [("appeared", None), ("unknown", None)]


def test_home_assistant_gets_no_entity_of_an_ignored_person(script, gallery_of, tmp_path):
    gallery_of(script(lambda _: []), ("ann", "bob")).set_ignored("bob", True)
    with open_gallery(tmp_path / "people.db") as gallery:
        count, people = people_of(gallery)()
        assert (count, [one.name for one in people]) == (1, ["ann"])


def test_the_page_keeps_no_sighting_of_an_ignored_person(watch, stage):
    _, until, _, results = watch(lambda _: [("bob", stage.face_at(10, 60)), ("ann", stage.face_at(170, 60))])
    until(30)
    sightings = Sightings()
    for result in results:
        sightings.take("door", result)
    assert (sightings.last("bob"), sightings.last("ann").camera) == (None, "door")
    assert [one.name for one in sightings.decisions()] == ["ann"]


def test_statistics_count_ignored_people_apart(script, gallery_of, stage, fake_source):
    acting = script(lambda _: [("bob", stage.face_at(10, 60)), ("ann", stage.face_at(170, 60))])
    gallery = gallery_of(acting, ("ann", "bob"))
    gallery.set_ignored("bob", True)
    counted = []
    stream = FaceStream(
        fake_source([[acting.image(index) for index in range(30)]], live=False, fps=25.0),
        detector=acting,
        embedder=acting,
        gallery=gallery,
        settings=replace(EVERY_FRAME, pace=False, reopen=False),
        on_frame=lambda _: counted.append((stream.statistics().faces, stream.statistics().ignored)),
    )
    stream.run()
    assert counted[-1] == (1, 1)
    assert stream.counters.events["appeared"] == 1


class Named:
    """As much of a stream as a sink asks for."""

    settings = StreamSettings(name="door")


@pytest.mark.parametrize("first", [1, 20], ids=["before they are known", "after"])
def test_recordings_and_snapshots_know_whom_they_show_for_removal(watch, stage, tmp_path, first):
    """A picture of Ann may show the postman beside her: who removes the postman must find it."""
    bob, ann = ("bob", stage.face_at(60, 60)), ("ann", stage.face_at(130, 60))
    _, until, _, results = watch(lambda i: [bob] if i < first else [bob, ann])
    until(60)
    sinks = {"faces": Snapshots(tmp_path / "faces"), "video": VideoRecorder(tmp_path / "video", fps=25.0)}
    for sink in sinks.values():
        sink.open(Named())
    for result in results:
        for event in result.events:
            if event.kind == "identified":
                assert sinks["faces"].snapshot(event, result.frame) is not None
        for sink in sinks.values():
            sink.take(result)
    for sink in sinks.values():
        sink.close(10)
    for folder in sinks:
        found = find_pictures(tmp_path / folder, ["bob"])
        assert found.shared, folder
        with FolderIndex(tmp_path / folder) as index:
            shown = [file.names for file in index.files().values()]
        assert {"ann", "bob"} in shown, "beside busy processes the recorder leaves frames out, and begins another file"


def test_no_box_is_drawn_around_an_ignored_face_in_a_recording(stage, tmp_path):
    face = Track(number=1, face=stage.face_at(100, 60), began_s=0, seen_s=0, standing="ignored")
    frame = stage.frame_of(0, np.full((240, 320, 3), 128, np.uint8))
    recorder = VideoRecorder(tmp_path, fps=25.0)
    recorder.open(Named())
    recorder.take(FrameResult(frame=frame, tracks=(face,), events=(), detected=True, embedded=0, work_ms=1.0))
    recorder.close(10)
    (path,) = [path for path in tmp_path.iterdir() if path.suffix in (".mkv", ".avi")]
    _, picture = cv2.VideoCapture(str(path)).read()
    assert np.ptp(picture.astype(int)) <= 4, "a frame of one gray"
