"""Signals that stop what a command runs, or make it read its settings again."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


@contextmanager
def stopped_by_signals(stop: Callable[[], object], *, again: Callable[[], object] | None = None) -> Iterator[list[int]]:
    """Call a function on Ctrl-C and SIGTERM; gives the signals that came.

    Args:
        stop: ends the work soon.
        again: called on SIGHUP. Without it that signal ends the work as well, unless it is ignored (``nohup``): a
            supervisor starts the program again, which then reads its settings.
    """
    came: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        came.append(number)
        stop()

    handlers: dict[int, Callable[[int, FrameType | None], object]] = {signal.SIGINT: handle, signal.SIGTERM: handle}
    if hasattr(signal, "SIGHUP"):
        if again is not None:
            handlers[signal.SIGHUP] = lambda *_: again()
        elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            handlers[signal.SIGHUP] = handle
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
