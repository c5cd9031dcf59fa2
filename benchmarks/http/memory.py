"""Resident memory of a server over a load, and whether it stays flat."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from edge_sphereface.json_output import rounded

INTERVAL_S = 10.0
WARM_UP_S = 120.0
"""Time under a load after which memory may not grow any more."""
_WINDOW_S = 120.0
"""The samples of one minute differ by more than the bound."""
_MOST_GROWTH_MIB = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUnderLoad:
    """Resident memory of the server while it was under a load.

    Attributes:
        interval_s: time between two samples, in seconds.
        samples_mib: the samples in MiB, the first when the load began.
        warm_up_s: time after which memory may not grow any more, in seconds.
        window_s: length of the windows that are compared, in seconds.
        warm_mib: median of the samples in the window after the warm-up, in MiB.
        end_mib: median of the samples in the last window, in MiB.
        growth_mib: difference of both.
        most_growth_mib: growth up to which memory counts as flat, in MiB.
        is_flat: whether it does.
    """

    interval_s: float
    samples_mib: tuple[float, ...] = field(metadata=rounded(1))
    warm_up_s: float
    window_s: float
    warm_mib: float = field(metadata=rounded(1))
    end_mib: float = field(metadata=rounded(1))
    growth_mib: float = field(metadata=rounded(1))
    most_growth_mib: float
    is_flat: bool

    @classmethod
    def judge(cls, samples_mib: list[float]) -> MemoryUnderLoad | None:
        """Compare the end with the time after the warm-up; None if the load was too short for two windows.

        Args:
            samples_mib: samples in MiB, one for each interval from the beginning of the load.
        """
        warm, window = round(WARM_UP_S / INTERVAL_S), round(_WINDOW_S / INTERVAL_S)
        if len(samples_mib) < warm + 2 * window:
            return None
        before, after = median(samples_mib[warm : warm + window]), median(samples_mib[-window:])
        return cls(
            interval_s=INTERVAL_S,
            samples_mib=tuple(samples_mib),
            warm_up_s=WARM_UP_S,
            window_s=_WINDOW_S,
            warm_mib=before,
            end_mib=after,
            growth_mib=after - before,
            most_growth_mib=_MOST_GROWTH_MIB,
            is_flat=after - before <= _MOST_GROWTH_MIB,
        )
