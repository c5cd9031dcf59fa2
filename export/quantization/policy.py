"""Bounds that a model of reduced precision must meet to be written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

from edge_sphereface.json_output import NULL_UNLESS_FINITE

STRICT = "strict"
_AT_MOST = ("accuracy", "tar", "latency")
"""Names of the bounds that a value must not exceed."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """One bound and the measured value.

    Attributes:
        what: description of the measured quantity.
        measured: measured value; None if it was not measured.
        bound: bound; None if the value is not judged.
        at_least: whether the value must be at least ``bound``; otherwise it must be at most ``bound``.
        worst: worse end of the one-sided 95 % confidence interval, which is judged; None if the value is exact.
        why_not: reason why the value is not judged; empty if it is.
        holds: whether the bound is met. A value that was not measured or is not judged does not fail.
    """

    what: str
    measured: float | None
    bound: float | None
    at_least: bool
    worst: float | None = field(default=None, metadata=NULL_UNLESS_FINITE)
    why_not: str = ""
    holds: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        judged = self.measured if self.worst is None else self.worst
        if judged is not None and self.bound is not None and not self.why_not:
            object.__setattr__(self, "holds", judged >= self.bound if self.at_least else judged <= self.bound)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Bounds of the proof; None disables a bound.

    Attributes:
        mean: least mean cosine similarity to the float model's embeddings.
        p1: least 1st percentile of the cosine similarity.
        known: least cosine similarity over the crops of the built-in photograph, which are the same for every model.
        min: least cosine similarity of any crop. The minimum falls with the number of photographs, so this bound
            detects a broken model and does not measure quality.
        accuracy: largest loss of 10-fold accuracy in percentage points.
        tar: largest loss of TAR at FAR = 1 % in percentage points.
        latency: largest latency divided by the float model's, on this machine.
    """

    mean: float | None = 0.997
    p1: float | None = 0.99
    known: float | None = 0.985
    min: float | None = 0.9
    accuracy: float | None = 0.5
    tar: float | None = 2.0
    latency: float | None = 1.0


LARGE_TILES = Policy(mean=0.998, accuracy=0.2)
"""Bounds of half precision in large tiles, which gives up more of the float model than float16 does."""


def stricter(one: Policy, other: Policy) -> Policy:
    """The stricter bound of each kind of two policies; a bound that one of them disables is the other's."""
    bounds: dict[str, float | None] = {}
    for bound in fields(Policy):
        given = [value for policy in (one, other) if (value := getattr(policy, bound.name)) is not None]
        take = min if bound.name in _AT_MOST else max
        bounds[bound.name] = take(given) if given else None
    return Policy(**bounds)


def parse_policy(text: str) -> Policy:
    """Parse ``strict``, or bounds that differ from it, such as ``min=0.98,latency=none``.

    Raises:
        ValueError: the text has another form.
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
