"""No event is lost between a stream and a real broker, whatever becomes of the broker or of the stream."""

import stat
import time

import pytest

from edge_sphereface.stream.outputs.events.outbox import Outbox

BREAK_S = 2.0
"""How long a broker is away; after 1 s and after 3 s the client tries to reach it."""


def test_events_arrive_in_order_and_the_spool_empties(broker, read_from, dispatcher_to, give, wait_for, tmp_path):
    reader = read_from(broker.port)
    dispatcher = dispatcher_to(broker.port)
    give(dispatcher, 500)
    wait_for(lambda: len(reader.sequences) == 500 and dispatcher.pending() == 0)
    assert dispatcher.close(5.0) == 0
    wait_for(lambda: reader.states == ["online", "offline"])
    assert reader.sequences == list(range(1, 501))
    assert stat.S_IMODE((tmp_path / "spool.db").stat().st_mode) == 0o600


@pytest.mark.slow
@pytest.mark.parametrize("away_s", [3, 20])
def test_a_broker_that_is_killed_loses_nothing(broker, read_from, dispatcher_to, give, wait_for, tmp_path, away_s):
    """Killed with events on their way, away while more come; what it had confirmed and not handed on comes again.

    Also where it is away for longer than a confirmed event is kept: 15 s, with such a keepalive. The sink's clock runs
    as fast as the break needs.
    """
    dispatcher = dispatcher_to(broker.port, keepalive_s=5, clock=lambda: time.monotonic() * away_s / BREAK_S)
    reader = read_from(broker.port, name="reader")
    broker.save()
    give(dispatcher, 100)
    wait_for(lambda: len(reader.sequences) >= 20)
    broker.kill()
    for _ in range(20):
        give(dispatcher, 10)
        time.sleep(BREAK_S / 20)
    assert dispatcher.pending() >= 200
    broker.start()
    wait_for(lambda: dispatcher.pending() == 0, seconds=60)
    wait_for(lambda: set(reader.sequences) == set(range(1, 301)))
    dispatcher.close(5.0)
    spool = Outbox(tmp_path / "spool.db")
    assert len(spool) == 0
    spool.close()


def test_what_was_confirmed_shortly_before_a_break_is_sent_again(broker, read_from, dispatcher_to, give, wait_for):
    """Once: not what was confirmed longer ago, and not for ever where the connection breaks again and again."""
    reader = read_from(broker.port, name="reader")
    ahead_s = [0.0]
    dispatcher = dispatcher_to(broker.port, clock=lambda: time.monotonic() + ahead_s[0])
    broker.save()
    give(dispatcher, 2)
    wait_for(lambda: reader.sequences == [1, 2] and dispatcher.pending() == 0)
    ahead_s[0] = 60.0
    wait_for(lambda: dispatcher.sink.stored == 0)
    give(dispatcher, 3)
    wait_for(lambda: reader.sequences == [1, 2, 3, 4, 5] and dispatcher.pending() == 0)
    assert dispatcher.sink.stored == 3
    broker.kill()
    broker.start()
    wait_for(lambda: reader.sequences[5:] == [3, 4, 5])
    wait_for(lambda: dispatcher.sink.stored == 0)
    give(dispatcher, 1)
    wait_for(lambda: reader.sequences[8:] == [6])
    dispatcher.close(5.0)


def test_events_outlive_the_process_that_made_them(broker, read_from, dispatcher_to, give, wait_for):
    """Nobody listens at that port; the next run, with the same spool, brings them to the broker."""
    lonely = dispatcher_to(1)
    give(lonely, 30)
    wait_for(lambda: lonely.sink.stored == 30)
    assert lonely.close(3.0) == 0
    reader = read_from(broker.port)
    dispatcher = dispatcher_to(broker.port)
    wait_for(lambda: sorted(set(reader.sequences)) == list(range(1, 31)))
    dispatcher.close(5.0)
