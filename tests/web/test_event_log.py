"""The log of events that HTTP clients follow: bounded, in one block, in order."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest

from edge_sphereface.web.event_log import EventLog


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
