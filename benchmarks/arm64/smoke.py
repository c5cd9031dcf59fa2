"""Test the built wheel on every core: features, agreement with this machine, instructions of an inference."""

from __future__ import annotations

import platform
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.arm64 import agreement, instructions
from benchmarks.arm64.agreement import Agreement, compare
from benchmarks.arm64.features import FEATURES, feature_name
from benchmarks.arm64.kept_results import installed_packages
from benchmarks.arm64.models import INT8_FORMS, ROOT
from benchmarks.arm64.runner import SCRIPT, FeatureLine, Job, Runner
from benchmarks.emulation.debian import run_tool
from benchmarks.emulation.emulator import this_python
from benchmarks.emulation.processors import ARM64, PROCESSORS
from edge_sphereface.cpu import read_cpuinfo, usable_cpus
from edge_sphereface.json_output import rounded
from edge_sphereface.model.quantization import TARGET_X86_VNNI, WEIGHT_BITS, Target, saturates
from edge_sphereface.storage.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.arm64.kept_results import KeptResults
    from benchmarks.arm64.models import Models
    from benchmarks.arm64.runner import Run
    from benchmarks.emulation.emulator import EmulatedPython, Emulator

HERE = "this machine"
EXTRAS = "cpu,mtcnn"
ALL_FEATURES = tuple(feature_name(feature) for feature in FEATURES)
_CODE = (SCRIPT, Path(agreement.__file__), instructions.SOURCE, instructions.WORKER)
"""Files besides those of the wheel and the models on which a result depends."""
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
        seconds: processor time of all features in seconds, that of the emulator included.
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
    results: KeptResults,
    note: Callable[[str], None] = lambda _: None,
) -> SmokeResult:
    """Run every feature on every processor, compare, and count, except what an earlier run of the same files did.

    Args:
        models: models and inputs.
        wheel: wheel of the project.
        options: options of the test.
        emulator: emulator of the processors.
        results: processors that passed, and counts; the test takes them and keeps its own.
        note: called with each line of output.

    Raises:
        EmulationError: emulation is not available on this machine.
    """
    plugin = instructions.build_plugin(emulator) if options.counts else None
    packages = _packages(wheel, options, emulator)
    pythons = {HERE: this_python(packages[HERE])}
    pythons |= {name: emulator.python(PROCESSORS[name], packages=packages[name]) for name in options.processors}
    note("emulator, system and wheels are there")
    same = [emulator.version(), models.key, sha256_of(wheel), *map(sha256_of, _CODE)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(usable_cpus()) as pool:
        test = _Test(
            models=models,
            pythons=pythons,
            packages=packages,
            depends={name: [*same, *installed_packages(packages[name]), name] for name in pythons},
            exact=exact_targets(platform.machine(), read_cpuinfo()[1]),
            folder=Path(folder),
            results=results,
            runner=Runner(note),
            note=note,
        )
        try:
            here, *rows = test.rows(pool)
            cores = [row.processor for row in rows if len(row.features) == len(ALL_FEATURES)]
            counted = test.counts(cores, plugin, pool) if plugin is not None else []
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            test.runner.kill()
            raise
    return SmokeResult(
        model=models.name,
        crops=models.count,
        wheel=WheelFile(name=wheel.name, bytes=wheel.stat().st_size),
        emulator=f"QEMU {emulator.version()} user mode",
        release=emulator.release or "this machine's",
        here=here,
        int8_targets=test.exact,
        processors=tuple(rows),
        instructions=tuple(counted),
        occupied_mib=emulator.occupied_mib(),
        passed=all(row.passed for row in (here, *rows)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """What the runs on all processors share.

    Attributes:
        models: models and inputs.
        pythons: interpreter of each processor; the first one is this machine's.
        packages: folder with the installed wheel, by processor.
        depends: what the results of a processor depend on.
        exact: INT8 targets that this machine computes exactly.
        folder: folder of the outputs.
        results: results of earlier runs.
        runner: runs the features.
        note: called with each line of output.
    """

    models: Models
    pythons: Mapping[str, EmulatedPython]
    packages: Mapping[str, Path]
    depends: Mapping[str, Sequence[str]]
    exact: tuple[Target, ...]
    folder: Path
    results: KeptResults
    runner: Runner
    note: Callable[[str], None]

    def rows(self, pool: ThreadPoolExecutor) -> list[ProcessorRow]:
        """Return the result of each processor. Those that passed in an earlier run do not run again."""
        kept = {name: self.results.read(ProcessorRow, self.depends[name]) for name in self.pythons}
        rows = {name: row for name, row in kept.items() if row is not None}
        for name in rows:
            self.note(f"{name:<12} passed in an earlier run")
        missing = [name for name in self.pythons if name not in rows]
        if missing:
            base = self._run(HERE)
            tested = pool.map(lambda name: self._tested(name, base), missing)
            rows |= dict(zip(missing, tested, strict=True))
        return [rows[name] for name in self.pythons]

    def _tested(self, name: str, base: Run) -> ProcessorRow:
        row = judged_row(name, base, base if name == HERE else self._run(name), self.folder, targets=self.exact)
        if row.passed:
            self.results.keep(row, self.depends[name])
        return row

    def _run(self, name: str) -> Run:
        job = features_job(self.models, name, self.packages[name], self.folder)
        return self.runner.features(name, self.pythons[name], job)

    def counts(self, cores: Sequence[str], plugin: Path, pool: ThreadPoolExecutor) -> list[InstructionCount]:
        """Count the instructions of an inference for each core and each form for it, or return the kept counts."""
        int8 = {target: path for target, path in self.models.int8.items() if target != TARGET_X86_VNNI}
        forms = {**self.models.floats, **int8}

        def count(case: tuple[str, str]) -> InstructionCount:
            core, form = case
            depends = [*self.depends[core], form]
            counted = self.results.read(InstructionCount, depends)
            if counted is None:
                number = instructions.count(self.pythons[core], plugin, forms[form], self.models.crops)
                counted = InstructionCount(processor=core, form=form, instructions=number)
                self.results.keep(counted, depends)
            self.note(f"{core:<12} {form:<16} {counted.instructions / 1e6:>7.0f} million instructions")
            return counted

        return list(pool.map(count, [(core, form) for core in cores for form in forms]))


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
    return tuple(target for target in INT8_FORMS if WEIGHT_BITS[target] <= bits)


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
        seconds=sum(line.seconds for line in run.lines),
        problems=tuple(problems),
        passed=not problems,
    )
