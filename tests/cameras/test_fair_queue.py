"""The order of turns at the shared detector and model, on a clock that the test moves."""

import heapq
from itertools import count

import pytest

from edge_sphereface.cameras.fair_queue import FairQueue, Share, fair_parts


def served(costs, every, seconds):
    """Cameras that ask at intervals, each for work of its own cost; their shares and waits.

    A camera asks again when its last request is done, as a stream does.
    """
    queue, numbers = FairQueue(), count()
    shares = [Share(str(index)) for index in range(len(costs))]
    for share in shares:
        queue.join(share)
    asks, waits, now = [(0.0, next(numbers), index) for index in range(len(costs))], [[] for _ in costs], 0.0
    heapq.heapify(asks)
    while now < seconds:
        while asks and asks[0][0] <= now:
            asked, _, index = heapq.heappop(asks)
            queue.put(shares[index], (asked, index))
        item = queue.take()
        if item is None:
            now = asks[0][0]
            continue
        asked, index = item
        waits[index].append(now - asked)
        now += costs[index]
        queue.charge(shares[index], costs[index])
        heapq.heappush(asks, (max(now, asked + every[index]), next(numbers), index))
    return shares, waits


def test_busy_cameras_share_the_time_evenly_whatever_one_request_costs():
    shares, _ = served(costs=[0.1, 0.02, 0.02], every=[0, 0, 0], seconds=30)
    assert [share.used_s for share in shares] == pytest.approx([10, 10, 10], rel=0.03)


def test_a_busy_camera_does_not_starve_a_quiet_one():
    """It waits for the request in service alone, however many are busy; only the first time all begin equal."""
    shares, waits = served(costs=[0.1, 0.1, 0.1, 0.01], every=[0, 0, 0, 1], seconds=30)
    assert shares[3].used_s == pytest.approx(0.3, rel=0.1)
    assert max(waits[3][1:]) <= 0.1 + 1e-9


def test_nobody_saves_up_time():
    """A camera that was idle for a minute gets half afterwards, and not a minute for itself."""
    queue, busy, idle = FairQueue(), Share("busy"), Share("idle")
    for share in (busy, idle):
        queue.join(share)
    for _ in range(60):
        queue.put(busy, "busy")
        assert queue.take() == "busy"
        queue.charge(busy, 1.0)
    order = []
    for _ in range(6):
        for share in (busy, idle):
            if not share.waiting:
                queue.put(share, share.name)
        order.append(queue.take())
        queue.charge(busy if order[-1] == "busy" else idle, 1.0)
    assert sorted(order) == ["busy"] * 3 + ["idle"] * 3


def test_a_batch_takes_only_what_it_asks_for():
    queue, one, other = FairQueue(), Share("one"), Share("other")
    for share, item in ((one, 5), (other, 2)):
        queue.join(share)
        queue.put(share, item)
    assert queue.take(lambda item: item < 3) == 2
    assert queue.take(lambda item: item < 3) is None
    assert queue.take() == 5


@pytest.mark.parametrize("total", [0.0, 10.0, 700.0, 1e6])
@pytest.mark.parametrize("demands", [[], [500.0], [1.0, 300.0, 900.0], [250.0] * 8, [0.0, 0.0, 800.0, 20.0]])
def test_parts_are_fair(demands, total):
    parts = fair_parts(demands, total)
    assert sum(parts) == pytest.approx(min(total, sum(demands)))
    assert all(part <= demand for part, demand in zip(parts, demands, strict=True))
    short = [part for part, demand in zip(parts, demands, strict=True) if part < demand - 1e-6]
    assert all(part >= max(parts) - 1e-6 for part in short)  # who gets less than it needs gets as much as anybody
