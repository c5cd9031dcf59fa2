"""The planner: its arithmetic against its simulation, and its wishes against what was measured."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.plan import PlanError, make_plan, predicted_drop, simulate, text, work_samples


def rows(detect=10.0, embed=20.0, threads=(1, 2), faces=1):
    made = []
    for count in threads:
        common = {"detector": "yunet", "threads": count, "faces": faces}
        for stage, ms in {"detect": detect, "align": 0.5, "compare": 0.5}.items():
            made.append({"stage": stage, "batch": 1, "samples_ms": [ms / count] * 9, **common})
        for batch, per_face in {1: 1.0, 4: 0.8, 16: 0.9}.items():
            made.append(
                {"stage": "embed", "batch": batch, "samples_ms": [embed * per_face * batch / count] * 9, **common}
            )
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


def test_batches_are_used_where_they_pay():
    assert make_plan(rows(), fps=5, faces=4, budget_ms=100).batch == 4


def test_an_impossible_wish_is_said_to_be_one():
    made = make_plan(rows(detect=1000), fps=60, faces=1, budget_ms=1)
    assert not made.fits
    assert "does NOT fit" in text(made, fps=60, faces=1, budget_ms=1)


def test_without_faces_only_detection_counts():
    assert make_plan(rows(), fps=10, faces=0, budget_ms=60).work_ms == 5


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
    with pytest.raises(PlanError, match="align"):
        work_samples([row for row in rows() if row["stage"] != "align"], "yunet", 1, 1, 1)
