"""Crops of one kind of fit beside those of the other, cut from the photograph."""

import numpy as np
import pytest

from edge_sphereface.alignment import LANDMARK_TEMPLATE
from edge_sphereface.detection import open_detector
from edge_sphereface.gallery.refit import refit_crop
from edge_sphereface.types import Face


@pytest.mark.parametrize(("cut_by", "wanted"), [("umeyama", "cp2tform"), ("cp2tform", "umeyama")])
@pytest.mark.parametrize("turn", [-0.4, 0.0, 0.2])
def test_as_if_cut_by_the_other_fit(marked, cut_by, wanted, turn):
    """Discs that are found by their colors lie where they lie in a crop cut by the other fit from the photograph."""
    crop, direct = marked.cut(cut_by, turn), marked.cut(wanted, turn)
    refitted = refit_crop(crop, marked, LANDMARK_TEMPLATE, cut_by=cut_by)
    assert (refitted.shape, refitted.dtype) == (crop.shape, np.uint8)
    assert np.abs(marked.marks(crop) - marked.marks(direct)).max() > 1.2
    assert np.abs(marked.marks(refitted) - marked.marks(direct)).max() < 0.3
    assert refitted.min(axis=2).max() > 0, "no black border"
    assert (refitted[0] == 90).all()


def test_another_face_in_the_crop_is_not_taken(marked):
    """Two faces are found: the aligned one, and a small one in the corner, more certain."""
    crop = marked.cut("umeyama", 0.0)

    class Two:
        name = "two"

        def detect(self, image):
            (face,) = marked.detect(image)
            small = Face(box=face.box / 4, landmarks=face.landmarks / 4, score=1.0)
            return [small, face]

    alone = refit_crop(crop, marked, LANDMARK_TEMPLATE, cut_by="umeyama")
    np.testing.assert_array_equal(refit_crop(crop, Two(), LANDMARK_TEMPLATE, cut_by="umeyama"), alone)


@pytest.mark.parametrize(
    "change",
    [
        lambda points: points / 4,  # a small face in the corner
        lambda points: points[[1, 0, 2, 4, 3]],  # mirrored
        lambda points: points.mean(axis=0) + (points - points.mean(axis=0)) * [0.05, 1.0],  # a profile beyond belief
        lambda points: np.full_like(points, np.nan),
    ],
)
def test_landmarks_that_are_not_the_aligned_faces_are_none(marked, change):
    class Changed:
        name = "changed"

        def detect(self, image):
            (face,) = marked.detect(image)
            return [Face(box=face.box, landmarks=change(face.landmarks).astype(np.float32), score=1.0)]

    crop = marked.cut("umeyama", 0.0)
    assert refit_crop(crop, Changed(), LANDMARK_TEMPLATE, cut_by="umeyama") is None


def test_detectors_see_the_face_of_a_crop(astronaut):
    """MTCNN finds the landmarks of a photograph again in its crop; noise has none."""
    from edge_sphereface.alignment import align

    detector = open_detector("mtcnn")
    (face,) = detector.detect(astronaut)
    crop, direct = (align(astronaut, face.landmarks, fit=fit)[0] for fit in ("umeyama", "cp2tform"))
    refitted = refit_crop(crop, detector, LANDMARK_TEMPLATE, cut_by="umeyama")
    before, after = (np.abs(some.astype(int) - direct)[4:-4, 4:-4].mean() for some in (crop, refitted))
    assert after < 0.8 * before
    noise = np.random.default_rng(0).integers(0, 256, crop.shape, dtype=np.uint8)
    assert refit_crop(noise, detector, LANDMARK_TEMPLATE, cut_by="umeyama") is None
