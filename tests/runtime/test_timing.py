"""Latency by a fake clock: interleaved, warm-up not counted, percentiles of the raw samples."""

import numpy as np

from edge_sphereface.evaluation.timing import measure_interleaved, summarize
from edge_sphereface.json_output import json_object


class Clock:
    now = 0

    def __call__(self):
        return self.now


def test_cases_run_in_turn_and_warmup_is_not_counted():
    clock, order = Clock(), []

    def case(name, ms):
        def run():
            order.append(name)
            clock.now += int((ms if len(order) > 4 else 1000) * 1e6)

        return run

    samples = measure_interleaved({"a": case("a", 2), "b": case("b", 3)}, rounds=3, warmup=2, clock_ns=clock)
    assert order == ["a", "b"] * 5
    np.testing.assert_array_equal(samples["a"], [2, 2, 2])
    np.testing.assert_array_equal(samples["b"], [3, 3, 3])


def test_progress_counts_measured_rounds():
    seen = []
    measure_interleaved({"a": lambda: None}, rounds=3, warmup=1, progress=seen.append)
    assert seen == [1, 2, 3]


def test_summary():
    summary = summarize(np.arange(1.0, 102.0))
    assert (summary.samples, summary.min_ms, summary.median_ms) == (101, 1, 51)
    assert (summary.p95_ms, summary.p99_ms) == (96, 100)
    assert json_object(summary)["p95_ms"] == 96
