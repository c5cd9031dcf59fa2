"""Benchmarks of enrollment: quality against recognition, templates and cohorts, by hand."""

import json

import cv2
import numpy as np
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.enrollment import quality, templates
from benchmarks.enrollment.occlusion import COVERS, cover
from benchmarks.enrollment.photographs import Faces
from benchmarks.enrollment.recognition import Templates
from benchmarks.enrollment.templates import Described
from edge_sphereface.cli.runner import run
from edge_sphereface.compare import normalize


def unit(rows):
    return normalize(np.asarray(rows, np.float32).copy())


def test_the_tenths_by_hand():
    values = np.arange(100.0)
    missed = values < 15
    assert quality.tenths(values, missed) == (1.0, 0.0)
    assert quality.tenths(-values, missed) == (0.0, 1.0)
    worst, best = quality.tenths(np.ones(1000), np.arange(1000) < 500)
    assert 0.3 < worst < 0.7, "equal values are in random order"
    assert 0.3 < best < 0.7


def test_a_photograph_is_recognized_by_the_others_of_its_person():
    rows = unit([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 1, 0.1], [0, 1, 0.2]])
    found = Templates.of(rows, np.array([7, 7, 9, 9, 9]))
    assert found.recognized(rows, rows, found.row, 0.9).all()
    probes = rows.copy()
    probes[0] = rows[2]  # the first photograph shows the other person
    assert found.recognized(probes, rows, found.row, 0.9).tolist() == [False, True, True, True, True]
    assert not found.recognized(rows, rows, found.row, 0.9999).all()


def people(random, count, each, *, noise, first=0, size=32):
    """Embeddings of people, each around a center of its own."""
    centers = np.repeat(random.standard_normal((count, size)), each, axis=0)
    rows = centers + noise * random.standard_normal(centers.shape)
    return Described(
        unit=unit(rows),
        length=np.linalg.norm(rows, axis=1),
        quality=random.uniform(0.2, 1, len(rows)),
        side=random.integers(-1, 2, len(rows)),
        person=first + np.repeat(np.arange(count), each),
    )


def test_templates_and_cohorts_are_compared_on_held_out_photographs():
    random = np.random.default_rng(0)
    known = people(random, 20, 10, noise=0.6)
    others = people(random, 60, 1, noise=0.6, first=100)
    orl = people(random, 40, 10, noise=0.6, first=200)
    rows = templates.compare(known, others, orl)
    assert [(row.photographs, row.people, row.enrolled, row.probes, row.strangers) for row in rows] == [
        ("LFW", 20, 100, 100, 30),
        ("ORL", 30, 150, 150, 100),
    ]
    for row in rows:
        mean, *others = row.variants
        assert mean.name == "mean"
        assert mean.gain_interval == (0, 0)
        assert mean.dir_interval[0] <= mean.dir <= mean.dir_interval[1]
        assert {"mean weighted by quality", "several by pose", "less the five next people"} <= {
            each.name for each in others
        }
    assert any(each.name.startswith("cohort") for each in rows[0].variants)
    assert 0 <= rows[0].expectation.covered <= 1
    row = templates.TemplatesRow(model="x.onnx", precision="float32", detector="yunet", sets=rows)
    assert "mean weighted by quality" in templates.text([row])


@pytest.mark.parametrize("kind", COVERS)
def test_a_cover_hides_its_part_alone(kind):
    image = np.full((100, 100, 3), 100, np.uint8)
    landmarks = np.float32([[35, 40], [65, 40], [50, 58], [38, 74], [62, 74]])
    covered = cover(kind, image, landmarks, np.random.default_rng(0))
    changed = np.abs(covered.astype(int) - image).max(axis=2) > 8
    eyes, mouth = changed[36:45, 30:70].mean(), changed[68:80, 38:62].mean()
    assert (eyes > 0.5) == (kind == "sunglasses") or kind == "half"
    assert (mouth > 0.5) == (kind == "mask") or kind == "half"
    if kind == "half":
        assert 0.3 < changed[30:80, 25:75].mean() < 0.7


def test_somebody_else_among_the_photographs_is_refused():
    random = np.random.default_rng(0)
    found = people(random, 10, 6, noise=0.3)
    faces = Faces(np.zeros((60, 1, 1, 3), np.uint8), np.zeros((60, 5, 2), np.float32), found.person, np.arange(60))
    known = quality.recognize(faces, found.unit, people(random, 50, 1, noise=0.3).unit)
    for row in quality.not_this_person_rows(known, 0.5):
        assert row.trials == 10
        assert row.own_refused < 0.1
        assert row.foreign_refused > 0.9


@pytest.mark.slow
def test_the_command_measures_quality(tmp_path, astronaut, small_model, capsys, require_schema):
    for name, count in {"ann": 4, "bob": 4, "cat": 1, "dan": 1}.items():
        for number in range(count):
            target = tmp_path / "lfw/images" / name / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), cv2.convertScaleAbs(astronaut, alpha=0.8 + 0.05 * number))
    words = ["quality", str(small_model), "--lfw", str(tmp_path / "lfw"), "--degraded", "1", "--no-cache", "--json"]
    assert run(build_parser(), words) == 0
    result = json.loads(capsys.readouterr().out)
    require_schema("benchmarks quality", result)
    (row,) = result["quality"]
    assert (row["people"], row["photographs"], row["strangers"]) == (2, 8, 2)
    assert row["refusals"][0]["kind"] == "as they are"
    small = next(each for each in row["refusals"] if each["kind"] == "eyes 20 pixels apart")
    assert "small" not in small["reasons"]
