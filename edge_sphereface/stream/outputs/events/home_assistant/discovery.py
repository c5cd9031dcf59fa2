"""Discovery messages: which entities Home Assistant makes, and where their states are.

Names of people and cameras stand in names of devices alone: never in topics, identifiers or templates.

References:
    https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery: topics, availability, devices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_sphereface import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_sphereface.types import JsonObject

_MAKER = "edge_sphereface"
CAMERA_PARTS = ("status", "faces", "unknown", "diagnostics")
"""States of a camera that the broker keeps."""
_DIAGNOSTIC: JsonObject = {"entity_category": "diagnostic"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One entity and its discovery message.

    Attributes:
        topic: of the message.
        config: the message. An empty payload in its place removes the entity.
    """

    topic: str
    config: JsonObject

    @property
    def payload(self) -> str:
        """The message as JSON."""
        return json.dumps(self.config, ensure_ascii=False, separators=(",", ":"))


class Discovery:
    """Makes the discovery messages of one connection.

    Args:
        prefix: of the discovery topics.
        topic: of the connection; states lie below it.
        node: identifier of the connection.
    """

    def __init__(self, *, prefix: str, topic: str, node: str) -> None:
        self._prefix, self._topic = prefix, topic
        self._node = f"{_MAKER}_{node}"

    @property
    def status_topic(self) -> str:
        """``online`` or ``offline``: whether the connection is there."""
        return f"{self._topic}/status"

    @property
    def summary_topic(self) -> str:
        """State of the whole: the number of enrolled and announced people."""
        return f"{self._topic}/home-assistant/summary"

    def camera_topic(self, camera: str, part: str) -> str:
        """State of a camera: ``status``, ``faces``, ``unknown``, ``diagnostics`` or ``image``."""
        return f"{self._topic}/home-assistant/camera/{camera}/{part}"

    def person_topic(self, person: str) -> str:
        """State of a person."""
        return f"{self._topic}/home-assistant/person/{person}"

    def connection(self) -> Iterator[Entity]:
        """Entities of the connection."""
        device = self._device("", _MAKER, model="recognition")
        summary = {"state_topic": self.summary_topic, "json_attributes_topic": self.summary_topic}
        yield self._entity(
            "binary_sensor",
            "connection",
            device,
            {
                "name": "Connection",
                "state_topic": self.status_topic,
                "payload_on": "online",
                "payload_off": "offline",
                "device_class": "connectivity",
                **_DIAGNOSTIC,
            },
            available=(),
        )
        yield self._entity(
            "sensor",
            "people",
            device,
            {
                "name": "Enrolled people",
                **summary,
                "value_template": "{{ value_json.enrolled }}",
                "icon": "mdi:account-group",
                **_DIAGNOSTIC,
            },
        )

    def camera(self, camera: str, name: str, *, images: bool) -> Iterator[Entity]:
        """Entities of a camera.

        Args:
            camera: its identifier.
            name: as it is shown.
            images: whether images of faces are published.
        """
        device = self._device(camera, name, model="camera")
        status = self.camera_topic(camera, "status")
        diagnostics = self.camera_topic(camera, "diagnostics")

        def entity(kind: str, part: str, *, while_frames_come: bool = False, **config: Any) -> Entity:
            available = (self.status_topic, status) if while_frames_come else (self.status_topic,)
            return self._entity(kind, f"{camera}_{part}", device, config, available=available)

        faces = self.camera_topic(camera, "faces")
        yield entity(
            "sensor",
            "faces",
            while_frames_come=True,
            name="Faces",
            state_topic=faces,
            json_attributes_topic=faces,
            value_template="{{ value_json.faces }}",
            state_class="measurement",
            icon="mdi:face-recognition",
        )
        yield entity(
            "sensor",
            "unknown",
            name="Unknown faces",
            state_topic=self.camera_topic(camera, "unknown"),
            state_class="total_increasing",
            icon="mdi:account-question",
        )
        yield entity(
            "binary_sensor",
            "frames",
            name="Frames",
            state_topic=status,
            payload_on="online",
            payload_off="offline",
            device_class="connectivity",
            **_DIAGNOSTIC,
        )
        yield entity(
            "sensor",
            "fps",
            name="Frame rate",
            state_topic=diagnostics,
            value_template="{{ value_json.fps }}",
            unit_of_measurement="fps",
            state_class="measurement",
            icon="mdi:speedometer",
            **_DIAGNOSTIC,
        )
        yield entity(
            "sensor",
            "work",
            name="Work per frame",
            state_topic=diagnostics,
            value_template="{{ value_json.work_ms }}",
            unit_of_measurement="ms",
            state_class="measurement",
            icon="mdi:timer-outline",
            **_DIAGNOSTIC,
        )
        yield entity(
            "binary_sensor",
            "problem",
            name="Problem",
            state_topic=diagnostics,
            json_attributes_topic=diagnostics,
            json_attributes_template="{{ {'problems': value_json.problems} | tojson }}",
            value_template="{{ 'ON' if value_json.problems else 'OFF' }}",
            device_class="problem",
            **_DIAGNOSTIC,
        )
        if images:
            yield entity(
                "image",
                "image",
                name="Face",
                image_topic=self.camera_topic(camera, "image"),
                content_type="image/jpeg",
            )

    def person(self, person: str, name: str) -> Iterator[Entity]:
        """Entities of an enrolled person.

        Args:
            person: identifier.
            name: as it is shown.
        """
        device = self._device(person, name, model="person")
        topic = self.person_topic(person)

        def entity(kind: str, part: str, **config: Any) -> Entity:
            return self._entity(kind, f"{person}_{part}", device, {"state_topic": topic, **config})

        yield entity(
            "binary_sensor",
            "presence",
            name="In sight",
            value_template="{{ value_json.in_sight }}",
            json_attributes_topic=topic,
            json_attributes_template="{{ {'cameras': value_json.cameras} | tojson }}",
            device_class="occupancy",
        )
        yield entity(
            "sensor",
            "seen",
            name="Last seen",
            value_template="{{ value_json.seen }}",
            device_class="timestamp",
        )
        yield entity(
            "sensor",
            "camera",
            name="Last camera",
            value_template="{{ value_json.camera }}",
            icon="mdi:cctv",
        )

    def _device(self, part: str, name: str, *, model: str) -> JsonObject:
        return {
            "identifiers": [f"{self._node}_{part}" if part else self._node],
            "name": name,
            "manufacturer": _MAKER,
            "model": model,
            "sw_version": __version__,
        }

    def _entity(
        self, kind: str, part: str, device: JsonObject, config: JsonObject, *, available: tuple[str, ...] | None = None
    ) -> Entity:
        topics = (self.status_topic,) if available is None else available
        availability = {"availability": [{"topic": topic} for topic in topics], "availability_mode": "all"}
        return Entity(
            topic=f"{self._prefix}/{kind}/{self._node}/{part}/config",
            config={
                **config,
                "unique_id": f"{self._node}_{part}",
                "qos": 1,
                **(availability if topics else {}),
                "device": device,
                "origin": {"name": _MAKER, "sw_version": __version__},
            },
        )
