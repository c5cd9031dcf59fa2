"""Measures the load that other programs put on the machine during a measurement."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cpu import usable_cpus
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.json_output import rounded
from edge_sphereface.storage.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

_NOT_BUSY = (3, 4)
"""Columns of /proc/stat that do not count as work: idle, and waiting for I/O."""
_COLUMNS = 8
"""Number of columns up to ``steal``; the guest columns are included in the first two."""
_LOADED_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLoad(Record):
    """Load on a machine during a measurement.

    Attributes:
        other_processors: mean number of processors that other programs kept busy; None if the system cannot tell.
        average: load average of the system over the last minute, including this process; None if there is none.
        processors: number of processors that this process may use.
    """

    record_name = "The load of the machine"
    record_error = EdgeSphereFaceError
    record_hint = "measure again"

    other_processors: float | None = field(metadata=rounded(2))
    average: float | None = field(metadata=rounded(2))
    processors: int

    @property
    def is_high(self) -> bool:
        """Whether the load is too high for reliable timings."""
        return self.other_processors is not None and self.other_processors > _LOADED_SHARE * self.processors

    def __str__(self) -> str:
        others = "an unknown number" if self.other_processors is None else f"{self.other_processors:.2f}"
        return f"other programs kept {others} of {self.processors} processors busy while this was measured"


class LoadMeter:
    """Measures how many processors other programs keep busy, from its creation on."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        wall_s: Callable[[], float] | None = None,
        own_s: Callable[[], float] | None = None,
    ) -> None:
        """Start the measurement.

        Args:
            root: folder that holds ``proc``.
            wall_s: monotonic clock in seconds; None for the system's.
            own_s: processor time of this process and its children in seconds; None for the system's.
        """
        self._root, self._wall_s, self._own_s = root, wall_s or time.monotonic, own_s or _own_s
        self._start = self._now()

    def read(self) -> MachineLoad:
        """Load from the start of the measurement until now."""
        (wall, own, busy), (wall_before, own_before, busy_before) = self._now(), self._start
        others = None
        if busy is not None and busy_before is not None and wall > wall_before:
            others = max(0.0, (busy - busy_before - (own - own_before)) / (wall - wall_before))
        average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        return MachineLoad(other_processors=others, average=average, processors=usable_cpus())

    def _now(self) -> tuple[float, float, float | None]:
        """Wall time, processor time of this process and its children, and of all programs, in seconds."""
        return self._wall_s(), self._own_s(), _busy_s(self._root)


def _own_s() -> float:
    """Processor time of this process and its children, in seconds."""
    return sum(os.times()[:4])


def _busy_s(root: Path) -> float | None:
    """Total processor time of all programs since the system started, in seconds."""
    try:
        first, *columns = (root / "proc/stat").read_text(encoding="ascii").splitlines()[0].split()[: _COLUMNS + 1]
        if first != "cpu":
            return None
        ticks = sum(int(value) for number, value in enumerate(columns) if number not in _NOT_BUSY)
        return ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):  # AttributeError: no sysconf on Windows
        return None
