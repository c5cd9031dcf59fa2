"""Where a face went from one frame to the next."""

import numpy as np

from edge_sphereface.stream.tracking.optical_flow import LandmarkFlow


def test_landmarks_are_followed_through_a_shift(stage):
    image = stage.textured(3)
    motion = LandmarkFlow()
    face = stage.face_at(80, 50)
    motion.look(image, [face])
    (moved,) = motion.follow(np.roll(image, (3, 5), axis=(0, 1)), [face])
    assert np.abs(moved.landmarks - face.landmarks - np.float32([5, 3])).max() < 0.5
    assert np.abs(moved.box - face.box - np.float32([5, 3, 5, 3])).max() < 1.0


def test_a_face_whose_points_match_but_that_looks_different_is_not_followed(stage):
    """After a cut five points may lie well on another face."""
    before, after, face = stage.textured(3), stage.textured(4), stage.face_at(80, 50)
    for x, y in face.landmarks.astype(int):
        after[y - 13 : y + 14, x - 13 : x + 14] = before[y - 13 : y + 14, x - 13 : x + 14]
    motion = LandmarkFlow()
    motion.look(before, [face])
    assert motion.follow(after, [face]) == [None]


def test_a_face_that_is_gone_is_not_followed(stage):
    motion = LandmarkFlow()
    motion.look(stage.textured(3), [stage.face_at(80, 50)])
    assert motion.follow(stage.textured(4), [stage.face_at(80, 50)]) == [None]
    assert motion.follow(np.zeros((100, 100, 3), np.uint8), [stage.face_at(8, 5)]) == [None], "another size"
