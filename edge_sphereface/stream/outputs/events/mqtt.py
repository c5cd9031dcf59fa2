"""Events over MQTT, at least once: they lie on the disk until the broker has them.

References:
    OASIS: MQTT Version 3.1.1, 2014 (quality of service 1, will, retained messages).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from edge_sphereface.errors import ExtraError, SinkError
from edge_sphereface.extras import install_command
from edge_sphereface.stream.outputs.events.delivery import DeliveryTracker
from edge_sphereface.stream.outputs.events.outbox import Outbox
from edge_sphereface.stream.outputs.events.retained import RetainedTopics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sphereface.stream.events import Event

PASSWORD_VARIABLE = "EDGE_SPHEREFACE_MQTT_PASSWORD"  # noqa: S105 -- a name, and no password
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_IN_FLIGHT = 50
"""Messages that were sent and not confirmed."""
_RECONNECT_S = (1, 10)
_MARGIN_S = 5.0
"""Beyond the time in which a break is noticed."""
_TOPIC_BYTES = 1024
_FLUSH_S = 0.4
_LOOK_S = 1.0
_QOS = 1
_STATES_IN_FLIGHT = 20
"""Retained messages that were sent and not confirmed; events have places of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where a broker is, and who we are to it.

    Attributes:
        host: its name or address.
        port: default 1883, with TLS 8883.
        tls: whether the connection is encrypted.
        user: None for none.
        password: None for none.
        topic: events go to ``TOPIC/events``, ``online`` or ``offline`` to ``TOPIC/status``.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None
    topic: str

    @classmethod
    def parse(cls, address: str, *, stream: str) -> Broker:
        """Read ``mqtt[s]://[user[:password]@]host[:port][/topic]``.

        Args:
            address: the URL; a password may stand in the environment variable instead.
            stream: name of the stream, for the topic ``edge_sphereface/STREAM`` where none is given.

        Raises:
            SinkError: another form.
        """
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
            (host or "").encode("idna")
            topic = unquote(parts.path).strip("/") or f"edge_sphereface/{stream}"
            is_long = len(topic.encode()) > _TOPIC_BYTES
        except ValueError:  # such as a port that is no number
            parts, host, port, topic, is_long = urlsplit(""), None, None, "", False
        is_cut = bool(set("#?") & set(address)) or "@" in parts.path  # a password that was not escaped
        if parts.scheme not in _PORTS or not host or is_long or is_cut or set("+#\0") & set(topic):
            raise SinkError(
                "Expected a broker as mqtt://user@host:1883/topic, or mqtts:// with TLS, got another form.",
                hint=f"a topic has no + and no #, and at most {_TOPIC_BYTES} bytes; in a password, write / as %2F, "
                "# as %23, ? as %3F and @ as %40",
            )
        password = None if parts.password is None else unquote(parts.password)
        return cls(
            host=host,
            port=port or _PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            user=None if parts.username is None else unquote(parts.username),
            password=password or os.environ.get(PASSWORD_VARIABLE) or None,
            topic=topic,
        )


class MqttSink:
    """Sends events to a broker with quality of service 1; a reader tells what comes twice by ``run`` and ``sequence``.

    What the broker confirmed is kept for as long as a break may stay unnoticed, and sent once more after a break: a
    broker that is killed loses what it had confirmed and not yet handed on.

    Args:
        broker: where to.
        spool: file that keeps events while the broker is away, and over a restart.
        ca_file: certificates to trust, PEM; None for the system's.
        certificate: of this client, PEM, with ``key``; None for none.
        key: of that certificate.
        keepalive_s: silence after which the connection is tested; a dead one is noticed within twice as long.
        most: events that the file holds; beyond, the oldest are dropped and counted.
        retained: state that the broker keeps, sent over the same connection; None for none.
        unconfirmed_s: time without a confirmation, while messages are in flight, that counts as a problem.
        clock: monotonic time in seconds.
    """

    def __init__(  # noqa: PLR0913 -- the parts that a user puts together, by name
        self,
        broker: Broker,
        *,
        spool: Path,
        ca_file: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        keepalive_s: int = 15,
        most: int = 500_000,
        retained: RetainedTopics | None = None,
        unconfirmed_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"MQTT broker {broker.host}:{broker.port}"
        self._broker, self._spool_path, self._keepalive_s = broker, spool, keepalive_s
        self._tls_files = (ca_file, certificate, key)
        self._client: Any = None
        self._spool: Outbox | None = None
        self._most, self._unconfirmed_s, self._clock = most, unconfirmed_s, clock
        self._confirmed: deque[int] = deque()
        self._delivery = DeliveryTracker()
        self._retained = RetainedTopics() if retained is None else retained
        self._states_in_flight: set[int] = set()
        self._wake = threading.Event()
        self._retained.on_change = self._wake.set
        self._pump: threading.Thread | None = None
        self._connected = self._came_back = self._leaving = False
        self._broker_problem = self._disk_problem = self._silence = ""
        self._confirmed_at = 0.0

    def open(self) -> None:
        """Begin to connect; a broker that is away is waited for. See :meth:`EventSink.open`."""
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise ExtraError("MQTT needs the package paho-mqtt.", hint=install_command("mqtt")) from error
        spool = self._spool = Outbox(self._spool_path, most=self._most, clock=self._clock)
        client = Client(CallbackAPIVersion.VERSION2)
        try:
            if self._broker.tls:
                ca_file, certificate, key = (None if path is None else str(path) for path in self._tls_files)
                client.tls_set(ca_certs=ca_file, certfile=certificate, keyfile=key)
        except (OSError, ValueError) as error:  # ssl's errors are OSErrors
            spool.close()
            raise SinkError(f"Cannot use the certificates for {self.name}: {error}.", hint="PEM files?") from error
        if self._broker.user is not None:
            client.username_pw_set(self._broker.user, self._broker.password)
        client.will_set(self._status_topic, "offline", qos=_QOS, retain=True)
        client.reconnect_delay_set(*_RECONNECT_S)
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail, client.on_publish = self._on_connect_fail, self._on_publish
        self._leaving = False
        self._confirmed.clear()
        self._delivery = DeliveryTracker()
        self._states_in_flight.clear()
        client.on_message = self._on_message
        client.connect_async(self._broker.host, self._broker.port, keepalive=self._keepalive_s)
        client.loop_start()
        self._client = client
        self._pump = threading.Thread(target=self._run, args=(client, spool), name="mqtt-pump", daemon=True)
        self._pump.start()

    def write(self, event: Event) -> None:
        """Keep an event on the disk, and send it if the broker is there; see :meth:`EventSink.write`."""
        if self._spool is None:
            raise SinkError(f"{self.name} is not open.")
        self._spool.put(event.line())
        self._wake.set()

    @property
    def problem(self) -> str:
        """Why events do not arrive; empty if they do."""
        return self._disk_problem or self._broker_problem or self._silence

    @property
    def dropped(self) -> int:
        """Events for which the file had no room any more."""
        return 0 if self._spool is None else self._spool.dropped

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted the connection, which has not broken since."""
        return self._connected

    @property
    def stored(self) -> int:
        """Events in the file: not confirmed by the broker, or kept to be sent again after a break."""
        return 0 if self._spool is None else len(self._spool)

    def pending(self) -> int:
        """Events that the broker has not confirmed."""
        return 0 if self._spool is None else self._delivery.unconfirmed(len(self._spool))

    def expire(self, is_old: Callable[[str], bool]) -> int:
        """Delete the oldest events on the disk that are too old; see :meth:`Outbox.expire`."""
        return 0 if self._spool is None else self._spool.expire(is_old)

    def close(self) -> None:
        """Wait a moment for confirmations, say that we leave, and go. What is not confirmed stays on the disk."""
        client, spool = self._client, self._spool
        if client is None or spool is None:
            return
        end = time.monotonic() + _FLUSH_S
        while self._connected and (self.pending() or not self._is_settled) and time.monotonic() < end:
            time.sleep(0.01)
        if self._connected:
            client.publish(self._status_topic, "offline", qos=_QOS, retain=True)
        self._leaving = True
        self._wake.set()
        if self._pump is not None:
            self._pump.join()
        if self._connected:
            self._take_confirmations()
            with suppress(SinkError):  # they come twice then
                self._forget(spool, float("inf"))
        client.disconnect()
        client.loop_stop()
        spool.close()
        self._client = None

    @property
    def _status_topic(self) -> str:
        return f"{self._broker.topic}/status"

    @property
    def _in_flight(self) -> int:
        return self._delivery.in_flight + len(self._states_in_flight)

    @property
    def _is_settled(self) -> bool:
        """Whether the broker has the newest message of every topic."""
        return not self._retained.due and not self._states_in_flight

    def _run(self, client: Any, spool: Outbox) -> None:
        """Publish what lies on the disk, as much as may be on its way at a time, and forget what has arrived.

        One thread does both: paho calls ``on_publish`` holding a lock that ``publish`` needs, so that a lock of ours
        around the two would stop everything for ever.
        """
        hold_s = 2 * self._keepalive_s + _MARGIN_S
        while not self._leaving:
            self._wake.wait(_LOOK_S)
            self._wake.clear()
            try:
                self._take_confirmations()
                self._look_after(client)
                spool.settle()
                if not self._connected:
                    continue
                self._forget(spool, self._clock() - hold_s)
                self._send(client, spool)
                self._disk_problem = ""
            except SinkError as error:  # the next turn tries again
                self._disk_problem = str(error)
            except Exception as error:  # noqa: BLE001 -- a thread that ends would say nothing
                self._disk_problem = f"sending failed: {type(error).__name__}: {error}"

    def _look_after(self, client: Any) -> None:
        """Tell a broker that confirms nothing, and an error that ended paho's thread."""
        silent_s = self._clock() - self._confirmed_at
        is_silent = self._connected and self._in_flight > 0 and silent_s > self._unconfirmed_s
        self._silence = f"it has confirmed no event for more than {self._unconfirmed_s:.0f} s" if is_silent else ""
        thread = getattr(client, "_thread", self._pump)  # paho tells it nowhere else; None after its end
        if not self._leaving and (thread is None or not thread.is_alive()):
            self._connected = False
            self._broker_problem = "the connection's thread ended by an error; the next start sends what is kept"

    def _take_confirmations(self) -> None:
        now_s = self._clock()
        if self._confirmed or not self._in_flight:
            self._confirmed_at = now_s
        while self._confirmed:
            packet = self._confirmed.popleft()
            self._delivery.confirm(packet, now_s)
            self._states_in_flight.discard(packet)
        if self._came_back:
            self._came_back = False
            self._delivery.reconnected()
            self._states_in_flight.clear()
            self._retained.send_all()
        if self._connected and not self._states_in_flight:
            self._retained.settle()

    def _send(self, client: Any, spool: Outbox) -> None:
        for number, payload in spool.after(self._delivery.last, _IN_FLIGHT - self._delivery.in_flight):
            if self._delivery.must_send(number):
                sent = client.publish(f"{self._broker.topic}/events", payload, qos=_QOS)
                self._delivery.sent(number, sent.mid)
        for message in self._retained.take(_STATES_IN_FLIGHT - len(self._states_in_flight)):
            sent = client.publish(message.topic, message.payload, qos=_QOS, retain=message.retain)
            self._states_in_flight.add(sent.mid)

    def _forget(self, spool: Outbox, before_s: float) -> None:
        """Delete from the disk what was confirmed twice, or once and before that moment."""
        numbers = self._delivery.take_deletable(before_s)
        if not numbers:
            return
        try:
            spool.forget(numbers)
        except SinkError:
            self._delivery.put_back(numbers)
            raise

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._broker_problem = f"it refuses: {reason}" if reason.is_failure else ""
        if reason.is_failure:
            return
        client.publish(self._status_topic, "online", qos=_QOS, retain=True)
        if self._retained.listen:
            client.subscribe([(topic, _QOS) for topic in self._retained.listen])
        self._came_back = True  # before the next, after which the pump may forget
        self._confirmed_at = self._clock()
        self._connected = True
        self._wake.set()

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        self._broker_problem = f"no connection: {sys.exc_info()[1]}"  # paho calls this where it has caught the error

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._connected or not self._broker_problem:
            self._broker_problem = f"the connection broke: {reason}"
        self._connected = False  # what was on its way is sent again by paho itself

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        listener = self._retained.listen.get(message.topic)
        if listener is not None:
            listener(message.payload)

    def _on_publish(self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        self._confirmed.append(mid)
        self._wake.set()
