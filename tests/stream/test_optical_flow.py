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


def test_a_face_is_followed_through_a_large_frame(stage):
    """The part of the frame that is kept goes with the face, and is small where it can be."""
    picture = stage.textured(5, 480, 1280)
    motion, face, start = LandmarkFlow(), stage.face_at(60, 200, 0.6), stage.face_at(60, 200, 0.6)
    motion.look(picture, [face])
    for step in range(1, 101):
        shifted = np.roll(picture, 9 * step, axis=1)
        (face,) = motion.follow(shifted, [face])
        motion.look(shifted, [face])
    assert np.abs(face.landmarks - start.landmarks - np.float32([900, 0])).max() < 3


def test_faces_that_come_and_leave_do_not_disturb_another(stage):
    picture, shifted = stage.textured(5, 480, 1280), np.roll(stage.textured(5, 480, 1280), 4, axis=1)
    motion, one, other = LandmarkFlow(), stage.face_at(60, 200), stage.face_at(1000, 20)
    motion.look(picture, [one])
    (moved,) = motion.follow(shifted, [one])
    motion.look(shifted, [moved, other])
    back = motion.follow(picture, [moved, other])
    assert np.abs(back[0].landmarks - one.landmarks).max() < 1
    assert np.abs(back[1].landmarks - other.landmarks - np.float32([-4, 0])).max() < 1


def test_a_face_far_outside_of_the_frame_is_lost(stage):
    picture, motion = stage.textured(5), LandmarkFlow()
    gone = stage.face_at(-5000, 9000)
    motion.look(picture, [gone])
    assert motion.follow(picture, [gone]) == [None]
