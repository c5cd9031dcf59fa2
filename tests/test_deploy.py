"""The unit, its settings and the Dockerfile are judged by the tools that they are for, where they are here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_sphereface.cli.configuration import read_configuration
from edge_sphereface.cli.service_command import service_text
from edge_sphereface.cli.watch_options import watch_group

DEPLOY = Path(__file__).parents[1] / "deploy"
pytestmark = [pytest.mark.checkout, pytest.mark.skipif(not DEPLOY.is_dir(), reason="needs the checkout")]


@pytest.fixture
def unit(tmp_path):
    """The unit, with a program that is here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: scripts/install-test-servers")
    path = tmp_path / "edge-sphereface@door.service"
    path.write_text(
        service_text("unit").replace("/opt/edge-sphereface/bin/edge-sphereface", sys.executable), encoding="utf-8"
    )
    return path


def analyze(*words):
    done = subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_systemd_takes_the_unit_without_a_complaint(unit):
    assert analyze("verify", unit) == (0, "")


def test_a_mistake_in_the_unit_would_be_told(unit):
    """The test above can fail."""
    unit.write_text(unit.read_text(encoding="utf-8").replace("WatchdogSec=30", "WatchdogSex=30"), encoding="utf-8")
    assert "WatchdogSex" in analyze("verify", unit)[1]


def test_the_sandbox_is_as_tight_as_the_page_says(unit):
    code, out = analyze("security", "--offline=true", "--threshold=25", unit)
    if "offline" in out and "unrecognized" in out:
        pytest.skip("this systemd-analyze judges no unit that is not installed")
    assert code == 0, out


def test_the_settings_are_options_of_the_command(tmp_path):
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    text = service_text("settings")
    commented = re.findall(r"^# (\S+ = .*)$", text, re.MULTILINE)
    assert len(commented) >= 4
    everything = tmp_path / "watch.toml"
    everything.write_text("\n".join([text, *commented]), encoding="utf-8")
    values = read_configuration(watch_group(), ["--config", str(everything)])
    assert values["gallery"].startswith("/var/lib")
    assert values["view"] == ("127.0.0.1", 8080)


def test_the_image_runs_as_a_user_and_names_the_health_port():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert text.index("USER faces") < text.index("ENTRYPOINT")
    port = re.search(r'^metrics = "127\.0\.0\.1:(\d+)"', service_text("settings"), re.MULTILINE)
    assert f"127.0.0.1:{port[1]}/health" in text
