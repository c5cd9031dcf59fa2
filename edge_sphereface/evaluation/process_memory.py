"""Resident memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_rss_mib(status: Path = _STATUS) -> float | None:
    """Peak resident memory of this process in MiB; None if the system does not report it.

    On Linux, it is read from /proc: the value of ``getrusage`` includes the memory of the process that forked this one.
    """
    peak = _field_mib(status, "VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def rss_mib(status: Path = _STATUS) -> float | None:
    """Resident memory of this process now in MiB; None if the system does not report it."""
    return _field_mib(status, "VmRSS")


def _field_mib(status: Path, name: str) -> float | None:
    try:
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
