"""Test the built wheel on every core: features, agreement with this machine, instructions of an inference."""

from __future__ import annotations

import platform
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.arm64 import instructions
from benchmarks.arm64.agreement import compare
from benchmarks.arm64.features import FEATURES, feature_name
from benchmarks.arm64.models import ROOT
from benchmarks.arm64.runner import Job, Runner
from benchmarks.emulation.debian import run_tool
from benchmarks.emulation.emulator import this_python
from benchmarks.emulation.processors import ARM64, PROCESSORS
from edge_sphereface.cpu import read_cpuinfo, usable_cpus
from edge_sphereface.json_output import rounded
from edge_sphereface.model.quantization import INT8_TARGETS, TARGET_X86_VNNI, WEIGHT_BITS, Target, saturates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.arm64.agreement import Agreement
    from benchmarks.arm64.models import Models
    from benchmarks.arm64.runner import FeatureLine, Run
    from benchmarks.emulation.emulator import EmulatedPython, Emulator

HERE = "this machine"
EXTRAS = "cpu,mtcnn"
ALL_FEATURES = tuple(feature_name(feature) for feature in FEATURES)
_OTHER_X86_64 = ("imports", "int8 embedding")
"""Features for x86-64 without VNNI, which runs only to show the effect of 8-bit weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeOptions:
    """Options of the test.

    Attributes:
        processors: names in ``PROCESSORS``.
        versions: versions of the wheel's dependencies on arm64, by name.
        counts: count instructions.
    """

    processors: Sequence[str]
    versions: Mapping[str, str]
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorRow:
    """Results of one processor.

    Attributes:
        processor: name in ``PROCESSORS``, or ``this machine``.
        title: name in tables.
        versions: versions of Python and of the installed packages; empty if the import failed.
        doctor: findings of ``doctor`` that are not fine, by check.
        features: result of each feature.
        agreement: agreement with this machine.
        seconds: duration of all features in seconds.
        problems: failures and differences that exceed their bounds, in sentences.
        passed: whether there are none.
    """

    processor: str
    title: str
    versions: Mapping[str, str]
    doctor: Mapping[str, str]
    features: tuple[FeatureLine, ...]
    agreement: Agreement
    seconds: float = field(metadata=rounded(1))
    problems: tuple[str, ...]
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionCount:
    """Instructions of one inference.

    Attributes:
        processor: name of the core.
        form: form of the model.
        instructions: number of instructions.
    """

    processor: str
    form: str
    instructions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile:
    """Tested wheel.

    Attributes:
        name: file name.
        bytes: size of the file.
    """

    name: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Durations in seconds.

    Attributes:
        preparing: until emulator, system and wheels were there.
        all: of the whole test.
    """

    preparing: float = field(metadata=rounded(1))
    all: float = field(metadata=rounded(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeResult:
    """Results of all processors.

    Attributes:
        model: name of the network and its weights.
        crops: number of crops.
        wheel: tested wheel.
        emulator: name and version of the emulator.
        release: release of Debian.
        here: results of this machine.
        int8_targets: INT8 targets that this machine computes exactly; the others are not judged.
        processors: one row for each emulated processor.
        instructions: one row for each Arm core and form; empty if not counted.
        occupied_mib: size of the downloaded files in MiB, by kind.
        seconds: durations.
        passed: whether every feature passed and every difference is within its bound.
    """

    model: str
    crops: int
    wheel: WheelFile
    emulator: str
    release: str
    here: ProcessorRow
    int8_targets: tuple[Target, ...]
    processors: tuple[ProcessorRow, ...]
    instructions: tuple[InstructionCount, ...]
    occupied_mib: Mapping[str, float]
    seconds: Durations
    passed: bool


def build_wheel(folder: Path) -> Path:
    """Build the project's wheel as it is released, into a folder."""
    target = folder / "wheel"
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.whl"):
        old.unlink()
    (this,) = this_python().words
    run_tool([this, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(target), str(ROOT)])
    return next(target.glob("*.whl"))


def smoke(
    models: Models,
    wheel: Path,
    options: SmokeOptions,
    *,
    emulator: Emulator,
    note: Callable[[str], None] = lambda _: None,
) -> SmokeResult:
    """Run every feature on every processor, compare, and count.

    Args:
        models: models and inputs.
        wheel: wheel of the project.
        options: options of the test.
        emulator: emulator of the processors.
        note: called with each line of output.

    Raises:
        EmulationError: emulation is not available on this machine.
    """
    start = time.monotonic()
    plugin = instructions.build_plugin(emulator) if options.counts else None
    packages = _packages(wheel, options, emulator)
    pythons = {name: emulator.python(PROCESSORS[name], packages=packages[name]) for name in options.processors}
    ready = time.monotonic()
    note(f"emulator, system and wheels are there after {ready - start:.0f} s")
    runner = Runner(note)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(usable_cpus()) as pool:

        def run(name: str) -> Run:
            python = this_python(packages[name]) if name == HERE else pythons[name]
            return runner.features(name, python, features_job(models, name, packages[name], Path(folder)))

        try:
            base = run(HERE)
            runs = dict(zip(pythons, pool.map(run, pythons), strict=True))
            exact = exact_targets(platform.machine(), read_cpuinfo()[1])
            here = judged_row(HERE, base, base, Path(folder), targets=exact)
            rows = [judged_row(name, base, run, Path(folder), targets=exact) for name, run in runs.items()]
            alive = {name: python for name, python in pythons.items() if not runs[name].died}
            counted = _count(models, alive, plugin, pool, note)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.kill()
            raise
    return SmokeResult(
        model=models.name,
        crops=models.count,
        wheel=WheelFile(name=wheel.name, bytes=wheel.stat().st_size),
        emulator=f"QEMU {emulator.version()} user mode",
        release=emulator.release or "this machine's",
        here=here,
        int8_targets=exact,
        processors=tuple(rows),
        instructions=tuple(counted),
        occupied_mib=emulator.occupied_mib(),
        seconds=Durations(preparing=ready - start, all=time.monotonic() - start),
        passed=all(row.passed for row in (here, *rows)),
    )


def _packages(wheel: Path, options: SmokeOptions, emulator: Emulator) -> dict[str, Path]:
    """Return the folder with the installed wheel, by processor."""
    here = emulator.install_here(wheel)
    wanted = [f"{name}=={version}" for name, version in options.versions.items()]
    there = emulator.install([f"{wheel}[{EXTRAS}]", *wanted])
    folders = {name: there if PROCESSORS[name].machine == ARM64 else here for name in options.processors}
    return {HERE: here, **folders}


def features_job(models: Models, name: str, packages: Path, folder: Path) -> Job:
    """Return the job of a processor for :mod:`benchmarks.arm64.features`, and make the folder of its output."""
    output = folder / name
    output.mkdir()
    is_arm = name == HERE or PROCESSORS[name].machine == ARM64
    return Job(
        photo=models.photo,
        mirrored=models.mirrored,
        crops=models.crops,
        floats=models.floats,
        int8=models.int8,
        features=ALL_FEATURES if is_arm else _OTHER_X86_64,
        packages=packages,
        output=output,
    )


def exact_targets(processor: str, flags: frozenset[str]) -> tuple[Target, ...]:
    """INT8 targets that a processor computes exactly: without 8-bit weights where their sums saturate."""
    bits = 7 if saturates(processor, flags) else 8
    return tuple(target for target in INT8_TARGETS if WEIGHT_BITS[target] <= bits)


def judged_row(name: str, base: Run, run: Run, folder: Path, *, targets: Sequence[Target]) -> ProcessorRow:
    """Return the result of a processor, with a sentence for each failed feature and each difference beyond its bound.

    Args:
        name: name of the processor.
        base: the run on this machine.
        run: the run on the processor.
        folder: folder of the outputs of both.
        targets: INT8 targets that this machine computes exactly.
    """
    found = compare(base.details, run.details, (folder / HERE, folder / name))
    if name != HERE and PROCESSORS[name].machine != ARM64:  # x86-64 without VNNI
        targets = [target for target in targets if WEIGHT_BITS[target] < 8]
    opencv = [details.get("imports", {}).get("opencv") for details in (base.details, run.details)]
    judged = found.problems(targets=targets, crops_judged=opencv[0] == opencv[1])
    failed = [f"'{feature}' failed: {error}" for feature, error in run.errors.items()]
    problems = [*([run.died] if run.died else []), *failed, *judged]
    return ProcessorRow(
        processor=name,
        title=name if name == HERE else PROCESSORS[name].name,
        versions=run.details.get("imports", {}),
        doctor=run.details.get("doctor", {}),
        features=tuple(run.lines),
        agreement=found,
        seconds=run.seconds,
        problems=tuple(problems),
        passed=not problems,
    )


def _count(
    models: Models,
    pythons: Mapping[str, EmulatedPython],
    plugin: Path | None,
    pool: ThreadPoolExecutor,
    note: Callable[[str], None],
) -> list[InstructionCount]:
    """Count the instructions of an inference for each Arm core and each form for it."""
    if plugin is None:
        return []
    forms = {**models.floats, **{target: path for target, path in models.int8.items() if target != TARGET_X86_VNNI}}
    cores = [name for name in pythons if PROCESSORS[name].machine == ARM64]

    def one(case: tuple[str, str]) -> InstructionCount:
        core, form = case
        number = instructions.count(pythons[core], plugin, forms[form], models.crops)
        note(f"{core:<12} {form:<16} {number / 1e6:>7.0f} million instructions")
        return InstructionCount(processor=core, form=form, instructions=number)

    return list(pool.map(one, [(core, form) for core in cores for form in forms]))
