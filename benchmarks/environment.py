"""Environment of a measurement: machine, load, versions and conditions, stored with every result."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from edge_sphereface import __version__
from edge_sphereface.cli.runner import UsageError, note
from edge_sphereface.cpu import cpu_generation
from edge_sphereface.doctor.machine import read_machine
from edge_sphereface.evaluation.condition import read_condition, run_program
from edge_sphereface.evaluation.machine_load import LoadMeter, MachineLoad
from edge_sphereface.json_output import INLINE, rounded
from edge_sphereface.storage.record import Count, Length, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.types import JsonObject

    Run = Callable[[list[str]], str | None]

GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
ENERGY = "sys/class/powercap/intel-rapl:0/energy_uj"
_JETSON_POWER = re.compile(r"(?:VDD_IN|POM_5V_IN) (\d+)(?:mW)?/")
"""Input power of the whole module in a line of ``tegrastats``, in milliwatts. Source: Jetson Linux Developer Guide."""
_ENDLESS = ("tegrastats",)
"""Programs that print until they are stopped; only their first line is read."""
_LOOK_S = 0.5
"""Duration for which the load by other programs is measured before a run, in seconds."""


class _Recorded(Record):
    """A part of a recorded result."""

    __slots__ = ()
    record_error = UsageError
    record_hint = "measure again"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherWork(_Recorded):
    """Load by other programs before and during a timed run.

    Attributes:
        before: load in the half second before the run.
        during: load during the run; None where the workers of the run cannot be distinguished from other programs.
        busy: whether the timings may have suffered.
    """

    record_name = "The load by other programs"

    before: MachineLoad
    during: MachineLoad | None
    busy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment(_Recorded):
    """What the figures of a benchmark depend on.

    Attributes:
        time: time of the description, UTC, ISO 8601.
        cpu: name of the processor or board.
        processor: architecture of the kernel, such as ``aarch64``.
        generation: numbers that identify the generation of the processor, from /proc/cpuinfo; empty if unknown.
        load: load average of the system over the last minute; None if there is none.
        cpu_flags: processor features that /proc/cpuinfo lists, sorted.
        usable_cpus: number of processors that this process can use.
        governor: frequency governor of the processor; None if unknown.
        memory_mib: main memory in MiB; None if unknown.
        system: name and version of the operating system.
        versions: versions of Python and of the relevant packages, by name.
    """

    record_name = "The environment of a result"

    time: str
    cpu: str
    processor: str
    generation: dict[str, str]
    load: float | None = field(metadata=rounded(2))
    cpu_flags: Annotated[tuple[str, ...], Length(4096)]
    usable_cpus: Count
    governor: str | None
    memory_mib: Count | None
    system: str
    versions: dict[str, str]

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        """Results from before 26 November 2026 lack generation and load; ``TimedEnvironment`` has fields of its own."""
        names = {part.name for part in fields(cls)}
        known = {name: value for name, value in values.items() if name in names}
        return {"generation": {}, "load": None, **known}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedEnvironment(_Recorded):
    """What the figures of a timed run depend on.

    Attributes:
        environment: machine and versions.
        other_work: load by other programs; None if it was not measured.
    """

    record_name = "The environment of a result"

    environment: Environment = field(metadata=INLINE)
    other_work: OtherWork | None

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        """Group the flat fields of JSON. Results from before 26 November 2026 lack the load by other programs."""
        return {"environment": values, "other_work": values.get("other_work")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Temperature and power of the machine at one moment; None for values that it does not report.

    Attributes:
        temperature_c: temperature of the hottest zone in degrees Celsius.
        throttled: what slows the machine down now or, on a Raspberry Pi, has since boot.
        power_w: input power of a Jetson in watts.
        power_mode: power mode of a Jetson.
    """

    temperature_c: float | None
    throttled: tuple[str, ...] | None
    power_w: float | None
    power_mode: str | None


def describe(root: Path = Path("/")) -> Environment:
    """Describe the machine, its load in the last minute, versions and time.

    Args:
        root: folder where ``proc`` and ``sys`` are mounted.
    """
    machine = read_machine(root)
    return Environment(
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        cpu=machine.cpu_model or machine.processor,
        processor=machine.processor,
        generation=cpu_generation(root),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        cpu_flags=tuple(sorted(machine.cpu_flags)),
        usable_cpus=machine.usable_cpus,
        governor=_read(root / GOVERNOR),
        memory_mib=machine.memory_mib,
        system=platform.platform(),
        versions={
            "edge_sphereface": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            **machine.wheels,
        },
    )


class TimedRun:
    """A timed run. Measures the load by other programs before and during the run, since it affects timings.

    Prints a warning to stderr if the machine is busy at the start.

    Attributes:
        before: load by other programs in the half second before the run.
    """

    def __init__(self, root: Path = Path("/"), sleep: Callable[[float], None] = time.sleep) -> None:
        """Measure the load before the run.

        Args:
            root: folder where ``proc`` and ``sys`` are mounted.
            sleep: waits for a number of seconds.
        """
        self._root = root
        meter = LoadMeter(root)
        sleep(_LOOK_S)
        self.before = meter.read()
        if _is_busy_before(self.before):
            note(f"warning: {_busy_text(self.before)}; timings will be longer than on an idle machine")
        self._meter = LoadMeter(root)

    def describe(self, *, workers_elsewhere: bool = False) -> TimedEnvironment:
        """Return :func:`describe` with the load by other programs since the start.

        Args:
            workers_elsewhere: whether processes that are not children of this one did the work of the run. They cannot
                be distinguished from other programs, so ``during`` is None.
        """
        during = None if workers_elsewhere else self._meter.read()
        busy = _is_busy_before(self.before) or (during is not None and during.is_high)
        return TimedEnvironment(
            environment=describe(self._root), other_work=OtherWork(before=self.before, during=during, busy=busy)
        )


def busy_text(work: OtherWork | None) -> str:
    """Describe the load by other programs during a measurement; empty if it was low or is unknown."""
    if work is None or not work.busy:
        return ""
    looks = [look for look in (work.before, work.during) if look is not None]
    others = [look.other_processors for look in looks if look.other_processors is not None]
    if not others:
        return f"the load average was {work.before.average:.2f} on {work.before.processors} processors at the start"
    return f"other programs kept up to {max(others):.2f} of {work.before.processors} processors busy"


def load_text(timed: TimedEnvironment) -> str:
    """Describe the load of the machine before and during a measurement."""
    work, average = timed.other_work, timed.environment.load
    looks = {} if work is None else {"before": work.before, "during": work.during}
    shares = ", ".join(
        f"{look.other_processors / look.processors:.0%} {when}"
        for when, look in looks.items()
        if look is not None and look.other_processors is not None
    )
    others = f"{shares} the measurement" if shares else "unknown"
    load = "unknown" if average is None else f"{average:.2f}"
    return f"other programs' share of the processor time: {others}; load average: {load}"


def _is_busy_before(load: MachineLoad) -> bool:
    """Without other data, a load average from half a process per processor counts: it includes ended programs."""
    if load.other_processors is not None or load.average is None:
        return load.is_high
    return load.average > load.processors / 2


def _busy_text(load: MachineLoad) -> str:
    if load.other_processors is None:
        return f"the load average is {load.average:.2f} on {load.processors} processors"
    return f"other programs keep {load.other_processors:.2f} of {load.processors} processors busy"


def condition(root: Path = Path("/"), run: Run | None = None) -> Condition:
    """Read the current temperature, throttling, power and power mode, before and after a measurement.

    Args:
        root: folder where ``sys`` is mounted.
        run: runs a program and returns its output, or None if the program does not exist.
    """
    call = run or _run
    jetson = call(["tegrastats", "--interval", "100"]) or ""
    now = read_condition(root, call)
    degrees = [] if now.temperature_c is None else [now.temperature_c]
    degrees += [float(text) for text in re.findall(r"\w+@(-?\d+(?:\.\d+)?)C", jetson)]
    power = _JETSON_POWER.search(jetson)
    return Condition(
        temperature_c=max(degrees) if degrees else None,
        throttled=now.throttled,
        power_w=int(power[1]) / 1000 if power else None,
        power_mode=_power_mode(call(["nvpmodel", "-q"])),
    )


def is_throttled(before: Condition, after: Condition) -> bool:
    """Whether throttling slowed down a measurement between these two conditions."""
    known = before.throttled or ()
    return any(limit.endswith("now") or limit not in known for limit in after.throttled or ())


def energy_j(root: Path = Path("/")) -> float | None:
    """Return the energy used by the processor package so far in joules; None if the system does not report it."""
    text = _read(root / ENERGY)
    return int(text) / 1e6 if text and text.isdecimal() else None


def _power_mode(output: str | None) -> str | None:
    match = re.search(r"NV Power Mode:\s*(\S+)", output or "")
    return match[1] if match else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _run(command: list[str]) -> str | None:
    return _first_line(command) if command[0] in _ENDLESS else run_program(command)


def _first_line(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: S603
    except OSError:
        return None
    with process:
        assert process.stdout is not None  # noqa: S101 -- a pipe was asked for
        line = process.stdout.readline()
        process.kill()
    return line
