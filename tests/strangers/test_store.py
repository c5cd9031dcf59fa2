"""Sightings are kept for their time, under IDs that stay, and no byte of them longer."""

import random
import sqlite3
import stat
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.errors import (
    EmbeddingError,
    FingerprintError,
    GalleryKeyError,
    StrangerError,
    StrangerFormatError,
    StrangerNotFoundError,
)
from edge_sphereface.retention import read_moment
from edge_sphereface.strangers import StrangerStore, enroll_stranger
from edge_sphereface.strangers.store import delete_damaged, is_store
from tests.strangers.conftest import THRESHOLD, face, sighting

HOUR, DAY = 3600.0, 86400.0


def files_with(folder, needle):
    return sorted(file.name for file in folder.iterdir() if needle in file.read_bytes())


def grouped(store):
    return store.group(THRESHOLD).strangers


def test_a_stranger_is_told_with_how_often_when_and_where(make):
    store = make()
    store.add([sighting(1), sighting(2), sighting(1, 1, camera="yard", day=2), sighting(1, 2, day=2)])
    often, once = grouped(store)
    assert (often.sightings, often.days, often.cameras) == (3, 2, ("door", "yard"))
    assert (often.first, often.last) == (sighting(1).start, sighting(1, 2, day=2).end)
    assert (once.sightings, once.days, once.cameras) == (1, 1, ("door",))
    assert store.strangers() == (often, once)
    assert store.get(often.id) == often
    assert [kept.camera for kept in store.sightings(once.id)] == ["door"]


def test_the_best_crop_comes_first(make):
    store = make()
    store.add([sighting(1, quality=0.4), sighting(1, 1, quality=0.9)])
    (stranger,) = grouped(store)
    best = store.sightings(stranger.id)[0]
    assert best.quality == 0.9
    crop = store.crop(best.number).astype(float)
    assert np.abs(crop - sighting(1, 1).crop).mean() < 20 < np.abs(crop - sighting(1).crop).mean()


def test_the_order_of_arrival_does_not_decide(make, tmp_path):
    people = [sighting(person, view) for person in range(4) for view in range(3)]
    found = []
    for seed in range(3):
        store = make() if seed == 0 else make(most=100)
        store.forget()
        for index in np.random.default_rng(seed).permutation(len(people)):
            store.add([people[index]])
            grouped(store)  # in between, too
        times = [[kept.start for kept in store.sightings(stranger.id)] for stranger in store.strangers()]
        found.append(sorted(sorted(group) for group in times))
    assert [len(group) for group in found[0]] == [3] * 4
    assert found[0] == found[1] == found[2]


def test_an_id_stays_while_sightings_come_and_expire(make, machine):
    store = make()
    ids = set()
    for day in range(5):
        store.add([sighting(1, day, day=day)])
        store.expire(2.5 * DAY)
        (stranger,) = grouped(store)
        ids.add(stranger.id)
        machine.run(DAY)
    assert len(ids) == 1
    assert stranger.sightings == 3, "the first ones are gone"


def test_two_strangers_who_are_one_keep_the_id_of_the_one_seen_more_often(make):
    store = make()
    store.add([sighting(1), sighting(1, 1), sighting(2)])
    often, once = (stranger.id for stranger in grouped(store))
    between = face(1) + face(2)
    store.add([replace(sighting(3, view), embedding=between / np.linalg.norm(between)) for view in range(9)])
    (one,) = grouped(store)
    assert store.get(often) == store.get(once) == one
    assert one.id != once
    store.forget(once)
    with pytest.raises(StrangerNotFoundError, match=once):
        store.get(once)


def test_of_a_stranger_who_is_two_the_part_with_more_sightings_keeps_the_id(make):
    store = make()
    store.add([sighting(1), sighting(2), sighting(2, 1)])
    (both,) = store.group(-1.0).strangers
    often, once = grouped(store)
    assert (often.id, often.sightings) == (both.id, 2)
    assert once.id != both.id


def test_a_lookup_finds_whom_a_face_would_join(make):
    store = make()
    store.add([sighting(1), sighting(1, 1), sighting(2)])
    known = store.group(THRESHOLD)
    assert known.nearest(face(1, 9)) == known.strangers[0]
    assert known.nearest(face(2, 9)) == known.strangers[1]
    assert known.nearest(face(3)) is None
    store.forget()
    assert store.group(THRESHOLD).nearest(face(1)) is None


def test_a_full_store_loses_its_oldest_sightings(make):
    store = make(most=100)
    assert store.add([sighting(person) for person in range(100)]) == 0
    assert store.add([sighting(100)]) == 3, "some more than one, so that not each writes the file anew"
    grouped(store)
    assert sum(stranger.sightings for stranger in store.strangers()) == 98


def test_the_file_is_private_and_what_is_removed_leaves_no_byte(make, path):
    store = make()
    store.add([sighting(person, view, camera=f"camera-{person}") for person in range(30) for view in range(3)])
    grouped(store)
    target = next(stranger for stranger in store.strangers() if stranger.cameras == ("camera-7",))
    needles = [face(7, view).tobytes() for view in range(3)] + [b"camera-7", target.id.encode()]
    for needle in needles:
        assert files_with(path.parent, needle) == [path.name]
    store.forget(target.id)
    for needle in needles:
        assert files_with(path.parent, needle) == []
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert len(store.strangers()) == 29


@pytest.mark.parametrize("jump_s", [-DAY, DAY])
def test_sightings_go_by_their_hour_when_the_clock_jumps_a_day(make, machine, path, jump_s):
    store = make()
    store.add([sighting(1)])
    machine.run(HOUR)
    machine.unix_s += jump_s
    store.add([sighting(2)])
    assert store.oldest_s() == HOUR
    machine.run(HOUR)
    assert store.expire(1.5 * HOUR, dry_run=True) == 1
    assert store.expire(1.5 * HOUR) == 1
    assert files_with(path.parent, face(1).tobytes()) == []
    assert files_with(path.parent, face(2).tobytes()) == [path.name]
    machine.restart(off_s=DAY, wrong_s=-jump_s)
    machine.run(HOUR)
    assert store.expire(1.5 * HOUR) == 1
    assert files_with(path.parent, face(2).tobytes()) == []


def test_whoever_was_enrolled_leaves(make, gallery):
    store = make()
    store.add([sighting(1), sighting(1, 1), sighting(2)])
    grouped(store)
    gallery.enroll("Ann", np.stack([face(1, 5), face(1, 6)]))

    def is_known(rows):
        return [found[0].similarity >= THRESHOLD for found in gallery.search(rows, top=1)]

    assert store.forget_known(is_known) == 2
    assert [stranger.sightings for stranger in grouped(store)] == [1]
    assert store.forget_known(is_known) == 0


def test_a_name_enrolls_the_best_sightings_and_removes_all(make, gallery, path):
    store = make()
    store.add([sighting(1, view, quality=0.1 + view / 10) for view in range(8)])
    (stranger,) = grouped(store)
    enrollment = enroll_stranger(store, stranger.id, "The postman", gallery)
    assert (enrollment.name, enrollment.embeddings) == ("The postman", 5)
    assert gallery.identify(face(1, 9)).name == "The postman"
    assert gallery.get("The postman").crops == 5
    assert store.strangers() == ()
    assert path.name not in files_with(path.parent, face(1, 7).tobytes())


def test_an_encrypted_store_shows_nothing_without_its_key(make, path, key, machine):
    store = make(key=key)
    store.add([sighting(1, camera="garden")])
    (stranger,) = grouped(store)
    assert stranger.cameras == ("garden",)
    assert files_with(path.parent, face(1).tobytes()) == files_with(path.parent, b"garden") == []
    assert files_with(path.parent, b"JFIF") == []
    store.close()
    for wrong in (None, bytes(32)):
        with pytest.raises(GalleryKeyError):
            make(key=wrong)
    with StrangerStore(path, moment=machine) as locked:
        with pytest.raises(GalleryKeyError):
            locked.strangers()
        with pytest.raises(GalleryKeyError):
            locked.group(THRESHOLD)
        assert make(key=key).strangers() == (stranger,)
        machine.run(HOUR)
        assert locked.expire(HOUR / 2) == 1
    assert make(key=key).strangers() == ()


def test_a_store_that_is_not_encrypted_refuses_a_key(make, key):
    make().close()
    with pytest.raises(GalleryKeyError, match="not encrypted"):
        make(key=key)


@pytest.mark.parametrize(
    ("check", "error", "message"),
    [
        (b"x" * 43, GalleryKeyError, "encrypted with another key, or is damaged"),
        (b"x" * 42, StrangerFormatError, "its key check is invalid"),
        ("x" * 43, StrangerFormatError, "its state is invalid"),
    ],
)
def test_a_damaged_key_check_is_told(make, path, key, check, error, message):
    make(key=key).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE state SET key_check = ?", (check,))
    database.close()
    with pytest.raises(error, match=message):
        make(key=key)


def test_a_sighting_that_cannot_be_kept_is_told_without_advice_about_kept_ones(make):
    with pytest.raises(StrangerError, match=r"cannot be kept: .* from 0 to 1, not 7\.0\.$"):
        make().require_storable(sighting(1, quality=7.0))


def test_sightings_cannot_be_exchanged_in_an_encrypted_store(make, path, key):
    store = make(key=key)
    store.add([sighting(1), sighting(2)])
    grouped(store)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE sighting SET embedding = (SELECT embedding FROM sighting WHERE number = 2)")
    database.close()
    assert [stranger.sightings for stranger in grouped(store)] == [1], "the changed one is removed"


def test_embeddings_of_another_model_are_refused(make, fingerprint):
    make().close()
    with pytest.raises(FingerprintError, match="strangers"):
        make(fingerprint=replace(fingerprint, weights_sha256="1" * 64))


def test_bad_embeddings_change_nothing(make):
    store = make()
    with pytest.raises(EmbeddingError):
        store.add([sighting(1), replace(sighting(2), embedding=np.zeros(64, dtype=np.float32))])
    assert store.oldest_s() == 0
    assert grouped(store) == ()


def test_a_missing_file_and_one_of_something_else_are_refused(path, fingerprint):
    with pytest.raises(StrangerError, match="no file of strangers"):
        StrangerStore(path)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE mine (a)")
    database.close()
    for text in (path.read_bytes(), b"not a database at all" * 100):
        path.write_bytes(text)
        with pytest.raises(StrangerError):
            StrangerStore(path, fingerprint=fingerprint, create=True)
        assert not delete_damaged(path)
        assert path.read_bytes() == text


def test_a_damaged_store_is_known_as_one_and_deleted(make, path, fingerprint):
    store = make()
    store.add([sighting(person) for person in range(20)])
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 20000)
    with pytest.raises(StrangerFormatError):
        StrangerStore(path, fingerprint=fingerprint)
    assert is_store(path)
    assert delete_damaged(path)
    assert not path.exists()


@pytest.fixture(scope="module")
def start(fork_server, fingerprint):
    """A function that starts `crash_writer.py` on a store."""
    fork = fork_server(Path(__file__).with_name("crash_writer.py"), OPENBLAS_NUM_THREADS="1")
    return lambda path, seed: fork(path, fingerprint.to_json(), seed)


@pytest.mark.slow
def test_whoever_kills_the_writer_keeps_no_byte(path, fingerprint, start):
    """Killed while it adds, forgets and overwrites; the next one that looks after the hour overwrites everything."""
    chance = random.Random(0)
    added = set()
    for seed in range(4):
        process = start(path, seed)
        lines = [process.stdout.readline() for _ in range(chance.randrange(4, 24))]
        process.kill()
        lines += process.stdout.read().splitlines()
        process.wait()
        added.update(line.split()[1] for line in lines if line.startswith("add "))
        with StrangerStore(path, fingerprint=fingerprint, create=True) as store:
            store.group(THRESHOLD)
    assert any(files_with(path.parent, face(1000 + int(number)).tobytes()) for number in added)
    with StrangerStore(path, moment=lambda: replace(read_moment(), uptime_s=read_moment().uptime_s + HOUR)) as store:
        store.expire(HOUR - 60)
        assert store.strangers() == ()
    for number in added:
        assert files_with(path.parent, face(1000 + int(number)).tobytes()) == []


def test_damaged_values_are_removed_and_never_stay_longer(make, path):
    store = make()
    store.add([sighting(person) for person in range(4)])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE sighting SET embedding = x'00' WHERE number = 1")
        database.execute("UPDATE sighting SET record = 'x' WHERE number = 2")
        database.execute("UPDATE sighting SET served_s = 'never' WHERE number = 3")
    database.close()
    assert len(grouped(store)) == 2
    assert store.oldest_s() == float("inf")
    assert store.expire(HOUR) == 1
    assert len(grouped(store)) == 1


def forge(path, *statement):
    with sqlite3.connect(path) as database:
        database.execute(*statement)
    database.close()


def test_of_two_who_name_a_stranger_the_second_finds_none(make, gallery):
    store = make()
    store.add([sighting(1), sighting(1, 1)])
    (stranger,) = grouped(store)
    refused = []

    def name_too(other):
        with pytest.raises(StrangerNotFoundError):
            enroll_stranger(other, stranger.id, "Postman", gallery, ignored=True)
        refused.append("Postman")

    second = threading.Thread(target=name_too, args=(make(),))
    with store.claim(stranger.id, most=5) as faces:
        second.start()
        gallery.enroll("Ann", np.stack([face.embedding for face in faces]))
    second.join()
    assert refused == ["Postman"]
    assert [(person.name, person.embeddings) for person in gallery.identities()] == [("Ann", 2)]


def test_a_name_that_is_refused_leaves_the_stranger(make, gallery):
    store = make()
    store.add([sighting(1)])
    (stranger,) = grouped(store)
    with pytest.raises(ValueError, match="name"):
        enroll_stranger(store, stranger.id, " ", gallery)
    assert store.strangers() == (stranger,)


@pytest.mark.parametrize("column", ["record", "embedding", "crop"])
def test_the_next_best_sighting_stands_in_for_a_damaged_one(make, gallery, path, column):
    store = make()
    store.add([sighting(1, quality=0.4), sighting(1, 1, quality=0.9)])
    (stranger,) = grouped(store)
    forge(path, f"UPDATE sighting SET {column} = x'00' WHERE number = 2")
    if column == "crop":
        assert np.abs(store.best_crop(stranger.id).astype(float) - sighting(1).crop).mean() < 20
        with pytest.raises(StrangerNotFoundError):
            store.crop(2)
    assert enroll_stranger(store, stranger.id, "Ann", gallery).added == 1
    assert store.strangers() == ()
    assert store.oldest_s() == 0


@pytest.mark.parametrize("column", ["record", "embedding", "crop"])
def test_nobody_is_named_whose_sightings_are_all_damaged(make, gallery, path, column):
    store = make()
    store.add([sighting(1)])
    (stranger,) = grouped(store)
    forge(path, f"UPDATE sighting SET {column} = x'00'")
    with pytest.raises(StrangerNotFoundError):
        enroll_stranger(store, stranger.id, "Ann", gallery)
    assert len(gallery) == 0
    with pytest.raises(StrangerNotFoundError):
        store.sightings(stranger.id)


@pytest.mark.parametrize(
    "forged",
    [
        "UPDATE sighting SET number = 9223372036854775807 WHERE number = 2",
        "UPDATE stranger SET number = 9223372036854775807",
        "UPDATE sighting SET stranger = 9223372036854775807",
        "UPDATE start SET number = 9223372036854775807, identity = 'other'",
    ],
)
def test_forged_numbers_stop_neither_new_sightings_nor_expiry(make, path, machine, forged):
    store = make()
    store.add([sighting(1), sighting(1, 1)])
    grouped(store)
    forge(path, forged)
    machine.run(HOUR)
    store.add([sighting(2)])
    assert 1 in [stranger.sightings for stranger in grouped(store)]
    machine.run(HOUR)
    store.expire(1.5 * HOUR)
    assert files_with(path.parent, face(1).tobytes()) == []
    assert [stranger.sightings for stranger in grouped(store)] == [1]


def test_a_write_ahead_log_is_switched_off(make, path):
    make().close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
    database.close()
    store = make()
    store.add([sighting(1)])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("odd", ["\udcff", "a\0b", "s" * 3_000_000, "", "' OR 1=1 --"])
def test_nobody_has_an_odd_id(make, odd):
    with pytest.raises(StrangerNotFoundError):
        make().get(odd)


def test_no_sighting_has_a_number_that_a_file_cannot_hold(make):
    with pytest.raises(StrangerNotFoundError):
        make().crop(1 << 70)


def test_the_hint_for_a_file_of_something_else_is_another_place(path, fingerprint):
    path.write_text("root:x:0:0\n" * 100)
    with pytest.raises(StrangerFormatError, match="another place"):
        StrangerStore(path, fingerprint=fingerprint)


def test_a_name_from_the_file_sends_nothing_to_the_terminal(make, path, cli):
    store = make(moment=read_moment)
    store.add([sighting(1, camera="\x1b[2Jyard")])
    (stranger,) = grouped(store)
    for words in (("list",), ("show", stranger.id)):
        code, out, _ = cli("strangers", *words, "--strangers", path)
        assert (code, "\x1b" in out, out.count("x1b[2Jyard") > 0) == (0, False, True)
    code, _, err = cli("strangers", "show", "\udcff", "--strangers", path)
    assert code == 1
    assert "no stranger" in err
