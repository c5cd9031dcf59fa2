"""What counts as a flood, and which floods have a rate of their own."""

import pytest

from edge_sphereface.stream.capture.source_rate import SourceRate


def deliver(rate, count, *, began, gap_s, idle_s):
    for number in range(1, count + 1):
        rate.note(began + number * gap_s, idle_s=idle_s)
    return began + count * gap_s


@pytest.mark.parametrize("fps", [5, 25, 60])
def test_a_camera_does_not_flood(fps):
    rate = SourceRate(0.0)
    deliver(rate, 3000, began=0.0, gap_s=1 / fps, idle_s=0.9 / fps)
    assert not rate.floods
    assert rate.mean_gap_s == pytest.approx(1 / fps)


def test_a_backlog_after_an_interruption_is_no_flood():
    rate, now = SourceRate(0.0), 0.0
    for _ in range(5):
        now = deliver(rate, 250, began=now, gap_s=0.001, idle_s=0.0)
        assert not rate.floods
        now = deliver(rate, 250, began=now, gap_s=0.04, idle_s=0.03)


def test_a_camera_of_a_high_rate_floods_and_has_a_rate_of_its_own():
    rate = SourceRate(0.0)
    now = deliver(rate, 1000, began=0.0, gap_s=1 / 120, idle_s=0.4 / 120)
    assert (rate.floods, rate.never_waits) == (True, False)
    deliver(rate, 10, began=now, gap_s=0.04, idle_s=0.03)
    assert not rate.floods


def test_a_source_that_never_waits_floods_until_it_does():
    """It is recognized on a busy machine too, where its reader sometimes waits for a processor."""
    rate = SourceRate(0.0)
    now = deliver(rate, 1000, began=0.0, gap_s=0.003, idle_s=0.0006)
    assert (rate.floods, rate.never_waits) == (True, True)
    now = deliver(rate, 1000, began=now, gap_s=1 / 150, idle_s=0.0006)
    assert rate.never_waits, "read more slowly, it still does not wait"
    deliver(rate, 3, began=now, gap_s=1 / 30, idle_s=0.03)
    assert (rate.floods, rate.never_waits) == (False, False)


def test_a_source_that_leads_a_camera_by_more_than_a_minute_has_no_rate():
    rate = SourceRate(0.0)
    now = deliver(rate, 500 + 5000, began=0.0, gap_s=1 / 150, idle_s=0.0005)
    assert (rate.never_waits, rate.has_no_rate) == (True, False), "150 a second, of which a fast camera makes 60"
    now = deliver(rate, 1500, began=now, gap_s=1 / 150, idle_s=0.0005)
    assert rate.has_no_rate
    deliver(rate, 100, began=now, gap_s=1 / 15, idle_s=0.0)
    assert (rate.floods, rate.has_no_rate) == (True, True), "it is the reader that is slow now"


@pytest.mark.parametrize(("fps", "work_s"), [(75, 0.010), (100, 0.0075), (120, 0.006)])
def test_a_fast_camera_whose_decoding_takes_most_of_its_period_has_a_rate(fps, work_s):
    rate = SourceRate(0.0)
    deliver(rate, 300 * fps, began=0.0, gap_s=1 / fps, idle_s=1 / fps - work_s)
    assert (rate.floods, rate.has_no_rate) == (True, False)


def test_a_stall_does_not_make_the_next_frame_be_expected_late():
    rate = SourceRate(0.0)
    rate.note(60.0, idle_s=60.0)
    assert rate.mean_gap_s == 1.0
