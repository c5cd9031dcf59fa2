"""The processor: its features, and the number of cores this process may use (fewer in a container)."""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from pathlib import Path

_GENERATION = re.compile(
    r"^(vendor_id|cpu family|model|stepping|CPU implementer|CPU part|CPU variant|CPU revision)\s*: (\S+)$", re.MULTILINE
)

MAX_THREADS = 1024
"""Most threads that may be asked for: more than devices have processors, and not so many that their start crashes."""


def read_cpuinfo(root: Path = Path("/")) -> tuple[str, frozenset[str]]:
    """Read the name of the processor or board and its features from /proc/cpuinfo; both are empty if unknown.

    Args:
        root: folder that holds ``proc``.
    """
    model, flags = "", frozenset[str]()
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            model = value.strip()
        elif key.strip() in ("flags", "Features") and not flags:
            flags = frozenset(value.split())
    with suppress(OSError, UnicodeDecodeError):  # boards name themselves in the device tree
        model = (root / "proc/device-tree/model").read_text(encoding="utf-8").strip("\0\n ")
    return model, flags


def cpu_generation(root: Path = Path("/")) -> dict[str, str]:
    """Numbers that identify the generation of a processor; names such as "Intel Xeon Processor" do not.

    Args:
        root: folder that holds ``proc``.

    Returns:
        Lines of /proc/cpuinfo for the first processor: vendor, family, model and stepping on x86-64; implementer,
        part, variant and revision on Arm. Empty if the system does not report them.
    """
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {name.replace(" ", "_"): value for name, value in _GENERATION.findall(text.split("\n\n")[0])}


def cgroup_cpu_limit(root: Path = Path("/")) -> float | None:
    """Number of processors that the control group allows; None if there is no limit.

    Args:
        root: folder that holds ``proc`` and ``sys``.
    """
    for folder in _cgroup_folders(root):
        try:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()  # cgroup 2
        except (OSError, ValueError):
            try:
                quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()  # cgroup 1
                period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
            except (OSError, ValueError):
                continue
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            return int(quota) / int(period)
    return None


def _cgroup_folders(root: Path) -> list[Path]:
    """Folders of the control groups that may hold this process's limit, the innermost first."""
    mount = root / "sys/fs/cgroup"
    folders = []
    try:
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" or "cpu" in controllers.split(","):
                base = mount if number == "0" else mount / "cpu"
                own = base / path.lstrip("/")
                folders += [own, *(parent for parent in own.parents if parent == base or base in parent.parents)]
    except (OSError, ValueError):
        pass
    return [*folders, mount, mount / "cpu"]


def usable_cpus(root: Path = Path("/")) -> int:
    """Number of processors that this process can use: the minimum of affinity mask and control group, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cgroup_cpu_limit(root)
    return affinity if limit is None else max(1, min(affinity, math.ceil(limit)))
