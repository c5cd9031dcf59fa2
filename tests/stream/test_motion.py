"""Where a face went from one frame to the next, and whether it still looks the same."""

import numpy as np
import pytest

from edge_sphereface.stream.motion import Appearance, LandmarkMotion


def test_landmarks_are_followed_through_a_shift(stage):
    image = stage.textured(3)
    motion = LandmarkMotion()
    motion.look(image)
    face = stage.face_at(80, 50)
    ((moved, _),) = motion.follow(np.roll(image, (3, 5), axis=(0, 1)), [face])
    assert np.abs(moved.landmarks - face.landmarks - np.float32([5, 3])).max() < 0.5
    assert np.abs(moved.box - face.box - np.float32([5, 3, 5, 3])).max() < 1.0


def test_a_face_whose_points_match_but_that_looks_different_is_not_followed(stage):
    """After a cut five points may lie well on another face."""
    before, after, face = stage.textured(3), stage.textured(4), stage.face_at(80, 50)
    for x, y in face.landmarks.astype(int):
        after[y - 13 : y + 14, x - 13 : x + 14] = before[y - 13 : y + 14, x - 13 : x + 14]
    motion = LandmarkMotion()
    motion.look(before)
    assert motion.follow(after, [face]) == [None]


def test_a_face_that_is_gone_is_not_followed(stage):
    motion = LandmarkMotion()
    motion.look(stage.textured(3))
    assert motion.follow(stage.textured(4), [stage.face_at(80, 50)]) == [None]
    assert motion.follow(np.zeros((100, 100, 3), np.uint8), [stage.face_at(8, 5)]) == [None], "another size"


@pytest.fixture
def patches():
    """Two faces that have nothing in common."""
    random = np.random.default_rng(5)
    return [random.normal(0, 40, (24, 24)).astype(np.float32) for _ in range(2)]


@pytest.mark.parametrize(("fade_s", "noticed"), [(0.04, True), (0.2, True), (0.4, True), (4.0, False)])
@pytest.mark.parametrize("begin_s", [1.0, 1.08])
def test_a_face_that_fades_into_another_within_a_moment_has_changed(patches, fade_s, noticed, begin_s):
    appearance, told = Appearance(), []
    for frame in range(25 * 8):
        share = np.clip((frame / 25 - begin_s) / fade_s, 0, 1)
        patch = patches[0] * np.float32(1 - share) + patches[1] * np.float32(share)
        if appearance.changed(patch, frame / 25):
            told.append(frame / 25)
    assert bool(told) == noticed
    assert len(told) <= 2, "once or twice, and then never again"
    assert all(begin_s <= moment <= begin_s + fade_s for moment in told)


def test_a_face_without_contrast_and_one_of_which_nothing_is_known_have_not_changed(patches):
    appearance = Appearance()
    assert not appearance.changed(patches[0], 0.0)
    assert not appearance.changed(np.zeros((24, 24), np.float32), 0.1)
    appearance.forget()
    assert not appearance.changed(patches[1], 0.2)
