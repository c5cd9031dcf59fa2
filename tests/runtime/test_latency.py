"""Faster or not: two copies of one model tie, a true gain is found, and the unit of chance is the round."""

import numpy as np
import pytest

from edge_sphereface.evaluation import latency
from edge_sphereface.evaluation.latency import PER_ROUND, ROUNDS, Plan, measure_rounds, ratio
from edge_sphereface.evaluation.machine_load import LoadMeter
from edge_sphereface.evaluation.timing import Deadline
from edge_sphereface.json_output import json_object


def noisy(random, factor, drift):
    """Latency as machines give it: what a load brings, drift that all share, jitter, and bursts of other work."""
    size = (ROUNDS, PER_ROUND)
    loaded = random.normal(0, 0.02, (ROUNDS, 1)) + (random.random((ROUNDS, 1)) < 0.1) * random.exponential(0.3)
    jitter = np.abs(random.normal(0, 0.03, size)) + (random.random(size) < 0.05) * random.exponential(0.7, size)
    return factor * 10 * np.exp(drift + loaded + jitter)


def comparisons(factor, count):
    for seed in range(count):
        random = np.random.default_rng(seed)
        drift = np.cumsum(random.normal(0, 0.02, ROUNDS))[:, None]
        yield ratio(noisy(random, factor, drift), noisy(random, 1.0, drift))


@pytest.mark.slow
def test_identical_models_are_rarely_called_different():
    verdicts = [found.verdict for found in comparisons(1.0, 300)]
    assert verdicts.count("faster") <= 0.05 * len(verdicts)
    assert verdicts.count("slower") <= 0.05 * len(verdicts)


def test_a_gain_of_ten_percent_is_found():
    found = list(comparisons(0.9, 60))
    assert sum(one.verdict == "faster" for one in found) >= 0.95 * len(found)
    assert np.median([one.ratio for one in found]) == pytest.approx(0.9, abs=0.02)
    assert sum(one.low <= 0.9 <= one.high for one in found) >= 0.85 * len(found)


def test_many_samples_of_one_load_are_no_evidence():
    """A model that lay well in memory each of three times: a hundred samples, and still too few rounds."""
    random = np.random.default_rng(0)
    found = ratio(random.normal(9, 0.1, (3, 30)), random.normal(10, 0.1, (3, 30)))
    assert found.verdict == "tie"
    assert found.ratio == pytest.approx(0.9, abs=0.01)
    assert json_object(found)["high"] is None
    assert "too few rounds" in str(found)


def test_models_are_loaded_in_every_round_one_at_a_time_in_an_order_that_alternates():
    loaded, ran = [], []

    def loader(name):
        def load():
            loaded.append(name)
            return lambda: ran.append(name)

        return load

    samples = measure_rounds({name: loader(name) for name in "ab"}, Plan(3, 4), frames_bytes=1)
    assert loaded == ["a", "b", "b", "a", "a", "b"]
    assert {name: taken.shape for name, taken in samples.items()} == {"a": (3, 4), "b": (3, 4)}
    assert ran == [name for name in loaded for _ in range(4 + latency._WARMUP)]


def test_models_leave_the_rounds_and_are_compared_by_those_that_both_ran():
    loaded = []
    samples = measure_rounds(
        {name: lambda name=name: loaded.append(name) or int for name in "abc"},
        Plan(7, 2),
        frames_bytes=1,
        remaining=lambda taken: "ab" if len(taken["a"]) < 6 else "",
    )
    assert "".join(loaded) == "abc" + "baab" * 2 + "ba"
    assert [len(samples[name]) for name in "abc"] == [6, 6, 1]
    assert ratio(samples["a"], samples["c"]).rounds == 1


def test_no_round_starts_after_the_deadline():
    now = iter([0.0, 1.0, 2.0, 9.0])
    deadline = Deadline(3.0, lambda: next(now))
    told = []
    samples = measure_rounds(
        {"a": lambda: int},
        Plan(9, 2),
        frames_bytes=1,
        deadline=deadline,
        progress=lambda done, total: told.append((done, total)),
    )
    assert len(samples["a"]) == 3
    assert told == [(1, 9), (2, 9), (3, 9)]


def test_a_stricter_interval_contains_the_other():
    random = np.random.default_rng(3)
    a, b = random.normal(9.9, 0.1, (2, 8, 5))
    usual, strict = ratio(a, b), ratio(a, b, confidence=0.999)
    assert strict.low < usual.low < usual.high < strict.high


@pytest.mark.parametrize(("samples", "plan"), [(100, (20, 5)), (7, (7, 1)), (101, (20, 6))])
def test_a_plan_has_as_many_samples_as_are_asked_for(samples, plan):
    assert Plan.of(samples) == plan


def test_the_load_counts_other_programs_alone(tmp_path):
    """Ten seconds in which all programs worked for 14 processor seconds, 6 of them this one."""
    import os

    stat, moment, own = tmp_path / "proc" / "stat", [100.0], [0.0]
    stat.parent.mkdir()
    ticks = os.sysconf("SC_CLK_TCK")
    stat.write_text("cpu  0 0 0 500 60 0 0 0 0 0\ncpu0 1 1 1 1\n")
    meter = LoadMeter(tmp_path, wall_s=lambda: moment[0], own_s=lambda: own[0])
    moment[0], own[0] = 110.0, 6.0
    stat.write_text(f"cpu  {9 * ticks} 0 {3 * ticks} 900 90 0 0 {2 * ticks} 0 0\n")
    load = meter.read()
    assert load.other_processors == pytest.approx(0.8)
    assert json_object(load)["other_processors"] == 0.8
    assert "0.80 of" in str(load)
    assert LoadMeter(tmp_path / "none").read().other_processors is None
