"""A peer's code reaches neither the packages nor the home folder of the person who runs the benchmarks."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pip
import pytest

from benchmarks.contenders import Peer
from benchmarks.peer_environments import environment_of, python_of

pytestmark = pytest.mark.integration
PEER = Peer(name="hostile", title="Hostile", requirements=("fake",), settings="none")
LIST = "import importlib.metadata as m; print(sorted(d.metadata['Name'] for d in m.distributions()))"
ATTACK = """
import os
from pathlib import Path
os.system("pip install --quiet intruder")
os.system("python3 -m pip install --quiet intruder")
Path.home().joinpath("reported").write_text("x")
"""


def wheel(folder, name):
    """A package of one module, as a wheel."""
    path = folder / f"{name}-1-py3-none-any.whl"
    info = f"{name}-1.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


def environment(home):
    """A virtual environment with a link to this one's pip: installing pip would take ten seconds."""
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "pip").symlink_to(Path(pip.__file__).parent)
    program = home / "bin" / "pip"
    program.write_text(f'#!/bin/sh\nexec {home / "bin" / "python"} -m pip "$@"\n')
    program.chmod(0o755)


@pytest.fixture
def caller(tmp_path, monkeypatch):
    """An activated environment with a home folder, in which pip finds a package `intruder`."""
    home, wheels = tmp_path / "caller", tmp_path / "wheels"
    environment(home)
    wheels.mkdir()
    wheel(wheels, "intruder")
    monkeypatch.setenv("VIRTUAL_ENV", str(home))
    monkeypatch.setenv("PATH", f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(sys, "executable", str(home / "bin" / "python"))
    return home


def packages(python):
    return subprocess.run([str(python), "-c", LIST], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def folder(tmp_path):
    """Where the peer's environment is."""
    environment(tmp_path / "peers" / PEER.name)
    return tmp_path / "peers"


@pytest.mark.skipif(os.name == "nt", reason="POSIX programs")
def test_a_peer_that_installs_packages_leaves_the_caller_unchanged(caller, folder, tmp_path):
    before = packages(caller / "bin" / "python")
    python = folder / PEER.name / "bin" / "python"
    subprocess.run([str(python), "-c", ATTACK], env=environment_of(PEER, folder), capture_output=True, check=True)
    assert packages(caller / "bin" / "python") == before
    assert list((tmp_path / "home").rglob("*")) == []

    # The control: with the caller's environment it does what it wants
    control = ATTACK.replace('os.system("python3', '0 and os.system("python3')
    subprocess.run([str(python), "-c", control], env=dict(os.environ), capture_output=True, check=True)
    assert "intruder" in packages(caller / "bin" / "python")
    assert (tmp_path / "home" / "reported").is_file()


def test_what_a_peer_sees(folder, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    seen = environment_of(PEER, folder)
    home = folder / PEER.name
    assert seen["PATH"].split(os.pathsep)[0] == str(home / "bin")
    assert str(Path(sys.executable).parent) not in seen["PATH"].split(os.pathsep)
    assert (seen["VIRTUAL_ENV"], seen["HOME"]) == (str(home), str(home / "home"))
    assert seen["PIP_NO_INDEX"] == seen["PIP_REQUIRE_VIRTUALENV"] == seen["ORT_DISABLE_TELEMETRY"] == "1"
    assert not {"PYTHONHOME", "PIP_TARGET", "PIP_INDEX_URL", "XDG_CACHE_HOME"} & set(seen)
    assert (home / "home" / "intel" / "openvino_telemetry").read_text() == "0"
    # Its packages come from the caller's index, and go nowhere else
    installing = environment_of(PEER, folder, may_install=True)
    assert installing["PIP_INDEX_URL"] == "https://index.example"
    assert "PIP_TARGET" not in installing


def test_a_peer_of_the_project_keeps_its_environment(tmp_path):
    peer = Peer(name="ours", title="Ours", settings="none")
    assert environment_of(peer, tmp_path) == dict(os.environ)
    assert python_of(peer, tmp_path) == sys.executable
