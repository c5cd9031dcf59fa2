"""Latency by a fake clock: interleaved, warm-up not counted, percentiles of the raw samples."""

from functools import partial
from itertools import pairwise

import numpy as np

from edge_sphereface.evaluation.timing import measure_interleaved, summarize
from edge_sphereface.json_output import json_object


class Clock:
    now = 0

    def __call__(self):
        return self.now


def test_every_case_runs_once_per_round_and_warmup_is_not_counted():
    clock, order = Clock(), []

    def case(name, ms):
        def run():
            order.append(name)
            clock.now += int((ms if len(order) > 4 else 1000) * 1e6)

        return run

    samples = measure_interleaved({"a": case("a", 2), "b": case("b", 3)}, rounds=3, warmup=2, clock_ns=clock)
    assert [sorted(order[first : first + 2]) for first in range(0, 10, 2)] == [["a", "b"]] * 5
    np.testing.assert_array_equal(samples["a"], [2, 2, 2])
    np.testing.assert_array_equal(samples["b"], [3, 3, 3])


def test_no_case_always_follows_the_same_one_and_every_run_has_the_same_orders():
    def orders():
        order = []
        measure_interleaved({name: partial(order.append, name) for name in "abc"}, rounds=20, warmup=0)
        return order

    first = orders()
    before_b = {previous for previous, name in pairwise(first) if name == "b"}
    assert before_b >= {"a", "c"}
    assert orders() == first


def test_progress_counts_measured_rounds():
    seen = []
    measure_interleaved({"a": lambda: None}, rounds=3, warmup=1, progress=seen.append)
    assert seen == [1, 2, 3]


def test_summary():
    summary = summarize(np.arange(1.0, 102.0))
    assert (summary.samples, summary.min_ms, summary.median_ms) == (101, 1, 51)
    assert (summary.p95_ms, summary.p99_ms) == (96, 100)
    assert json_object(summary)["p95_ms"] == 96
