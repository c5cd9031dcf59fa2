"""The log of events that clients follow and resume."""

import asyncio
import json
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
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


@dataclass
class Said:
    text: str
    kind: str = "identified"
    stream: str = "door"

    def line(self):
        return self.text


@pytest.mark.parametrize(("most_events", "most_bytes"), [(2000, 1000), (7, 1000), (2000, 37)])
def test_the_newest_events_are_kept_whole(most_events, most_bytes):
    """Lines of any length, some of more than all may have; they end anywhere in the block."""
    random, log, kept = np.random.default_rng(0), EventLog(most_events=most_events, most_bytes=most_bytes), deque()
    for number in range(1, 3000):
        line = "".join(random.choice(list("abcdé"), random.integers(1, 1.3 * min(most_bytes, 120))))
        log.write(Said(line))
        kept.append((number, line))
        while len(kept) > most_events or sum(len(text.encode()) for _, text in kept) > most_bytes:
            kept.popleft()
        if number % 50 == 0:
            found, position = [], 0
            while position < log.last:
                part = log.after(position)
                found += [(event.number, event.line) for event in part.events]
                position = part.position
            assert found == list(kept)
            assert log.first == (kept[0][0] if kept else number + 1)
    assert len(log._block) == most_bytes
