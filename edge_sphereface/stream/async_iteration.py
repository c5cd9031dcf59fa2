"""Iterates over a blocking iterator from an event loop: it runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

_MOST_AHEAD = 1000
_LOOK_S = 0.2

ItemT = TypeVar("ItemT")


async def iterate_in_thread(
    items: Iterable[ItemT], *, stop: Callable[[], object], most_ahead: int = _MOST_AHEAD
) -> AsyncGenerator[ItemT, None]:
    """Yield the items that an iterator produces in a thread of its own. The event loop never waits for the thread.

    When the consumer leaves, is canceled or its event loop is closed, ``stop`` is called and the iterator runs to its
    end; its further items are dropped.

    Args:
        items: is iterated over in the thread.
        stop: ends the iterator soon; called from any thread.
        most_ahead: number of items that the iterator may be ahead of the consumer before it has to wait.

    Raises:
        Exception: whatever the iterator raises.
    """
    producer = _Producer(items, stop=stop, most_ahead=most_ahead)
    threading.Thread(target=producer.run, name="face-stream", daemon=True).start()
    try:
        while (found := await producer.arrived.get()) is not None:
            producer.room.release()
            yield found[0]
        if producer.failure is not None:
            raise producer.failure
    finally:
        producer.leave()
        await producer.wait_for_end()


class _Producer(Generic[ItemT]):
    """The thread's side; made in the event loop.

    Args:
        items: see :func:`iterate_in_thread`.
        stop: likewise.
        most_ahead: likewise.
    """

    def __init__(self, items: Iterable[ItemT], *, stop: Callable[[], object], most_ahead: int) -> None:
        self.arrived: asyncio.Queue[tuple[ItemT] | None] = asyncio.Queue()
        self.room = threading.Semaphore(most_ahead)
        self.failure: BaseException | None = None
        self._items, self._stop = items, stop
        self._loop = asyncio.get_running_loop()
        self._leaving = threading.Event()
        self._ended = asyncio.Event()

    def run(self) -> None:
        """Produce all items."""
        try:
            for item in self._items:
                while not self._leaving.is_set() and not self.room.acquire(timeout=_LOOK_S):
                    pass
                if not self._leaving.is_set():
                    self._post(self.arrived.put_nowait, (item,))
        except BaseException as error:  # noqa: BLE001 -- it belongs to the consumer
            self.failure = error
        self._post(self.arrived.put_nowait, None)
        self._post(self._ended.set)

    def leave(self) -> None:
        """Deliver no more items, and end the iterator."""
        self._leaving.set()
        self._stop()

    async def wait_for_end(self) -> None:
        """Wait until the iterator has ended; not in an event loop that is closed, where nothing can be awaited."""
        if not self._loop.is_closed():
            await self._ended.wait()

    def _post(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed
            self.leave()
