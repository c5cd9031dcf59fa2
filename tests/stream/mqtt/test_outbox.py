"""Messages on the disk: kept in order, bounded, nobody else's."""

import os
import random
import sqlite3
import stat
from contextlib import closing

import pytest

from edge_sphereface.errors import SinkError
from edge_sphereface.stream.outputs.events.dispatcher import EventDispatcher
from edge_sphereface.stream.outputs.events.mqtt import Broker, MqttSink
from edge_sphereface.stream.outputs.events.outbox import Outbox


@pytest.mark.slow
def test_a_spool_keeps_what_is_not_delivered_and_bounds_itself(tmp_path):
    spool = Outbox(tmp_path / "deep" / "spool.db", most=3)
    for payload in "abcde":
        spool.put(payload)
    assert [payload for _, payload in spool.after(0, 10)] == ["c", "d", "e"]
    assert (len(spool), spool.dropped) == (3, 2)
    spool.forget([spool.after(0, 1)[0][0]])
    with pytest.raises(SinkError, match="another process"):
        Outbox(tmp_path / "deep" / "spool.db")
    spool.close()
    again = Outbox(tmp_path / "deep" / "spool.db")
    assert [payload for _, payload in again.after(0, 10)] == ["d", "e"]
    again.forget([number for number, _ in again.after(0, 10)])
    assert len(again) == 0
    again.close()


def test_a_disk_that_fails_is_an_error_of_ours(tmp_path):
    """Here the file is closed; nothing is counted that did not happen."""
    spool = Outbox(tmp_path / "spool.db")
    spool.put("a")
    spool.close()
    for call in (lambda: spool.put("b"), lambda: spool.after(0, 1), lambda: spool.forget([1])):
        with pytest.raises(SinkError, match=r"Cannot (keep|read|forget)"):
            call()
    assert len(spool) == 1


def test_a_database_of_something_else_is_no_spool(tmp_path):
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE precious (x)")
    other.commit()
    other.close()
    with pytest.raises(SinkError, match="something else"):
        Outbox(tmp_path / "other.db")


def filled(path, count=200):
    spool = Outbox(path)
    for number in range(count):
        spool.put(f"{number}" * 100)
    spool.close()
    return path.read_bytes()


def with_bytes(data, place, new):
    return data[:place] + new + data[place + len(new) :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"no database" * 100,
        lambda data: bytes(len(data)),
        lambda data: data[: len(data) // 2],
        lambda data: with_bytes(data, 4096 + 5, b"\xff" * 3000),
        lambda data: with_bytes(data, len(data) // 2, b"\xff" * 4096),
        lambda data: data.replace(b"payload", b"pay_oad"),
        lambda data: data.replace(b"CREATE TABLE", b"CREATE TABL\xdc"),  # SQLite's own message is no UTF-8 then
        lambda data: with_bytes(data, 68, b"\0"),  # application_id
        lambda data: with_bytes(data, 47, b"\xff"),  # format of the schema
        lambda data: with_bytes(data, 18, b"\xff"),  # version for writing: SQLite calls it read-only
    ],
)
def test_a_damaged_spool_is_set_aside_and_another_begun(tmp_path, damage):
    path = tmp_path / "spool.db"
    damaged = damage(filled(path))
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"spool.db.damaged"):
        spool = Outbox(path)
    spool.put("after")
    assert [payload for _, payload in spool.after(0, 10)] == ["after"]
    spool.close()
    kept = tmp_path / "spool.db.damaged"
    assert kept.read_bytes() == damaged
    assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*damaged")
def test_no_byte_of_the_header_stops_a_spool(tmp_path):
    path = tmp_path / "spool.db"
    data = filled(path, 1)
    for place in range(100):
        path.write_bytes(with_bytes(data, place, bytes([data[place] ^ 0xFF])))
        Outbox(path).close()


def test_a_damaged_database_of_something_else_stays_where_it_is(tmp_path):
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("PRAGMA application_id = 7")
    other.execute("CREATE TABLE precious (x)")
    other.commit()
    other.close()
    data = path.read_bytes()
    for damaged in (data, with_bytes(data, 47, b"\xff"), data.replace(b"CREATE", b"CR\xffATE")):
        path.write_bytes(damaged)
        with pytest.raises(SinkError, match="something else"):
            Outbox(path)
        assert path.read_bytes() == damaged
        assert os.listdir(tmp_path) == ["other.db"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_watch_goes_on_with_a_damaged_spool(cli, tmp_path, photo):
    (tmp_path / "spool.db").write_bytes(b"no database" * 100)
    (tmp_path / "spool.db").chmod(0o600)  # as every spool
    code, _, err = cli("watch", photo.parent, "--mqtt", "mqtt://127.0.0.1:1", "--mqtt-spool", tmp_path / "spool.db")
    assert code == 0
    assert "warning:" in err
    assert "spool.db.damaged" in err


def test_a_row_that_is_no_message_is_dropped_and_counted(tmp_path):
    filled(tmp_path / "spool.db", 3)
    database = sqlite3.connect(tmp_path / "spool.db")
    database.execute("UPDATE message SET payload = ? WHERE id = 1", ("x" * (20 << 20),))
    database.execute("UPDATE message SET payload = ? WHERE id = 2", (b"\xff",))
    database.execute("INSERT INTO message (payload) VALUES (CAST(x'ff41' AS TEXT))")
    database.commit()
    database.close()
    spool = Outbox(tmp_path / "spool.db")
    assert [payload for _, payload in spool.after(0, 10)] == ["2" * 100, "\ufffdA"]
    assert (len(spool), spool.dropped) == (2, 2)
    spool.close()


@pytest.mark.slow
def test_an_event_that_is_too_large_is_told_and_the_next_one_kept(tmp_path, make_event, wait_until):
    dispatcher = EventDispatcher(
        MqttSink(Broker.parse("mqtt://127.0.0.1:1/faces", stream="x"), spool=tmp_path / "spool.db")
    )
    dispatcher.give(make_event("y" * (300 << 10)))
    dispatcher.give(make_event(retry_s=float("nan")))
    dispatcher.give(make_event())
    wait_until(lambda: dispatcher.sink.pending() == 1)
    assert dispatcher.dropped == 2
    assert "an event was left out" in dispatcher.problem or "no connection" in dispatcher.problem
    assert dispatcher.close(5.0) == 0


def bytes_of(path):
    return b"".join(one.read_bytes() for one in path.parent.glob(f"{path.name}*"))


def test_no_byte_of_a_delivered_message_stays_for_long(tmp_path):
    """While the queue is open: of a log that only grows, and of pages that were split."""
    path, now_s = tmp_path / "spool.db", [0.0]
    spool = Outbox(path, clock=lambda: now_s[0])
    for number in range(150):
        spool.put(f"Ann {number} " + "x" * (number % 7) * 100)
    for number, _ in random.Random(1).sample(spool.after(0, 150), 149):
        spool.forget([number])
    assert b"Ann" in bytes_of(path)
    spool.settle()
    assert b"Ann" in bytes_of(path), "a truncation for every message would wear the card"
    now_s[0] += 31
    spool.settle()
    ((number, last),) = spool.after(0, 10)
    assert bytes_of(path).count(b"Ann") == bytes_of(path).count(last.encode()) == 1
    spool.put("Bo")
    spool.forget([number])
    now_s[0] += 31
    spool.settle()
    assert b"Ann" not in bytes_of(path)
    assert [payload for _, payload in spool.after(0, 10)] == ["Bo"]
    spool.close()


def test_a_long_queue_is_not_rebuilt_for_what_was_delivered(tmp_path, clock):
    path = tmp_path / "spool.db"
    filled(path, 1)
    with sqlite3.connect(path) as database:
        database.executemany("INSERT INTO message (payload) VALUES (?)", [("Bo",)] * 519)
    database.close()
    with closing(Outbox(path, clock=clock)) as spool:
        spool.put("Ann")
        spool.forget([521])
        assert b"Ann" in bytes_of(path)
        clock.ahead_s += 31
        spool.settle()
        assert b"Ann" not in bytes_of(path)
        assert path.with_name("spool.db-wal").stat().st_size == 0
        assert len(spool) == 520


def test_what_is_deleted_last_is_gone_with_the_end(tmp_path):
    path = tmp_path / "spool.db"
    with closing(Outbox(path)) as spool:
        for number in range(20):
            spool.put(f"Ann {number}")
        spool.forget(range(1, 21))
    assert b"Ann" not in bytes_of(path)


@pytest.mark.slow
def test_an_expired_event_leaves_the_files_while_the_broker_is_away(tmp_path, make_event, wait_until, clock):
    path = tmp_path / "spool.db"
    dispatcher = EventDispatcher(
        MqttSink(Broker.parse("mqtt://127.0.0.1:1/faces", stream="x"), spool=path, clock=clock)
    )
    dispatcher.give(make_event("Ann"))
    wait_until(lambda: dispatcher.sink.stored == 1)
    assert dispatcher.sink.expire(lambda _: True) == 1
    assert b"Ann" in bytes_of(path)
    clock.ahead_s += 31
    wait_until(lambda: b"Ann" not in bytes_of(path))
    assert dispatcher.close(5.0) == 0


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links and modes")
@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_link_beside_a_spool_is_refused(tmp_path, suffix):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"spool.db{suffix}").symlink_to(victim)
    with pytest.raises(SinkError, match="symbolic link"):
        Outbox(tmp_path / "spool.db")
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_a_link_of_this_user_leads_to_the_spool(tmp_path):
    (tmp_path / "card").mkdir()
    path, link = tmp_path / "card" / "spool.db", tmp_path / "spool.db"
    link.symlink_to(path)
    spool = Outbox(link)
    spool.put("a")
    spool.close()
    assert path.exists()
    path.write_bytes(b"no database")
    with pytest.warns(UserWarning, match="damaged"):
        Outbox(link).close()
    assert link.is_symlink()
    assert (tmp_path / "card" / "spool.db.damaged").exists()
    with pytest.raises(SinkError, match="descriptor"):
        Outbox(type(path)("/dev/stderr"))


@pytest.mark.skipif(os.name != "posix", reason="needs modes")
def test_a_spool_that_others_may_read_is_closed_to_them(tmp_path):
    filled(tmp_path / "spool.db", 1)
    (tmp_path / "spool.db").chmod(0o666)
    Outbox(tmp_path / "spool.db").close()
    assert stat.S_IMODE((tmp_path / "spool.db").stat().st_mode) == 0o600


@pytest.mark.slow
def test_what_a_full_spool_gives_up_is_counted(tmp_path, make_event):
    """In the statistics of a stream, which ask its dispatchers."""
    dispatcher = EventDispatcher(
        MqttSink(Broker.parse("mqtt://127.0.0.1:1/faces", stream="x"), spool=tmp_path / "spool.db", most=3)
    )
    for _ in range(5):
        dispatcher.give(make_event())
    assert dispatcher.close(5.0) == 0
    assert (dispatcher.pending(), dispatcher.dropped) == (3, 2)
