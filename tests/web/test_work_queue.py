"""The queue in front of the pictures: bounded by the time that they would wait."""

import os
import sys
import threading
from contextlib import suppress

import pytest

from edge_sphereface.web.work_queue import BusyError, DeadlineError, WorkQueue

WAIT_S = 10


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    made = WorkQueue(patience_s=1.0, clock=clock)
    yield made
    made.close(WAIT_S)


def work_of(clock, seconds):
    """Work that takes some time on the clock."""

    def work():
        clock.now += seconds

    return work


@pytest.fixture
def blocked(queue, clock):
    """The queue while its worker is busy with a picture whose work is 250 ms."""
    queue.submit(work_of(clock, 0.25), pictures=1, deadline_s=10).result(WAIT_S)
    started, release = threading.Event(), threading.Event()

    def wait():
        started.set()
        release.wait(WAIT_S)

    job = queue.submit(wait, pictures=1, deadline_s=10)
    assert started.wait(WAIT_S)
    queue.release = release.set
    yield queue
    release.set()
    job.result(WAIT_S)


def submit(queue, work=lambda: "done", pictures=1, deadline_s=10):
    return queue.submit(work, pictures=pictures, deadline_s=deadline_s)


def test_work_gives_its_result_or_its_error(queue):
    assert submit(queue).result(WAIT_S) == "done"
    with pytest.raises(ZeroDivisionError):
        submit(queue, lambda: 1 / 0).result(WAIT_S)
    assert submit(queue).result(WAIT_S) == "done"


def test_a_burst_is_bounded_by_its_predicted_wait(blocked):
    for _ in range(4):  # behind one that runs: 250 ms each
        submit(blocked)
    with pytest.raises(BusyError, match=r"wait for 1\.2 s") as refused:
        submit(blocked)
    assert refused.value.retry_s == 1.5
    assert blocked.waiting == 4


def test_pictures_count_and_not_requests(blocked):
    submit(blocked, pictures=5)
    with pytest.raises(BusyError):
        submit(blocked)


def test_after_a_refusal_only_what_waits_half_a_picture_is_admitted(blocked, clock):
    waiting = [submit(blocked) for _ in range(4)]
    with pytest.raises(BusyError):
        submit(blocked)
    for job in waiting:
        job.cancel()
    with pytest.raises(BusyError):  # a whole picture
        submit(blocked)
    clock.now += 0.125
    submit(blocked)
    with pytest.raises(BusyError):
        submit(blocked)


def test_quiet_ends_the_strictness(blocked, clock):
    jobs = [submit(blocked) for _ in range(4)]
    with pytest.raises(BusyError):
        submit(blocked)
    blocked.release()
    for job in jobs:
        job.result(WAIT_S)
    clock.now += 10.1
    started, release = threading.Event(), threading.Event()
    submit(blocked, lambda: (started.set(), release.wait(WAIT_S)))
    assert started.wait(WAIT_S)
    submit(blocked)  # waits for a whole picture
    release.set()


def test_work_that_takes_longer_than_others_is_expected_to_take_as_long_again(blocked, clock):
    clock.now += 0.25 + 1.0
    submit(blocked)
    with pytest.raises(BusyError, match=r"1\.2 s"):
        submit(blocked)


def test_work_that_begins_after_its_deadline_is_not_done(blocked, clock):
    late = submit(blocked, deadline_s=1)
    in_time = submit(blocked, deadline_s=3)
    clock.now += 2
    blocked.release()
    assert in_time.result(WAIT_S) == "done"
    with pytest.raises(DeadlineError):
        late.result(WAIT_S)


def test_room_is_asked_before_pictures_are_read(blocked):
    blocked.require_room()
    for _ in range(4):
        submit(blocked)
    with pytest.raises(BusyError):
        blocked.require_room()


def test_canceled_work_is_not_done(blocked):
    done = []
    job = submit(blocked, lambda: done.append(1))
    assert job.cancel()
    assert done == []


def test_a_closed_queue_refuses_and_cancels(clock):
    queue = WorkQueue(clock=clock)
    queue.close(WAIT_S)
    with pytest.raises(BusyError):
        submit(queue)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
@pytest.mark.parametrize("has_low_priority", [False, True])
def test_pictures_beside_streams_have_a_low_priority(has_low_priority):
    """Their thread alone, not the program."""
    queue = WorkQueue(has_low_priority=has_low_priority)

    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    found = queue.submit(niceness, pictures=1, deadline_s=10.0).result(10)
    assert found == (max(before, 10) if has_low_priority else before)
    assert niceness() == before
    queue.close(10.0)


def test_whoever_has_an_answer_may_ask_again_at_once(clock):
    """However long the work took: it is over before its result is told."""
    queue, go, asked = WorkQueue(clock=clock), threading.Event(), []
    submit(queue).result(WAIT_S)

    def slow():
        assert go.wait(WAIT_S)
        clock.now += 100.0

    def ask(_):
        with suppress(BusyError):
            queue.require_room()
            asked.append("admitted")

    job = submit(queue, slow)
    job.add_done_callback(ask)
    go.set()
    job.result(WAIT_S)
    queue.close(WAIT_S)
    assert asked == ["admitted"]
