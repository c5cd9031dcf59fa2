"""Test the built wheel on every core: features, agreement with this machine, instructions of an inference."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.arm64 import instructions
from benchmarks.arm64.agreement import compare
from benchmarks.arm64.features import FEATURES, feature_name
from benchmarks.arm64.models import ROOT
from benchmarks.arm64.runner import Runner
from benchmarks.emulation.debian import run_tool
from benchmarks.emulation.emulator import this_python
from benchmarks.emulation.processors import ARM64, PROCESSORS
from edge_sphereface.cpu import usable_cpus
from edge_sphereface.json_output import json_object
from edge_sphereface.model.quantization import TARGET_X86_VNNI

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.arm64.models import Models
    from benchmarks.arm64.runner import Run
    from benchmarks.emulation.emulator import EmulatedPython, Emulator
    from edge_sphereface.types import JsonObject

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
) -> JsonObject:
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
            here = judged_row(HERE, base, base, Path(folder))
            rows = [judged_row(name, base, run, Path(folder)) for name, run in runs.items()]
            alive = {name: python for name, python in pythons.items() if not runs[name].died}
            counted = _count(models, alive, plugin, pool, note)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.kill()
            raise
    return {
        "model": models.name,
        "crops": models.count,
        "wheel": {"name": wheel.name, "bytes": wheel.stat().st_size},
        "emulator": f"QEMU {emulator.version()} user mode",
        "release": emulator.release or "this machine's",
        "here": here,
        "processors": rows,
        "instructions": counted,
        "occupied_mib": emulator.occupied_mib(),
        "seconds": {"preparing": round(ready - start, 1), "all": round(time.monotonic() - start, 1)},
        "passed": all(row["passed"] for row in (here, *rows)),
    }


def _packages(wheel: Path, options: SmokeOptions, emulator: Emulator) -> dict[str, Path]:
    """Return the folder with the installed wheel, by processor."""
    here = emulator.install_here(wheel)
    wanted = [f"{name}=={version}" for name, version in options.versions.items()]
    there = emulator.install([f"{wheel}[{EXTRAS}]", *wanted])
    folders = {name: there if PROCESSORS[name].machine == ARM64 else here for name in options.processors}
    return {HERE: here, **folders}


def features_job(models: Models, name: str, packages: Path, folder: Path) -> JsonObject:
    """Return the job of a processor for :mod:`benchmarks.arm64.features`, and make the folder of its output."""
    output = folder / name
    output.mkdir()
    is_arm = name == HERE or PROCESSORS[name].machine == ARM64
    return {
        "photo": str(models.photo),
        "mirrored": str(models.mirrored),
        "crops": str(models.crops),
        "floats": {form: str(path) for form, path in models.floats.items()},
        "int8": {form: str(path) for form, path in models.int8.items()},
        "features": ALL_FEATURES if is_arm else _OTHER_X86_64,
        "packages": str(packages),
        "output": str(output),
    }


def judged_row(name: str, base: Run, run: Run, folder: Path) -> JsonObject:
    """Return the result of a processor, with a sentence for each failed feature and each difference beyond its bound.

    Args:
        name: name of the processor.
        base: the run on this machine.
        run: the run on the processor.
        folder: folder of the outputs of both.
    """
    found = compare(base.details, run.details, (folder / HERE, folder / name))
    is_x86_64 = name != HERE and PROCESSORS[name].machine != ARM64
    opencv = [details.get("imports", {}).get("opencv") for details in (base.details, run.details)]
    judged = found.problems(int8_judged=not is_x86_64, crops_judged=opencv[0] == opencv[1])
    failed = [
        f"'{line['feature']}' failed: {line['detail'].get('error', '')}" for line in run.lines if not line["passed"]
    ]
    problems = [*([run.died] if run.died else []), *failed, *judged]
    return {
        "processor": name,
        "title": name if name == HERE else PROCESSORS[name].name,
        "versions": run.details.get("imports", {}),
        "doctor": run.details.get("doctor", {}),
        "features": [{key: line[key] for key in ("feature", "passed", "seconds")} for line in run.lines],
        "agreement": json_object(found),
        "seconds": round(run.seconds, 1),
        "problems": problems,
        "passed": not problems,
    }


def _count(
    models: Models,
    pythons: Mapping[str, EmulatedPython],
    plugin: Path | None,
    pool: ThreadPoolExecutor,
    note: Callable[[str], None],
) -> list[JsonObject]:
    """Count the instructions of an inference for each Arm core and each form for it."""
    if plugin is None:
        return []
    forms = {**models.floats, **{target: path for target, path in models.int8.items() if target != TARGET_X86_VNNI}}
    cores = [name for name in pythons if PROCESSORS[name].machine == ARM64]

    def one(case: tuple[str, str]) -> JsonObject:
        core, form = case
        number = instructions.count(pythons[core], plugin, forms[form], models.crops)
        note(f"{core:<12} {form:<16} {number / 1e6:>7.0f} million instructions")
        return {"processor": core, "form": form, "instructions": number}

    return list(pool.map(one, [(core, form) for core in cores for form in forms]))
