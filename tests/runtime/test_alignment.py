"""Alignment: equal to independent least squares in both directions, and refusing what cannot be aligned."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.transform import estimate_transform

from edge_sphereface.alignment import (
    ALIGNMENT_FITS,
    LANDMARK_TEMPLATE,
    align,
    align_for,
    likeness,
    similarity_transform,
    stack_landmarks,
)
from edge_sphereface.errors import CropError, ImageError, LandmarksError

TEMPLATE = np.array(LANDMARK_TEMPLATE)
coordinates = hnp.arrays(np.float64, (5, 2), elements=st.floats(-1e4, 1e4, width=32))
deviations = hnp.arrays(np.float64, (5, 2), elements=st.floats(-8, 8, width=32))
both_fits = pytest.mark.parametrize("fit", ALIGNMENT_FITS)


def cp2tform(landmarks, template):
    """MATLAB's nonreflective similarity: least squares from the template to the photograph, inverted."""
    (x, y), one, zero = template.T, np.ones(5), np.zeros(5)
    system = np.vstack([np.column_stack([x, y, one, zero]), np.column_stack([y, -x, zero, one])])
    (c, s, u, v), *_ = np.linalg.lstsq(system, landmarks.T.ravel(), rcond=None)
    return np.linalg.inv(np.array([[c, s, u], [-s, c, v], [0, 0, 1]]))[:2]


def umeyama(landmarks, template):
    """That of scikit-image."""
    return estimate_transform("similarity", landmarks, template).params[:2]


REFERENCES = {"cp2tform": cp2tform, "umeyama": umeyama}


@pytest.mark.slow
@both_fits
@given(deviations, st.floats(0.1, 10), st.floats(-np.pi, np.pi), st.floats(-2000, 2000), st.floats(-2000, 2000))
def test_equals_an_independent_least_squares(fit, deviation, scale, angle, x, y):
    points = turned(TEMPLATE + deviation, scale, angle) + [x, y]
    ours, reference = similarity_transform(points[None], fit=fit)[0], REFERENCES[fit](points, TEMPLATE)
    corners = np.array([[0, 0, 1], [2000, 0, 1], [0, 2000, 1]])
    np.testing.assert_allclose(corners @ ours.T, corners @ reference.T, rtol=1e-9, atol=1e-7)


@pytest.mark.slow
@given(deviations)
def test_the_fits_differ_in_scale_alone(deviation):
    """Both turn alike and bring the mean onto the mean; that of the original is never the smaller."""
    points = TEMPLATE * 2 + deviation
    original, other = (similarity_transform(points[None], fit=fit)[0] for fit in ALIGNMENT_FITS)
    ratio = np.hypot(*original[:, 0]) / np.hypot(*other[:, 0])
    assert ratio >= 1 - 1e-12
    np.testing.assert_allclose(original[:, :2], other[:, :2] * ratio, atol=1e-12)
    for transform in (original, other):
        np.testing.assert_allclose([*points.mean(0), 1] @ transform.T, TEMPLATE.mean(0), atol=1e-9)


@pytest.mark.slow
@both_fits
@given(coordinates)
def test_any_points_are_fitted_or_refused(fit, points):
    try:
        transform = similarity_transform(points[None], fit=fit)[0]
    except LandmarksError:
        return
    assert np.isfinite(transform).all()
    assert np.linalg.det(transform[:, :2]) > 0


def test_the_original_is_the_default(astronaut):
    points = TEMPLATE * 1.5 + np.arange(10).reshape(5, 2)
    np.testing.assert_array_equal(
        similarity_transform(points[None]), similarity_transform(points[None], fit="cp2tform")
    )
    crop, original, other = (align(astronaut, points, **how) for how in ({}, {"fit": "cp2tform"}, {"fit": "umeyama"}))
    np.testing.assert_array_equal(crop, original)
    assert (crop != other).mean() > 0.5


def test_a_models_crops_follow_its_specification(astronaut, spec):
    points = TEMPLATE * 1.5 + np.arange(10).reshape(5, 2)
    wide = tuple((x + 8, y) for x, y in LANDMARK_TEMPLATE)
    for fit in ALIGNMENT_FITS:
        changed = replace(spec, alignment_fit=fit, input_width=112, landmark_template=wide)
        expected = align(astronaut, points, template=wide, height=112, width=112, fit=fit)
        np.testing.assert_array_equal(align_for(changed, astronaut, points), expected)


@pytest.mark.slow
@given(coordinates)
def test_likeness_is_what_the_best_similarity_explains(points):
    """Beside numpy's least squares without reflection, in the direction of either fit."""
    try:
        found = likeness(points[None])[0]
    except LandmarksError:
        return
    (x, y), one, zero = TEMPLATE.T, np.ones(5), np.zeros(5)
    system = np.vstack([np.column_stack([x, -y, one, zero]), np.column_stack([y, x, zero, one])])
    wanted = (points - points.mean(0)).T.ravel()
    left = np.square(system @ np.linalg.lstsq(system, wanted, rcond=None)[0] - wanted).sum()
    assert found == pytest.approx(1 - left / np.square(points - points.mean(0)).sum(), abs=1e-6)


def test_a_fit_that_does_not_exist():
    with pytest.raises(ValueError, match="cp2tform, umeyama, got 'procrustes'"):
        align(np.zeros((200, 200, 3), np.uint8), TEMPLATE, fit="procrustes")


def turned(points, scale, angle):
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ rotation.T


@both_fits
@given(st.floats(0.05, 20), st.floats(-np.pi, np.pi), st.floats(-2000, 2000), st.floats(-2000, 2000))
def test_recovers_any_similarity_exactly(fit, scale, angle, x, y):
    points = turned(TEMPLATE, scale, angle) + [x, y]
    transform = similarity_transform(points[None], fit=fit)[0]
    np.testing.assert_allclose(
        points @ transform[:, :2].T + transform[:, 2], TEMPLATE, atol=1e-8 * (1 + abs(x) + abs(y))
    )


@both_fits
@pytest.mark.parametrize(
    "landmarks", [TEMPLATE * [-1, 1] + [200, 0], TEMPLATE[[1, 0, 2, 4, 3]] * 2], ids=["mirrored", "exchanged"]
)
def test_mirrored_landmarks_are_refused(fit, landmarks):
    """No rotation fits them: the original's fit would enlarge a few pixels to a crop, the other shrink the face."""
    with pytest.raises(LandmarksError, match="left eye, right eye"):
        similarity_transform(landmarks[None], fit=fit)


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


def test_up_to_two_pixels_for_one_the_warp_is_the_originals(astronaut):
    points = turned(TEMPLATE - 48, 1.99, 0.3) + [224, 130]
    plain = cv2.warpAffine(astronaut, cp2tform(points, TEMPLATE), (96, 112))
    np.testing.assert_array_equal(align(astronaut, points)[0], plain)


@pytest.mark.parametrize("scale", [2.5, 4.0, 9.7])
def test_large_faces_are_averaged_over_areas(scale):
    """Noise of single pixels: beside an exact average over areas, by 16 x 16 samples a pixel, at the same place."""
    random = np.random.default_rng(0)
    coarse = cv2.resize(
        random.integers(0, 256, (14, 12, 3), dtype=np.uint8), (1100, 1300), interpolation=cv2.INTER_CUBIC
    )
    image = np.clip(coarse + random.normal(0, 60, coarse.shape), 0, 255).astype(np.uint8)
    points = turned(TEMPLATE - 48, scale, 0.2) + [540, 600]
    transform = cp2tform(points, TEMPLATE)
    fine = np.column_stack([transform[:, :2] * 16, transform[:, 2] * 16 + 7.5])
    exact = cv2.resize(cv2.warpAffine(image, fine, (96 * 16, 112 * 16)), (96, 112), interpolation=cv2.INTER_AREA)
    crop, plain = align(image, points)[0], cv2.warpAffine(image, transform, (96, 112))
    error, skipping = (np.abs(made.astype(int) - exact).mean() for made in (crop, plain))
    assert error < 8
    assert error < skipping / 2


def test_a_large_face_at_the_border_is_black_outside():
    image = np.full((600, 600, 3), 255, np.uint8)
    crop = align(image, TEMPLATE * 5 - [240, 0])[0]
    assert crop[:, :46].max() == 0
    assert crop[1:111, 50:].min() == 255
    assert align(image, TEMPLATE * 5 + [5000, 0])[0].max() == 0


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
