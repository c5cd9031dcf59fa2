"""Packages of Debian for any processor, downloaded and unpacked into a folder.

Nothing is installed on this machine: apt gets a root of its own, and no rights, chroot or binfmt are needed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import EdgeSphereFaceError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEEDED = ("apt-get", "dpkg")
_MIRROR = "http://deb.debian.org/debian"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class EmulationError(EdgeSphereFaceError, RuntimeError):
    """Emulation is not to be had on this machine, or failed."""

    code = "emulation"


def unpack_packages(names: Sequence[str], target: Path, *, architecture: str | None = None, release: str = "") -> None:
    """Download packages with all that they depend on, and unpack them.

    Args:
        names: of the packages.
        target: folder; it appears when it is complete, so what was broken off begins anew.
        architecture: such as ``arm64``; None for that of this machine.
        release: of Debian, such as ``trixie``; empty for what this machine's own sources name.

    Raises:
        EmulationError: this is no Debian, or something cannot be downloaded.
    """
    _require_debian()
    architecture = architecture or run_tool(["dpkg", "--print-architecture"]).strip()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.apt-") as name:
        archives = _download(names, Path(name), architecture, release)
        part = Path(name) / "root"
        part.mkdir()
        for package in archives:
            run_tool(["dpkg", "-x", str(package), str(part)])
        if not (part / "lib").exists():  # merged by the installer of Debian 13, which does not run here
            (part / "lib").symlink_to("usr/lib")
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)


def _download(names: Sequence[str], folder: Path, architecture: str, release: str) -> list[Path]:
    state, cache = folder / "state", folder / "cache"
    (state / "lists" / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": cache,
    }
    if release:
        sources = folder / "sources.list"
        sources.write_text(f"deb [signed-by={_KEYRING}] {_MIRROR} {release} main\n", encoding="ascii")
        settings |= {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null"}
    apt = ["apt-get", "-qq", "-y", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    run_tool([*apt, "update"])
    run_tool([*apt, "--download-only", "--no-install-recommends", "install", *names])
    return sorted((cache / "archives").glob("*.deb"))


def run_tool(words: Sequence[str]) -> str:
    """Run a program of this machine to its end; gives what it printed.

    Raises:
        EmulationError: it failed.
    """
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise EmulationError(
            f"{' '.join(words[:3])} failed: {done.stderr.strip()[-400:]}", hint="check network and disk, then try again"
        )
    return done.stdout


def _require_debian() -> None:
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise EmulationError(
            f"Expected Debian's {' and '.join(_NEEDED)} for the emulator, and {', '.join(missing)} is missing.",
            hint="run it on Debian, or in a container of it: docker run -it debian:bookworm",
        )
