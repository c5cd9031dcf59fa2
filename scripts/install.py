"""Install packages into an environment: by uv, which downloads and unpacks them in parallel, or by pip where uv cannot.

    python3 scripts/install.py .venv --editable ".[cpu]" --group demo

The environment is created if it is missing. uv comes from the same index as the packages, by the pip that Python
carries: installing that pip would take longer than installing the packages. uv reads none of pip's settings, so they
are passed on; if one has no equivalent, or uv fails for whatever reason, pip installs the packages.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OLDEST_PYTHON = (3, 10)
_PIP, _UV = "pip>=25.1", "uv>=0.8"
"""First pip with ``--group``; it belongs to the environment, because users install more with it."""
_PIP_OPTIONS = ("--quiet", "--disable-pip-version-check", "--no-compile")
"""Python compiles a module when it is first imported: the demo imports a tenth of what its packages hold."""

_VARIABLES = {
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "constraint": "UV_CONSTRAINT",
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "index-url": "UV_DEFAULT_INDEX",
    "timeout": "UV_HTTP_TIMEOUT",
    "trusted-host": "UV_INSECURE_HOST",
}
"""Variables of uv by name of pip's option. Unlike arguments, they do not show passwords in the list of processes."""
_SWITCHES = {"no-cache-dir": {"UV_NO_CACHE": "1"}, "no-index": {}, "pre": {"UV_PRERELEASE": "allow"}}
_OTHER_NAMES = {"default-timeout": "timeout", "pypi-url": "index-url"}
_WITHOUT_EFFECT = frozenset(
    {
        "break-system-packages",
        "cache-dir",
        "compile",
        "config-file",
        "debug",
        "disable-pip-version-check",
        "exists-action",
        "log",
        "no-color",
        "no-compile",
        "no-input",
        "no-python-version-warning",
        "no-warn-script-location",
        "progress-bar",
        "quiet",
        "require-virtualenv",
        "retries",
        "root-user-action",
        "verbose",
    }
)
"""Options of pip that change neither what is installed nor where it comes from."""
_OFF = ("0", "n", "no", "f", "false", "off")


class UvCall(NamedTuple):
    """How uv does what pip's settings say.

    Attributes:
        arguments: arguments of ``uv pip install``.
        variables: variables of its environment.
        without_equivalent: names of the settings that uv cannot follow, in order.
    """

    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    without_equivalent: tuple[str, ...]


class Programs:
    """Runs programs.

    Args:
        tell_s: interval in seconds at which a line says that a program still runs.
    """

    def __init__(self, *, tell_s: float = 15) -> None:
        self._tell_s, self._began = tell_s, time.monotonic()

    def run(self, command: Sequence[str], variables: Mapping[str, str] | None = None) -> bool:
        """Run a program with its output on the terminal, and return whether it succeeded."""
        try:
            program = subprocess.Popen(command, env={**os.environ, **(variables or {})})  # noqa: S603
        except OSError:  # a program for another system
            return False
        with program:
            while True:
                try:
                    return program.wait(self._tell_s) == 0
                except subprocess.TimeoutExpired:
                    _say(f"  still installing after {time.monotonic() - self._began:.0f} s")

    def ask(self, command: Sequence[str]) -> str | None:
        """Run a program and return its output; None if it failed."""
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout if done.returncode == 0 else None


def pip_settings(listing: str) -> dict[str, str]:
    """Return the settings of ``pip install`` by name of the option; variables take precedence over files.

    Args:
        listing: output of ``pip config list``.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        text = _unquoted(value) if section in sections else ""
        if text:
            sections[section][_OTHER_NAMES.get(name, name)] = text
    return {**sections["global"], **sections["install"], **sections[":env:"]}


def _unquoted(value: str) -> str:
    """A value as pip lists it: in quotes."""
    try:
        return str(ast.literal_eval(value))
    except (SyntaxError, ValueError):
        return value


def uv_call(settings: Mapping[str, str], variables: Mapping[str, str]) -> UvCall:
    """Translate pip's settings to uv.

    Args:
        settings: pip's settings by name of the option.
        variables: variables of this process.
    """
    # As pip does: the best version of all indexes, not of the first one that has the package
    made = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    unknown = []
    for name, value in settings.items():
        translated = _translated(name, value)
        if translated is None:
            unknown.append(name)
        else:
            made |= translated
    if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & {*made, *variables}:
        bundle = variables.get("REQUESTS_CA_BUNDLE") or variables.get("CURL_CA_BUNDLE")
        made |= {"SSL_CERT_FILE": bundle} if bundle else {"UV_SYSTEM_CERTS": "1"}
    arguments = ("--no-index",) if _is_on(settings.get("no-index", "0")) else ()
    return UvCall(arguments, made, tuple(unknown))


def _translated(name: str, value: str) -> dict[str, str] | None:
    """Variables of uv for one setting of pip; None if there are none."""
    if name in _WITHOUT_EFFECT:
        return {}
    if name in _SWITCHES:
        return _SWITCHES[name] if _is_on(value) else {}
    if name == "find-links" and "," not in value:
        return {"UV_FIND_LINKS": ",".join(value.split())}
    if name == "proxy":
        address = value if "://" in value else f"http://{value}"
        return dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), address)
    if name == "keyring-provider" and value in ("disabled", "subprocess"):
        return {"UV_KEYRING_PROVIDER": value}
    variable = "SSL_CERT_DIR" if name == "cert" and Path(value).is_dir() else _VARIABLES.get(name)
    return None if variable is None else {variable: " ".join(value.split())}


def _is_on(value: str) -> bool:
    return value.lower() not in _OFF


def install(environment: Path, packages: Sequence[str], programs: Programs) -> bool:
    """Install packages into an environment, which is created if it is missing.

    Args:
        environment: folder of the environment.
        packages: packages as pip and uv take them, groups among them.
        programs: runs programs.

    Returns:
        Whether they were installed.
    """
    if not (environment / "pyvenv.cfg").exists():
        venv.create(environment, symlinks=True)
    python, uv = str(environment / "bin" / "python"), environment / "bin" / "uv"
    has_pip = any(environment.glob("lib/python*/site-packages/pip"))
    pip = [python, "-m", "pip"] if has_pip else [python, carried_pip()]
    with ThreadPoolExecutor(1) as beside:
        listing = beside.submit(programs.ask, [*pip, "config", "list"])
        if not uv.exists():
            programs.run([*pip, "install", *_PIP_OPTIONS, "--only-binary", ":all:", _UV])
    failure = _install_by_uv(uv, python, listing.result(), packages, programs)
    if not failure:
        return True
    _say(f"{failure}: pip installs the packages, which takes longer")
    return programs.run([*pip, "install", *_PIP_OPTIONS, _PIP]) and programs.run(
        [python, "-m", "pip", "install", *_PIP_OPTIONS, *packages]
    )


def _install_by_uv(uv: Path, python: str, listing: str | None, packages: Sequence[str], programs: Programs) -> str:
    """Install packages, and return why it failed; empty if it did not."""
    if not uv.exists():
        return "uv is not available here"
    if listing is None:
        return "uv does not know pip's settings"
    call = uv_call(pip_settings(listing), os.environ)
    if call.without_equivalent:
        return f"uv has no equivalent of pip's setting {', '.join(call.without_equivalent)}"
    command = [str(uv), "pip", "install", "--quiet", "--python", python, *call.arguments, _PIP, *packages]
    return "" if programs.run(command, call.variables) else "uv failed"


def carried_pip() -> str:
    """Path of a pip that Python carries for new environments, and that runs without being installed.

    Raises:
        SystemExit: Debian's package of it is missing.
    """
    carrier = find_spec("ensurepip")
    if carrier is not None and carrier.origin:
        for folder in (sysconfig.get_config_var("WHEEL_PKG_DIR"), Path(carrier.origin).with_name("_bundled")):
            for wheel in Path(folder).glob("pip-*.whl") if folder else ():
                return str(wheel / "pip")
    raise SystemExit("venv is missing: apt install python3-venv")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    if sys.version_info < _OLDEST_PYTHON:
        _say(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}: name another one as PYTHON=python3.12")
        return 1
    folder, *packages = arguments
    return 0 if install(Path(folder), packages, Programs()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
