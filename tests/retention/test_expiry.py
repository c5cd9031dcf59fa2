"""What is older than its limit goes, and nothing else."""

import json
import os
import sqlite3
from datetime import datetime, timezone

import pytest

from edge_sphereface.errors import RetentionError
from edge_sphereface.retention import (
    INDEX_NAME,
    FolderIndex,
    Moment,
    RetentionLimits,
    duration,
    expire_event_file,
    expire_files,
)

HOUR, NOON = 3600.0, 1.8e9
LIMITS = RetentionLimits(keep_known=168 * HOUR, keep_unknown=8 * HOUR)


class Clock:
    def __init__(self):
        self.now_s, self.jumped_s = 0.0, 0.0

    def __call__(self):
        return Moment(start="one", uptime_s=self.now_s, unix_s=NOON + self.now_s + self.jumped_s)

    def later(self, hours):
        self.now_s += hours * HOUR


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def index(tmp_path, clock):
    with FolderIndex(tmp_path, moment=clock) as index:
        yield index


def picture(index, number, sightings, suffix=None):
    name = f"front_door-20260131T1200{number:02}000Z{suffix or f'-0123abcd-{number}.jpg'}"
    index.add(name, sightings)
    (index.folder / name).write_bytes(b"picture")
    return name


@pytest.mark.parametrize(
    ("text", "seconds"), [("168h", 604800), ("8h", 28800), ("30d", 2592000), ("90m", 5400), ("1.5h", 5400), ("60s", 60)]
)
def test_times(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "-8h", "8 h", "0h", "59s", "1e9d", "99999999d", "٨h", "8hh", "nan"])
def test_what_is_no_time(text):
    with pytest.raises(ValueError, match="expected a time such as"):
        duration(text)


def test_known_and_unknown_faces_have_their_times(index, clock):
    known = picture(index, 1, {"r-1": "Ann"})
    unknown = picture(index, 2, {"r-2": ""})
    mixed = picture(index, 3, {"r-3": "", "r-4": "Ann"}, ".mkv")
    empty = picture(index, 4, {}, ".avi")
    clock.later(7.9)
    assert expire_files(index, LIMITS).files == ()
    clock.later(0.2)
    assert expire_files(index, LIMITS, dry_run=True).files == (unknown, mixed, empty)
    assert expire_files(index, LIMITS).files == (unknown, mixed, empty)
    clock.later(160)
    assert expire_files(index, LIMITS).files == (known,)
    assert [path.name for path in index.folder.iterdir()] == [".edge_sphereface.db"]
    assert index.files() == {}


def test_a_clock_that_jumps_back_a_day_deletes_nothing_new_and_keeps_nothing_old(index, clock):
    old = picture(index, 1, {"r-1": ""})
    clock.later(7)
    clock.jumped_s = -24 * HOUR
    new = picture(index, 2, {"r-2": ""})
    clock.later(2)
    assert expire_files(index, LIMITS).files == (old,)
    clock.jumped_s = 0
    assert expire_files(index, LIMITS).files == ()
    clock.later(7)
    assert expire_files(index, LIMITS).files == (new,)


def test_one_limit_leaves_the_others_alone(index, clock):
    known, mixed = picture(index, 1, {"r-1": "Ann"}), picture(index, 2, {"r-2": "", "r-3": "Ann"})
    clock.later(10_000)
    assert expire_files(index, RetentionLimits()).files == ()
    assert expire_files(index, RetentionLimits(keep_unknown=HOUR)).files == (mixed,)
    assert expire_files(index, RetentionLimits(keep_known=HOUR)).files == (known,)


def test_the_work_of_a_turn_is_bounded(index, clock):
    names = [picture(index, number, {f"r-{number}": ""}) for number in range(5)]
    clock.later(9)
    done = expire_files(index, LIMITS, most=3)
    assert (done.files, done.more) == (tuple(names[:3]), True)
    assert not expire_files(index, LIMITS, most=3).more


def test_files_of_others_are_never_deleted(index, clock, tmp_path):
    outside = tmp_path.parent / "outside.jpg"
    outside.write_bytes(b"picture")
    link = tmp_path / "front_door-20260131T120001000Z-0123abcd-1.jpg"
    link.symlink_to(outside)
    for name in (
        "holiday.jpg",
        "front_door-20260131T120001000Z.txt",
        "20260131T120001000Z.mkv",
        "my holiday-20260101T120000000Z.mkv",
    ):
        (tmp_path / name).write_bytes(b"mine")
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "front_door-20260131T120002000Z.mkv").mkdir()
    for name in ("../outside.jpg", str(outside), link.name):
        index.add(name, {"r-1": ""})  # as a forged index may say
    clock.later(10_000)
    before = sorted(tmp_path.iterdir())
    assert expire_files(index, LIMITS).files == ()
    assert sorted(tmp_path.iterdir()) == before
    assert outside.exists()


def test_files_without_a_record_follow_their_own_time(index, clock, tmp_path):
    old, new = (tmp_path / f"Tür_ö-20260131T12000{number}000Z.mkv" for number in (1, 2))
    for path, age_h in ((old, 9), (new, -1000)):
        path.write_bytes(b"")
        os.utime(path, (NOON - age_h * HOUR,) * 2)
    part = tmp_path / ".door-20260131T120001000Z-0123abcd-1.jpg.x_1.part"
    part.write_bytes(b"half a picture")
    os.utime(part, (NOON - 9 * HOUR,) * 2)
    assert set(expire_files(index, LIMITS).files) == {old.name, part.name}
    clock.later(9)
    assert expire_files(index, LIMITS).files == (new.name,), "a time in the future does not keep a file for ever"


def test_a_record_whose_file_never_came_is_forgotten(index, clock):
    index.add("front_door-20260131T120001000Z-0123abcd-1.jpg", {"r-1": "Ann"})
    expire_files(index, LIMITS)
    assert index.files()
    clock.later(2)
    expire_files(index, LIMITS)
    assert index.files() == {}


def test_a_folder_that_cannot_be_changed_is_an_error(clock, tmp_path):
    tmp_path.joinpath("away").mkdir()
    with FolderIndex(tmp_path / "away", moment=clock) as away:
        (tmp_path / "away" / ".edge_sphereface.db").unlink()
        (tmp_path / "away").rmdir()
        with pytest.raises(RetentionError, match="Cannot read the folder"):
            expire_files(away, LIMITS)


# ---- events ---------------------------------------------------------------------------------------------------------


def line(clock, sequence, run="0123abcd"):
    time = datetime.fromtimestamp(clock().unix_s, timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps({"event": "lost", "run": run, "sequence": sequence, "time": time.replace("+00:00", "Z")}) + "\n"


def sequences(path):
    return [json.loads(line)["sequence"] for line in path.read_text().splitlines() if line.startswith("{")]


def test_old_events_go_from_the_file_and_its_parts(index, clock, tmp_path):
    path, first = tmp_path / "events.jsonl", tmp_path / "events.jsonl.1"
    index.add_run("0123abcd", 1, clock().unix_s)
    first.write_text(line(clock, 1) + "no event\n" + line(clock, 2))
    clock.later(1)
    path.write_text(line(clock, 3))
    clock.later(1)
    path.write_text(path.read_text() + line(clock, 4) + "no event\n")
    (tmp_path / "events.jsonl.bak").write_text(line(clock, 1))
    assert expire_event_file(index, path, 2.5 * HOUR).events == 0
    clock.later(0.75)
    assert expire_event_file(index, path, 2.5 * HOUR, dry_run=True).events == 3
    assert first.exists()
    assert expire_event_file(index, path, 2.5 * HOUR).events == 3
    assert not first.exists()
    clock.later(1)
    assert expire_event_file(index, path, 2.5 * HOUR).events == 1
    assert sequences(path) == [4]
    assert path.stat().st_mode & 0o777 == 0o600
    clock.later(10)
    expire_event_file(index, path, 2.5 * HOUR)
    assert path.read_text() == "no event\n"
    assert (tmp_path / "events.jsonl.bak").exists()


def test_a_jumping_clock_changes_no_age_of_events(index, clock, tmp_path):
    path = tmp_path / "events.jsonl"
    index.add_run("0123abcd", 1, clock().unix_s)
    path.write_text(line(clock, 1))
    clock.later(1)
    clock.jumped_s = -24 * HOUR
    index.add_run("0123abcd", 2, clock().unix_s)
    path.write_text(path.read_text() + line(clock, 2))
    clock.later(1.5)
    assert expire_event_file(index, path, 2 * HOUR).events == 1
    assert sequences(path) == [2]
    clock.later(1)
    assert expire_event_file(index, path, 2 * HOUR).events == 1


def test_an_event_of_the_future_keeps_no_old_event(index, clock, tmp_path):
    path = tmp_path / "events.jsonl"
    future, old = Clock(), Clock()
    future.jumped_s, old.jumped_s = 70 * 365 * 24 * HOUR, -6 * 365 * 24 * HOUR
    clock.later(1)
    new = Clock()
    path.write_text(
        line(future, 1) + line(old, 2) + line(old, 3) + line(future, 4) + line(old, 5) + "torn\n" + line(old, 6)
        + line(future, 7) + line(new, 8) + line(old, 9)
    )  # fmt: skip
    assert expire_event_file(index, path, 24 * HOUR, dry_run=True).events == 5
    assert expire_event_file(index, path, 24 * HOUR).events == 5
    assert sequences(path) == [1, 4, 7, 8, 9]
    assert expire_event_file(index, path, 24 * HOUR).events == 0


def test_links_and_other_files_are_not_rewritten(index, clock, tmp_path):
    clock.later(100)
    (tmp_path / "notes.txt").write_text("mine\n")
    (tmp_path / "notes.txt").chmod(0o644)
    assert expire_event_file(index, tmp_path / "notes.txt", HOUR).events == 0
    assert expire_event_file(index, tmp_path / "missing.jsonl", HOUR).events == 0
    os.mkfifo(tmp_path / "pipe")
    assert expire_event_file(index, tmp_path / "pipe", HOUR).events == 0
    assert (tmp_path / "notes.txt").read_text() == "mine\n"
    assert (tmp_path / "notes.txt").stat().st_mode & 0o777 == 0o644


def test_a_file_whose_record_is_damaged_goes_by_its_own_time(index, clock):
    new, old = picture(index, 1, {"r-1": "Ann"}), picture(index, 2, {"r-2": "Ann"})
    for name, age in ((new, 0), (old, 9 * HOUR)):
        os.utime(index.folder / name, (NOON - age, NOON - age))
    with sqlite3.connect(index.folder / INDEX_NAME) as database:
        database.execute("UPDATE file SET served_s = 1e300")
    database.close()
    assert expire_files(index, LIMITS).files == (old,)
    assert index.files()[new].names == {"Ann"}
