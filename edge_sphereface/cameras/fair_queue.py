"""The order in which cameras use a detector and a model that they share."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

ItemT = TypeVar("ItemT")


class Share(Generic[ItemT]):
    """What one camera has used, and what it waits for.

    Args:
        name: of the camera.

    Attributes:
        name: of the camera.
        used_s: time that detector and model worked for it, in seconds.
        waited_s: time that it waited for them, in seconds.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.used_s = self.waited_s = 0.0
        self.start_s = 0.0
        self.waiting: deque[ItemT] = deque()


class FairQueue(Generic[ItemT]):
    """Requests of several cameras; the next is that of the camera that was served least.

    Start-time fair queueing: each camera has a virtual time that grows by what its requests cost. One that was idle
    starts at the virtual time of the request served last, so that nobody saves up time. A camera with rare requests
    thus waits for the request in service, and at most for one of each other camera.

    Not safe to use from several threads: its owner has a lock.

    References:
        P. Goyal, H. Vin, H. Cheng: Start-time Fair Queueing, SIGCOMM 1996.
    """

    def __init__(self) -> None:
        self._shares: list[Share[ItemT]] = []
        self._now_s = 0.0

    @property
    def shares(self) -> tuple[Share[ItemT], ...]:
        """Of all cameras."""
        return tuple(self._shares)

    def join(self, share: Share[ItemT]) -> None:
        """Add a camera."""
        self._shares.append(share)

    def leave(self, share: Share[ItemT]) -> None:
        """Remove a camera; its requests that still wait are served."""
        if not share.waiting and share in self._shares:
            self._shares.remove(share)

    def put(self, share: Share[ItemT], item: ItemT) -> None:
        """Queue a request."""
        self.begin(share)
        share.waiting.append(item)

    def begin(self, share: Share[ItemT]) -> None:
        """Let a camera that was idle start now, with no time saved up."""
        if not share.waiting:
            share.start_s = max(share.start_s, self._now_s)

    def take(self, wanted: Callable[[ItemT], bool] = lambda _: True) -> ItemT | None:
        """Remove the next request.

        Args:
            wanted: passes over the requests for which it is false.

        Returns:
            The request; None if none waits.
        """
        chosen: Share[ItemT] | None = None
        for share in self._shares:
            if share.waiting and (chosen is None or share.start_s < chosen.start_s) and wanted(share.waiting[0]):
                chosen = share
        if chosen is None:
            return None
        self.serve(chosen)
        return chosen.waiting.popleft()

    def serve(self, share: Share[ItemT]) -> None:
        """Note that a camera is served now; a tie goes to another one next time."""
        self._now_s = max(self._now_s, share.start_s)
        self._shares.remove(share)
        self._shares.append(share)

    def charge(self, share: Share[ItemT], cost_s: float) -> None:
        """Add what a request of a camera cost, in seconds."""
        share.used_s += cost_s
        share.start_s += cost_s


def fair_parts(demands: list[float], total: float) -> list[float]:
    """Divide a total among demands: nobody gets more than it demands, and what is left is divided among the others.

    Returns:
        One part for each demand (max-min fairness).
    """
    parts = [0.0] * len(demands)
    left, open_demands = total, sorted(range(len(demands)), key=lambda index: demands[index])
    for place, index in enumerate(open_demands):
        parts[index] = min(demands[index], left / (len(open_demands) - place))
        left -= parts[index]
    return parts
