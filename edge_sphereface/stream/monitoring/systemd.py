"""Notifications for systemd: ready, alive, stopping. Without systemd they do nothing.

References:
    sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SystemdNotifier:
    """Notifies systemd, if it started this process as a service of type ``notify``.

    ``$NOTIFY_SOCKET`` and ``$WATCHDOG_USEC`` say so. Both are removed from the environment, so that no child process
    sends notifications.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        period_us, process = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        is_ours = process in ("", str(os.getpid()))
        self._interval_s = int(period_us) / 1e6 / 3 if period_us.isdecimal() and is_ours else None
        self._signed, self._is_ready = float("-inf"), False

    def alive(self) -> None:
        """Report that the stream works: at most three times per period of the watchdog, however often it is called."""
        if not self._is_ready:
            self._is_ready = True
            self._notify("READY=1")
        now = self._clock()
        if self._interval_s is not None and now - self._signed >= self._interval_s:
            self._signed = now
            self._notify("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the stream is about to end."""
        self._notify("STOPPING=1")

    def _notify(self, text: str) -> None:
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(text.encode(), address)
