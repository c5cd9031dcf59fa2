"""The connection to a real broker: dead, refused, broken, encrypted, and what is said of it."""

import signal
import socket
import threading
from contextlib import suppress

import pytest

from edge_sphereface.errors import SinkError
from edge_sphereface.stream.outputs.events.mqtt import Broker


@pytest.mark.slow
def test_a_connection_that_is_open_and_dead_is_noticed(broker, read_from, dispatcher_to, give, wait_for):
    """The broker is stopped, not ended; the test of the connection fails, and everything comes when it wakes."""
    reader = read_from(broker.port)
    dispatcher = dispatcher_to(broker.port, keepalive_s=2)
    give(dispatcher, 10)
    wait_for(lambda: len(reader.sequences) == 10)
    broker.process.send_signal(signal.SIGSTOP)
    give(dispatcher, 10)
    wait_for(lambda: not dispatcher.sink.is_connected, seconds=20)
    broker.process.send_signal(signal.SIGCONT)
    wait_for(lambda: dispatcher.pending() == 0, seconds=60)
    wait_for(lambda: set(reader.sequences) == set(range(1, 21)))
    dispatcher.close(5.0)


@pytest.mark.slow
def test_why_events_do_not_arrive_is_said(make_broker, dispatcher_to, give, wait_for):
    """Nobody there, then somebody who refuses; what was not delivered is counted after the end, too."""
    broker = make_broker(allow_anonymous=False)
    dispatcher = dispatcher_to(broker.port)
    give(dispatcher, 2)
    wait_for(lambda: f"MQTT broker 127.0.0.1:{broker.port}: no connection: " in dispatcher.problem)
    assert "refused" in dispatcher.problem
    broker.start()
    wait_for(lambda: "it refuses: Not authorized" in dispatcher.problem)
    broker.kill()
    assert dispatcher.close(3.0) == 0
    assert (dispatcher.pending(), dispatcher.dropped) == (2, 0)


def test_a_connection_that_broke_is_a_problem_until_it_is_back(broker, dispatcher_to, wait_for):
    dispatcher = dispatcher_to(broker.port)
    wait_for(lambda: dispatcher.sink.is_connected)
    assert dispatcher.problem == ""
    broker.kill()
    wait_for(lambda: "the connection broke" in dispatcher.problem)
    broker.start()
    wait_for(lambda: not dispatcher.problem)
    dispatcher.close(3.0)


def test_whoever_watches_learns_of_a_sudden_end(broker, read_from, dispatcher_to, wait_for):
    """The last will: the connection breaks without a goodbye."""
    reader = read_from(broker.port)
    dispatcher = dispatcher_to(broker.port)
    wait_for(lambda: reader.states == ["online"])
    dispatcher.sink._client._sock.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: "offline" in reader.states)
    dispatcher.close(5.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves a refused socket to Python
def test_an_encrypted_connection_to_a_broker_that_is_known(
    make_broker, read_from, dispatcher_to, give, wait_for, certificates
):
    """Certificates of our own authority are taken, those of nobody we know are not."""
    broker = make_broker(
        f"cafile {certificates}/ca.pem", f"certfile {certificates}/server.pem", f"keyfile {certificates}/server.key"
    )
    broker.start()
    reader = read_from(broker.port, tls=certificates / "ca.pem")
    where = Broker.parse(f"mqtts://localhost:{broker.port}/faces", stream="x")
    stranger = dispatcher_to(where, spool="stranger.db")
    friend = dispatcher_to(where, spool="friend.db", ca_file=certificates / "ca.pem")
    give(friend, 5)
    give(stranger, 1)
    wait_for(lambda: len(reader.sequences) == 5)
    wait_for(lambda: friend.pending() == 0)
    wait_for(lambda: "certificate verify failed" in stranger.problem)
    assert (stranger.pending(), friend.problem) == (1, "")
    friend.close(5.0)
    stranger.close(5.0)
    with pytest.raises(SinkError, match="certificates"):
        dispatcher_to(where, spool="x.db", ca_file=certificates / "missing.pem")


class Deaf:
    """A broker that answers a connection and each ping, and confirms nothing."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.confirms = False
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with suppress(OSError):
            while True:
                line, _ = self.listener.accept()
                threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line):
        with suppress(OSError, IndexError), line, line.makefile("rb") as packets:
            while True:
                kind, length, shift = packets.read(1)[0], 0, 0
                while (byte := packets.read(1)[0]) & 0x80:
                    length, shift = length | (byte & 0x7F) << shift, shift + 7
                body = packets.read(length | byte << shift)
                if kind >> 4 == 1:
                    line.sendall(b"\x20\x02\x00\x00")
                elif kind >> 4 == 12:
                    line.sendall(b"\xd0\x00")
                elif kind >> 4 == 3 and self.confirms:
                    topic = int.from_bytes(body[:2], "big")
                    line.sendall(b"\x40\x02" + body[2 + topic : 4 + topic])


@pytest.mark.slow
def test_a_broker_that_confirms_nothing_is_a_problem_until_it_does(dispatcher_to, give, wait_for):
    broker = Deaf()
    dispatcher = dispatcher_to(broker.port, unconfirmed_s=0.5)
    wait_for(lambda: dispatcher.sink.is_connected)
    assert dispatcher.problem == ""
    give(dispatcher, 3)
    wait_for(lambda: "confirmed no event for more than" in dispatcher.problem)
    assert dispatcher.pending() == 3
    broker.confirms = True
    give(dispatcher, 1)
    wait_for(lambda: dispatcher.problem == "")
    broker.listener.close()
    dispatcher.close(5.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_ends_the_thread_of_the_connection_is_told(dispatcher_to, give, wait_for, broker):
    dispatcher = dispatcher_to(broker.port)
    wait_for(lambda: dispatcher.sink.is_connected)
    dispatcher.sink._client.on_message = lambda *_: 1 / 0
    dispatcher.sink._client.subscribe("faces/status")
    wait_for(lambda: "ended by an error" in dispatcher.problem)
    give(dispatcher, 1)
    wait_for(lambda: dispatcher.pending() == 1)
    dispatcher.close(5.0)
