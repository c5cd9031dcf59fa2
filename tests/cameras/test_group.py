"""Several cameras in one process: added, changed, removed, and each on its own when it fails."""

import itertools
import threading
import time

import cv2
import numpy as np
import pytest

from edge_sphereface import Embedder, FacePipeline, StreamSettings, open_detector
from edge_sphereface.cameras import Camera, CameraGroup
from edge_sphereface.detection.in_file import find_in_file
from edge_sphereface.errors import CameraError, CameraNotFoundError, SinkError, SourceError
from edge_sphereface.image import ImageFile
from edge_sphereface.stream import SourceOptions


class NoFaces:
    """A detector that finds nobody, or fails."""

    name = "none"

    def __init__(self):
        self.failure = None

    def detect(self, _):
        if self.failure is not None:
            raise self.failure
        return []


class Remembered:
    """A sink that remembers its events, and how often it was opened."""

    name, problem, dropped = "remembered", "", 0

    def __init__(self):
        self.events, self.opened, self.closed = [], 0, 0

    def open(self):
        self.opened += 1

    def write(self, event):
        self.events.append(event)

    def pending(self):
        return 0

    def close(self):
        self.closed += 1

    def kinds(self, name):
        return [event.kind for event in self.events if event.stream == name]


def frames(tone=0, size=(48, 64)):
    def play():
        while True:
            time.sleep(0.02)
            yield np.full((*size, 3), tone, np.uint8)

    return play


def hanging():
    threading.Event().wait(5)
    yield from ()


@pytest.fixture
def house(wait_until):
    """A group that runs in a thread of its own."""
    groups = []

    def start(*cameras, **parts):
        detector, sink = NoFaces(), Remembered()
        group = CameraGroup(cameras, detector=detector, sinks=[sink], **parts)
        thread = threading.Thread(target=lambda: group.run(until_ended=False), daemon=True)
        groups.append((group, thread))
        thread.start()
        wait_until(lambda: group.health().healthy)
        return group, sink, detector

    yield start
    for group, thread in groups:
        group.stop()
        thread.join(10)
        assert not thread.is_alive()


def states(group):
    return {camera.name: camera.state for camera in group.cameras()}


def test_cameras_share_one_sink_and_keep_their_names(house, wait_until):
    group, sink, _ = house(Camera(name="door", source=frames()), Camera(name="yard", source=frames()))
    wait_until(lambda: states(group) == {"door": "up", "yard": "up"})
    wait_until(lambda: len(sink.events) == 2)
    assert sink.kinds("door") == sink.kinds("yard") == ["source-up"]
    assert sink.opened == 1
    wait_until(lambda: group.health().healthy and group.health().down == ())
    group.stop()
    wait_until(lambda: sink.closed)
    assert sink.kinds("door") == ["source-up", "statistics"]


def test_cameras_come_change_and_go_while_it_runs(house, wait_until):
    group, sink, _ = house(Camera(name="door", source=frames()))
    wait_until(lambda: states(group) == {"door": "up"})
    before = group.stream("door")
    group.add(Camera(name="yard", source=frames(tone=1)))
    group.change(Camera(name="yard", source=frames(tone=2, size=(32, 40))))
    wait_until(lambda: states(group) == {"door": "up", "yard": "up"})
    group.change(group.configured()[0])  # an equal one goes on untouched
    assert group.stream("door") is before
    wait_until(lambda: group.stream("yard").newest is not None)
    assert group.stream("yard").newest.image.shape == (32, 40, 3)
    group.remove("door")
    assert list(states(group)) == ["yard"]
    wait_until(lambda: sink.kinds("door")[-1] == "statistics")
    with pytest.raises(CameraNotFoundError, match="'door'"):
        group.snapshot("door")
    assert group.snapshot("yard").startswith(b"\xff\xd8")


def test_an_empty_group_waits_for_cameras(house, wait_until):
    group, _, _ = house()
    assert group.health().healthy
    group.add(Camera(name="door", source=frames()))
    wait_until(lambda: states(group) == {"door": "up"})


@pytest.mark.parametrize("name", ["door", "door!"])
def test_two_cameras_of_one_name_are_refused(name):
    """Also those whose files would have one name."""
    cameras = [Camera(name="door", source=frames()), Camera(name=name, source=frames())]
    if name == "door!":
        cameras[0] = Camera(name="door?", source=frames())
    with pytest.raises(CameraError, match="name for each camera"):
        CameraGroup(cameras, detector=NoFaces())


@pytest.mark.parametrize("name", ["", " ", "two\nlines"])
def test_a_name_that_events_cannot_carry_is_refused(name):
    with pytest.raises(CameraError, match="visible characters"):
        Camera(name=name, source=0)


def test_a_camera_shows_no_credentials():
    assert "secret" not in repr(Camera(name="door", source="rtsp://me:secret@camera"))


def test_a_source_that_cannot_be_is_refused_and_the_old_one_goes_on(house, wait_until):
    group, _, _ = house(Camera(name="door", source=frames()))
    wait_until(lambda: states(group) == {"door": "up"})
    before = group.stream("door")
    with pytest.raises(SourceError):
        group.change(Camera(name="door", source="gopher://camera"))
    assert group.stream("door") is before
    assert states(group) == {"door": "up"}


def test_a_camera_that_hangs_leaves_the_others_alone(house, wait_until):
    stalled = StreamSettings(source=SourceOptions(stall_s=0.2))
    group, _, _ = house(Camera(name="door", source=frames()), Camera(name="yard", source=hanging, settings=stalled))
    wait_until(lambda: states(group) == {"door": "up", "yard": "starting"})
    # a camera is up with its first frame, and healthy once that was processed
    wait_until(lambda: group.health().healthy and group.health().down == ("yard",))
    seen = group.stream("door").statistics().frames
    wait_until(lambda: group.stream("door").statistics().frames > seen)


@pytest.mark.slow
def test_a_stream_that_fails_is_started_again(house, wait_until):
    group, sink, detector = house(Camera(name="door", source=frames()))
    detector.failure = RuntimeError("out of memory")
    wait_until(lambda: states(group) == {"door": "down"})
    assert "out of memory" in group.cameras()[0].reason
    detector.failure = None
    wait_until(lambda: states(group) == {"door": "up"})
    assert group.cameras()[0].restarts == 1
    assert group.problems() == ()
    assert sink.opened == 1


def test_the_group_ends_when_all_recordings_are_over():
    sink = Remembered()
    film = [np.zeros((48, 64, 3), np.uint8)] * 3
    fast = StreamSettings(pace=False)
    group = CameraGroup(
        [Camera(name=name, source=film, settings=fast) for name in ("one", "two")], detector=NoFaces(), sinks=[sink]
    )
    group.run()
    assert states(group) == {"one": "ended", "two": "ended"}
    assert [camera.statistics.frames for camera in group.cameras()] == [3, 3]
    assert sink.closed == 1
    with pytest.raises(RuntimeError, match="another CameraGroup"):
        group.run()


def test_a_camera_that_cannot_be_read_fails_alone_and_says_why(tmp_path):
    broken = tmp_path / "film.avi"
    broken.write_bytes(b"no film")
    group = CameraGroup([Camera(name="film", source=str(broken))], detector=NoFaces())
    group.run()
    (camera,) = group.cameras()
    assert camera.state == "failed"
    assert "film.avi" in camera.reason
    assert group.failures() == (f"film: {camera.reason}",)
    assert group.problems() == (), "which are told beside the state of each camera"


def test_a_sink_that_cannot_be_opened_stops_the_start():
    class Refusing(Remembered):
        def open(self):
            raise SinkError("The broker refuses this user.")

    group = CameraGroup([Camera(name="door", source=frames())], detector=NoFaces(), sinks=[Refusing()])
    with pytest.raises(SinkError, match="broker"):
        group.run()


def test_the_watchdog_is_silent_while_an_inference_hangs(house, wait_until):
    turns, ahead_s = [], 0.0
    group, _, _ = house(on_turn=lambda: turns.append(1), clock=lambda: time.monotonic() + ahead_s)
    wait_until(lambda: turns)
    share = group.inference.join("stuck")
    group.inference.begin(share)
    ahead_s = 11.0
    assert not group.health().healthy
    silent = len(turns) + 1  # one may be on its way
    time.sleep(0.5)
    assert len(turns) <= silent
    group.inference.end(share)
    wait_until(lambda: len(turns) > silent)


def test_a_camera_that_floods_is_processed_at_a_bounded_rate(house, wait_until):
    """One that has a limit of its own keeps it."""
    picture = np.zeros((48, 64, 3), np.uint8)
    group, _, _ = house(
        Camera(name="flood", source=lambda: itertools.repeat(picture)),
        Camera(name="slow", source=frames(), settings=StreamSettings(fps=5.0)),
    )
    assert group.stream("flood").settings.fps == 30.0
    assert group.stream("slow").settings.fps == 5.0
    wait_until(lambda: group.stream("flood").statistics().frames > 10)
    flooded = group.stream("flood").statistics()
    assert flooded.frames <= flooded.seconds * 30 + 2
    assert flooded.read > flooded.frames, "the other frames are skipped"

    def is_processed_as_rarely_as_a_camera_that_works():
        before = group.stream("flood").statistics()
        time.sleep(0.4)
        after = group.stream("flood").statistics()
        return after.frames - before.frames <= (after.seconds - before.seconds) * 15 + 2

    wait_until(is_processed_as_rarely_as_a_camera_that_works)


def test_pictures_from_elsewhere_take_turns_with_the_cameras(small_model, astronaut, tmp_path):
    """Their pipeline gives the embeddings of one of its own, and decodes large photographs at a reduced scale."""
    detector, embedder = open_detector("mtcnn"), Embedder(small_model, provider="cpu", threads=1)
    detector.max_side = 256
    group = CameraGroup(detector=detector, embedder=embedder)
    pipeline, own = group.pipeline("http"), FacePipeline(embedder, detector)
    photo = tmp_path / "photo.jpg"
    cv2.imwrite(str(photo), astronaut)
    assert find_in_file(pipeline.detector, ImageFile.read(photo)).reduction == 2
    (found,), (expected,) = pipeline.embed_file(ImageFile.read(photo)), own.embed_file(ImageFile.read(photo))
    assert np.array_equal(found.embedding, expected.embedding)
    assert group.inference.batched_faces == 1
    assert CameraGroup(detector=detector).pipeline("http") is None


def test_pictures_with_a_detector_of_their_own_wait_for_no_camera(small_model):
    group = CameraGroup(detector=NoFaces(), embedder=Embedder(small_model, provider="cpu", threads=1))
    pipeline, camera = group.pipeline("http", NoFaces()), group.inference.join("camera")
    group.inference.begin(camera)  # and does not end
    assert pipeline.detector.detect(np.zeros((48, 64, 3), np.uint8)) == []
    group.inference.end(camera)
