"""Limits the requests of each token."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.web.tokens import TokenHolder


class RateLimit:
    """A token bucket for each holder of a token: it fills steadily, and each request takes one out.

    Args:
        clock: gives seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._levels: dict[str, tuple[float, float]] = {}  # requests left, and when; one entry for each token's name

    def wait_s(self, holder: TokenHolder) -> float:
        """Count a request; returns 0 if it may be made now, else the seconds after which one may be made."""
        with self._lock:
            now = self._clock()
            left, at = self._levels.get(holder.name, (float(holder.burst), now))
            left = min(left + (now - at) * holder.per_second, float(holder.burst))
            is_allowed = left >= 1.0
            self._levels[holder.name] = (left - 1.0 if is_allowed else left), now
            return 0.0 if is_allowed else (1.0 - left) / holder.per_second
