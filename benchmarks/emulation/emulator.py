"""Run Python in QEMU's user-mode emulator. All files are in ``build/emulation`` and are created once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.emulation.debian import EmulationError, run_tool, unpack_packages
from benchmarks.emulation.processors import ARM64, cpuinfo
from edge_sphereface.storage.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.emulation.processors import Processor

FOLDER = Path(__file__).resolve().parents[2] / "build" / "emulation"
_PYTHON_PACKAGES = ("python3", "libstdc++6")
_OLDEST_GLIBC = 17
_GLIBC = re.compile(rb"GNU C Library [^\n]* version 2\.(\d+)")
"""Version of glibc, as the library itself states it."""
READ_FEATURES = (
    "import ctypes; get = ctypes.CDLL(None).getauxval; get.restype = ctypes.c_ulong; print(get(16), get(26))"
)
"""Program that prints the features of the processor that it runs on, see :func:`cpuinfo`."""


@dataclass(frozen=True, slots=True)
class EmulatedPython:
    """A Python interpreter on one processor.

    Attributes:
        words: command line before the arguments of the interpreter.
        variables: environment variables, in addition to those of this process.
    """

    words: tuple[str, ...]
    variables: Mapping[str, str]

    def start(self, arguments: Sequence[str], plugin: str = "") -> subprocess.Popen[str]:
        """Start the interpreter with pipes from stdout and stderr.

        Args:
            arguments: arguments of the interpreter.
            plugin: QEMU's ``-plugin`` argument; empty for none.
        """
        words = list(self.words)
        if plugin:
            words[-1:-1] = ["-plugin", plugin]
        return subprocess.Popen(  # noqa: S603
            [*words, *arguments],
            env={**os.environ, **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments: Sequence[str], plugin: str = "") -> str:
        """Run the interpreter, and return its output.

        Raises:
            EmulationError: the interpreter failed.
        """
        with self.start(arguments, plugin) as process:
            try:
                output, errors = process.communicate()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise EmulationError(f"{' '.join(arguments[:2])} ended with {process.returncode}: {errors.strip()[-400:]}")
        return output


def this_python(packages: Path | None = None) -> EmulatedPython:
    """Return the interpreter of this process, on the processor of this machine."""
    return EmulatedPython((sys.executable,), _variables(packages))


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """QEMU with an arm64 Debian and the packages for it, all in one folder. What is missing is downloaded.

    Attributes:
        folder: folder of the emulator, the system and the packages.
        release: release of Debian, for Arm; empty for the release of this machine.
    """

    folder: Path = FOLDER
    release: str = ""

    def python(self, processor: Processor, *, packages: Path | None = None) -> EmulatedPython:
        """Return a Python interpreter on an emulated processor.

        Args:
            processor: processor to emulate.
            packages: folder of the packages to import, see :meth:`install`.

        Raises:
            EmulationError: emulation is not available on this machine.
        """
        program = [*self._command(processor.machine), "-cpu", processor.qemu]
        if processor.machine != ARM64:
            return EmulatedPython((*program, sys.executable), _variables(packages))
        system = self.system()
        root = _processor_root(processor, system, program)
        return EmulatedPython((*program, "-L", str(root), str(_interpreter(system))), _variables(packages))

    def version(self) -> str:
        """Version of QEMU, such as ``7.2.22``."""
        return run_tool([*self._command(ARM64), "--version"]).split()[2]

    def system(self) -> Path:
        """Return the root of an arm64 Debian with Python; it is unpacked if missing."""
        root = self.folder / f"arm64{'-' if self.release else ''}{self.release}"
        if not root.is_dir():
            unpack_packages(_PYTHON_PACKAGES, root, architecture="arm64", release=self.release)
        return root

    def install(self, requirements: Sequence[str], *, alone: Sequence[str] = (), name: str = "") -> Path:
        """Install wheels for arm64 with their dependencies into a separate folder.

        Args:
            requirements: requirements for pip, or paths of wheels.
            alone: requirements that are installed without their dependencies.
            name: name of the folder's contents; empty for the packages of the runtime.

        Returns:
            The folder that contains the installed packages.

        Raises:
            EmulationError: there is no wheel for arm64.
        """
        version = _interpreter(self.system()).name.removeprefix("python")
        minors = range(_glibc_minor(self.system()), _OLDEST_GLIBC - 1, -1)
        tags = [*(f"manylinux_2_{minor}_aarch64" for minor in minors), "manylinux2014_aarch64"]
        platforms = [word for tag in tags for word in ("--platform", tag)]
        words = ["--only-binary=:all:", "--implementation", "cp", "--python-version", version, *platforms]
        target = self.folder / f"packages-arm64-python{version}{'-' if name else ''}{name}"
        return _install(target, requirements, words, alone=alone)

    def install_here(self, wheel: Path) -> Path:
        """Install one wheel without dependencies for the interpreter of this process into a separate folder."""
        return _install(self.folder / "packages-here", [str(wheel)], ["--no-deps"])

    def occupied_mib(self) -> dict[str, float]:
        """Size on disk of the emulator, the systems and the installed packages, in MiB."""
        sizes = {}
        for path in sorted(self.folder.iterdir()):
            files = [file for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
            sizes[path.name] = round(sum(file.stat().st_size for file in files) / (1 << 20), 1)
        return {name: size for name, size in sizes.items() if size >= 1}

    def _command(self, machine: str) -> list[str]:
        """Command of the dynamic emulator with its own loader and libraries; the static one cannot load plugins."""
        root = self.folder / "qemu"
        program = root / "usr" / "bin" / f"qemu-{machine}"
        if not program.is_file():
            unpack_packages(["qemu-user"], root)
        loaders = [path for path in sorted(root.glob("**/ld-linux-*.so.*")) if path.is_file() and not path.is_symlink()]
        if not loaders:
            raise EmulationError(
                f"Expected a loader in {root}, and there is none.", hint=f"delete {root} and try again"
            )
        triplet = loaders[0].parent.name
        libraries = f"{root}/lib/{triplet}:{root}/usr/lib/{triplet}"
        return [str(loaders[0]), "--library-path", libraries, str(program)]


def _variables(packages: Path | None) -> dict[str, str]:
    return {"PYTHONNOUSERSITE": "1"} | ({"PYTHONPATH": str(packages)} if packages is not None else {})


def _interpreter(root: Path) -> Path:
    return next(path for path in sorted(root.glob("usr/bin/python3.*")) if path.name[9:].isdecimal())


def _processor_root(processor: Processor, system: Path, emulator: Sequence[str]) -> Path:
    """Link the system with the /proc/cpuinfo of one core, so that several cores can run at the same time."""
    root = system.with_name(f"{system.name}.{processor.qemu}")
    if not root.is_dir():
        words = run_tool([*emulator, "-L", str(system), str(_interpreter(system)), "-c", READ_FEATURES]).split()
        part = _empty(root.with_name(f"{root.name}.part"))
        for entry in system.iterdir():
            (part / entry.name).symlink_to(Path("..") / system.name / entry.name)
        (part / "proc").mkdir()
        told = cpuinfo(processor, int(words[0]), int(words[1]), os.cpu_count() or 1)
        (part / "proc" / "cpuinfo").write_text(told, encoding="ascii")
        part.rename(root)
    return root


def _glibc_minor(root: Path) -> int:
    """Return N of the system's glibc 2.N, which decides what wheels it takes."""
    for library in [*root.glob("lib/*/libc.so.6"), *root.glob("usr/lib/*/libc.so.6")]:
        if found := _GLIBC.search(library.read_bytes()):
            return int(found[1])
    raise EmulationError(f"Expected a glibc in {root}, and there is none.", hint=f"delete {root} and try again")


def _install(target: Path, requirements: Sequence[str], words: Sequence[str], *, alone: Sequence[str] = ()) -> Path:
    stamp = target / "installed"
    wheels = [Path(word.split("[")[0]) for word in requirements]
    kept = ["--no-deps", *alone] if alone else []
    wanted = "\n".join([*requirements, *kept, *(sha256_of(wheel) for wheel in wheels if wheel.is_file())])
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        _empty(target)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        for named in filter(None, (requirements, kept)):
            run_tool([*pip, "--target", str(target), *words, *named])
        stamp.write_text(wanted, encoding="utf-8")
    return target


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
