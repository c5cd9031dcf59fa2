"""The two clocks of a machine: of its calendar, which may jump, and of its running time, which does not."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESS = secrets.token_hex(16)
_LOADED_S = time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A moment on both clocks.

    Attributes:
        start: name of this start of the machine.
        uptime_s: seconds since that start, with those of sleep.
        unix_s: seconds since 1970, as the calendar clock shows them.
    """

    start: str
    uptime_s: float
    unix_s: float


def read_moment() -> Moment:
    """The present moment. Where a system does not name its starts, each process counts as one."""
    start = _start()
    if start is None:
        return Moment(start=_PROCESS, uptime_s=time.monotonic() - _LOADED_S, unix_s=time.time())
    return Moment(start=start, uptime_s=time.clock_gettime(time.CLOCK_BOOTTIME), unix_s=time.time())


@cache
def _start() -> str | None:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() if hasattr(time, "CLOCK_BOOTTIME") else None
    except (OSError, ValueError):
        return None
