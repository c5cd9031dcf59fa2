"""What `watch` does about old files while it runs."""

import json
import os
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

from edge_sphereface.audit import AuditLog, read_entries
from edge_sphereface.errors import RetentionError
from edge_sphereface.retention import FolderIndex, Moment, RetentionLimits
from edge_sphereface.retention.keeper import EventTimes, RetentionKeeper
from edge_sphereface.stream.outputs.events.outbox import Outbox

HOUR, NOON = 3600.0, 1.8e9
LIMITS = RetentionLimits(keep_known=168 * HOUR, keep_unknown=8 * HOUR, keep_events=24 * HOUR)


class Clock:
    def __init__(self):
        self.now_s, self.jumped_s = 0.0, 0.0

    def __call__(self):
        return Moment(start="one", uptime_s=self.now_s, unix_s=NOON + self.now_s + self.jumped_s)


@pytest.fixture
def clock():
    return Clock()


def event(clock, sequence):
    time = datetime.fromtimestamp(clock().unix_s, timezone.utc).isoformat(timespec="milliseconds")
    line = json.dumps({"run": "0123abcd", "sequence": sequence, "time": time.replace("+00:00", "Z")})
    return SimpleNamespace(run="0123abcd", sequence=sequence, unix_time=clock().unix_s, text=line)


@pytest.fixture
def folder(tmp_path, clock):
    folder = tmp_path / "faces"
    folder.mkdir()
    with FolderIndex(folder, moment=clock) as index:
        for number, name in enumerate(("Ann", "")):
            file = f"door-20260131T12000{number}000Z-0123abcd-{number}.jpg"
            index.add(file, {f"r-{number}": name})
            (folder / file).write_bytes(b"picture")
    return folder


def test_a_turn_deletes_what_is_old_and_says_so(tmp_path, folder, clock):
    times = EventTimes(tmp_path, moment=clock)
    times.open()
    path, queue = tmp_path / "events.jsonl", Outbox(tmp_path / "queue.db")
    for sequence in (1, 2, 3):
        clock.jumped_s -= 24 * HOUR  # the clock jumps back a day before every event
        made = event(clock, sequence)
        times.write(made)
        queue.put(made.text)
        with path.open("a") as stream:
            stream.write(made.text + "\n")
        clock.now_s += HOUR
    times.close()
    log = AuditLog(tmp_path / "audit.jsonl")
    keeper = RetentionKeeper(
        LIMITS, folders=[folder, tmp_path / "missing"], events=path, queues=[queue], times=tmp_path, audit=log,
        moment=clock,
    )  # fmt: skip
    assert keeper.turn().files == ()
    clock.now_s = 24.5 * HOUR
    done = keeper.turn()
    assert [name.rpartition("-")[2] for name in done.files] == ["1.jpg"]
    assert done.events == 2, "one in the file, one in the queue"
    assert [json.loads(line)["sequence"] for line in path.read_text().splitlines()] == [2, 3]
    assert len(queue) == 2
    keeper.turn()
    (entry,) = read_entries(tmp_path / "audit.jsonl")
    assert (entry.action, entry.subject, entry.detail) == ("expire", None, {"files": "1", "events": "2"})
    queue.close()


def test_what_fails_does_not_stop_the_rest(tmp_path, folder, clock):
    other = tmp_path / "other"
    other.mkdir()
    (other / ".edge_sphereface.db").symlink_to(tmp_path / "elsewhere")
    keeper = RetentionKeeper(LIMITS, folders=[other, folder], moment=clock)
    clock.now_s = 9 * HOUR
    with pytest.raises(RetentionError, match="symbolic link"):
        keeper.turn()
    assert len(list(folder.glob("*.jpg"))) == 1


def test_the_thread_says_what_fails_and_ends(tmp_path, folder, clock, wait_until):
    (folder / ".edge_sphereface.db").unlink()
    (folder / ".edge_sphereface.db").mkdir()
    keeper = RetentionKeeper(LIMITS, folders=[folder], moment=clock)
    with keeper:
        wait_until(lambda: keeper.problem.startswith("retention: "))


def test_a_queue_deletes_old_events_wherever_they_are(tmp_path):
    """A few at a time. One that came while the clock was wrong may follow younger ones."""
    queue = Outbox(tmp_path / "queue.db")
    for number in range(10):
        queue.put(str(number))

    def is_old(text):
        return int(text) < 3 or text == "9"

    assert [queue.expire(is_old, limit=4) for _ in range(3)] == [3, 0, 1]
    assert [text for _, text in queue.after(0, 10)] == ["3", "4", "5", "6", "7", "8"]
    assert len(queue) == 6
    assert queue.expire(lambda text: text == "4", limit=4) == 1, "it begins again"
    queue.close()


def test_watch_deletes_old_pictures(cli, astronaut, tmp_path):
    import cv2

    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "1.png"), astronaut[:64, :64])
    faces = tmp_path / "faces"
    faces.mkdir(mode=0o700)
    old, mine = faces / "door-20260131T120000000Z-0123abcd-1.jpg", faces / "mine.jpg"
    for path in (old, mine):
        path.write_bytes(b"picture")
        os.utime(path, (1e9, 1e9))
    code, _, err = cli(
        "watch", tmp_path / "frames", "--fast", "--detector", "mtcnn", "--snapshots", faces, "--keep-unknown", "8h",
        "--keep-events", "30d", "--events", tmp_path / "events.jsonl", "--audit", tmp_path / "audit.jsonl",
    )  # fmt: skip
    assert code == 0, err
    assert not old.exists()
    assert mine.exists()
    (entry,) = read_entries(tmp_path / "audit.jsonl")
    assert (entry.action, entry.by) == ("expire", "edge-sphereface watch")
