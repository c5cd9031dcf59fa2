"""The states of messages between outbox and broker, over any order of sending, confirming, breaking and deleting."""

from hypothesis import given
from hypothesis import strategies as st

from edge_sphereface.stream.outputs.events.delivery import DeliveryTracker

MOST_IN_FLIGHT = 3


class Simulation:
    """An outbox, a client that resends what is in flight after a break, and what the broker really confirmed."""

    def __init__(self):
        self.tracker = DeliveryTracker()
        self.stored, self.confirmed, self.resent, self.confirmed_twice = [], set(), set(), set()
        self.in_flight = {}
        self.now_s = self.packets = self.made = 0

    def store(self):
        self.made += 1
        self.stored.append(self.made)

    def send(self):
        room = MOST_IN_FLIGHT - self.tracker.in_flight
        for number in [number for number in self.stored if number > self.tracker.last][:room]:
            if self.tracker.must_send(number):
                self.packets += 1
                self.tracker.sent(number, self.packets)
                assert number not in self.confirmed
                assert number not in self.in_flight.values()
                self.in_flight[self.packets] = number

    def confirm(self):
        if self.in_flight:
            packet = next(iter(self.in_flight))
            number = self.in_flight.pop(packet)
            self.confirmed.add(number)
            if number in self.resent:
                self.confirmed_twice.add(number)
            self.tracker.confirm(packet, self.now_s)

    def reconnect(self):
        self.tracker.reconnected()
        self.resent |= self.confirmed - self.confirmed_twice
        self.confirmed &= self.confirmed_twice  # the others are sent once more, and count again

    def delete(self):
        self.now_s += 1
        gone = set(self.tracker.take_deletable(self.now_s - 2))
        assert gone <= set(self.stored)
        self.stored = [number for number in self.stored if number not in gone]


@given(st.lists(st.sampled_from(["store", "send", "confirm", "reconnect", "delete"]), max_size=80))
def test_what_is_unconfirmed_is_counted_and_nothing_is_lost(steps):
    """The count is that of messages the broker has not confirmed, and nothing unconfirmed is ever deleted."""
    run = Simulation()
    ever_confirmed, deleted = set(), set()
    for step in [*steps, *["send", "confirm"] * (2 * len(steps) + 2)]:
        before = set(run.stored)
        getattr(run, step)()
        ever_confirmed |= run.confirmed
        deleted |= before - set(run.stored)
        assert deleted <= ever_confirmed
        assert run.tracker.unconfirmed(len(run.stored)) == len(set(run.stored) - run.confirmed)
    assert set(run.stored) <= run.confirmed
    assert run.tracker.in_flight == 0


def test_a_message_confirmed_after_a_break_is_not_sent_again():
    """It was in flight at the break, the client sent it again, and its confirmation came before its turn."""
    tracker = DeliveryTracker()
    for number in (1, 2, 3):
        assert tracker.must_send(number)
        tracker.sent(number, packet=number)
    tracker.confirm(1, 0.0)
    tracker.reconnected()
    tracker.confirm(2, 0.0)
    assert tracker.last == 0
    assert [number for number in (1, 2, 3) if tracker.must_send(number)] == [1]
    tracker.sent(1, packet=4)
    assert tracker.unconfirmed(stored=3) == 2  # 2 was confirmed; 1, once more, and 3 are in flight
    tracker.confirm(3, 0.0)
    tracker.confirm(4, 0.0)
    assert tracker.unconfirmed(stored=3) == 0
    assert tracker.take_deletable(0.0) == (1,)
