"""Packages are installed by uv as pip's settings say, and by pip where uv cannot."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.install import Programs, carried_pip, install, pip_settings, uv_call

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).parent / "uv"


class Recorder:
    """Stands in for programs: none runs, and those whose command has one of these words fail."""

    def __init__(self, environment, *, listing="", failing=(), brings_uv=True):
        self.commands, self.variables = [], {}
        self._environment, self._listing, self._failing, self._brings_uv = environment, listing, failing, brings_uv

    def run(self, command, variables=None):
        self.commands.append(list(command))
        self.variables |= variables or {}
        if self._brings_uv and command[-1].startswith("uv>="):
            (self._environment / "bin" / "uv").touch()
        return not any(word in command for word in self._failing)

    def ask(self, command):
        assert command[-2:] == ["config", "list"]
        return self._listing


@pytest.fixture
def environment(tmp_path):
    """An environment without pip and uv."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "pyvenv.cfg").touch()
    return tmp_path


def test_uv_installs_with_the_settings_of_pip(environment, capsys):
    programs = Recorder(environment, listing="global.index-url='https://user:secret@packages.example/simple'\n")
    assert install(environment, ["--group", "demo"], programs)
    python = str(environment / "bin" / "python")
    bootstrap, command = programs.commands
    assert bootstrap[:3] == [python, carried_pip(), "install"]
    assert command[:6] == [str(environment / "bin" / "uv"), "pip", "install", "--quiet", "--python", python]
    assert command[-3:] == ["pip>=25.1", "--group", "demo"]
    assert programs.variables["UV_DEFAULT_INDEX"] == "https://user:secret@packages.example/simple"
    assert "secret" not in str(programs.commands)
    assert capsys.readouterr().err == ""


def test_a_long_installation_says_that_it_goes_on(capsys):
    programs = Programs(tell_s=0.1)
    assert programs.run([sys.executable, "-c", "import time; time.sleep(1)"])
    assert "still installing after" in capsys.readouterr().err
    assert not programs.run([sys.executable, "-c", "raise SystemExit(3)"])
    assert not programs.run(["/no/such/program"])


@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        ({"brings_uv": False}, "uv is not available here"),
        ({"failing": ["--python"]}, "uv failed"),
        ({"listing": None}, "uv does not know pip's settings"),
        (
            {"listing": "global.no-binary='numpy'\ninstall.require-hashes='1'\n"},
            "uv has no equivalent of pip's setting no-binary, require-hashes",
        ),
    ],
)
def test_pip_installs_where_uv_cannot(environment, capsys, programs, reason):
    """With a sentence, and with a pip that knows groups."""
    recorder = Recorder(environment, **programs)
    assert install(environment, ["--group", "demo"], recorder)
    python = str(environment / "bin" / "python")
    newer, packages = recorder.commands[-2:]
    assert newer[:3] == [python, carried_pip(), "install"]
    assert newer[-1] == "pip>=25.1"
    assert packages[:4] == [python, "-m", "pip", "install"]
    assert packages[-2:] == ["--group", "demo"]
    assert capsys.readouterr().err == f"{reason}: pip installs the packages, which takes longer\n"


def test_a_failure_of_pip_is_one(environment):
    assert not install(environment, ["--group", "demo"], Recorder(environment, failing=["--python", "pip>=25.1"]))


@pytest.mark.slow
def test_settings_are_those_of_pip(tmp_path):
    """A variable takes precedence over a file, and the section of `pip install` over the global one."""
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://a.example/simple\nextra-index-url = https://b.example/simple\n"
        "    https://c.example/simple\ntimeout = 7\nproxy = \n[install]\npre = yes\nindex-url = https://d.example/simple\n"
        "[wheel]\nno-binary = numpy\n"
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    told = {"PIP_CONFIG_FILE": str(file), "PIP_DEFAULT_TIMEOUT": "9", "PIP_FIND_LINKS": "/wheels /more"}
    listing = subprocess.run(
        [sys.executable, carried_pip(), "config", "list"],
        env={**own, **told},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    settings = pip_settings(listing)
    assert settings["index-url"] == "https://d.example/simple"
    assert settings["extra-index-url"].split() == ["https://b.example/simple", "https://c.example/simple"]
    assert settings["timeout"] == "9"
    assert settings["find-links"] == "/wheels /more"
    assert settings["pre"] == "yes"
    assert {"proxy", "no-binary"}.isdisjoint(settings)
    assert pip_settings("global.index-url=https://e.example/simple") == {"index-url": "https://e.example/simple"}


def test_an_environment_whose_python_is_gone_is_named(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/gone/python")
    done = subprocess.run(["make", "python"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "rm -r .venv" in done.stdout


def test_every_setting_reaches_uv_or_is_named(tmp_path):
    bundle = tmp_path / "ca.pem"
    call = uv_call(
        {
            "cert": str(bundle),
            "extra-index-url": "https://www.piwheels.org/simple\nhttps://b.example/simple",
            "find-links": "/wheels /more",
            "no-index": "true",
            "pre": "0",
            "progress-bar": "off",
            "proxy": "proxy.example:3128",
            "trusted-host": "packages.example",
            "config-settings": "--global-option=x",
        },
        {},
    )
    assert call.arguments == ("--no-index",)
    assert call.variables == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": str(bundle),
        "UV_EXTRA_INDEX_URL": "https://www.piwheels.org/simple https://b.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://proxy.example:3128"),
        "UV_INSECURE_HOST": "packages.example",
    }
    assert call.without_equivalent == ("config-settings",)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"UV_SYSTEM_CERTS": "1"}),
        ({"REQUESTS_CA_BUNDLE": "/ca.pem"}, {"SSL_CERT_FILE": "/ca.pem"}),
        ({"SSL_CERT_DIR": "/certs", "CURL_CA_BUNDLE": "/ca.pem"}, {}),
    ],
)
def test_certificates_are_those_that_pip_trusts(variables, expected):
    assert uv_call({}, variables).variables == {"UV_INDEX_STRATEGY": "unsafe-best-match", **expected}


def wheel(folder, version):
    """An empty package, as a wheel in a folder."""
    folder.mkdir(parents=True)
    name = f"nothing-{version}-py3-none-any.whl"
    record = f"nothing-{version}.dist-info"
    with zipfile.ZipFile(folder / name, "w") as file:
        file.writestr(f"{record}/METADATA", f"Metadata-Version: 2.1\nName: nothing\nVersion: {version}\n")
        file.writestr(
            f"{record}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{record}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{name}">{name}</a>')
    return folder


@pytest.mark.skipif(not UV.exists(), reason="uv is not in this environment")
def test_uv_knows_these_variables(tmp_path):
    """It takes the best version of all places within the constraints, as pip does."""
    places = [wheel(tmp_path / place / "nothing", f"{number}.0") for number, place in enumerate("abcd", start=1)]
    first, second, third = (f"{place.parent.as_uri()}/" for place in places[:3])
    limit = tmp_path / "constraints.txt"

    def chosen(bound):
        limit.write_text(f"nothing<{bound}\n")
        settings = {
            "index-url": second,
            "extra-index-url": f"{first} {third}",
            "find-links": str(places[3]),
            "constraint": str(limit),
        }
        call = uv_call(settings, {})
        command = [str(UV), "pip", "install", "--dry-run", "--no-cache", "--python", sys.executable, "nothing"]
        done = subprocess.run(command, env={**os.environ, **call.variables}, capture_output=True, text=True, check=True)
        return done.stderr.split("nothing==")[1].split()[0]

    assert [chosen(bound) for bound in (2, 3, 4, 5)] == ["1.0", "2.0", "3.0", "4.0"]
