"""The ages of files follow the time that passed, whatever the calendar clock shows."""

import sqlite3

import pytest

from edge_sphereface.errors import RetentionError
from edge_sphereface.retention import INDEX_NAME, UNKNOWN, FolderIndex, read_moment
from tests.machine import NOON, Machine

HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def index(tmp_path, machine):
    with FolderIndex(tmp_path, moment=machine) as index:
        yield index


def age_s(index, name="a.jpg"):
    return pytest.approx(index.files()[name].age_s, abs=0.01)


@pytest.mark.parametrize("jump_s", [-DAY, -10 * 365 * DAY, DAY, 10 * 365 * DAY])
def test_a_clock_that_jumps_while_the_machine_runs_changes_no_age(index, machine, jump_s):
    index.add("a.jpg", {"r-1": UNKNOWN})
    machine.run(HOUR)
    machine.unix_s += jump_s
    index.add("b.jpg", {"r-2": UNKNOWN})
    machine.run(HOUR)
    assert age_s(index) == 2 * HOUR
    assert age_s(index, "b.jpg") == HOUR


def test_the_time_without_power_counts(index, machine):
    index.add("a.jpg", {})
    machine.restart(off_s=DAY)
    assert age_s(index) == DAY + 10


def test_a_machine_whose_clock_starts_in_the_past_keeps_nothing_for_ever(index, machine):
    index.add("a.jpg", {})
    machine.restart(wrong_s=-DAY)
    index.add("b.jpg", {})
    machine.run(HOUR)
    assert age_s(index) == HOUR + 10
    assert age_s(index, "b.jpg") == HOUR
    machine.restart(wrong_s=DAY)  # the clock is right again
    assert index.files()["b.jpg"].age_s <= HOUR + 20, "what is new is not old"


def test_a_clock_that_is_set_after_the_start_does_not_age_what_is_new(index, machine):
    """A board without a clock of its own starts in 1970, and learns the time later."""
    machine.unix_s = 0.0
    index.add("a.jpg", {})
    machine.run(60)
    machine.unix_s = NOON
    index.files()
    machine.restart(off_s=HOUR)
    assert age_s(index) == HOUR + 70


def test_ages_survive_another_process(index, machine, tmp_path):
    index.add("a.jpg", {})
    machine.run(HOUR)
    with FolderIndex(tmp_path, moment=machine) as other:
        assert age_s(other) == HOUR
        machine.run(HOUR)
        assert age_s(index) == 2 * HOUR


def test_a_name_that_comes_later_holds_for_every_file_of_the_track(index):
    index.add("a.jpg", {"r-1": UNKNOWN})
    index.add("b.mkv", {"r-1": UNKNOWN, "r-2": "Bo"})
    assert index.files()["a.jpg"].has_unknown
    index.sight("c.mkv", "r-1", "Ann")
    held = index.files()
    assert (held["a.jpg"].names, held["a.jpg"].has_unknown) == ({"Ann"}, False)
    assert held["b.mkv"].names == {"Ann", "Bo"}
    index.name_track("r-2", "Cy")  # another decision on the same face
    assert index.files()["b.mkv"].names == {"Ann", "Bo"}
    index.sight("b.mkv", "r-2", "Cy")
    assert index.files()["b.mkv"].names == {"Ann", "Bo", "Cy"}


def test_a_file_without_faces_counts_as_one_of_somebody_unknown(index):
    index.add("a.mkv", {})
    assert index.files()["a.mkv"].has_unknown


def test_files_from_before_the_index(index):
    index.adopt("a.jpg", NOON - DAY)
    index.adopt("b.jpg", NOON + DAY)
    index.add("c.jpg", {"r-1": "Ann"})
    held = index.files()
    assert age_s(index) == DAY
    assert age_s(index, "b.jpg") == 0
    assert [held[name].is_recorded for name in ("a.jpg", "b.jpg", "c.jpg")] == [False, False, True]


def test_what_is_removed_leaves_no_byte(index, tmp_path):
    for number in range(200):
        index.add(f"{number}.jpg", {f"r-{number}": f"Ann Lee {number}"})
    index.forget([f"{number}.jpg" for number in range(100)])
    index.forget_people([f"Ann Lee {number}" for number in range(100, 200)])
    index.erase()
    assert b"Ann Lee" not in (tmp_path / INDEX_NAME).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [INDEX_NAME]
    assert (tmp_path / INDEX_NAME).stat().st_mode & 0o777 == 0o600


def test_times_of_events_are_corrected(index, machine):
    index.add_run("r", 1, machine.unix_s)
    first_s = machine.unix_s
    machine.run(HOUR)
    machine.unix_s -= DAY
    index.add_run("r", 5, machine.unix_s)
    fifth_s = machine.unix_s
    machine.run(HOUR)
    ages = index.event_ages()
    assert ages.age_s("r", 1, first_s) == pytest.approx(2 * HOUR)
    assert ages.age_s("r", 9, fifth_s) == pytest.approx(HOUR)
    assert ages.age_s("other", 1, fifth_s) == pytest.approx(HOUR), "not recorded: its own time counts"
    assert ages.age_s("other", 1, first_s) == 0


# ---- what has no record ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [70 * 365 * DAY, DAY, -70 * 365 * DAY])
def test_a_clock_that_was_wrong_for_one_read_makes_nothing_old(index, machine, jump_s):
    index.files()
    machine.run(HOUR)
    machine.unix_s += jump_s
    index.adopt("before.jpg", NOON)
    assert index.event_ages().age_s("other", 1, NOON) <= HOUR
    assert index.files()["before.jpg"].age_s <= HOUR
    machine.unix_s -= jump_s
    machine.run(10)
    index.adopt("new.jpg", machine.unix_s - 1)
    assert age_s(index, "new.jpg") == 1
    assert index.event_ages().age_s("other", 1, machine.unix_s - 1) == pytest.approx(1)
    assert index.age_s(NOON) == pytest.approx(HOUR + 10)


def test_a_jump_forward_is_believed_once_it_has_lasted(index, machine):
    """A board without a clock of its own learns the time after its start."""
    index.files()
    machine.unix_s += 50 * DAY
    assert index.age_s(machine.unix_s - DAY) == 0
    machine.run(HOUR / 2)
    assert index.age_s(machine.unix_s - DAY) == 0
    machine.run(HOUR / 2)
    assert index.age_s(machine.unix_s - DAY) == pytest.approx(DAY)
    machine.unix_s -= 50 * DAY  # and back
    assert index.age_s(machine.unix_s - 1) == pytest.approx(1)


def test_the_time_without_power_counts_at_once(index, machine):
    index.files()
    machine.restart(off_s=DAY)
    assert index.age_s(NOON) == pytest.approx(DAY + 10)


def test_an_index_of_an_earlier_version_is_continued(tmp_path, machine):
    with FolderIndex(tmp_path, moment=machine) as index:
        index.add("a.jpg", {"r-1": "Ann"})
    with sqlite3.connect(tmp_path / INDEX_NAME) as database:
        database.execute("DROP TABLE calendar")
    database.close()
    with FolderIndex(tmp_path, moment=machine) as index:
        assert index.files()["a.jpg"].names == {"Ann"}
        assert index.age_s(NOON - DAY) == pytest.approx(DAY)


def test_event_files(index):
    index.add_event_file("events.jsonl")
    index.add_event_file("events.jsonl")
    assert index.event_files() == ["events.jsonl"]


def test_a_damaged_index_is_set_aside_and_erased(tmp_path, machine):
    with FolderIndex(tmp_path, moment=machine) as index:
        index.add("a.jpg", {"r-1": "Ann Lee"})
    data = bytearray((tmp_path / INDEX_NAME).read_bytes())
    data[5000:9000] = b"\xff" * 4000
    (tmp_path / INDEX_NAME).write_bytes(data)
    with pytest.warns(UserWarning, match="is damaged"):
        index = FolderIndex(tmp_path, moment=machine)
    assert index.files() == {}
    index.erase()
    index.close()
    assert [path.name for path in tmp_path.iterdir()] == [INDEX_NAME]


def test_a_database_of_another_program_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / INDEX_NAME) as database:
        database.execute("CREATE TABLE photos (name TEXT)")
    database.close()
    with pytest.raises(RetentionError, match="something else"):
        FolderIndex(tmp_path)


def test_places_that_cannot_hold_an_index(tmp_path):
    with pytest.raises(RetentionError, match="Cannot keep the index"):
        FolderIndex(tmp_path / "missing")
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / INDEX_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RetentionError, match="symbolic link"):
        FolderIndex(tmp_path)


def test_the_present_moment_moves_forward():
    first, second = read_moment(), read_moment()
    assert first.start == second.start
    assert first.uptime_s <= second.uptime_s


@pytest.mark.parametrize(
    "forged",
    [
        "UPDATE start SET number = 9223372036854775807",
        "UPDATE start SET number = 9223372036854775807, identity = 'other'",
        "UPDATE start SET served_s = 1e300",
        "UPDATE start SET served_s = 1e308, ahead_s = 1e308",
        "UPDATE start SET uptime_s = 1e11",
        "INSERT INTO start VALUES (7, '1', 'x', 'x', 'x')",
        "UPDATE file SET served_s = 1e300",
        "UPDATE file SET served_s = 1e11",
        "DELETE FROM start",
    ],
)
def test_damaged_times_make_no_file_younger(index, machine, tmp_path, forged):
    index.add("a.jpg", {"r-1": UNKNOWN})
    with sqlite3.connect(tmp_path / INDEX_NAME) as database:
        database.execute(forged)
    database.close()
    machine.run(HOUR)
    index.add("b.jpg", {"r-2": UNKNOWN})
    machine.run(HOUR)
    found = index.files()
    assert found["a.jpg"].age_s >= 2 * HOUR
    assert found["b.jpg"].age_s == pytest.approx(HOUR, abs=0.01)
