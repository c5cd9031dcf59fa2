"""What is said about the photographs of a person."""

import numpy as np
import pytest

from edge_sphereface.alignment import LANDMARK_TEMPLATE
from edge_sphereface.enrollment import Appraisal, report_person
from edge_sphereface.enrollment.appraisal import pose_of
from edge_sphereface.enrollment.person import best_crop, duplicates_of, to_the_others, wilson
from edge_sphereface.enrollment.wording import advice_about, lines_about
from edge_sphereface.gallery import Candidate, Portrait, Threshold, open_gallery
from edge_sphereface.json_output import json_object
from edge_sphereface.model.fingerprint import Fingerprint

FRONTAL = Appraisal(quality=1.0, eyes_px=40.0, sharpness=0.1, pose="frontal", light="even")


def rows_of(*angles_degrees, size=8):
    """Unit rows in one plane: photographs as far apart as their angles."""
    angles = np.radians(angles_degrees)
    rows = np.zeros((len(angles), size), np.float32)
    rows[:, 0], rows[:, 1] = np.cos(angles), np.sin(angles)
    return rows


@pytest.fixture
def people(tmp_path, spec):
    """A gallery of Bob, at 80 degrees, with a threshold of 0.8."""
    from dataclasses import replace

    fingerprint = replace(Fingerprint.of(spec), embedding_size=8)
    with open_gallery(tmp_path / "people.db", fingerprint, create=True) as gallery:
        gallery.set_threshold(Threshold(value=0.8, precision="float32", fingerprint=fingerprint.digest, source="test"))
        gallery.enroll("Bob", rows_of(80))
        yield gallery


def report(gallery, rows, appraisals=None, **options):
    gallery.enroll("Ann", rows)
    return report_person(gallery, "Ann", rows, appraisals=appraisals or [FRONTAL] * len(rows), **options)


def test_each_photograph_is_compared_with_the_others():
    similarities = to_the_others(rows_of(0, 0, 60))
    assert similarities == pytest.approx([np.cos(np.radians(30)), np.cos(np.radians(30)), 0.5])
    assert np.isnan(to_the_others(rows_of(0))).all()
    assert to_the_others(rows_of(0, 90, 270))[0] == -1.0, "the others cancel one another"


def test_a_photograph_that_looks_like_somebody_else_is_harmful(people):
    found = report(people, rows_of(0, 10, 20, 70))
    assert found.harmful == (4,)
    assert found.photographs[3].nearest.name == "Bob"
    assert found.nearest.name == "Bob"
    assert found.margin == pytest.approx(found.similarity - found.nearest.similarity)
    assert found.photographs[3].looks_like == "Bob"
    assert any("photograph 4" in line and "looks like Bob (0.985)" in line for line in advice_about(found))


def test_a_photograph_like_nobody_is_not_said_to_look_like_the_nearest(people):
    found = report(people, rows_of(0, 10, 20, -80))
    assert found.harmful == (4,)
    assert [each.looks_like for each in found.photographs] == [None] * 4
    assert any("photograph 4" in line and "somebody else" in line for line in advice_about(found))


def test_the_crop_that_stands_for_a_person_is_the_one_most_alike_the_others(people):
    def best(*angles, crops):
        rows = rows_of(*angles)
        return best_crop(people, Portrait(name="Ann", metadata=None, embeddings=rows, crops=crops))

    assert best(0, 30, 12, crops=(b"0", b"30", b"12")) == b"12"
    assert best(0, 30, 12, crops=(b"0", None, None)) == b"0"
    assert best(0, 30, 12, crops=(None, None, None)) is None
    assert best(0, 75, crops=(b"Ann", b"Bob")) == b"Ann", "the newest one shows Bob"
    assert best(0, 75, 85, crops=(b"Ann", b"Bob", b"Bob")) == b"Ann", "most of them show Bob"


def test_what_is_expected_is_the_share_that_the_others_recognize(people):
    found = report(people, rows_of(0, 10, 20, 70))
    assert (found.expected.rate, found.expected.photographs, found.expected.threshold) == (0.75, 4, 0.8)
    assert found.expected.low < 0.75 < found.expected.high
    assert any("75 % at the threshold 0.800, not calibrated" in line for line in lines_about(found))
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4), "Wilson's interval, by hand"
    assert wilson(4, 4)[1] == pytest.approx(1.0)


def test_a_photograph_that_repeats_an_earlier_one_is_redundant(people, tmp_path):
    assert duplicates_of(rows_of(0, 40, 1, 40)) == [None, None, 1, 2]
    found = report(people, rows_of(0, 1), paths=[None, tmp_path / "again.jpg"])
    assert found.redundant == (2,)
    assert any("again.jpg" in line for line in advice_about(found))


def test_one_photograph_cannot_be_judged(people):
    found = report(people, rows_of(80))
    assert found.similarity is found.expected is found.margin is None
    assert found.harmful == ()
    assert "One photograph only" in lines_about(found)[1]


def test_poses_and_light_that_nobody_showed_are_missing(people):
    from dataclasses import replace

    left = replace(FRONTAL, pose="left", light="from the left")
    found = report(people, rows_of(0, 20, 40), [FRONTAL, left, None])
    assert found.missing_poses == ("right", "up", "down")
    assert found.missing_light == ("from the right",)
    unknown = report_person(people, "Ann", rows_of(0, 20), appraisals=[None, None])
    assert unknown.missing_poses is unknown.missing_light is None
    assert not any("No photograph shows" in line for line in advice_about(unknown))


@pytest.mark.parametrize(
    ("shift", "pose"),
    [
        ((0, 0), "frontal"),
        ((0, 8), "frontal"),
        ((-6, -4), "frontal"),
        ((-10, 0), "left"),
        ((10, 3), "right"),
        ((0, -8), "up"),
        ((0, 11), "down"),
    ],
)
def test_the_pose_is_where_the_nose_is(shift, pose):
    landmarks = np.float32(LANDMARK_TEMPLATE)
    landmarks[2] += shift
    assert pose_of(landmarks) == pose


def test_nobody_else_and_no_threshold(tmp_path, people):
    with open_gallery(tmp_path / "alone.db", people.fingerprint, create=True) as gallery:
        found = report(gallery, rows_of(0, 10))
        assert found.nearest is found.margin is found.expected is None
        assert found.harmful == ()


def test_similarities_in_json_are_rounded_alike():
    assert json_object(Candidate(name="Bob", similarity=0.06385332345962524)) == {"name": "Bob", "similarity": 0.0639}
