"""Virtual environments of the peers, whose packages conflict.

The code of a peer is not trusted. It runs with its own environment first in ``PATH``, which has no ``pip``, without the
caller's environment, without a package index for any other ``pip``, and with a separate home folder: MNN's converter
installs a package on import, and OpenVINO sends telemetry. Neither can reach the caller's packages or files.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.contenders import Peer

FOLDER = Path(__file__).resolve().parents[1] / "build" / "peers"
_SCRIPTS = "Scripts" if os.name == "nt" else "bin"
_FOREIGN = ("PYTHON", "VIRTUAL_ENV", "CONDA", "XDG_")
"""Prefixes of variables that refer to the caller's environment or files."""
_MISDIRECTING = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON")
_OPENVINO_CONSENT = Path("intel") / "openvino_telemetry"
"""File in the home folder; ``0`` opts out. Source: openvino-telemetry's README, ``opt_in_out --opt_out``."""


class PeerUnavailableError(RuntimeError):
    """A peer is not available on this machine."""


def python_of(peer: Peer, folder: Path = FOLDER) -> str:
    """Return the interpreter of a peer. Its environment is created if it is missing or has other requirements.

    Raises:
        PeerUnavailableError: the packages of the peer cannot be installed.
    """
    if not has_own_environment(peer):
        return sys.executable
    home = folder / peer.name
    python = home / _SCRIPTS / ("python.exe" if os.name == "nt" else "python")
    wanted = "\n".join((*peer.requirements, "--no-deps", *peer.without_dependencies, sys.version))
    stamp = home / f"installed-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
    if not stamp.is_file():
        venv.create(home, clear=True)
        if peer.requirements:
            _install(peer, python, folder, *peer.requirements)
        if peer.without_dependencies:
            _install(peer, python, folder, "--no-deps", *peer.without_dependencies)
        stamp.touch()
    return str(python)


def has_own_environment(peer: Peer) -> bool:
    """Whether a peer needs packages that the project's environment does not have."""
    return bool(peer.requirements or peer.without_dependencies)


def environment_of(peer: Peer, folder: Path = FOLDER, *, may_install: bool = False) -> dict[str, str]:
    """Return the environment variables for the processes of a peer.

    Args:
        peer: the peer; without its own environment, it gets the variables of this process.
        folder: folder of the environments.
        may_install: allow ``pip`` to use the package index of this process's settings.
    """
    if not has_own_environment(peer):
        return dict(os.environ)
    home = (folder / peer.name).absolute()
    own_home = home / "home"
    consent = own_home / _OPENVINO_CONSENT
    consent.parent.mkdir(parents=True, exist_ok=True)
    consent.write_text("0", encoding="ascii")
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) and name not in _MISDIRECTING and (may_install or not name.startswith("PIP_"))
    }
    callers = {Path(sysconfig.get_path("scripts")).resolve(), Path(sys.executable).parent.resolve()}
    path = [place for place in os.get_exec_path() if Path(place).resolve() not in callers]
    variables |= {
        "PATH": os.pathsep.join([str(home / _SCRIPTS), *path]),
        "VIRTUAL_ENV": str(home),
        "HOME": str(own_home),
        "USERPROFILE": str(own_home),
        "PYTHONNOUSERSITE": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    return variables if may_install else {**variables, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


def _install(peer: Peer, python: Path, folder: Path, *packages: str) -> None:
    # With the caller's pip: to install another one takes longer than most peers
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile", *packages]
    variables = environment_of(peer, folder, may_install=True)
    # The caller's settings of pip, such as an index, are in the caller's home folder
    variables |= {name: os.environ[name] for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME") if name in os.environ}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise PeerUnavailableError(f"{peer.title} cannot be installed: {done.stderr.strip()[-300:]}")
