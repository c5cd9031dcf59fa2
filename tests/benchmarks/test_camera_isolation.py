"""What a camera that fails costs the others: pairs of rounds, and their ratios."""

import pytest

from benchmarks.cameras.isolation import isolation_text, ratio, rows_of


def test_a_ratio_is_that_of_rounds():
    middle, low, high = ratio([2.0, 8.0], [1.0, 2.0])
    assert middle == pytest.approx(8**0.5)
    assert low < 2 < middle < 4 < high
    assert ratio([3.0, 6.0, 9.0], [2.0, 4.0, 6.0]) == pytest.approx((1.5, 1.5, 1.5))


def test_each_failure_is_compared_with_its_baseline():
    found = {
        "absent": ((10.0,) * 9, (20.0,) * 9),
        "works": ((20.0,) * 9, (40.0,) * 9),
        "hangs": ((11.0,) * 9, (22.0,) * 9),
        "dies": ((10.0,) * 9, (20.0,) * 9),
        "begins to flood": ((24.0,) * 9, (48.0,) * 9),
        "floods": ((30.0,) * 9, (60.0,) * 9),
        "changes size": ((20.0,) * 9, (40.0,) * 9),
    }
    rows = {row.camera: row for row in rows_of(found)}
    assert list(rows) == ["hangs", "dies", "begins to flood", "floods", "changes size"]
    assert {name: round(row.p95_ratio, 6) for name, row in rows.items()} == {
        "hangs": 1.1, "dies": 1.0, "begins to flood": 1.2, "floods": 1.5, "changes size": 1.0
    }  # fmt: skip
    assert (rows["floods"].baseline, rows["floods"].rounds, rows["floods"].frames) == ("works", 2, 18)
    assert "1.50 (1.50 to 1.50)" in isolation_text(list(rows.values()))
