"""The keeper writes, groups and removes beside a stream, and no failure reaches the stream."""

import sqlite3
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from edge_sphereface.audit import AuditLog
from edge_sphereface.errors import GalleryKeyError, OutputError, StrangerError
from edge_sphereface.strangers import StrangerKeeper, StrangerStore
from tests.strangers.conftest import face, sighting

HOUR = 3600.0


@pytest.fixture
def make_keeper(path, gallery, machine):
    def make(**options):
        return StrangerKeeper(path, **{"gallery": gallery, "keep_s": 8 * HOUR, "moment": machine, **options})

    return make


def files_with(folder, needle):
    return sorted(file.name for file in folder.iterdir() if needle in file.read_bytes())


def test_a_sighting_is_recognized_after_the_turn_that_writes_it(make_keeper):
    keeper = make_keeper()
    assert keeper.recognize(face(1)) is None
    keeper.turn()
    keeper.take(sighting(1))
    keeper.take(sighting(2))
    assert keeper.recognize(face(1, 3)) is None
    keeper.turn()
    assert keeper.recognize(face(1, 3)).sightings == 1
    keeper.take(sighting(1, 1))
    keeper.turn()
    assert keeper.recognize(face(1, 3)).sightings == 2
    assert keeper.recognize(face(3)) is None


def test_the_thread_writes_what_is_taken_until_its_end(make_keeper, path):
    with make_keeper() as keeper:
        for view in range(5):
            keeper.take(sighting(1, view))
    with StrangerStore(path) as store:
        assert [stranger.sightings for stranger in store.strangers()] == [5]
    assert keeper.problem == ""


def test_the_thread_tells_when_it_has_grouped(make_keeper):
    seen = threading.Event()
    with make_keeper() as keeper:
        keeper.take(sighting(1))
        while keeper.recognize(face(1)) is None:
            assert not seen.wait(0.01)


def test_every_trace_is_gone_by_its_hour(make_keeper, machine, path, tmp_path):
    """Turns come here as often as the thread makes them in the last half hour."""
    audit = AuditLog(tmp_path / "audit.jsonl")
    keeper = make_keeper(audit=audit)
    keeper.take(sighting(1))
    keeper.turn()
    machine.run(HOUR)
    keeper.take(sighting(2))
    keeper.turn()
    machine.run(6.5 * HOUR)
    for _ in range(13):
        keeper.turn()
        machine.run(8 * HOUR / 200)
    assert machine.uptime_s < 100 + 8.1 * HOUR
    assert files_with(path.parent, face(1).tobytes()) == [], "eight hours after the first"
    assert files_with(path.parent, face(2).tobytes()) == [path.name]
    assert keeper.recognize(face(1)) is None
    assert keeper.recognize(face(2)) is not None
    assert "expire" in (tmp_path / "audit.jsonl").read_text()


def test_the_file_is_not_overwritten_for_each_sighting_that_goes(make_keeper, machine, path):
    """Those that would go within the next part of the limit go together."""
    keeper = make_keeper()
    for view in range(8):
        keeper.take(sighting(view))
        keeper.turn()
        machine.run(60)
    machine.run(7.6 * HOUR)
    counts = []
    for _ in range(15):
        machine.run(120)
        keeper.turn()
        with StrangerStore(path, moment=machine) as store:
            counts.append(sum(stranger.sightings for stranger in store.strangers()))
    assert counts[0] == 8
    assert counts[-1] == 0
    assert len(set(counts)) <= 3


def test_whoever_is_enrolled_leaves_the_strangers(make_keeper, gallery, path):
    keeper = make_keeper()
    keeper.take(sighting(1))
    keeper.turn()
    gallery.enroll("Ann", face(1, 4))
    keeper.reconsider()
    keeper.turn()
    assert keeper.recognize(face(1)) is None
    assert files_with(path.parent, face(1).tobytes()) == []


def test_a_damaged_store_is_begun_anew_and_that_is_told(make_keeper, path):
    keeper = make_keeper()
    keeper.take(sighting(1))
    keeper.turn()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (path.stat().st_size - 100))
    with make_keeper() as keeper:
        keeper.take(sighting(2))
    assert "begun anew" in keeper.problem
    with StrangerStore(path) as store:
        assert len(store.strangers()) == 1


def test_a_store_that_cannot_be_written_is_a_problem_and_nothing_is_lost(make_keeper, path):
    keeper = make_keeper()
    keeper.take(sighting(1))
    path.mkdir()
    with pytest.raises(StrangerError):
        keeper.turn()
    path.rmdir()
    keeper.turn()
    assert keeper.recognize(face(1)).sightings == 1


def test_a_store_that_is_deleted_is_made_again(make_keeper, path):
    keeper = make_keeper()
    keeper.take(sighting(1))
    keeper.turn()
    path.unlink()
    keeper.take(sighting(2))
    with pytest.raises(StrangerError, match="replaced"):
        keeper.turn()
    keeper.turn()
    assert keeper.recognize(face(1)) is None
    assert keeper.recognize(face(2)).sightings == 1


def test_the_time_for_which_a_sighting_waits_counts(make_keeper, path, machine):
    keeper = make_keeper()
    keeper.take(sighting(1))
    machine.run(3 * HOUR)
    keeper.take(sighting(2))
    machine.run(5 * HOUR)
    keeper.turn()
    with StrangerStore(path, moment=machine) as store:
        assert [kept.sightings for kept in store.strangers()] == [1]
        assert store.oldest_s() == 5 * HOUR


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_full_disk_is_a_problem_and_nothing_is_lost(make_keeper, path):
    import resource

    keeper = make_keeper()
    keeper.turn()
    for person in range(50):
        keeper.take(sighting(person))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 8192, before[1]))
    try:
        with pytest.raises(OutputError, match="disk full"):
            keeper.turn()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    keeper.turn()
    assert all(keeper.recognize(face(person)) for person in range(50))


def test_a_full_store_says_so(make_keeper):
    with make_keeper(most=50) as keeper:
        for person in range(60):
            keeper.take(sighting(person))
    assert "full" in keeper.problem


def test_a_wrong_key_is_refused_at_the_start(make_keeper, key):
    make_keeper(key=key).turn()
    with pytest.raises(GalleryKeyError), make_keeper():
        pass


def test_a_sighting_that_cannot_be_kept_holds_up_no_other(make_keeper, path):
    with make_keeper() as keeper:
        keeper.take(replace(sighting(1), embedding=np.full_like(face(1), np.nan)))
        keeper.take(replace(sighting(2), quality=float("nan")))
        keeper.take(sighting(3))
    assert "2 sightings were lost" in keeper.problem
    with StrangerStore(path) as store:
        assert [kept.sightings for kept in store.strangers()] == [1]


def test_what_is_old_goes_although_nothing_can_be_written(make_keeper, machine, path):
    keeper = make_keeper()
    keeper.take(sighting(1))
    keeper.turn()
    machine.run(8 * HOUR)
    keeper.take(replace(sighting(2), camera=None))
    with pytest.raises(TypeError):
        keeper.turn()
    assert files_with(path.parent, face(1).tobytes()) == []


def test_a_store_whose_fingerprint_is_damaged_is_begun_anew(make_keeper, path):
    make_keeper().turn()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE state SET fingerprint = '{'")
    database.close()
    with make_keeper() as keeper:
        keeper.take(sighting(1))
    assert "begun anew" in keeper.problem
