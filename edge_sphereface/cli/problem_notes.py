"""Reports problems besides the source's on stderr."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge_sphereface.cli.runner import note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LOOK_S = 1.0
_AGAIN_S = 600.0
"""Interval at which a lasting problem is printed again."""
_GONE_S = 60.0
"""Time without a problem after which all are over. One that recurs sooner is printed once."""


class ProblemNotes:
    """Prints problems on stderr when they begin, and when none is left.

    Args:
        problems: returns the current problems; the text of a problem stays the same while it lasts.
        clock: gives seconds.
    """

    def __init__(self, problems: Callable[[], Sequence[str]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._problems, self._clock = problems, clock
        self._looked = self._seen = float("-inf")
        self._told: dict[str, float] = {}

    def look(self) -> None:
        """Print new problems. It looks once a second, however often it is called."""
        now = self._clock()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        problems = self._problems()
        if problems:
            self._seen = now
        elif self._told and now - self._seen >= _GONE_S:
            self._told.clear()
            note(f"no problem for {_GONE_S:.0f} s")
        for text in problems:
            if now - self._told.get(text, float("-inf")) >= _AGAIN_S:
                self._told[text] = now
                note(f"problem: {text}")
