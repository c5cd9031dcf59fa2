"""The log of events that clients follow and resume."""

import asyncio
import json
import threading

import pytest

from edge_sphereface.stream.capture.reader import SourceChange
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.web.event_log import EventLog


@pytest.fixture
def make_event():
    maker = EventMaker("door")
    return lambda reason="gone": maker.source_changed("camera", SourceChange(up=False, reason=reason), 1e9)


def numbers(part):
    return [event.number for event in part.events]


def test_events_are_read_from_any_position(make_event):
    log = EventLog()
    for _ in range(5):
        log.write(make_event())
    assert numbers(log.after(0)) == [1, 2, 3, 4, 5]
    part = log.after(3)
    assert (part.missed, numbers(part), part.position) == (0, [4, 5], 5)
    assert json.loads(part.events[0].line)["sequence"] == 4
    assert log.after(5).events == ()


def test_memory_is_bounded_and_the_missed_are_counted(make_event):
    log = EventLog(most_events=3)
    for _ in range(10):
        log.write(make_event())
    part = log.after(2)
    assert (part.missed, numbers(part)) == (5, [8, 9, 10])
    small = EventLog(most_bytes=2000)
    for _ in range(10):
        small.write(make_event("x" * 500))
    assert small.after(0).missed == 8


def test_blocks_are_bounded_and_filters_move_the_position(make_event):
    log = EventLog()
    for _ in range(150):
        log.write(make_event())
    first = log.after(0)
    assert (len(first.events), first.position) == (100, 100)
    assert numbers(log.after(first.position))[-1] == 150
    none = log.after(0, lambda event: event.stream == "gate")
    assert (none.events, none.position) == ((), 150)


def test_identifiers_of_other_runs_are_unknown(make_event):
    log, other = EventLog(), EventLog()
    for _ in range(3):
        log.write(make_event())
    assert log.position_of(log.identifier(2)) == 2
    assert log.position_of(log.identifier(9)) == 3
    for text in (other.identifier(2), "", "2", f"{log.run}-", f"{log.run}-x", f"{log.run}-{'9' * 50}"):
        assert log.position_of(text) is None


def test_a_client_is_woken_by_an_event_and_by_the_end(make_event):
    async def follow():
        log = EventLog()
        writer = threading.Timer(0.05, lambda: log.write(make_event()))
        writer.start()
        await log.changed(0, 10)
        assert numbers(log.after(0)) == [1]
        await log.changed(1, 0.01)  # nothing comes
        threading.Timer(0.05, log.close).start()
        await log.changed(1, 10)
        assert log.closed

    asyncio.run(follow())
