"""Targets of figures, and whether they are reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Target of one figure.

    Attributes:
        figure: description of the figure.
        measured: measured value; None if it could not be measured.
        bound: bound of the value.
        sense: relation of the value to the bound: ``<=``, ``<`` or ``>=``.
        why_not: reason why it was not measured.
    """

    figure: str
    measured: float | None
    bound: float
    sense: str
    why_not: str = ""

    @property
    def verdict(self) -> str:
        """``reached``, ``MISSED`` or ``not measured``."""
        if self.measured is None:
            return "not measured"
        kept = {
            "<=": self.measured <= self.bound,
            "<": self.measured < self.bound,
            ">=": self.measured >= self.bound,
        }[self.sense]
        return "reached" if kept else "MISSED"

    def as_json(self) -> JsonObject:
        """Return the target as plain JSON values."""
        return {
            "figure": self.figure,
            "measured": self.measured,
            "sense": self.sense,
            "bound": self.bound,
            "verdict": self.verdict,
            "why_not": self.why_not,
        }


def text(lines: Sequence[Target]) -> str:
    """Format the targets as a table."""
    width = max(len(line.figure) for line in lines)
    shown = [f"{'figure':<{width}} {'measured':>10}   {'must be':>9}"]
    for line in lines:
        measured = "" if line.measured is None else f"{line.measured:.5g}"
        reason = f" ({line.why_not})" if line.why_not else ""
        shown.append(f"{line.figure:<{width}} {measured:>10}   {line.sense:>2} {line.bound:<7g} {line.verdict}{reason}")
    return "\n".join(shown)
