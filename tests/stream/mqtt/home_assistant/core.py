"""A real Home Assistant core with its MQTT integration; run by the Python of its own environment.

``core.py FOLDER PORT [AUTOMATIONS.yaml]`` answers one line of JSON on stdout to each line on stdin: ``states`` gives
all entities of MQTT, another line ends it. It keeps its registries in the folder: a second start is a restart.
"""

import asyncio
import json
import logging
import socket
import sys
from pathlib import Path

from homeassistant import bootstrap, config_entries, core, loader
from homeassistant.auth import auth_manager_from_config
from homeassistant.const import __version__
from homeassistant.helpers import device_registry, entity_registry
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import load_yaml


class Records(logging.Handler):
    """Warnings and errors of the core."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(f"{record.name}: {record.getMessage()}"[:500])


async def main(folder, port, automations):
    """Start the core, and answer until the end."""
    records = Records()
    logging.getLogger().addHandler(records)
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth_manager_from_config(hass, [], [])
    config = {
        "homeassistant": {"unit_system": "metric"},
        "http": {"server_port": free_port(), "server_host": "127.0.0.1"},
        "persistent_notification": {},
        "mqtt": {},
        "automation": automations,  # which needs the connection of the one before
    }
    for domain in config:
        if not await async_setup_component(hass, domain, config):
            raise SystemExit(f"{domain} does not start: {records.lines}")
        if domain == "mqtt" and not hass.config_entries.async_entries("mqtt"):
            flow = await hass.config_entries.flow.async_init("mqtt", context={"source": "user"})
            await hass.config_entries.flow.async_configure(flow["flow_id"], {"broker": "127.0.0.1", "port": int(port)})
    await hass.async_start()
    answer({"version": __version__})
    lines = asyncio.StreamReader()
    await hass.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while (await lines.readline()).strip() == b"states":
        answer({**state_of(hass, records), "images": await images_of(hass)})
    await hass.async_stop()


def free_port():
    """A port of this machine that nobody uses; Home Assistant's server takes no 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def state_of(hass, records):
    """All entities of MQTT by their unique ids, notifications, names of devices, and warnings of the core."""
    devices = device_registry.async_get(hass).devices
    entities = {}
    for entry in entity_registry.async_get(hass).entities.values():
        state, device = hass.states.get(entry.entity_id), devices.get(entry.device_id)
        if entry.platform == "mqtt":
            entities[entry.unique_id] = {
                "entity": entry.entity_id,
                "state": None if state is None else state.state,
                "attributes": {} if state is None else dict(state.attributes),
                "category": entry.entity_category,
                "device": None if device is None else device.name,
            }
    notes = [(one["title"], one["message"]) for one in hass.data.get("persistent_notification", {}).values()]
    names = [one.name for one in devices.values()]
    return {"entities": entities, "notifications": notes, "devices": names, "log": records.lines}


async def images_of(hass):
    """The beginning of the newest image of each image entity, in hexadecimal digits."""
    found = {}
    for entity in hass.data["image"].entities if "image" in hass.data else ():
        image = await entity.async_image()
        found[entity.entity_id] = None if image is None else image[:2].hex()
    return found


def answer(value):
    """Answer a line."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    place, broker, *files = sys.argv[1:]
    Path(place, "configuration.yaml").touch()
    asyncio.run(main(place, broker, load_yaml(files[0]) if files else []))
