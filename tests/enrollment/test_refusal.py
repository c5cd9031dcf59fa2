"""Photographs that strict enrollment refuses, and the reasons that it names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.alignment import LANDMARK_TEMPLATE
from edge_sphereface.enrollment.refusal import (
    PARTS,
    Refusal,
    judge_person,
    judge_photograph,
    no_usable_face,
    require_accepted,
    without_part,
)
from edge_sphereface.errors import NoFaceError, PhotographError, SeveralFacesError
from edge_sphereface.gallery import Threshold, open_gallery
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.types import EmbeddedFace, Face

PHOTO = Path("ann.jpg")
OWN = np.float32([1, 0, 0, 0])


def at(cosine):
    """A unit row of that similarity to ``OWN``."""
    return np.float32([cosine, np.sqrt(1 - cosine**2), 0, 0])


class Embedder:
    """Embeds the mirrored crop, and the crop without each part, as it is told."""

    def __init__(self, mirrored=0.9, **changes):
        self.rows = [at(mirrored), *(at(1 - changes.get(part.split()[0], 0.4)) for part in PARTS)]

    def embed(self, crops):
        assert len(crops) == len(self.rows)
        return np.stack(self.rows)


def face(*, scale=1.0, nose=(0.0, 0.0), crop=None):
    landmarks = np.float32(LANDMARK_TEMPLATE) * np.float32(scale)
    landmarks[2] += nose
    noise = np.random.default_rng(0).integers(0, 256, (112, 96, 3), dtype=np.uint8)
    box = np.float32([0, 0, 96, 112])
    return EmbeddedFace(
        face=Face(box=box, landmarks=landmarks, score=0.9), crop=noise if crop is None else crop, embedding=OWN
    )


@pytest.mark.parametrize(
    ("shown", "embedder", "reasons"),
    [
        (face(), Embedder(), []),
        (face(scale=0.2), Embedder(), ["small"]),
        (face(crop=np.full((112, 96, 3), 90, np.uint8)), Embedder(), ["blurred"]),
        (face(nose=(16, 0)), Embedder(), ["turned"]),
        (face(nose=(0, 16)), Embedder(), ["turned"]),
        (face(), Embedder(mirrored=0.3), ["hidden"]),
        (face(), Embedder(nose=0.02), ["hidden"]),
        (face(scale=0.2, nose=(4, 0)), Embedder(mirrored=0.3), ["small", "turned"]),
    ],
)
def test_each_photograph_is_refused_for_what_it_shows(shown, embedder, reasons):
    assert [each.reason for each in judge_photograph(PHOTO, shown, embedder)] == reasons


def test_what_is_hidden_is_named():
    (found,) = judge_photograph(PHOTO, face(), Embedder(nose=0.02))
    assert "nose and mouth changes the embedding by 0.02" in found.detail


def test_a_part_is_blurred_away_and_nothing_else():
    crop = face().crop
    blurred = without_part(crop, "nose and mouth")
    changed = np.abs(blurred.astype(int) - crop).max(axis=2) > 20
    assert changed[75:100, 20:75].mean() > 0.9
    assert not changed[:50].any()


@pytest.fixture
def gallery(tmp_path, spec):
    fingerprint = replace(Fingerprint.of(spec), embedding_size=4)
    with open_gallery(tmp_path / "people.db", fingerprint, create=True) as gallery:
        gallery.set_threshold(Threshold(value=0.5, precision="float32", fingerprint=fingerprint.digest, source="test"))
        yield gallery


def judged(photographs, gallery=None):
    found = judge_person("Ann", [(Path(name), row) for name, row in photographs.items()], gallery, threshold=0.5)
    return {each.path.name: each.reason for each in found}


def test_a_photograph_unlike_the_others_is_not_of_this_person(gallery):
    assert judged({"1": OWN, "2": at(0.9), "3": at(0.8)}) == {}
    assert judged({"1": OWN, "2": at(0.95), "3": at(-0.5)}) == {"3": "not this person"}
    assert judged({"1": OWN, "2": at(0.2)}) == {"1": "not this person", "2": "not this person"}
    assert judged({"1": OWN}) == {}
    assert judged({}) == {}
    gallery.enroll("Ann", OWN)
    assert judged({"1": at(0.1)}, gallery) == {"1": "not this person"}, "unlike those enrolled before"


def test_a_photograph_of_somebody_who_is_enrolled_is_not_of_this_person(gallery):
    gallery.enroll("Bob", at(0.9))
    assert judged({"1": at(0.95)}, gallery) == {"1": "not this person"}
    assert judged({"1": np.float32([0, 0, 0, 1])}, gallery) == {}


def test_the_error_names_every_photograph_up_to_twenty():
    require_accepted([], 3)
    refused = [no_usable_face(PHOTO, SeveralFacesError("Expected one face, got 2."))]
    refused.append(no_usable_face(Path("bob.jpg"), NoFaceError("bob.jpg: No face was found.")))
    with pytest.raises(
        PhotographError, match=r"2 of 3 photographs are .*several faces \(expected one.*bob.jpg: no face \(no face"
    ) as both:
        require_accepted(refused, 3)
    assert both.value.remedy == "select-largest"
    with pytest.raises(
        PhotographError, match=r"^1 of 1 photograph is refused: bob.jpg: no face \(.*\)\. Nothing"
    ) as one:
        require_accepted(refused[1:], 1)
    assert one.value.remedy is None
    many = [Refusal(path=Path(f"{number}.jpg"), reason="small", detail="x") for number in range(30)]
    with pytest.raises(PhotographError, match="30 of 40 .*19.jpg: small .x.; and 10 more"):
        require_accepted(many, 40)
