"""What a model of reduced precision must keep to be written."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from edge_sphereface.types import JsonObject

STRICT = "strict"


class Judgment(NamedTuple):
    """One bound and what was measured.

    Attributes:
        what: is bounded, in words.
        measured: None if it was not measured.
        bound: None if it is not judged.
        at_least: whether what is judged must be at least or at most ``bound``.
        worst: the worse end of the measured figure's interval, which is judged; None where the figure is exact.
        why_not: why it is not judged.
    """

    what: str
    measured: float | None
    bound: float | None
    at_least: bool
    worst: float | None = None
    why_not: str = ""

    @property
    def holds(self) -> bool:
        """Whether the bound is kept; what was not measured or is not judged does not fail."""
        judged = self.measured if self.worst is None else self.worst
        if judged is None or self.bound is None or self.why_not:
            return True
        return judged >= self.bound if self.at_least else judged <= self.bound

    def __str__(self) -> str:
        if self.measured is None:
            return f"{self.what}: not judged, {self.why_not}"
        figure = f"{self.what}: {self.measured:.5g}"
        if self.worst is not None:
            figure += f", with 95 % confidence {'at least' if self.at_least else 'at most'} {self.worst:.5g}"
        if self.why_not or self.bound is None:
            return f"{figure}: not judged{f', {self.why_not}' if self.why_not else ' by this policy'}"
        sign = (">=" if self.at_least else "<=") if self.holds else ("<" if self.at_least else ">")
        verdict = "" if self.holds else "  MISSED"
        return f"{figure} {sign} {self.bound:g}{verdict}"

    def as_json(self) -> JsonObject:
        """The same as plain JSON values."""
        return {**self._asdict(), "holds": self.holds}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Bounds; None leaves one out.

    Attributes:
        mean: least mean cosine to the float model's embeddings.
        p1: least 1st percentile of it.
        known: least cosine over the crops of the built-in photograph, which are the same for every model.
        min: least cosine of any crop. The minimum falls with the number of photographs, so this is a floor for what is
            broken and no measure of quality.
        accuracy: most points of 10-fold accuracy that may be lost.
        tar: most points of TAR at FAR = 1 % that may be lost.
        latency: most latency as a part of the float model's, on this machine.
    """

    mean: float | None = 0.997
    p1: float | None = 0.99
    known: float | None = 0.985
    min: float | None = 0.9
    accuracy: float | None = 0.5
    tar: float | None = 2.0
    latency: float | None = 1.0


def parse_policy(text: str) -> Policy:
    """Read ``strict``, or bounds that differ from it: ``min=0.98,latency=none``.

    Raises:
        ValueError: another form.
    """
    policy = Policy()
    known = [field.name for field in fields(Policy)]
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name == STRICT and not value:
            continue
        if name not in known or not value:
            raise ValueError(f"expected {STRICT} or bounds such as min=0.98 (known: {', '.join(known)}), got {part!r}")
        bound = None if value == "none" else float(value)
        if bound is not None and not math.isfinite(bound):
            raise ValueError(f"expected a finite number or none for {name}, got {value!r}")
        policy = replace(policy, **{name: bound})
    return policy
