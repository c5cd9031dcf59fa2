"""Entities in a real Home Assistant, over a real broker.

They skip where ``build/home-assistant`` has no Home Assistant (CONTRIBUTING.md says how to make it).
"""

import json
import subprocess
from pathlib import Path

import pytest

from edge_sphereface.stream.outputs.events.home_assistant.images import FaceImages
from edge_sphereface.stream.outputs.events.home_assistant.settings import HomeAssistantSettings
from edge_sphereface.stream.outputs.events.home_assistant.sink import HomeAssistantSink
from edge_sphereface.stream.outputs.events.home_assistant.state import Subject
from edge_sphereface.stream.outputs.events.mqtt import Broker, MqttSink

ROOT = Path(__file__).parents[4]
PYTHON = ROOT / "build/home-assistant/bin/python"
DRIVER = Path(__file__).with_name("core.py")
PAGE = ROOT / "docs/home-assistant.md"
pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Core:
    """A Home Assistant in a process of its own, and what it knows."""

    def __init__(self, folder, port, automations):
        words = [str(PYTHON), str(DRIVER), str(folder), str(port), str(automations)]
        self.errors = folder / "stderr.txt"
        with self.errors.open("a") as errors:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
            self.process = subprocess.Popen(words, text=True, **pipes)
        self.version = self._read()["version"]

    def _read(self):
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        return json.loads(line)

    def look(self):
        self.process.stdin.write("states\n")
        self.process.stdin.flush()
        return self._read()

    def states(self):
        """State of each entity by the name of its device and its own."""
        found = self.look()["entities"].values()
        return {one["attributes"].get("friendly_name"): one["state"] for one in found}

    def stop(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture
def start_core(tmp_path, broker):
    if not PYTHON.exists():
        pytest.skip("needs a Home Assistant in build/home-assistant: see CONTRIBUTING.md")
    folder, automations, started = tmp_path / "core", tmp_path / "automations.yaml", []
    folder.mkdir()
    automations.write_text(automations_of(PAGE))

    def start():
        started.append(Core(folder, broker.port, automations))
        return started[-1]

    yield start
    for core in started:
        core.process.kill()
        core.process.wait()


def automations_of(page):
    """The example automations of the page, as one file."""
    blocks = page.read_text().split("```yaml\n")[1:]
    return "\n".join(block.split("```")[0] for block in blocks if block.startswith("- alias"))


def test_a_real_home_assistant_follows_people_and_cameras(start_core, broker, events, tmp_path, wait_for, stage):
    people = [Subject(name="Ann", mark="monday"), Subject(name="Jürgen 😀", mark="tuesday")]
    cameras = [Subject(name="door", mark="rtsp://door"), Subject(name="Tür+#/{{ 1 }}", mark="rtsp://yard")]
    images = FaceImages()
    entities = HomeAssistantSink(
        HomeAssistantSettings(home_assistant="homeassistant", presence_window=0.0),
        topic="house/faces",
        state=tmp_path / "entities.json",
        cameras=lambda: cameras,
        people=lambda: (len(people), people),
        images=images,
    )
    address = Broker.parse(f"mqtt://127.0.0.1:{broker.port}/house/faces", stream="x")
    connection = MqttSink(address, spool=tmp_path / "spool.db", retained=entities.retained)
    core = start_core()
    entities.open()
    connection.open()

    def becomes(expected):
        wait_for(lambda: expected.items() <= core.states().items())

    # Before anybody was seen
    nobody = {"Ann In sight": "off", "Ann Last seen": "unknown", "Ann Last camera": "unknown", "door Face": "unknown"}
    becomes({**nobody, "Jürgen 😀 In sight": "off", "door Faces": "unavailable", "Tür+#/{{ 1 }} Unknown faces": "0"})
    before = core.look()["entities"]
    assert len(before) == 2 + 2 * 7 + 2 * 3

    # Somebody comes, and an automation of the documentation says so
    door = events("door")
    statistics = door.statistics(problems=["the disk is full"])
    for event in (door.up(), door.identified(1, "Ann"), door.unknown(2), statistics):
        entities.write(event)
    connection.write(door.unknown(3))
    becomes({"Ann In sight": "on", "Ann Last camera": "door", "door Faces": "2"})
    becomes({"Ann Last seen": "2026-11-27T12:00:00+00:00", "door Unknown faces": "1"})
    becomes({"door Frame rate": "9.5", "door Problem": "on", "Tür+#/{{ 1 }} Faces": "unavailable"})
    told = [["Unknown face", "door"], ["Ann", "at the door"]]
    wait_for(lambda: all(one in core.look()["notifications"] for one in told))
    images.snapshot(door.identified(1, "Ann"), stage.frame_of(1))
    wait_for(lambda: core.look()["images"]["image.door_face"] == "ffd8")
    attributes = {one["attributes"].get("friendly_name"): one["attributes"] for one in core.look()["entities"].values()}
    assert attributes["door Faces"]["names"] == ["Ann"]
    assert attributes["door Problem"]["problems"] == ["the disk is full"]
    entities.write(door.lost(1, "Ann"))
    becomes({"Ann In sight": "off", "door Faces": "1"})

    # Home Assistant starts again
    assert [line for line in core.look()["log"] if "mqtt" in line.lower()] == []
    core.stop()
    core = start_core()
    becomes({"Ann In sight": "off", "Ann Last camera": "door"})
    assert core.look()["entities"].keys() == before.keys()

    # Somebody is removed, somebody else renamed
    people[:] = [Subject(name="Jörg", mark="tuesday"), *(Subject(name=name, mark="friday") for name in ("Zoë", "Cid"))]
    becomes({"Jörg In sight": "off", "Zoë In sight": "off", "Cid In sight": "off"})
    last = core.look()
    assert "Ann" not in last["devices"]
    assert {"edge_sphereface", "Jörg", "Zoë", "Cid", "Tür+#/{{ 1 }}", "door"} == set(last["devices"])
    kept = {one for one, entity in before.items() if entity["device"] == "Jürgen 😀"}
    assert kept < last["entities"].keys()

    assert [line for line in last["log"] if "mqtt" in line.lower()] == []

    # The end
    entities.close()
    connection.close()
    becomes({"Jörg In sight": "unavailable", "Tür+#/{{ 1 }} Unknown faces": "unavailable"})
    becomes({"edge_sphereface Connection": "off"})
    core.stop()
