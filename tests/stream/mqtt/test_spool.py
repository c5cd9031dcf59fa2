"""Messages on the disk: kept in order, bounded, nobody else's."""

import pytest

from edge_sphereface.errors import SinkError
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.sinks.courier import Courier
from edge_sphereface.stream.sinks.mqtt import Broker, MqttSink
from edge_sphereface.stream.sinks.spool import Spool


def test_a_spool_keeps_what_is_not_delivered_and_bounds_itself(tmp_path):
    spool = Spool(tmp_path / "deep" / "spool.db", most=3)
    for payload in "abcde":
        spool.put(payload)
    assert [payload for _, payload in spool.after(0, 10)] == ["c", "d", "e"]
    assert (len(spool), spool.dropped) == (3, 2)
    spool.forget([spool.after(0, 1)[0][0]])
    with pytest.raises(SinkError, match="another process"):
        Spool(tmp_path / "deep" / "spool.db")
    spool.close()
    again = Spool(tmp_path / "deep" / "spool.db")
    assert [payload for _, payload in again.after(0, 10)] == ["d", "e"]
    again.forget([number for number, _ in again.after(0, 10)])
    assert len(again) == 0
    again.close()


def test_a_disk_that_fails_is_an_error_of_ours(tmp_path):
    """Here the file is closed; nothing is counted that did not happen."""
    spool = Spool(tmp_path / "spool.db")
    spool.put("a")
    spool.close()
    for call in (lambda: spool.put("b"), lambda: spool.after(0, 1), lambda: spool.forget([1])):
        with pytest.raises(SinkError, match=r"Cannot (keep|read|forget)"):
            call()
    assert len(spool) == 1


def test_a_file_of_something_else_is_no_spool(tmp_path):
    import sqlite3

    (tmp_path / "noise.db").write_bytes(b"no database" * 100)
    with pytest.raises(SinkError, match="not a database"):
        Spool(tmp_path / "noise.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE precious (x)")
    other.commit()
    other.close()
    with pytest.raises(SinkError, match="something else"):
        Spool(tmp_path / "other.db")


def test_what_a_full_spool_gives_up_is_counted(tmp_path, monkeypatch):
    """In the statistics of a stream, which ask its couriers."""
    monkeypatch.setattr("edge_sphereface.stream.sinks.mqtt.Spool", lambda path: Spool(path, most=3))
    courier = Courier(MqttSink(Broker.parse("mqtt://127.0.0.1:1/faces", stream="x"), spool=tmp_path / "spool.db"))
    maker = EventMaker("test")
    for _ in range(5):
        courier.give(maker.make("appeared", 1e9, {"track": 1}))
    assert courier.close(5.0) == 0
    assert (courier.pending(), courier.dropped) == (3, 2)
