"""State that a real broker keeps: sent once, again after a break, removed for good, and never in the way of events."""

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_sphereface.stream.outputs.events.retained import RetainedTopics


class Subscriber:
    """A client that begins to listen now, and what it gets."""

    def __init__(self, port, wait_for):
        self.messages, ready = [], []
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("state/#", qos=1)
        self.client.on_subscribe = lambda *_: ready.append(True)
        self.client.on_message = lambda _client, _data, one: self.messages.append((one.topic, one.payload, one.retain))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_for(lambda: ready)

    def kept(self):
        """What the broker had kept when it began to listen: payloads by topic, each topic once."""
        kept = [(topic, payload) for topic, payload, retain in self.messages if retain]
        assert len(dict(kept)) == len(kept)
        return dict(kept)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def wait_until_confirmed(retained, wait_for):
    """What is not due was sent; a removal is forgotten when the broker has confirmed all of it."""
    retained.put("state/end", "x")
    retained.remove("state/end")
    wait_for(lambda: retained.removals == 0)


@pytest.fixture
def subscribe(wait_for):
    made = []

    def subscribe(broker):
        made.append(Subscriber(broker.port, wait_for))
        return made[-1]

    yield subscribe
    for one in made:
        one.close()


def test_the_newest_message_is_kept_and_sent_again_after_a_break(broker, subscribe, dispatcher_to, give, wait_for):
    """The broker is killed, and has forgotten what it kept."""
    retained, states = RetainedTopics(), {f"state/{number}": b"x" for number in range(100)}
    for number in range(100):
        retained.put("state/a", str(number))
        retained.put(f"state/{number}", "x")
    dispatcher = dispatcher_to(broker.port, retained=retained)
    give(dispatcher, 10)
    wait_for(lambda: not retained.due and dispatcher.pending() == 0)
    wait_until_confirmed(retained, wait_for)
    late = subscribe(broker)
    wait_for(lambda: late.kept() == {**states, "state/a": b"99"})
    broker.kill()
    retained.put("state/a", "100")
    retained.put("state/a", "101")
    broker.start()
    wait_for(lambda: dispatcher.sink.is_connected)
    wait_for(lambda: not retained.due)
    wait_until_confirmed(retained, wait_for)
    later = subscribe(broker)
    wait_for(lambda: later.kept() == {**states, "state/a": b"101"})
    dispatcher.close(3.0)


def test_a_removed_topic_is_forgotten_when_the_broker_has_confirmed_it(broker, subscribe, dispatcher_to, wait_for):
    retained = RetainedTopics()
    retained.put("state/a", "x")
    retained.put("state/b", "y")
    retained.put("state/image", b"\xff\xd8", retain=False)
    listening = subscribe(broker)
    dispatcher = dispatcher_to(broker.port, retained=retained)
    wait_for(lambda: len(listening.messages) == 3)
    retained.remove("state/a")
    assert retained.removals == 1
    wait_for(lambda: retained.removals == 0)
    late = subscribe(broker)
    wait_for(lambda: late.messages)
    assert late.messages == [("state/b", b"y", True)]
    dispatcher.close(3.0)


def test_others_are_listened_to(broker, subscribe, dispatcher_to, wait_for):
    heard = []
    dispatcher = dispatcher_to(broker.port, retained=RetainedTopics(listen={"state/birth": heard.append}))
    wait_for(lambda: dispatcher.sink.is_connected)
    speaker = subscribe(broker)
    wait_for(lambda: speaker.client.publish("state/birth", "online", qos=1) and heard)
    assert heard[0] == b"online"
    dispatcher.close(3.0)


def test_an_unchanged_message_is_not_sent_again():
    retained = RetainedTopics()
    retained.put("a", "x")
    assert [one.payload for one in retained.take(10)] == [b"x"]
    retained.put("a", "x")
    assert retained.take(10) == []
    retained.put("b", "half a pair: \ud800")
    assert [one.payload for one in retained.take(10)] == [b"half a pair: \\ud800"]
