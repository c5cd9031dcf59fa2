"""Reads temperature, clock and throttling of a machine, which tell why a board slows down under steady load."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.json_output import rounded
from edge_sphereface.storage.record import Between, Length, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[[list[str]], str | None]

_THROTTLED_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of ``vcgencmd get_throttled``: now; 16 higher: since boot. Source: Raspberry Pi documentation."""
_THROTTLED_FILE = "sys/devices/platform/soc*/soc*:firmware/get_throttled"
"""The same bits in hexadecimal, without ``0x``. Source: drivers/firmware/raspberrypi.c of raspberrypi/linux, which
calls it deprecated."""
_CONSTANT_ZONES = ("PMIC-Die",)
"""Thermal zones that are no measurement: a Jetson Nano reports 100 degrees there, always."""
_COOLS_BY_SLOWING = re.compile(r"(thermal-)?cpufreq|(thermal-)?devfreq|.*throttle|Processor", re.IGNORECASE)
"""Types of cooling devices that slow the machine down; others are fans. Source: Documentation/driver-api/thermal of
Linux."""
_GPU = re.compile(r"gpu|ga10b|gv11b|gp10b")
"""Names of GPUs among the devices with a variable clock: Jetson's, by module, and Mali's."""
_TIMEOUT_S = 10
_MAX_LIMITS = 64
_COLDEST_C, _HOTTEST_C = -273.15, 1000.0
"""Linux reports -274 degrees for a zone that has not been measured. Source: THERMAL_TEMP_INVALID in linux/thermal.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCondition(Record):
    """Temperature, clock and throttling of a machine at one moment.

    Attributes:
        temperature_c: temperature of the hottest zone in degrees Celsius; None if the machine does not report it.
        hottest_zone: type of that zone; None if it has none.
        clock_mhz: clock of the fastest processor in MHz; None if the machine does not report it.
        gpu_clock_mhz: clock of the GPU in MHz; None if the machine does not report it.
        throttled: what slows the machine down now or, on a Raspberry Pi, has since it was started; None if the machine
            does not report it.
    """

    record_name = "The condition of a machine"
    record_error = EdgeSphereFaceError
    record_hint = "measure again"

    temperature_c: Annotated[float, Between(_COLDEST_C, _HOTTEST_C)] | None = field(metadata=rounded(1))
    hottest_zone: str | None
    clock_mhz: float | None = field(metadata=rounded(0))
    gpu_clock_mhz: float | None = field(metadata=rounded(0))
    throttled: Annotated[tuple[str, ...], Length(_MAX_LIMITS)] | None

    @property
    def is_slowed(self) -> bool:
        """Whether something slows the machine down at this moment."""
        return any(limit.endswith(" now") for limit in self.throttled or ())


def read_condition(root: Path = Path("/"), run: Run | None = None) -> DeviceCondition:
    """Read the condition of the machine at this moment.

    Args:
        root: folder where ``sys`` is mounted.
        run: runs a program and returns its output, or None if the program does not exist.
    """
    call = run or run_program
    hottest = max(_temperatures(root), default=None)
    return DeviceCondition(
        temperature_c=hottest[0] if hottest else None,
        hottest_zone=(hottest[1] or None) if hottest else None,
        clock_mhz=_clock_mhz(root, call),
        gpu_clock_mhz=max(_gpu_clocks(root), default=None),
        throttled=_throttled(root, call),
    )


def run_program(command: list[str]) -> str | None:
    """Run a program that ends by itself; returns its output, or None if it does not exist or does not end."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout


def _temperatures(root: Path) -> Iterator[tuple[float, str]]:
    """Temperatures of the thermal zones in degrees Celsius, with their types."""
    for folder in (root / "sys/class/thermal").glob("thermal_zone*"):
        degrees, zone = _integer(folder / "temp"), _line(folder / "type") or ""
        if degrees is None or zone in _CONSTANT_ZONES:  # a zone without power cannot be read
            continue
        if _COLDEST_C <= degrees / 1000 <= _HOTTEST_C:
            yield degrees / 1000, zone


def _clock_mhz(root: Path, call: Run) -> float | None:
    """Clock of the fastest processor.

    On a Raspberry Pi it comes from the firmware, because Linux reports the clock that it asked for, which is not what
    the firmware grants while it throttles (raspberrypi/linux#2986).
    """
    found = re.search(r"frequency\(\d+\)=(\d+)", call(["vcgencmd", "measure_clock", "arm"]) or "")
    if found is not None:
        return int(found[1]) / 1e6
    folders = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")
    clocks = [clock for folder in folders if (clock := _integer(folder / "scaling_cur_freq")) is not None]
    return max(clocks) / 1e3 if clocks else None


def _gpu_clocks(root: Path) -> Iterator[float]:
    for folder in (root / "sys/class/devfreq").glob("*"):
        hertz = _integer(folder / "cur_freq") if _GPU.search(folder.name) else None
        if hertz is not None:
            yield hertz / 1e6


def _throttled(root: Path, call: Run) -> tuple[str, ...] | None:
    found = [limits for limits in (_pi_limits(root, call), _cooling(root)) if limits is not None]
    if not found:
        return None
    limits = [limit for some in found for limit in some]
    if len(limits) > _MAX_LIMITS:  # a server has a cooling device for each processor
        limits[_MAX_LIMITS - 1 :] = [f"{len(limits) - _MAX_LIMITS + 1} more cooling devices now"]
    return tuple(limits)


def _pi_limits(root: Path, call: Run) -> list[str] | None:
    match = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", call(["vcgencmd", "get_throttled"]) or "")
    files = [] if match else sorted(root.glob(_THROTTLED_FILE))  # only members of the group video may call vcgencmd
    digits = match[1] if match else next(filter(None, map(_line, files)), "")
    if not re.fullmatch("[0-9a-fA-F]{1,8}", digits):
        return None
    bits = int(digits, 16)
    now = [f"{name} now" for bit, name in _THROTTLED_BITS.items() if bits >> bit & 1]
    return now + [f"{name} since boot" for bit, name in _THROTTLED_BITS.items() if bits >> (bit + 16) & 1]


def _cooling(root: Path) -> list[str] | None:
    """Cooling devices that slow the machine down now; None if it has none that could."""
    limits: dict[str, None] | None = None
    for folder in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        kind, state = _line(folder / "type") or "", _integer(folder / "cur_state")
        if state is not None and _COOLS_BY_SLOWING.match(kind):
            limits = limits or {}
            if state > 0:
                limits[f"{kind} at {state} of {_integer(folder / 'max_state') or '?'} now"] = None
    return None if limits is None else list(limits)


def _integer(path: Path) -> int | None:
    text = _line(path)
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,15}", text) else None


def _line(path: Path) -> str | None:
    """The first 80 characters of a file of the system; None if it cannot be read."""
    try:
        with path.open(encoding="ascii", errors="replace") as stream:
            return stream.read(80).strip()
    except OSError:
        return None
