"""The planner: its arithmetic against its simulation, and its wishes against what was measured."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import build_parser
from benchmarks.plan import PlanError, make_plan, predicted_drop, simulate, text, work_samples
from benchmarks.stages import StageRow, StageSetup, Subject, measure, measure_here
from edge_sphereface.cli.runner import run
from edge_sphereface.detection import open_detector
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.evaluation.timing import summarize
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import json_object

NAMED = {
    "model": "float.onnx",
    "precision": "float32",
    "form": "plain",
    "provider": "CPUExecutionProvider",
    "shipped_detector": True,
}


def rows(find=10.0, embed=20.0, improve=0.0, threads=(1, 2), faces=1, detector="yunet", **named):
    made = []

    def add(stage, count, batch, ms):
        made.append(
            StageRow(
                stage=stage,
                subject=Subject(**{**NAMED, **named}),
                detector=detector,
                threads=count,
                batch=batch,
                faces=faces,
                image=(480, 640),
                latency=summarize(np.full(9, ms)),
                samples_ms=(ms,) * 9,
            )
        )

    for count in threads:
        for stage, ms in {"find": find, "improve": improve, "align": 0.5, "compare": 0.5, "detect": 99.0}.items():
            add(stage, count, 1, ms / count)
        for batch, per_face in {1: 1.0, 4: 0.8, 16: 0.9}.items():
            add("embed", count, batch, embed * per_face * batch / count)
    return made


def test_enough_time_means_every_frame():
    made = make_plan(rows(), fps=10, faces=1, budget_ms=60)
    assert (made.stride, made.threads, made.batch, made.fits) == (1, 2, 1, True)
    assert made.work_ms == pytest.approx((10 + 0.5 + 0.5 + 20) / 2)
    assert made.predicted_drop == made.simulated_drop == 0


def test_a_small_budget_means_a_longer_stride():
    made = make_plan(rows(threads=(1,)), fps=30, faces=1, budget_ms=8)
    assert made.stride == 4
    assert made.work_per_frame_ms <= 8


@pytest.mark.slow
def test_batches_are_used_where_they_pay():
    assert make_plan(rows(), fps=5, faces=4, budget_ms=100).batch == 4


def test_an_impossible_wish_is_said_to_be_one():
    made = make_plan(rows(find=1000), fps=60, faces=1, budget_ms=1)
    assert not made.fits
    assert "does NOT fit" in text(made, fps=60, faces=1, budget_ms=1)


@pytest.mark.slow
def test_without_faces_only_detection_counts():
    assert make_plan(rows(), fps=10, faces=0, budget_ms=60).work_ms == 5


@pytest.mark.slow
@given(st.floats(1, 400), st.integers(1, 8), st.floats(5, 120))
def test_simulation_confirms_the_prediction(work, stride, interval):
    predicted = predicted_drop(work, stride, interval)
    dropped, age = simulate(np.full(10, work), stride=stride, interval_ms=interval, frames=4000)
    assert dropped == pytest.approx(predicted, abs=0.02)
    assert age >= work - 1e-6
    assert age <= work + stride * interval + 1e-6, "the newest frame waits at most as long as frames are apart"


def test_a_long_tail_shows_in_the_simulation_only():
    work = np.r_[np.full(80, 10.0), np.full(20, 200.0)]
    assert predicted_drop(10, 1, 33) == 0
    assert simulate(work, stride=1, interval_ms=33)[0] > 0.3


@pytest.mark.parametrize("wish", [{"fps": 0}, {"budget_ms": -1}, {"faces": -1}])
def test_bad_wishes(wish):
    with pytest.raises(PlanError, match="positive"):
        make_plan(rows(), **{"fps": 15, "faces": 1, "budget_ms": 60, **wish})


def test_missing_stages():
    with pytest.raises(PlanError, match="got none"):
        make_plan([], fps=15, faces=1, budget_ms=60)
    with pytest.raises(PlanError, match=r"align .* Measure again"):
        work_samples([row for row in rows() if row.stage != "align"], 1, 1, 1)
    with pytest.raises(PlanError, match="embed was not measured"):
        make_plan([row for row in rows() if row.stage != "embed"], **WISH)


WISH = {"fps": 15, "faces": 1, "budget_ms": 60}


def test_work_is_that_of_watch():
    """A frame is searched once, each face is looked at more closely; what took all measured faces is shared out."""
    samples, costs = work_samples(rows(improve=3.0, faces=2), 1, 4, 5)
    assert samples[0] == pytest.approx(10 + 5 * 3 + 5 / 2 * 0.5 + 2 * (20 * 0.8 * 4) + 5 / 2 * 0.5)
    assert [(cost.stage, cost.batch, cost.times) for cost in costs] == [
        ("find", 1, 1), ("improve", 1, 5), ("align", 1, 2.5), ("embed", 4, 2), ("compare", 1, 2.5)
    ]  # fmt: skip
    assert sum(cost.times * cost.median_ms for cost in costs) == pytest.approx(samples[0])


@pytest.mark.slow
def test_a_plan_says_what_it_rests_on():
    made = make_plan(rows(), **WISH)
    shown, printed = json_object(made), text(made, **WISH)
    for name in ("model", "precision", "form", "provider"):
        assert shown[name] == NAMED[name]
    assert (shown["detector"], shown["image"]) == ("yunet", [480, 640])
    assert "float.onnx (float32, plain) on CPUExecutionProvider, yunet, a frame of 640 x 480 pixels" in printed
    assert "1 x find 5.00 ms" in printed
    assert shown["costs"][0] == {"stage": "find", "batch": 1, "times": 1.0, "median_ms": 5.0}


@pytest.mark.slow
def test_a_model_is_chosen_and_never_guessed():
    """The INT8 rows are faster; they may not stand for the float model, nor the other way round."""
    both = rows() + rows(model="int8.onnx", precision="int8", embed=5.0)
    with pytest.raises(PlanError, match=r"--model: float\.onnx, int8\.onnx"):
        make_plan(both, **WISH)
    chosen = {name: make_plan(both, model=name, **WISH) for name in ("float.onnx", "int8.onnx")}
    assert [made.work_ms for made in chosen.values()] == [pytest.approx(15.5), pytest.approx(8)]
    assert chosen["int8.onnx"].measured.precision == "int8"
    with pytest.raises(PlanError, match=r"no stages of x\.onnx, but of float\.onnx, int8\.onnx"):
        make_plan(both, model="x.onnx", **WISH)
    with pytest.raises(PlanError, match="several files"):
        make_plan(rows() + rows(form="winograd"), **WISH)


@pytest.mark.slow
def test_the_shipped_detector_is_planned_for_however_fast_another_is():
    both = rows() + rows(detector="mtcnn", shipped_detector=False, find=1.0)
    assert make_plan(both, **WISH).measured.detector == "yunet"
    assert make_plan(both, detector="mtcnn", **WISH).measured.detector == "mtcnn"
    with pytest.raises(PlanError, match="detector mtcnn, but with yunet"):
        make_plan(rows(), detector="mtcnn", **WISH)


def test_a_record_that_does_not_name_its_model_is_refused(tmp_path, capsys):
    written = [json_object(row) for row in rows()]
    old = [{name: value for name, value in row.items() if name not in ("model", "form")} for row in written]
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"environment": {}, "stages": old}))
    wishes = ["--fps", "15", "--faces", "1", "--budget-ms", "60"]
    assert run(build_parser(), ["plan", str(path), *wishes]) == 2
    told = capsys.readouterr().err
    assert "form, model" in told
    assert "Measure again: python -m benchmarks latency" in told


@pytest.mark.slow
def test_stages_run_what_is_shipped(small_model):
    """Their rows name the model, its provider by default, and the detector that `open_detector` takes."""
    measured = measure_here(StageSetup(model=small_model), threads=1, rounds=1)
    spec = Embedder(small_model).spec
    for row in measured:
        subject = row.subject
        assert (subject.model, subject.precision, subject.form) == (small_model.name, spec.precision, "plain")
        assert subject.provider == Embedder(small_model).provider.active[0]
        assert subject.shipped_detector is (row.detector == open_detector().name)
    assert {row.stage for row in measured} >= {"find", "improve", "align", "embed", "compare"}
    assert make_plan(measured, **WISH).measured.detector == open_detector().name


@pytest.mark.slow
def test_stages_have_starts_of_their_own(small_model):
    measured = measure(StageSetup(model=small_model), threads=[1], rounds=3, starts=2)
    for row in measured:
        assert row.start_samples == (2, 1)
        assert row.starts == 2
        assert row.latency.samples == len(row.samples_ms) == 3


@pytest.mark.slow
def test_a_process_of_the_stages_that_fails_is_told(small_model, tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "gray.png"), np.full((64, 64, 3), 128, np.uint8))
    with pytest.raises(EdgeSphereFaceError, match="finds no face"):
        measure(StageSetup(model=small_model, photo=tmp_path / "gray.png"), threads=[1], rounds=1)
