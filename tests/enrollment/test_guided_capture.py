"""Five poses before a camera: what is taken, what is refused, and what the person is told."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from edge_sphereface.alignment import LANDMARK_TEMPLATE
from edge_sphereface.enrollment.guided_capture import GuidedCapture
from edge_sphereface.types import Face

TURNS = {"frontal": (0, 0), "left": (-9, 0), "right": (9, 0), "up": (0, -8), "down": (0, 8)}
"""Where the nose is in each pose, in pixels of the template."""


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
    assert hold(face("left")) == ["turn"]
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


@dataclass(frozen=True)
class Head:
    """A head before a camera: five points in pixels of the template, the third one toward the camera.

    Attributes:
        nose_px: how far the nose stands out.
        nose_y: height of its tip.
        camera: degrees by which the camera hangs above the face, negative below.
    """

    nose_px: float = 15.0
    nose_y: float = 0.0
    camera: float = 0.0

    def face(self, turn=0.0, nod=0.0):
        """The face as the camera sees it, turned to the right of the picture and nodded down by degrees."""
        points = np.array(
            [[-17.6, -20, 0], [17.6, -20, 0], [0, self.nose_y, self.nose_px], [-14, 20, 2], [14, 20, 2]], float
        )
        yaw, pitch = np.radians(turn), np.radians(nod + self.camera)
        points[:, 0], points[:, 2] = (
            points[:, 0] * np.cos(yaw) + points[:, 2] * np.sin(yaw),
            points[:, 2] * np.cos(yaw) - points[:, 0] * np.sin(yaw),
        )
        points[:, 1] = points[:, 1] * np.cos(pitch) + points[:, 2] * np.sin(pitch)
        landmarks = np.float32(points[:, :2]) + 120
        return Face(box=np.float32([*landmarks.min(0), *landmarks.max(0)]), landmarks=landmarks, score=0.9)


HEADS = {
    "ordinary": Head(),
    "flat nose": Head(nose_px=11),
    "long nose": Head(nose_px=19, nose_y=4),
    "short nose": Head(nose_y=-4),
    "camera above": Head(camera=15),
    "camera below": Head(camera=-15),
    "flat nose, camera above": Head(nose_px=12, nose_y=3, camera=15),
    "short nose, camera below": Head(nose_y=-3, camera=-15),
}
SMALL = {"left": (-22, 4), "right": (22, -3), "up": (4, -20), "down": (-5, 20)}
"""Small movements of a head: turned and nodded, in degrees. Nobody turns without a nod."""


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_small_movements_of_anybody_are_enough_whatever_the_height_of_the_camera(capture, hold, head):
    assert hold(head.face())[-1] == "taken"
    assert hold(head.face(turn=8, nod=6)) == ["turn"], "it hardly differs"
    for pose, (turn, nod) in SMALL.items():
        assert hold(head.face(turn, nod))[-1] == "taken", pose
        assert capture.shots[-1].pose == pose
    assert capture.wanted is None


def test_who_moves_too_little_for_some_seconds_is_told(capture, hold):
    assert hold(Head().face(turn=30), seconds=6) == ["turn"], "the first picture needs less of it"
    hold(Head().face())
    assert hold(Head().face(turn=8), seconds=6) == ["turn", "more"]
    assert hold() == ["nobody"]
    assert hold(Head().face(turn=8)) == ["turn"], "it begins again"
    assert hold(Head().face(turn=22))[-1] == "taken"


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize(("turn", "nod"), [(-55, 0), (55, 0), (0, -50), (0, 50)])
def test_who_moves_too_far_is_told(capture, hold, head, turn, nod):
    hold(head.face())
    assert hold(head.face(turn, nod)) == ["less"]
    assert len(capture.shots) == 1


@pytest.mark.parametrize(("turn", "nod"), [(-20, 0), (20, 0), (0, -40), (0, 45)])
def test_the_first_picture_is_frontal(capture, hold, turn, nod):
    assert hold(Head().face(turn, nod)) == ["turn"]
    assert capture.wanted == "frontal"


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
