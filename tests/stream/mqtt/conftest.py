"""A real broker, somebody who reads from it, and dispatchers to it."""

import json
import shutil
import signal
import socket
import subprocess

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_sphereface.stream.outputs.events.dispatcher import EventDispatcher
from edge_sphereface.stream.outputs.events.mqtt import Broker, MqttSink

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


class RealBroker:
    """mosquitto on a port of its own; what it keeps over a restart, it must be told to keep by ``save``."""

    def __init__(self, folder, wait_for, lines, *, allow_anonymous):
        self.wait_for = wait_for
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.kept = folder / "mosquitto.db"
        self.config = folder / "mosquitto.conf"
        self.config.write_text(
            "\n".join(
                [
                    f"listener {self.port} 127.0.0.1",
                    f"allow_anonymous {str(allow_anonymous).lower()}",
                    "user root",
                    f"persistence true\npersistence_location {folder}/",
                    *lines,
                ]
            )
        )
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        self.wait_for(listens)

    def save(self):
        """Subscriptions, so that nothing that comes after a restart finds nobody."""
        self.process.send_signal(signal.SIGUSR1)
        self.wait_for(self.kept.exists)

    def kill(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


class Reader:
    """Another client, which comes again when the broker does; with a name its subscription waits for it."""

    def __init__(self, port, wait_for, *, tls=None, name=""):
        self.sequences, self.states = [], []
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=not name)
        if tls:
            self.client.tls_set(ca_certs=str(tls))
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("faces/#", qos=1)
        self.client.on_message = self.take
        self.ready = False
        self.client.on_subscribe = lambda *_: setattr(self, "ready", True)
        self.client.connect("127.0.0.1" if not tls else "localhost", port)
        self.client.loop_start()
        wait_for(lambda: self.ready)

    def take(self, _client, _data, message):
        if message.topic == "faces/status":
            self.states.append(message.payload.decode())
        else:
            self.sequences.append(json.loads(message.payload)["sequence"])

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def wait_for(wait_until):
    """Half a minute: the sink asks for its broker every ten seconds."""
    return lambda condition, seconds=30: wait_until(condition, seconds)


@pytest.fixture
def make_broker(tmp_path, wait_for):
    """A broker that does not run yet."""
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto, which is not here: sudo scripts/install-test-servers")
    made = []

    def make(*lines, allow_anonymous=True):
        made.append(RealBroker(tmp_path, wait_for, lines, allow_anonymous=allow_anonymous))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def broker(make_broker):
    one = make_broker()
    one.start()
    return one


@pytest.fixture
def read_from(wait_for):
    """Begins to read at a port; see :class:`Reader`."""
    readers = []

    def read(port, **options):
        readers.append(Reader(port, wait_for, **options))
        return readers[-1]

    yield read
    for reader in readers:
        reader.close()


@pytest.fixture
def dispatcher_to(tmp_path):
    """A dispatcher to a port of this machine, or to a broker; its spool is ``spool.db`` unless named."""

    def dispatcher(where, *, spool="spool.db", **options):
        broker = where if isinstance(where, Broker) else Broker.parse(f"mqtt://127.0.0.1:{where}/faces", stream="x")
        return EventDispatcher(MqttSink(broker, spool=tmp_path / spool, **options))

    return dispatcher


@pytest.fixture
def give(make_event):
    """Hands events to a dispatcher, numbered from 1."""

    def give(dispatcher, count):
        for _ in range(count):
            dispatcher.give(make_event())

    return give
