"""State that a broker keeps for whoever subscribes later: the newest message of each topic."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NOTHING: Mapping[str, Callable[[bytes], object]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMessage:
    """The newest message of a topic.

    Attributes:
        topic: where to.
        payload: empty to remove what the broker keeps.
        retain: whether the broker keeps it.
    """

    topic: str
    payload: bytes
    retain: bool


class RetainedTopics:
    """The newest message of each topic, which an :class:`~.mqtt.MqttSink` publishes over its connection.

    Older messages of a topic are never sent once there is a newer one, so that memory is bounded by the number of
    topics, however long the broker is away. After each reconnection every retained message is sent again, because a
    broker that restarts may have lost what it kept. Safe to use from several threads.

    Args:
        listen: functions that get the payloads published to a topic by others, by that topic. They are called in the
            connection's thread and must be quick.
    """

    def __init__(self, *, listen: Mapping[str, Callable[[bytes], object]] = _NOTHING) -> None:
        self.listen = dict(listen)
        self.on_change: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._messages: dict[str, TopicMessage] = {}
        self._due: dict[str, None] = {}
        self._removed: set[str] = set()

    def put(self, topic: str, payload: str | bytes, *, retain: bool = True) -> None:
        """Publish a message, unless it is the one that was published last."""
        data = payload if isinstance(payload, bytes) else payload.encode("utf-8", "backslashreplace")
        message = TopicMessage(topic=topic, payload=data, retain=retain)
        with self._lock:
            if self._messages.get(topic) == message and retain:
                return
            self._messages[topic] = message
            self._due[topic] = None
            if data:
                self._removed.discard(topic)
            else:
                self._removed.add(topic)
        self.on_change()

    def remove(self, topic: str) -> None:
        """Remove what the broker keeps for a topic."""
        self.put(topic, b"")

    def send_all(self) -> None:
        """Send every retained message again."""
        with self._lock:
            self._due.update(dict.fromkeys(self._messages))
        self.on_change()

    def take(self, limit: int) -> list[TopicMessage]:
        """The messages to send now, at most ``limit``; they count as sent."""
        with self._lock:
            topics = [topic for topic, _ in zip(self._due, range(limit), strict=False)]
            taken = [self._messages[topic] for topic in topics]
            for message in taken:
                del self._due[message.topic]
                if not message.retain:
                    del self._messages[message.topic]
            return taken

    def settle(self) -> None:
        """Forget removed topics; to be called when everything that was taken has arrived."""
        with self._lock:
            if not self._due:
                for topic in self._removed:
                    del self._messages[topic]
                self._removed.clear()

    @property
    def due(self) -> int:
        """Number of messages that wait to be sent."""
        return len(self._due)

    @property
    def removals(self) -> int:
        """Number of removed topics of which the broker may not know yet."""
        return len(self._removed)
