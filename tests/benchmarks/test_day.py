"""A simulated day is judged by who was there, and its traces are searched for in the bytes of the disk."""

import numpy as np
import pytest

from benchmarks import environment
from benchmarks.day import liveness_model, run, score
from benchmarks.day.cast import Numbers, Person, choose
from benchmarks.day.commands import DayReport
from benchmarks.day.house import Kept
from benchmarks.day.scenes import held_print
from benchmarks.day.schedule import Visit, plan
from benchmarks.day.traces import Traces
from benchmarks.gallery.identification import Protocol
from benchmarks.stream.face_renderer import texture_of
from benchmarks.stream.setting import Setting
from benchmarks.stream.strangers import sway
from edge_sphereface import Embedder, open_detector
from edge_sphereface.alignment import align_for
from edge_sphereface.evaluation.pairs import read_landmarks
from edge_sphereface.image import load_image
from edge_sphereface.json_output import json_value
from edge_sphereface.liveness import LivenessChecker


def test_photographs_of_several_people_are_not_shown(tmp_path):
    """The other face would be reported, rightly, in a visit of somebody who is ignored."""
    for name, count in {"cid": 5, "dan": 4, "eve": 5, "fay": 3}.items():
        for number in range(count):
            path = tmp_path / name / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    protocol = Protocol(
        enrolled={"ann": ["ann/e"], "bob": ["bob/e"]},
        probes=[(f"{name}/{number}", name) for name in ("ann", "bob") for number in range(9)],
        strangers=["fay/0.jpg"],
    )
    numbers = Numbers(
        enrolled=1, ignored=1, recurring=1, passing=1, enrolled_visits=2, ignored_visits=1, recurring_visits=2
    )
    crowded = {"ann/0", "ann/2", "bob/0", "bob/2", "cid/1.jpg", "dan/0.jpg", "eve/1.jpg"}
    cast = choose(tmp_path, protocol, numbers, 0, is_alone=lambda path: path not in crowded)
    enrolled, ignored, recurring, passing, held = cast.people
    assert [[path[4:] for path in visit] for visit in enrolled.visits] == [["1", "3"], ["4", "5"]]
    assert [[path[4:] for path in visit] for visit in ignored.visits] == [["1", "3"]]
    assert recurring.name in {"cid", "eve"}, "dan has three photographs left, and fay's are asked for"
    assert [[path[4:] for path in visit] for visit in recurring.visits] == [["0.jpg", "2.jpg"], ["3.jpg", "4.jpg"]]
    assert passing.name in {"cid", "dan", "eve"} - {recurring.name}
    assert (held.name, held.role) == (enrolled.name, "print")
    assert len({enrolled.name, ignored.name}) == 2


def test_everybody_comes_as_often_as_planned_and_one_after_the_other():
    people = [Person("ann", "enrolled", [["a"], ["b"]]), Person("bob", "passing", [["c"]])]
    visits = plan(people, 3)
    assert sorted((visit.person, *visit.photographs) for visit in visits) == [("ann", "a"), ("ann", "b"), ("bob", "c")]
    begins = [visit.at_s for visit in visits]
    assert begins == sorted(begins)
    assert min(np.diff(begins)) > 3600
    assert plan(people, 3) == visits


def test_traces_are_found_in_the_bytes_until_they_are_gone(tmp_path):
    random = np.random.default_rng(0)
    kept, gone = random.bytes(500), random.bytes(500)
    (tmp_path / "file").write_bytes(b"before" + kept + gone)
    traces = Traces(tmp_path, {"known": 7200.0})
    traces.add("known", [kept, gone, random.bytes(500)], 0.0)
    (tmp_path / "file").write_bytes(kept[300:])
    traces.look(10_700.0)
    assert traces.figures()[0].found_later == 0, "it may still be there"
    traces.look(10_800.0)
    (found,) = traces.figures()
    assert (found.traces, found.found_in_time, found.found_later, found.keep_hours) == (3, 2, 1, 2.0)


def test_lines_that_are_alike_in_parts_are_not_taken_for_one_another(tmp_path):
    old, young = (f'{{"sequence": {number}, "rest": "{"x" * 200}"}}'.encode() for number in (1, 2))
    (tmp_path / "events").write_bytes(old + young)
    traces = Traces(tmp_path, {"events": 3600.0})
    traces.add("events", [old], 0.0, is_whole=True)
    (tmp_path / "events").write_bytes(young)
    traces.look(7200.0)
    (found,) = traces.figures()
    assert (found.found_in_time, found.found_later) == (1, 0)


def seen(role, person, *, names=(), groups=(), faces=0, snapshots=0):
    visit = Visit(0.0, "hall", person, role, ())
    one = score.Seen(visit, [], [Kept(group, "hall", 0.0) for group in groups], snapshots)
    one.names, one.faces = set(names), [None] * faces
    return one


def test_names_count_visits_and_reports():
    found = score.names(
        [
            seen("enrolled", "ann", names=["ann"]),
            seen("enrolled", "ann", names=["ann", "bob"]),
            seen("enrolled", "bob"),
            seen("passing", "dan", names=["bob"]),
        ]
    )
    assert (found.visits, found.named, found.reports, found.right) == (3, 2, 4, 2)
    assert (found.recall, found.precision) == (pytest.approx(2 / 3), 0.5)


def test_ignored_people_are_silent_only_without_any_trace():
    found = score.ignored(
        [
            seen("ignored", "ann"),
            seen("ignored", "ann", faces=2),
            seen("ignored", "ann", snapshots=1),
            seen("ignored", "ann", groups=["s-1"]),
            seen("passing", "bob", faces=1),
        ]
    )
    assert (found.visits, found.silent, found.events) == (4, 1, 2)


def test_groups_are_judged_by_pairs():
    one, two = seen("recurring", "ann", groups=["s-1"]), seen("recurring", "ann", groups=["s-1", "s-2"])
    found = score.strangers([one, two, seen("passing", "bob", groups=["s-2"]), seen("enrolled", "x", groups=["s-9"])])
    assert (found.people, found.groups, found.sightings, found.of_others) == (2, 2, 5, 1)
    assert (found.precision, found.recall) == (0.5, pytest.approx(1 / 3))
    assert found.f1 == pytest.approx(0.4)
    assert (found.recurring, found.recognized) == (1, 0)
    assert score.strangers([one, seen("recurring", "ann", groups=["s-1"])]).recognized == 1
    assert score.strangers([one]).f1 is None


def test_the_made_model_tells_rendered_prints_from_rendered_faces(astronaut, tmp_path):
    detector = open_detector()
    landmarks = detector.detect(astronaut)[0].landmarks
    photograph = np.ascontiguousarray(astronaut[:250, 100:350])

    def crops(kind, seed):
        random = np.random.default_rng(seed)
        frames = (
            sway([texture_of(astronaut, landmarks)], random, frames=4)
            if kind == "face"
            else held_print(photograph, random, frames=4)
        )
        return liveness_model.crops_of(frames, detector)

    path = tmp_path / "made.onnx"
    liveness_model.train(crops("face", 1), crops("print", 2), path)
    tested = [*((crop, True) for crop in crops("face", 3)), *((crop, False) for crop in crops("print", 4))]
    assert len(tested) == 8
    assert liveness_model.count_errors(path, tested) == 0
    assert LivenessChecker([path], threads=1).specs[0].architecture == liveness_model.ARCHITECTURE


@pytest.mark.slow
def test_a_short_day_in_a_house(shared, trained_model, require_schema):
    lfw = shared("lfw")
    embedder, landmarks = Embedder(trained_model, threads=1), read_landmarks(lfw / "lfw_landmark.txt")

    def embed(protocol, cast):
        paths = [*(path for paths in cast.gallery.values() for path in paths), *protocol.strangers[:60]]
        crops = [
            align_for(embedder.spec, load_image(lfw / "images" / path), landmarks[path][None].astype(np.float32))[0]
            for path in paths
        ]
        return dict(zip(paths, embedder.embed(np.stack(crops)), strict=True))

    numbers = Numbers(
        enrolled=2, ignored=1, recurring=1, passing=1, enrolled_visits=1, ignored_visits=1, recurring_visits=2
    )
    found = run.play(
        lfw,
        numbers,
        seed=0,
        extent=run.Extent(frames=12, trained=4, tested=2),
        embedder=embedder,
        detector=open_detector(),
        embed=embed,
        report=lambda *_: None,
    )
    assert found.visits == 7
    assert found.names.right == found.names.reports > 0
    assert (found.ignored.visits, found.ignored.named) == (1, 0)
    assert not found.print.named
    assert found.strangers.sightings > 0
    assert [trace.found_later for trace in found.traces] == [0, 0, 0, 0]
    assert all(trace.found_in_time == trace.traces > 0 for trace in found.traces)
    setting = Setting(
        environment=environment.TimedRun().describe(), model=trained_model.name, precision="float32", detector="made",
        provider=embedder.provider, seed=0,
    )  # fmt: skip
    report = DayReport(setting=setting, people=numbers, day=found)
    require_schema("benchmarks day", json_value(report))
