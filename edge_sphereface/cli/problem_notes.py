"""Reports problems besides the source's on stderr."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge_sphereface.cli.runner import note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LOOK_S = 1.0
_AGAIN_S = 600.0
"""While a problem lasts it is told again after as long."""
_GONE_S = 60.0
"""Without a problem; one that comes and goes more often is told once."""


class ProblemNotes:
    """Tells problems on stderr when they come, and when none is left.

    Args:
        problems: gives those of now, in words that stay the same while a problem does.
    """

    def __init__(self, problems: Callable[[], Sequence[str]]) -> None:
        self._problems = problems
        self._looked = self._seen = float("-inf")
        self._told: dict[str, float] = {}

    def look(self) -> None:
        """Tell what is new; looks once a second, however often it is called."""
        now = time.monotonic()
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
