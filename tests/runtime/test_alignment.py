"""Alignment: exact against Umeyama's SVD solution, and refusing what cannot be aligned."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_sphereface.alignment import LANDMARK_TEMPLATE, align, similarity_transform, stack_landmarks
from edge_sphereface.errors import CropError, ImageError, LandmarksError

TEMPLATE = np.array(LANDMARK_TEMPLATE)
coordinates = hnp.arrays(np.float64, (5, 2), elements=st.floats(-1e4, 1e4, width=32))


def umeyama(source, target):
    """Umeyama's own solution by SVD, with the correction against reflections."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a / 5)
    d = np.diag([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ d @ vt
    scale = np.trace(np.diag(s) @ d) / a.var(0).sum()
    return np.column_stack([scale * rotation, target.mean(0) - scale * rotation @ source.mean(0)])


@given(coordinates)
def test_equals_umeyama_by_svd(points):
    try:
        ours = similarity_transform(points[None])[0]
    except LandmarksError:
        return
    reference = umeyama(points, TEMPLATE)
    reach = np.abs(points).max()
    np.testing.assert_allclose(ours @ [*points[0], 1], reference @ [*points[0], 1], atol=1e-6 * max(reach, 1))


@given(st.floats(0.05, 20), st.floats(-np.pi, np.pi), st.floats(-2000, 2000), st.floats(-2000, 2000))
def test_recovers_any_similarity_exactly(scale, angle, x, y):
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = TEMPLATE @ rotation.T + [x, y]
    transform = similarity_transform(points[None])[0]
    np.testing.assert_allclose(
        points @ transform[:, :2].T + transform[:, 2], TEMPLATE, atol=1e-8 * (1 + abs(x) + abs(y))
    )


def test_never_reflects():
    mirrored = TEMPLATE * [-1, 1] + [200, 0]
    assert np.linalg.det(similarity_transform(mirrored[None])[0][:, :2]) > 0


def test_landmarks_of_the_crop_lie_on_the_template():
    """A white dot at the nose of the photograph is at the template's nose in the crop."""
    points = TEMPLATE * 2 + [40, 30]
    image = np.zeros((400, 400, 3), np.uint8)
    nose_x, nose_y = points[2].round().astype(int)
    image[nose_y - 2 : nose_y + 3, nose_x - 2 : nose_x + 3] = 255
    crop = align(image, points)[0]
    y, x = np.argwhere(crop[:, :, 0] > 127).mean(axis=0)
    assert np.hypot(x - TEMPLATE[2, 0], y - TEMPLATE[2, 1]) < 0.5


def test_batch_equals_one_by_one(astronaut):
    points = np.stack([TEMPLATE + [180, 60], TEMPLATE * 1.3 + [150, 40], TEMPLATE * 3])
    batch = align(astronaut, points)
    assert batch.shape == (3, 112, 96, 3)
    assert batch.dtype == np.uint8
    for crop, one in zip(batch, points, strict=True):
        np.testing.assert_array_equal(crop, align(astronaut, one)[0])


def test_no_faces_give_no_crops(astronaut):
    assert align(astronaut, stack_landmarks([])).shape == (0, 112, 96, 3)


def test_outside_of_the_image_is_black():
    crop = align(np.full((50, 50, 3), 255, np.uint8), TEMPLATE - [1000, 1000])[0]
    assert crop.max() == 0


@pytest.mark.parametrize(
    ("landmarks", "words"),
    [
        (np.full((5, 2), np.nan), "finite"),
        (np.where(np.arange(10).reshape(5, 2) == 3, np.inf, TEMPLATE), "finite"),
        (np.full((5, 2), 7.0), "distinct"),
        (np.zeros((4, 2)), "shape"),
        (np.zeros((5, 3)), "shape"),
        (np.zeros(10), "shape"),
        (TEMPLATE / 500, "distinct"),
    ],
)
def test_degenerate_landmarks_are_refused(landmarks, words):
    with pytest.raises(LandmarksError, match=words):
        align(np.zeros((200, 200, 3), np.uint8), landmarks)


def test_one_bad_face_refuses_the_batch():
    with pytest.raises(LandmarksError, match="finite"):
        align(np.zeros((200, 200, 3), np.uint8), np.stack([TEMPLATE, TEMPLATE * np.nan]))


def test_aligning_a_crop_again_is_refused(astronaut):
    crop = align(astronaut, TEMPLATE + [180, 60])[0]
    with pytest.raises(CropError, match="already"):
        align(crop, TEMPLATE + 1.5)


def test_a_small_photograph_of_the_crops_size_may_still_be_aligned():
    image = np.zeros((112, 96, 3), np.uint8)
    assert align(image, TEMPLATE * 0.5 + 10).shape == (1, 112, 96, 3)


def test_image_is_checked():
    with pytest.raises(ImageError):
        align(np.zeros((100, 100), np.uint8), TEMPLATE)
