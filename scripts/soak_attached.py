"""Programs that a soak attaches to ``watch``: a broker with a real Home Assistant, and the page in a real browser."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_CORE = Path(__file__).resolve().parents[1] / "tests" / "stream" / "mqtt" / "home_assistant" / "core.py"
_START_S = 20.0


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class HomeAssistant:
    """A core in a process of its own, connected to a broker.

    Args:
        process: of ``core.py``.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.version = str(self._answer()["version"])

    def entities(self) -> dict[str, str]:
        """State of each entity of MQTT, by the name of its device and its own."""
        found = self._look()["entities"].values()
        return {str(one["attributes"].get("friendly_name")): str(one["state"]) for one in found}

    def complaints(self) -> list[str]:
        """Warnings and errors of its MQTT integration."""
        return [line for line in self._look()["log"] if line.startswith("homeassistant.components.mqtt")]

    def _look(self) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 -- a pipe was asked for
        self._process.stdin.write("states\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 -- a pipe was asked for
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("Home Assistant has ended; CONTRIBUTING.md says how its environment is made.")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """Run mosquitto; gives its port."""
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        raise SystemExit("mosquitto is missing: sudo scripts/install-test-servers")
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n", encoding="ascii")
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([program, "-c", str(config)], stdout=quiet, stderr=quiet)  # noqa: S603
    try:
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def home_assistant(python: Path, folder: Path, port: int) -> Iterator[HomeAssistant]:
    """Run a core, which keeps its files in a folder.

    Args:
        python: of the environment in which Home Assistant is installed.
        folder: is made.
        port: of the broker.
    """
    folder.mkdir()
    with (folder / "stderr.txt").open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 -- our own script
            [str(python), str(_CORE), str(folder), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield HomeAssistant(process)
    finally:
        process.kill()
        process.wait()


class Page:
    """The page of ``watch`` in Chromium; for one thread.

    Args:
        tab: page of playwright.
    """

    def __init__(self, tab: Any) -> None:
        self._tab = tab
        self.complaints: list[str] = []
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))

    def pictures(self) -> int:
        """Number of cameras whose picture the page shows."""
        return int(self._tab.locator(".tile img:not([hidden])").count())


@contextmanager
def browser(url: str) -> Iterator[Page]:
    """Open the page in Chromium."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 -- for --page alone

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        tab = chromium.new_page()
        page = Page(tab)
        tab.goto(url)
        yield page
        chromium.close()
