"""Guided captures of the page: who may have one, and that nothing of it is left."""

import gc
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_sphereface.alignment import LANDMARK_TEMPLATE
from edge_sphereface.enrollment.guided_capture import Shot
from edge_sphereface.types import Face
from edge_sphereface.web.captures import CaptureError, Captures

TURNS = {"frontal": (0, 0), "left": (-9, 0), "right": (9, 0), "up": (0, -8), "down": (0, 8)}


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def later():
    """What a capture wants to run later."""
    return []


@pytest.fixture
def captures(clock, later):
    return Captures(clock, lambda _, run: later.append(run))


@pytest.fixture
def stream(people, web_embedder):
    """As much of a stream as a capture asks for."""
    settings = SimpleNamespace(name="door")
    return SimpleNamespace(settings=settings, gallery=people, embedder=web_embedder, threshold=0.0)


@pytest.fixture
def show(captures, clock, stream):
    """Let a camera show somebody in a pose for a second, while the viewer asks."""
    coarse = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)

    def show(capture, *poses):
        for pose in poses:
            points = np.float32(LANDMARK_TEMPLATE)
            points[2] += TURNS[pose]
            track = SimpleNamespace(face=Face(box=np.zeros(4, np.float32), landmarks=points + 60, score=0.9))
            for _ in range(20):
                frame = SimpleNamespace(image=image)
                captures.take("door", SimpleNamespace(detected=True, in_sight=(track,), frame=frame), stream)
                clock.now_s += 0.1
            captures.state(capture)

    return show


def test_a_complete_capture_is_enrolled_and_over(captures, show, stream, people):
    capture = captures.begin(stream).id
    show(capture, "frontal", "left")
    state = captures.state(capture)
    assert (state.taken, state.wanted) == (("frontal", "left"), "right")
    with pytest.raises(CaptureError, match="Not all"):
        captures.enroll(capture, "Ann", people)
    with pytest.raises(CaptureError, match="no picture"):
        captures.crop(capture, "up")
    show(capture, "right", "up", "down")
    crop = cv2.imdecode(np.frombuffer(captures.crop(capture, "up"), np.uint8), 1)
    assert crop.shape == stream.embedder.spec.crop_shape
    assert captures.enroll(capture, "Ann", people).added == 5
    with pytest.raises(CaptureError, match="over"):
        captures.state(capture)


def test_a_name_that_is_refused_does_not_end_the_capture(captures, show, stream, people):
    capture = captures.begin(stream).id
    show(capture, *TURNS)
    with pytest.raises(ValueError, match="Expected a name"):
        captures.enroll(capture, " ", people)
    assert captures.enroll(capture, "Ann", people).added == 5


def test_one_capture_for_a_camera_which_ends_when_it_is_canceled_or_left(captures, show, clock, stream, people):
    first = captures.begin(stream).id
    with pytest.raises(CaptureError, match="already"):
        captures.begin(stream)
    show(first, "frontal")
    captures.cancel(first)
    with pytest.raises(CaptureError, match="over"):
        captures.crop(first, "frontal")
    second = captures.begin(stream).id
    clock.now_s += 11
    with pytest.raises(CaptureError, match="over"):
        captures.state(second)
    third = captures.begin(stream).id
    for _ in range(9):
        captures.state(third)
        clock.now_s += 9.9
    clock.now_s += 1.0  # 90 seconds without a picture
    with pytest.raises(CaptureError, match="over"):
        captures.state(third)
    assert len(people) == 0


def test_without_a_gallery_there_is_none(captures, stream):
    stream.gallery = None
    with pytest.raises(CaptureError, match="without a gallery"):
        captures.begin(stream)


def test_of_two_who_enroll_one_capture_the_second_is_refused(captures, show, stream, people):
    capture = captures.begin(stream).id
    show(capture, *TURNS)

    class Asked:
        """A gallery, at which somebody else enrolls the same capture meanwhile."""

        keep_crops = False

        def enroll(self, *given, **options):
            with pytest.raises(CaptureError, match="being enrolled"):
                captures.enroll(capture, "Bob", people)
            return people.enroll(*given, **options)

    assert captures.enroll(capture, "Ann", Asked()).added == 5
    assert [person.name for person in people.identities()] == ["Ann"]


def test_the_pictures_of_a_capture_that_is_left_go_without_another_frame_or_question(
    captures, show, stream, clock, later
):
    def shots():
        gc.collect()
        # type(), not isinstance(): that asks objects of other packages for __class__, and some of them warn.
        return sum(type(one) is Shot for one in gc.get_objects())

    before = shots()
    show(captures.begin(stream).id, "frontal", "left")
    later.pop()()
    assert shots() == before + 2
    clock.now_s += 11
    later.pop()()
    assert shots() == before
    assert later == []
    captures.begin(stream)
    assert len(later) == 1
