"""What a figure depends on besides the code: it travels with every result."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface import __version__
from edge_sphereface.doctor.machine import read_machine

if TYPE_CHECKING:
    from edge_sphereface.types import JsonObject

_GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


def describe(root: Path = Path("/")) -> JsonObject:
    """Machine, versions and time.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    machine = read_machine(root)
    try:
        governor = (root / _GOVERNOR).read_text(encoding="ascii").strip()
    except OSError:
        governor = None
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": machine.cpu_model or machine.processor,
        "processor": machine.processor,
        "cpu_flags": sorted(machine.cpu_flags),
        "usable_cpus": machine.usable_cpus,
        "governor": governor,
        "memory_mib": machine.memory_mib,
        "system": platform.platform(),
        "versions": {
            "edge_sphereface": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            **machine.wheels,
        },
    }
