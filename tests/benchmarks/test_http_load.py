"""The load on the HTTP interface: what counts as admitted, refused and late."""

import threading

import pytest

from benchmarks.http.load import Unloaded, loaded, quantile, unloaded
from edge_sphereface.errors import EdgeSphereFaceError


def test_requests_are_counted_by_their_answers():
    numbers, lock = iter(range(10_000)), threading.Lock()

    def ask():
        with lock:
            return (200, 429, 0)[next(numbers) % 3]

    base = Unloaded(requests=1, p50_ms=1.0, p99_ms=2.0, capacity_per_s=300.0)
    row = loaded(ask, lambda: 50.0, load=2, base=base, seconds=0.2, settling_s=0.05)
    assert row.sent == row.admitted + row.refused + row.failed
    assert min(row.admitted, row.refused, row.failed) > 10
    assert row.p99_ratio == row.p99_ms / 2.0
    assert (row.offered_per_s, row.rss_begin_mib, row.rss_end_mib) == (600.0, 50.0, 50.0)


def test_without_load_every_request_must_be_answered():
    now = [0.0]

    def ask():
        now[0] += 0.01
        return 200

    found = unloaded(ask, 1.0, lambda: now[0])
    assert (round(found.p50_ms), round(found.capacity_per_s), found.requests) == (10, 100, 100)
    with pytest.raises(EdgeSphereFaceError, match="status 500"):
        unloaded(lambda: 500, 1.0)


def test_quantiles():
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(list(range(100)), 0.99) == 99
