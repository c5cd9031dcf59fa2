"""A virtual environment for each peer: their packages clash (MNN and MindSpore pull what others must not have)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.contenders import Peer

FOLDER = Path(__file__).resolve().parents[1] / "build" / "peers"


class PeerUnavailableError(RuntimeError):
    """A peer cannot be had on this machine."""


def python_of(peer: Peer, folder: Path = FOLDER) -> str:
    """The interpreter that runs a peer; its environment is made if it is missing or asks for other packages.

    Raises:
        PeerUnavailableError: its packages cannot be installed.
    """
    if not peer.requirements:
        return sys.executable
    home = folder / peer.name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = "\n".join((*peer.requirements, "--no-deps", *peer.without_dependencies, sys.version))
    stamp = home / f"installed-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
    if not stamp.is_file():
        venv.create(home, with_pip=True, clear=True)
        _install(peer, python, *peer.requirements)
        if peer.without_dependencies:
            _install(peer, python, "--no-deps", *peer.without_dependencies)
        stamp.touch()
    return str(python)


def _install(peer: Peer, python: Path, *packages: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise PeerUnavailableError(f"{peer.title} cannot be installed: {done.stderr.strip()[-300:]}")
