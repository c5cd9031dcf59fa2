"""An emulator and a small arm64 system with Python and onnxruntime, unpacked into ``build/emulation``.

Nothing is installed on this machine: Debian packages are downloaded and unpacked, no root, chroot or binfmt is needed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import EdgeSphereFaceError

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = Path(__file__).resolve().parents[2] / "build" / "emulation"
_PYTHON_PACKAGES = ("python3", "libstdc++6")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
_NEEDED = ("apt-get", "dpkg")


class EmulationError(EdgeSphereFaceError, RuntimeError):
    """Emulation is not to be had on this machine, or failed."""

    code = "emulation"


def emulator(machine: str, folder: Path = FOLDER) -> Path:
    """QEMU's user-mode emulator for a machine, downloaded if it is missing.

    Raises:
        EmulationError: this is no Debian, or the package cannot be had.
    """
    program = folder / "qemu" / "usr" / "bin" / f"qemu-{machine}-static"
    if not program.is_file():
        _require_debian()
        downloads = _empty(folder / "download")
        _run(["apt-get", "download", "-o", "APT::Sandbox::User=root", "qemu-user-static"], cwd=downloads)
        _unpack(downloads.glob("*.deb"), folder / "qemu")
        shutil.rmtree(downloads)
    return program


def arm64_system(folder: Path = FOLDER) -> tuple[Path, Path]:
    """An arm64 root with Python, and a folder with numpy and onnxruntime of the versions that this process has.

    Returns:
        The root and the folder of packages.

    Raises:
        EmulationError: something cannot be downloaded.
    """
    root, site = folder / "arm64", folder / "arm64-packages"
    if not any(root.glob("usr/bin/python3.*")):
        _require_debian()
        _unpack_debian(folder, root)
    wanted = [f"{name}=={version(name)}" for name in ("numpy", "onnxruntime")]
    stamp = site / " ".join(wanted)
    if not stamp.is_file():
        _unpack_wheels(_empty(site), python_of(root).name.removeprefix("python"), wanted)
        stamp.touch()
    return root, site


def python_of(root: Path) -> Path:
    """The interpreter of a root."""
    return next(path for path in sorted(root.glob("usr/bin/python3.*")) if path.name[9:].isdecimal())


def _unpack_debian(folder: Path, root: Path) -> None:
    """Python and the C++ library of this machine's Debian release, for arm64."""
    state, cache = _empty(folder / "apt-state"), _empty(folder / "apt-cache")
    (state / "lists" / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    status = state / "status"
    status.touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "Dir::State": state,
        "Dir::State::status": status,
        "Dir::Cache": cache,
    }
    apt = ["apt-get", "-qq", "-y", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    _run([*apt, "update"])
    _run([*apt, "--download-only", "--no-install-recommends", "install", *_PYTHON_PACKAGES])
    _unpack((cache / "archives").glob("*.deb"), root)
    shutil.rmtree(state)
    shutil.rmtree(cache)


def _unpack(packages: Iterable[Path], target: Path) -> None:
    """Debian packages into a folder that appears when it is complete: what was broken off begins anew."""
    part = _empty(target.with_name(f"{target.name}.part"))
    for package in sorted(packages):
        _run(["dpkg", "-x", str(package), str(part)])
    if not (part / "lib").exists():  # merged by the installer of Debian 13, which does not run here
        (part / "lib").symlink_to("usr/lib")
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def _unpack_wheels(site: Path, python: str, wanted: list[str]) -> None:
    wheels = _empty(site.parent / "wheels")
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    _run([*words, "--python-version", python, *platforms, "--dest", str(wheels), *wanted])
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    shutil.rmtree(wheels)


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _require_debian() -> None:
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise EmulationError(
            f"Expected Debian's {' and '.join(_NEEDED)} for the emulator, and {', '.join(missing)} is missing.",
            hint="run it on Debian or Ubuntu",
        )


def _run(words: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise EmulationError(
            f"{' '.join(words[:3])} failed: {done.stderr.strip()[-400:]}", hint="check network and disk, then try again"
        )
