"""What was decided about whether a face is live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

LivenessState: TypeAlias = Literal["live", "spoof", "not_checked"]
ThresholdSource: TypeAlias = Literal["given", "calibrated", "default"]
"""``calibrated``: by a file beside the model."""
CHECKS_AVERAGED = 5
"""Number of newest checks of a track whose mean decides."""
DEFAULT_THRESHOLD = 0.5
"""A probability from which the class of live faces outweighs the others together. It says nothing about an error rate:
measure one on your own camera."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """What was decided about one face.

    Attributes:
        state: ``live``, ``spoof``, or ``not_checked``.
        score: mean probability of the class of live faces, 0 to 1; None if it was not checked.
        reason: why it was not checked, in words; empty otherwise.
    """

    state: LivenessState
    score: float | None = None
    reason: str = ""
