"""Discovery messages are what Home Assistant's MQTT integration accepts.

``test_core.py`` gives them to a real Home Assistant where there is one; this holds everywhere.
"""

import json
import re

import pytest

from edge_sphereface.stream.outputs.events.home_assistant.images import FaceImages
from edge_sphereface.stream.outputs.events.home_assistant.settings import discovery_prefix
from edge_sphereface.stream.outputs.events.home_assistant.state import Subject

COMMON = {
    "name", "unique_id", "qos", "availability", "availability_mode", "device", "origin", "icon", "entity_category",
    "json_attributes_topic", "json_attributes_template",
}  # fmt: skip
KEYS = {
    "sensor": {"state_topic", "value_template", "device_class", "state_class", "unit_of_measurement"},
    "binary_sensor": {"state_topic", "value_template", "device_class", "payload_on", "payload_off"},
    "image": {"image_topic", "content_type"},
}
"""Source: schemas of homeassistant/components/mqtt/{schemas,sensor,binary_sensor,image}.py, 2025.4."""
CLASSES = {"connectivity", "occupancy", "problem", "timestamp"}
TOPIC = re.compile(r"homeassistant/(\w+)/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config")
STRANGE = ["Ann/B+#", "Jürgen Müller", "😀", "{{ states('x') }}", "李雷", "x" * 1000, 'a"b\\c']


def test_every_message_has_the_form_that_the_integration_accepts(entities):
    made = entities(images=FaceImages())
    made.people += [Subject(name=name, mark="friday") for name in STRANGE]
    made.sink.look()
    configs = made.configs()
    assert len(configs) == 2 + 7 + 3 * len(made.people)
    for topic, payload in made.retained.items():
        if not topic.endswith("/config"):
            continue
        kind, config = TOPIC.fullmatch(topic)[1], json.loads(payload)
        assert config.keys() <= COMMON | KEYS[kind]
        assert config.get("device_class", "problem") in CLASSES
        assert config.get("entity_category", "diagnostic") == "diagnostic"
        assert config["device"]["identifiers"][0].startswith("edge_sphereface_")
        topics = [config.get("state_topic"), config.get("json_attributes_topic"), config.get("image_topic")]
        topics += [one["topic"] for one in config.get("availability", [])]
        assert all(re.fullmatch(r"[a-z0-9/_-]+", one) for one in topics if one is not None)
        assert all("states(" not in config[key] for key in config if key.endswith("template"))


def test_names_stand_in_devices_as_they_are(entities):
    made = entities()
    made.people = [Subject(name=name, mark="friday") for name in STRANGE]
    made.sink.look()
    names = {config["device"]["name"] for config in made.configs().values()}
    assert names == {*STRANGE, "door", "edge_sphereface"}


@pytest.mark.parametrize("text", ["", "/", "a+b", "a/#", "a\0b", "a\nb", "x" * 129])
def test_a_prefix_that_is_no_topic_is_refused(text):
    with pytest.raises(ValueError, match="MQTT topic"):
        discovery_prefix(text)


def test_a_prefix_may_have_levels():
    assert discovery_prefix("/home/discovery/") == "home/discovery"
