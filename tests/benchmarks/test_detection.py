"""``detection``: stages take turns with what they replaced, and the faces that only one finds are counted."""

import json

import cv2
import numpy as np
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.detection.before import OpenCvDetector
from benchmarks.detection.measure import FoundFaces, Stage, StageComparison, agree, compare
from benchmarks.recorded import read_records
from edge_sphereface.detection.yunet import YUNET, YuNet
from edge_sphereface.image import save_image


@pytest.fixture
def file(shared):
    return shared(f"models/{YUNET.name}")


def test_a_ratio_is_that_of_the_medians_in_turn():
    runs = []
    stages = [
        Stage(
            name=name, replaced="x", ours=lambda: runs.append("ours"), before=lambda: runs.append("before"), items=items
        )
        for name, items in (("a", 1), ("b", 4))
    ]
    times = {"ours a": [1, 2, 30], "before a": [4, 4, 4], "ours b": [8, 8, 8], "before b": [16, 16, 16]}

    def measure(cases, *, rounds, warmup, progress):
        for run in cases.values():
            run()
        return {name: np.array(times[name], float) for name in cases}

    first, second = compare(stages, threads=1, rounds=3, measure=measure)
    assert runs == ["ours", "before", "ours", "before"]
    assert (first.ratio, second.ratio, second.interval) == (0.5, 0.5, (0.5, 0.5))
    assert first.interval == (0.25, 7.5)
    assert (second.ours.median_ms, second.ours_ms) == (2, (2, 2, 2)), "for one photograph"


def test_faces_that_only_one_finds_are_counted(file, astronaut, tmp_path):
    face = astronaut[20:220, 120:320]
    save_image(tmp_path / "two.png", np.tile(face, (1, 2, 1)))
    save_image(tmp_path / "none.png", np.zeros((300, 300, 3), np.uint8))
    found = agree(file, tmp_path)
    assert (found.photographs, found.faces, found.missed, found.additional) == (2, 2, 0, 0)


def test_opencv_finds_what_ours_finds(file, astronaut):
    large = cv2.resize(astronaut, (1600, 1600))
    before, ours = OpenCvDetector(file), YuNet(file)
    (theirs,), (face,) = before.find(large), ours.find(large)
    np.testing.assert_allclose(theirs.box, face.box, atol=0.5)
    np.testing.assert_allclose(theirs.landmarks, face.landmarks, atol=0.5)
    (refined,) = before.detect(large)
    assert 0 < np.abs(refined.landmarks - theirs.landmarks).max() < 40
    assert before.find(np.zeros((100, 100, 3), np.uint8)) == []


@pytest.mark.slow
def test_every_stage_runs(printed, small_model, file, tmp_path):
    (tmp_path / "photos").mkdir()
    save_image(tmp_path / "photos" / "none.png", np.zeros((40, 40, 3), np.uint8))
    words = (small_model, "--rounds", "1", "--detector-model", file, "--photos", tmp_path / "photos")
    found = printed(build_parser, "benchmarks detection", "detection", *words, "-o", tmp_path / "d.json")
    assert found == json.loads((tmp_path / "d.json").read_text())
    rows = read_records(StageComparison, found["comparisons"])
    assert [row.stage.partition(",")[0].split()[0] for row in rows] == [
        "YuNet", "YuNet", "landmarks", "landmarks", "photograph", "embed-folder",
    ]  # fmt: skip
    assert all(row.ratio > 0 and len(row.ours_ms) == 1 for row in rows)
    assert read_records(FoundFaces, found["found"]) == [
        FoundFaces(folder="photos", photographs=1, faces=0, missed=0, additional=0)
    ]
