"""Crops for the calibration, doubts about them, the policy, and the proof that it judges."""

import numpy as np
import pytest

from edge_sphereface.detection import open_detector
from edge_sphereface.evaluation.labeled_photos import SkippedPhoto
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from export.errors import CalibrationError
from export.quantization.crops import calibration_crops, doubts, proof_crops
from export.quantization.paired_embeddings import embed_photographs
from export.quantization.policy import Judgment, Policy, parse_policy
from export.quantization.proof import Latency, judge
from export.quantization.report import proof_text

# --- crops -------------------------------------------------------------------------------------------------------


def test_photographs_and_crops_both_serve(shallow_models, faces, astronaut, tmp_path):
    spec = Embedder(shallow_models["image"]).spec
    save_image(tmp_path / "crop.png", faces[0])
    save_image(tmp_path / "photo.png", astronaut)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no photograph")
    save_image(tmp_path / "empty.png", np.zeros_like(astronaut))
    found = calibration_crops(tmp_path, spec, open_detector(), count=10)
    assert len(found.crops) == 2
    assert any(np.array_equal(crop, faces[0]) for crop in found.crops), "a crop is taken as it is"
    reasons = {photo.path.name: photo.reason for photo in found.skipped}
    assert set(reasons) <= {"broken.jpg", "empty.png"}
    assert reasons.get("empty.png", "no face was found") == "no face was found"


def test_a_quarter_is_left_for_the_proof(crop_folder, shallow_models):
    spec, detector = Embedder(shallow_models["image"]).spec, open_detector()
    found = calibration_crops(crop_folder, spec, detector, count=1000)
    assert (len(found.crops), len(found.unused)) == (36, 12)
    half = len(found.crops) - found.judging_count
    assert len(found.crops) == 36
    assert np.array_equal(found.for_ranges, np.concatenate([found.crops[:half], found.crops[:half, :, ::-1]]))
    assert len(found.for_judging) == found.judging_count + -(-found.judging_count // 4), "some once more, garish"
    last = proof_crops(crop_folder, spec, detector, count=12)
    taken = {crop.tobytes() for crop in found.crops}
    assert not any(crop.tobytes() in taken for crop in last)
    again = calibration_crops(crop_folder, spec, detector, count=1000)
    assert np.array_equal(found.crops, again.crops), "the same crops every time"


def test_a_folder_without_faces(shallow_models, tmp_path, astronaut):
    save_image(tmp_path / "empty.png", np.zeros_like(astronaut))
    with pytest.raises(CalibrationError, match="none of 1 showed a usable one"):
        calibration_crops(tmp_path, Embedder(shallow_models["image"]).spec, open_detector(), count=10)


def test_doubts(shallow_models, crop_folder):
    """Untrained weights find everybody alike, so the crops pass for one person."""
    embedder = Embedder(shallow_models["image"])
    found = calibration_crops(crop_folder, embedder.spec, open_detector(), count=1000)
    few, one_person = doubts(found, embedder)
    assert "Only 36 crops" in few
    assert "one person only" in one_person


@pytest.mark.slow
def test_different_people_raise_no_doubt(trained_model, orl):
    embedder = Embedder(trained_model)
    found = calibration_crops(orl, embedder.spec, open_detector(), count=60)
    assert doubts(found, embedder) == []


# --- policy and proof --------------------------------------------------------------------------------------------


def test_policy():
    assert parse_policy("strict") == Policy()
    assert parse_policy("strict,min=0.9,latency=none") == Policy(min=0.9, latency=None)
    for text in ("lax", "min", "min=", "min=x", "mean=0.9;min=0.8", "latency=inf", "min=nan"):
        with pytest.raises(ValueError, match="expected|could not convert"):
            parse_policy(text)


@pytest.mark.parametrize(
    ("judgment", "holds", "words"),
    [
        (Judgment("it", 0.9, 0.8, at_least=True), True, ">= 0.8"),
        (Judgment("it", 0.7, 0.8, at_least=True), False, "< 0.8  MISSED"),
        (Judgment("it", 0.7, 0.8, at_least=False), True, "<= 0.8"),
        (Judgment("it", 0.9, 0.8, at_least=False), False, "> 0.8  MISSED"),
        (Judgment("it", None, 0.8, at_least=True, why_not="no pairs"), True, "not judged, no pairs"),
        (Judgment("it", 0.1, None, at_least=True), True, "not judged by this policy"),
        (Judgment("it", 0.9, 0.8, at_least=True, worst=0.7), False, "confidence at least 0.7 < 0.8  MISSED"),
        (Judgment("it", 0.9, 0.8, at_least=False, worst=1.2, why_not="10 pairs"), True, "1.2: not judged, 10 pairs"),
    ],
)
def test_judgments(judgment, holds, words):
    assert judgment.holds is holds
    assert words in str(judgment)


def test_photographs_without_a_face_are_listed_in_the_proof(shallow_models, crop_folder, tmp_path, astronaut):
    save_image(tmp_path / "empty.png", np.zeros_like(astronaut))
    embedder = Embedder(shallow_models["image"])
    paths = [*sorted(crop_folder.iterdir())[:2], tmp_path / "empty.png"]
    embedded = embed_photographs(embedder, embedder, paths, open_detector())
    proof = judge(embedder.spec, embedded, None, Latency(None, "not here"), Policy())
    assert proof.skipped == (SkippedPhoto(path=tmp_path / "empty.png", reason="no face was found"),)
    assert "1 photographs without a usable face" in proof_text(proof)


def test_the_threshold_goes_along_with_the_scores(shallow_models, crop_folder):
    """Against itself a model keeps its threshold."""
    embedder = Embedder(shallow_models["image"])
    embedded = embed_photographs(embedder, embedder, sorted(crop_folder.iterdir()), open_detector())
    proof = judge(embedder.spec, embedded, None, Latency(None, "not here"), Policy())
    assert proof.passed
    assert proof.threshold == pytest.approx(embedder.spec.threshold, abs=1e-3)
    assert proof.drift == pytest.approx((1, 1, 1))
    assert "16 crops of the built-in photograph" in proof.source
    assert len(proof.cosines) == 48 + 16
