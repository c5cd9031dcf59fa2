"""Five poses before a camera: what is taken, what is refused, and what the person is told."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_sphereface.alignment import LANDMARK_TEMPLATE
from edge_sphereface.enrollment.guided_capture import GuidedCapture
from edge_sphereface.types import Face

TURNS = {"frontal": (0, 0), "left": (-9, 0), "right": (9, 0), "up": (0, -10), "down": (0, 10)}


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class Twins:
    """A model that sees the person whom a test names."""

    def __init__(self, spec):
        self.spec, self.person, self.calls = spec, 0, 0

    def embed(self, crops):
        self.calls += len(crops)
        return np.eye(8, dtype=np.float32)[[self.person] * len(crops)]


@pytest.fixture
def embedder(spec):
    return Twins(spec)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def capture(clock):
    return GuidedCapture(0.5, clock=clock)


@pytest.fixture(scope="module")
def image():
    coarse = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)


def face(pose="frontal", scale=1.0, at=(100, 60)):
    points = np.float32(LANDMARK_TEMPLATE)
    points[2] += TURNS[pose]
    points = points * scale + np.float32(at)
    return Face(box=np.float32([*points.min(0), *points.max(0)]), landmarks=points, score=0.9)


@pytest.fixture
def hold(capture, clock, image, embedder):
    """Hold a pose for a second, ten looks long, after a pause; gives the hints without repetition."""

    def hold(*faces, picture=image, seconds=1.0):
        hints = []
        clock.now_s += 1.0
        for _ in range(round(seconds * 10)):
            capture.look(picture, faces, embedder)
            clock.now_s += 0.1
            hints += [capture.hint] if hints[-1:] != [capture.hint] else []
        return hints

    return hold


def test_five_poses_of_one_person_are_taken_once_each(capture, hold, embedder, spec):
    assert (capture.wanted, capture.hint) == ("frontal", "nobody")
    for pose in ("frontal", "left", "right", "up", "down"):
        assert capture.wanted == pose
        assert hold(face(pose)) == ["still", "taken"]
    assert capture.wanted is None
    assert [shot.pose for shot in capture.shots] == ["frontal", "left", "right", "up", "down"]
    assert {shot.crop.shape for shot in capture.shots} == {spec.crop_shape}
    assert embedder.calls == 5, "only what is taken is embedded"
    assert hold(face()) == ["taken"]
    assert embedder.calls == 5


def test_poses_come_in_any_order_after_the_frontal_one(capture, hold):
    assert hold(face("down")) == ["turn"]
    hold(face("frontal"))
    assert hold(face("frontal"))[-1] == "turn", "that one was taken"
    assert hold(face("down"))[-1] == "taken"
    assert capture.wanted == "left"


def test_only_one_large_sharp_face_that_is_held_is_taken(capture, hold):
    smooth = np.repeat(np.tile(np.linspace(0, 255, 320).astype(np.uint8), (240, 1))[..., None], 3, axis=2)
    assert hold() == ["nobody"]
    assert hold(face(), face(at=(190, 60))) == ["several"]
    assert hold(face(scale=0.8)) == ["closer"]
    assert hold(face(), picture=smooth) == ["still"]
    hold()
    assert hold(face(), seconds=0.2) == ["still"]
    hold()
    assert hold(face(), seconds=0.2) == ["still"], "the time before does not count"
    assert capture.shots == ()
    hold(face())
    far = replace(face("left"), landmarks=face("left").landmarks + np.float32([[0, 0]] * 2 + [[-8, 0]] + [[0, 0]] * 2))
    assert hold(far) == ["less"]


def test_another_person_is_not_taken(capture, hold, embedder):
    hold(face())
    embedder.person = 1
    assert "other-person" in hold(face("left"))
    assert len(capture.shots) == 1
    embedder.person = 0
    assert hold(face("left"))[-1] == "taken"
    assert len(capture.shots) == 2


def test_it_is_over_after_a_while_without_a_picture(capture, hold, clock):
    hold(face())
    clock.now_s += 80
    assert capture.seconds_left > 0
    clock.now_s += 20
    assert capture.seconds_left == 0
    hold(face("left"))
    assert len(capture.shots) == 1
