"""A real Home Assistant core with its MQTT integration, run by the Python of its own environment.

It answers one line of JSON on stdout to each line on stdin: ``states`` gives all entities of MQTT, ``quit`` ends it.
``core.py FOLDER PORT [AUTOMATIONS.yaml]`` keeps its registries in the folder, so that a second start is a restart.
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



def free_port():
    """A port of this machine that nobody uses; Home Assistant's server takes no 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def main(folder, port, automations=None):
    """Start the core, and answer until the end."""
    records = Records()
    logging.getLogger().addHandler(records)
    Path(folder, "configuration.yaml").touch()
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth_manager_from_config(hass, [], [])
    for domain in ("homeassistant", "http", "input_text", "automation"):
        config = {
            "homeassistant": {"unit_system": "metric"},
            "http": {"server_port": free_port(), "server_host": "127.0.0.1"},
            "input_text": {"last": {"max": 255}},
        }
        if automations is not None:
            config["automation"] = load_yaml(automations)
        if not await async_setup_component(hass, domain, config):
            raise SystemExit(f"{domain} does not start: {records.lines}")
    await hass.async_start()
    if not hass.config_entries.async_entries("mqtt"):
        flow = await hass.config_entries.flow.async_init("mqtt", context={"source": "user"})
        await hass.config_entries.flow.async_configure(flow["flow_id"], {"broker": "127.0.0.1", "port": int(port)})
    answer({"version": __version__})
    reader = asyncio.StreamReader()
    await hass.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while (line := (await reader.readline()).decode().strip()) not in ("", "quit"):
        answer(state_of(hass, records) if line == "states" else {"error": line})
    await hass.async_stop()


class Records(logging.Handler):
    """Warnings and errors of the core."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        import traceback
        record.exc_info and traceback.print_exception(record.exc_info[1])
        self.lines.append(f"{record.name}: {record.getMessage()} {record.exc_info and record.exc_info[1]!r}"[:500])


def state_of(hass, records):
    devices = device_registry.async_get(hass).devices
    entities = {}
    for entry in entity_registry.async_get(hass).entities.values():
        state, device = hass.states.get(entry.entity_id), devices.get(entry.device_id)
        if entry.platform == "mqtt":
            entities[entry.unique_id] = {
                "entity": entry.entity_id,
                "state": None if state is None else state.state,
                "attributes": {} if state is None else json.loads(json.dumps(dict(state.attributes), default=str)),
                "category": entry.entity_category,
                "device": None if device is None else device.name,
            }
    helpers = {state.entity_id: state.state for state in hass.states.async_all("input_text")}
    return {"entities": entities, "helpers": helpers, "devices": [one.name for one in devices.values()], "log": records.lines}


def answer(value):
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
