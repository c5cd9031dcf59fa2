"""No event is lost between a stream and a real broker, whatever becomes of the broker or of the stream."""

import json
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_sphereface.errors import SinkError
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.sinks.courier import Courier
from edge_sphereface.stream.sinks.mqtt import Broker, MqttSink
from edge_sphereface.stream.sinks.spool import Spool

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
needs_broker = pytest.mark.skipif(
    MOSQUITTO is None, reason="needs mosquitto, which is not here: sudo scripts/install-test-servers"
)


def wait_for(done, limit_s=30.0):
    end = time.monotonic() + limit_s
    while not done() and time.monotonic() < end:
        time.sleep(0.02)
    assert done()


class RealBroker:
    """mosquitto on a port of its own; what it keeps over a restart, it must be told to keep by ``save``."""

    def __init__(self, folder, lines=(), *, allow_anonymous=True):
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

        wait_for(listens)

    def save(self):
        """Subscriptions, so that nothing that comes after a restart finds nobody."""
        self.process.send_signal(signal.SIGUSR1)
        wait_for(self.kept.exists)

    def kill(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


class Reader:
    """Another client, which comes again when the broker does; with a name its subscription waits for it."""

    def __init__(self, port, tls=None, name=""):
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
def broker(tmp_path):
    one = RealBroker(tmp_path)
    one.start()
    yield one
    one.kill()


def courier_to(port, spool, **options):
    return Courier(MqttSink(Broker.parse(f"mqtt://127.0.0.1:{port}/faces", stream="x"), spool=spool, **options))


def give(courier, maker, count):
    for _ in range(count):
        courier.give(maker.make("appeared", 1e9, {"track": 1}))


@needs_broker
def test_events_arrive_in_order_and_the_spool_empties(broker, tmp_path):
    reader, maker = Reader(broker.port), EventMaker("test")
    courier = courier_to(broker.port, tmp_path / "spool.db")
    give(courier, maker, 500)
    wait_for(lambda: len(reader.sequences) == 500 and courier.pending() == 0)
    assert courier.close(5.0) == 0
    wait_for(lambda: reader.states == ["online", "offline"])
    reader.close()
    assert reader.sequences == list(range(1, 501))
    assert stat.S_IMODE((tmp_path / "spool.db").stat().st_mode) == 0o600


@needs_broker
@pytest.mark.parametrize("away_s", [3, 60])
def test_a_broker_that_is_killed_loses_nothing(broker, tmp_path, away_s):
    """Killed with events on their way, away while more come; what it had confirmed and not handed on comes again."""
    maker = EventMaker("test")
    courier = courier_to(broker.port, tmp_path / "spool.db")
    reader = Reader(broker.port, name="reader")
    broker.save()
    give(courier, maker, 100)
    wait_for(lambda: len(reader.sequences) >= 20)
    broker.kill()
    for _ in range(20):
        give(courier, maker, 10)
        time.sleep(away_s / 20)
    assert courier.pending() >= 200
    broker.start()
    wait_for(lambda: courier.pending() == 0, limit_s=60)
    wait_for(lambda: set(reader.sequences) == set(range(1, 301)))
    courier.close(5.0)
    reader.close()
    spool = Spool(tmp_path / "spool.db")
    assert len(spool) == 0
    spool.close()


@needs_broker
def test_what_was_confirmed_shortly_before_a_break_is_sent_again(broker, tmp_path):
    """Once: not what was confirmed longer ago, and not for ever where the connection breaks again and again."""
    maker, reader = EventMaker("test"), Reader(broker.port, name="reader")
    courier = courier_to(broker.port, tmp_path / "spool.db")
    broker.save()
    give(courier, maker, 5)
    wait_for(lambda: reader.sequences == [1, 2, 3, 4, 5] and courier.pending() == 0)
    for place in (0, 1):
        courier.sink._held[place] = (time.monotonic() - 60, courier.sink._held[place][1])
    wait_for(lambda: len(courier.sink._spool) == 3)
    broker.kill()
    broker.start()
    wait_for(lambda: reader.sequences[5:] == [3, 4, 5])
    wait_for(lambda: len(courier.sink._spool) == 0)
    give(courier, maker, 1)
    wait_for(lambda: reader.sequences[8:] == [6])
    courier.close(5.0)
    reader.close()


@needs_broker
def test_a_connection_that_is_open_and_dead_is_noticed(broker, tmp_path):
    """The broker is stopped, not ended; the test of the connection fails, and everything comes when it wakes."""
    reader, maker = Reader(broker.port), EventMaker("test")
    courier = courier_to(broker.port, tmp_path / "spool.db", keepalive_s=2)
    give(courier, maker, 10)
    wait_for(lambda: len(reader.sequences) == 10)
    broker.process.send_signal(signal.SIGSTOP)
    give(courier, maker, 10)
    wait_for(lambda: not courier.sink._connected, limit_s=20)
    broker.process.send_signal(signal.SIGCONT)
    wait_for(lambda: courier.pending() == 0, limit_s=60)
    wait_for(lambda: set(reader.sequences) == set(range(1, 21)))
    courier.close(5.0)
    reader.close()


@needs_broker
def test_events_outlive_the_process_that_made_them(broker, tmp_path):
    """Nobody listens at that port; the next run, with the same spool, brings them to the broker."""
    maker = EventMaker("test")
    lonely = courier_to(1, tmp_path / "spool.db")
    give(lonely, maker, 30)
    wait_for(lambda: lonely.pending() == 30 and len(lonely._waiting) == 0)
    assert lonely.close(3.0) == 0
    reader = Reader(broker.port)
    courier = courier_to(broker.port, tmp_path / "spool.db")
    wait_for(lambda: sorted(set(reader.sequences)) == list(range(1, 31)))
    courier.close(5.0)
    reader.close()


@needs_broker
def test_why_events_do_not_arrive_is_said(tmp_path):
    """Nobody there, then somebody who refuses; what was not delivered is counted after the end, too."""
    broker = RealBroker(tmp_path, allow_anonymous=False)
    courier = courier_to(broker.port, tmp_path / "spool.db")
    give(courier, EventMaker("test"), 2)
    wait_for(lambda: f"MQTT broker 127.0.0.1:{broker.port}: no connection: " in courier.problem)
    assert "refused" in courier.problem
    broker.start()
    wait_for(lambda: "it refuses: Not authorized" in courier.problem)
    broker.kill()
    assert courier.close(3.0) == 0
    assert (courier.pending(), courier.dropped) == (2, 0)


@needs_broker
def test_a_connection_that_broke_is_a_problem_until_it_is_back(broker, tmp_path):
    courier = courier_to(broker.port, tmp_path / "spool.db")
    wait_for(lambda: courier.sink._connected)
    assert courier.problem == ""
    broker.kill()
    wait_for(lambda: "the connection broke" in courier.problem)
    broker.start()
    wait_for(lambda: not courier.problem)
    courier.close(3.0)


@needs_broker
def test_whoever_watches_learns_of_a_sudden_end(broker, tmp_path):
    """The last will: the connection breaks without a goodbye."""
    reader = Reader(broker.port)
    courier = courier_to(broker.port, tmp_path / "spool.db")
    wait_for(lambda: reader.states == ["online"])
    courier.sink._client._sock.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: "offline" in reader.states)
    courier.close(5.0)
    reader.close()


@needs_broker
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves a refused socket to Python
def test_an_encrypted_connection_to_a_broker_that_is_known(tmp_path):
    """Certificates of our own authority are taken, those of nobody we know are not."""
    make_certificates(tmp_path)
    lines = [f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/server.pem", f"keyfile {tmp_path}/server.key"]
    broker, maker = RealBroker(tmp_path, lines), EventMaker("test")
    broker.start()
    try:
        reader = Reader(broker.port, tls=tmp_path / "ca.pem")
        where = Broker.parse(f"mqtts://localhost:{broker.port}/faces", stream="x")
        stranger = Courier(MqttSink(where, spool=tmp_path / "stranger.db"))
        friend = Courier(MqttSink(where, spool=tmp_path / "friend.db", ca_file=tmp_path / "ca.pem"))
        give(friend, maker, 5)
        give(stranger, maker, 1)
        wait_for(lambda: len(reader.sequences) == 5)
        wait_for(lambda: friend.pending() == 0)
        wait_for(lambda: "certificate verify failed" in stranger.problem)
        assert (stranger.pending(), friend.problem) == (1, "")
        friend.close(5.0)
        stranger.close(5.0)
        reader.close()
    finally:
        broker.kill()
    with pytest.raises(SinkError, match="certificates"):
        Courier(MqttSink(where, spool=tmp_path / "x.db", ca_file=tmp_path / "missing.pem"))


def make_certificates(folder):
    """An authority (ca.pem) and a server (server.pem, server.key) for 127.0.0.1 under the name localhost."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def write(name, subject, key, issuer, issuer_key, *, authority):
        now = datetime.now(timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        (folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def named(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    write("ca.pem", "authority", authority_key, "authority", authority_key, authority=True)
    write("server.pem", "localhost", server_key, "authority", authority_key, authority=False)
    (folder / "server.key").write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
