"""Load of other programs on the machine during a measurement."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from edge_sphereface.cpu import usable_cpus
from edge_sphereface.json_output import rounded

_NOT_BUSY = (3, 4)
"""Columns of /proc/stat that are no work: idle, and waiting for a disk."""
_COLUMNS = 8
"""Up to ``steal``; those of guests are part of the first two."""
_LOADED_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLoad:
    """Other work on a machine.

    Attributes:
        other_processors: processors that other programs kept busy on the average; None where the system does not tell.
        average: the system's load average over the last minute, our own work included; None where there is none.
        processors: that this process may use.
    """

    other_processors: float | None = field(metadata=rounded(2))
    average: float | None = field(metadata=rounded(2))
    processors: int

    @property
    def is_high(self) -> bool:
        """Whether timings must be doubted."""
        return self.other_processors is not None and self.other_processors > _LOADED_SHARE * self.processors

    def __str__(self) -> str:
        others = "an unknown number" if self.other_processors is None else f"{self.other_processors:.2f}"
        return f"other programs kept {others} of {self.processors} processors busy while this was measured"


class LoadMeter:
    """Counts, from when it is made, the processors that other programs keep busy."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Begin.

        Args:
            root: where ``proc`` is mounted.
        """
        self._root = root
        self._start = self._now()

    def read(self) -> MachineLoad:
        """What was seen until now."""
        (wall, own, busy), (wall_before, own_before, busy_before) = self._now(), self._start
        others = None
        if busy is not None and busy_before is not None and wall > wall_before:
            others = max(0.0, (busy - busy_before - (own - own_before)) / (wall - wall_before))
        average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        return MachineLoad(other_processors=others, average=average, processors=usable_cpus())

    def _now(self) -> tuple[float, float, float | None]:
        """Seconds of the clock, of this process and its children, and of all programs together."""
        own = sum(os.times()[:4])
        return time.monotonic(), own, _busy_s(self._root)


def _busy_s(root: Path) -> float | None:
    """Seconds for which processors worked since the system began, all together."""
    try:
        first, *columns = (root / "proc/stat").read_text(encoding="ascii").splitlines()[0].split()[: _COLUMNS + 1]
        if first != "cpu":
            return None
        ticks = sum(int(value) for number, value in enumerate(columns) if number not in _NOT_BUSY)
        return ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):  # AttributeError: no sysconf on Windows
        return None
