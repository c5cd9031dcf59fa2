"""Download Debian packages for any processor, and unpack them into a folder.

Nothing is installed on this machine. apt uses a separate root; root privileges, chroot and binfmt are not needed.
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
    """Emulation is not available on this machine, or failed."""

    code = "emulation"


def unpack_packages(names: Sequence[str], target: Path, *, architecture: str | None = None, release: str = "") -> None:
    """Download packages with all dependencies, and unpack them.

    Args:
        names: names of the packages.
        target: folder of the result. It is created when complete; an interrupted run starts again.
        architecture: Debian architecture such as ``arm64``; None for that of this machine.
        release: release of Debian such as ``trixie``; empty for the release in the sources of this machine.

    Raises:
        EmulationError: this machine does not run Debian, or a download failed.
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
    """Run a program of this machine, and return its output.

    Raises:
        EmulationError: the program failed.
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
