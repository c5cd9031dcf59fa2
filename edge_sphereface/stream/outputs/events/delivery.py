"""Tracks which stored messages are in flight, confirmed, or safe to delete (MQTT, quality of service 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class DeliveryTracker:
    """The state of each message between the outbox and the broker.

    For one thread; others may call :meth:`unconfirmed`.

    A message passes through these states: stored, in flight, confirmed, deletable. After a reconnection each confirmed
    message is sent once more, because a broker that is killed loses what it had confirmed and not yet passed on; its
    second confirmation makes it deletable.

    Messages are known by two numbers: ``number`` in the outbox, and ``packet`` as the MQTT client counts.
    """

    def __init__(self) -> None:
        self._in_flight: dict[int, int] = {}
        self._confirmed_at: dict[int, float] = {}
        self._resend: set[int] = set()
        self._deletable: list[int] = []
        self.last = 0
        """The highest number that was sent: the next to send are above it."""

    @property
    def in_flight(self) -> int:
        """How many messages await a confirmation."""
        return len(self._in_flight)

    def unconfirmed(self, stored: int) -> int:
        """How many of the messages in the outbox, of which there are ``stored``, await a confirmation."""
        return max(stored - len(self._confirmed_at) - len(self._deletable), 0)

    def must_send(self, number: int) -> bool:
        """Whether a stored message must be published now.

        After a reconnection ``last`` steps back; above it lie messages in flight, which the client itself sends again,
        and messages confirmed since.
        """
        self.last = number
        return number not in self._confirmed_at and number not in self._in_flight.values()

    def sent(self, number: int, packet: int) -> None:
        """Record that a message was published."""
        self._in_flight[packet] = number

    def confirm(self, packet: int, now_s: float) -> None:
        """Record a confirmation of the broker; packets that carry no stored message are ignored."""
        number = self._in_flight.pop(packet, None)
        if number is None:
            return
        if number in self._resend:
            self._resend.remove(number)
            self._deletable.append(number)
        else:
            self._confirmed_at[number] = now_s

    def reconnected(self) -> None:
        """Step back to the oldest confirmed message: all of them are sent once more."""
        self._resend.update(self._confirmed_at)
        self.last = min([self.last, *(number - 1 for number in self._confirmed_at)])
        self._confirmed_at.clear()

    def take_deletable(self, before_s: float) -> tuple[int, ...]:
        """Messages confirmed twice, or once and before that moment.

        They count as unconfirmed until the outbox has deleted them.
        """
        for number in [number for number, at_s in self._confirmed_at.items() if at_s < before_s]:
            self._deletable.append(number)
            del self._confirmed_at[number]
        taken = tuple(self._deletable)
        self._deletable.clear()
        return taken

    def put_back(self, numbers: Iterable[int]) -> None:
        """Keep as deletable what could not be deleted."""
        self._deletable.extend(numbers)
