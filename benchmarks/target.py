"""Targets of figures, and whether they are reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_sphereface.json_output import OMIT_NONE

if TYPE_CHECKING:
    from collections.abc import Sequence

Sense: TypeAlias = Literal["<=", "<", ">="]
"""Relation of a value to its bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Target of one figure.

    Attributes:
        figure: description of the figure.
        measured: measured value; None if it could not be measured.
        sense: relation of the value to the bound: ``<=``, ``<`` or ``>=``.
        bound: bound of the value.
        verdict: ``reached``, ``MISSED`` or ``not measured``.
        why_not: reason why it was not measured; empty if it was.
        interval: 95 % interval of a ratio of latencies; None, and left out in JSON, if it was not estimated.
    """

    figure: str
    measured: float | None
    sense: Sense
    bound: float
    verdict: str = field(init=False, default="not measured")
    why_not: str = ""
    interval: tuple[float, float] | None = field(default=None, metadata=OMIT_NONE)

    def __post_init__(self) -> None:
        if self.measured is not None:
            kept = {
                "<=": self.measured <= self.bound,
                "<": self.measured < self.bound,
                ">=": self.measured >= self.bound,
            }[self.sense]
            object.__setattr__(self, "verdict", "reached" if kept else "MISSED")


def text(lines: Sequence[Target]) -> str:
    """Format the targets as a table."""
    width = max((len(line.figure) for line in lines), default=0)
    shown = [f"{'figure':<{width}} {'measured':>10}   {'must be':>9}"]
    for line in lines:
        measured = "" if line.measured is None else f"{line.measured:.5g}"
        reason = f" ({line.why_not})" if line.why_not else ""
        reason += " (95 % interval {:.3f} to {:.3f})".format(*line.interval) if line.interval else ""
        shown.append(f"{line.figure:<{width}} {measured:>10}   {line.sense:>2} {line.bound:<7g} {line.verdict}{reason}")
    return "\n".join(shown)
