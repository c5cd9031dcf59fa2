"""One person is removed from everything that was written, and no byte of the name or the picture remains."""

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.audit import check_audit
from edge_sphereface.gallery import Threshold, open_gallery
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.retention import INDEX_NAME, FolderIndex
from edge_sphereface.retention.event_files import rewrite_events
from edge_sphereface.retention.mentions import Mentions
from edge_sphereface.strangers import Sighting, StrangerStore
from edge_sphereface.stream.outputs.events.outbox import Outbox, is_outbox

ROOT = Path(__file__).resolve().parents[2]
ANN, BO = "Ann Özil", "Bo"


def event(sequence, name, *, track=1, run="0123abcd", **fields):
    values = {"event": "identified", "stream": "Ann Özil's door", "run": run, "sequence": sequence, "track": track}
    values["time"] = "2026-11-27T12:00:00.000Z"
    return json.dumps({**values, "name": name, "candidates": [], **fields}, ensure_ascii=False)


def candidates(*names):
    return [{"name": name, "similarity": 0.5} for name in names]


@pytest.fixture
def mentions():
    found = Mentions([ANN])
    found.learn(event(1, ANN, track=1))
    return found


@pytest.mark.parametrize(
    "text",
    [
        event(1, ANN, track=2),
        event(1, "Ann O\u0308zil", track=2),
        event(1, "\u00a0Ann  Özil ", track=2),
        event(1, None, track=1),
        event(1, ANN, track=2)[:-20],
        event(1, ANN, track=2).partition(ANN)[0] + ANN,
        json.dumps({"name": ANN, "run": "r"})[:-3],
    ],
)
def test_what_is_about_a_person_goes(mentions, text):
    assert mentions.without(text) is None


@pytest.mark.parametrize(
    "text",
    [
        event(1, BO, track=2),
        event(1, "Ann Özilova", track=2),
        event(1, "Ann Özil Lee", track=2),
        event(1, "Ann Özil-Marie", track=2)[:-5],
        event(1, "Jo Ann Özil", track=2, candidates=candidates("Jo Ann Özil", "ann özil")),
        event(1, BO, track=2, note=f"looks like {ANN}", source=ANN),
        event(1, None, run="other"),
        f"no JSON about {ANN}",
        "{",
        "[]",
        "7",
        "",
    ],
)
def test_what_is_about_others_stays_as_it_is(mentions, text):
    assert mentions.without(text) == text


def test_a_candidate_and_an_earlier_decision_go_alone(mentions):
    text = event(1, BO, track=2, candidates=candidates(BO, "Ann  Özil", ANN), before=ANN, deep={"names": [ANN, BO]})
    assert json.loads(mentions.without(text)) == json.loads(
        event(1, BO, track=2, candidates=candidates(BO), before=None, deep={"names": [BO]})
    )


@pytest.mark.parametrize("name", ["identified", "Ann", "run", "name"])
def test_words_of_the_format_and_parts_of_names_are_no_mentions(name):
    mentions = Mentions([name])
    texts = [event(1, BO, candidates=candidates("Ann Lee", "Ann-Marie")), event(2, "Ann Lee"), event(3, "Jo Ann")]
    for text in texts:
        mentions.learn(text)
    assert [mentions.without(text) for text in texts] == texts


def picture(folder, number, sightings, content, suffix="jpg"):
    folder.mkdir(exist_ok=True)
    tail = f"-0123abcd-{number}.jpg" if suffix == "jpg" else f".{suffix}"
    name = f"door-20260131T1200{number:02}000Z{tail}"
    if sightings is not None:
        with FolderIndex(folder) as index:
            index.add(name, sightings)
    (folder / name).write_bytes(content)
    return name


@pytest.fixture
def house(tmp_path, monkeypatch):
    """What `watch` leaves behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    faces, video = tmp_path / "faces", tmp_path / "video"
    picture(faces, 1, {"r-1": ANN}, b"face of Ann")
    picture(faces, 2, {"r-2": BO}, b"face of Bo")
    picture(faces, 3, {"r-3": ""}, b"a stranger who is Ann")
    with FolderIndex(faces) as index:
        index.name_track("r-3", ANN)
    picture(video, 4, {"r-1": ANN, "r-5": ""}, b"film of Ann", "mkv")
    (tmp_path / "events.jsonl.1").write_text(event(1, ANN) + "\n" + event(2, None) + "\n")
    (tmp_path / "events.jsonl").write_text(
        event(3, None) + "\n" + event(4, BO, track=2, candidates=candidates(BO, ANN)) + "\n"
    )
    (tmp_path / "queues").mkdir()
    queue = Outbox(tmp_path / "queues" / "door.db")
    for number in range(100):
        queue.put(event(5 + number, (ANN, BO)[number % 2], track=number, run="queued"))
    queue.close()
    (tmp_path / "watch.toml").write_text(
        'snapshots = "faces"\nrecord = "video"\nevents = "events.jsonl"\nmqtt-spool = "queues/door.db"\n'
        '[[camera]]\nname = "door"\nsource = "0"\n'
    )
    return tmp_path


def removed(cli, *words):
    code, out, err = cli("remove", ANN, "--everywhere", "--json", "--audit", "audit.jsonl", *words)
    return code, json.loads(out), err


def test_no_byte_of_a_person_remains(cli, house):
    code, report, _ = removed(cli, "--config", "watch.toml")
    assert code == 0
    assert [(place["place"], len(place["files"]), place["events"]) for place in report["places"]] == [
        ("events.jsonl", 0, 4),
        ("faces", 2, 0),
        ("video", 1, 0),
        ("queues/door.db", 0, 50),
    ]
    written = [path for path in house.rglob("*") if path.is_file()]
    for path in written:
        content = path.read_bytes().replace(b"Ann \xc3\x96zil's door", b"")  # the name of a camera
        assert ANN.encode() not in content, path
        assert b"of Ann" not in content, path
        assert b"who is Ann" not in content, path
        if path.suffix != ".toml":
            assert path.stat().st_mode & 0o777 == 0o600 or path.parent.name in ("faces", "video"), path
    assert b"face of Bo" in b"".join(path.read_bytes() for path in written)
    line = json.loads((house / "events.jsonl").read_text())
    assert (line["sequence"], line["candidates"]) == (4, candidates(BO))
    queue = Outbox(house / "queues" / "door.db")
    assert len(queue) == 50
    queue.close()
    assert check_audit(house / "audit.jsonl").problems == ()
    code, out, _ = cli("audit", "show", "audit.jsonl", "--subject", ANN, "--json")
    (entry,) = json.loads(out)["entries"]
    assert (entry["action"], entry["by"], entry["detail"]["files"]) == ("remove", "edge-sphereface remove", "3")


def test_a_name_is_found_in_every_spelling_that_the_gallery_takes(cli, house):
    with FolderIndex(house / "faces") as index:  # as a gallery of an earlier version spelled it
        index.sight("door-20260131T120001000Z-0123abcd-1.jpg", "r-9", "Ann  Özil")
    code, out, _ = cli("remove", "Ann  O\u0308zil", "--everywhere", "--config", "watch.toml", "--json")
    assert code == 0
    assert [len(place["files"]) for place in json.loads(out)["places"]] == [0, 2, 1, 0]
    for path in filter(Path.is_file, house.rglob("*")):
        assert b"of Ann" not in path.read_bytes()
        assert b"Ann  " not in path.read_bytes()


def test_an_empty_name_removes_nobody(cli, house):
    assert cli("remove", " ", "--everywhere", "--config", "watch.toml")[0] == 2


def test_a_file_that_shows_others_is_refused_before_anything_is_removed(cli, house):
    name = picture(house / "video", 5, {"r-1": ANN, "r-2": BO}, b"film of both", "mkv")
    code, _, err = cli("remove", ANN, "--everywhere", "--config", "watch.toml")
    assert code == 1
    assert name in err
    assert "--shared" in err
    assert b"face of Ann" in b"".join(path.read_bytes() for path in (house / "faces").iterdir())
    assert removed(cli, "--config", "watch.toml", "--shared")[0] == 0
    assert not (house / "video" / name).exists()


def test_files_without_a_record_are_listed(cli, house):
    name = picture(house / "faces", 6, None, b"whoever")
    code, report, _ = removed(cli, "--in", "faces")
    assert code == 1
    assert report["places"][0]["unrecorded"] == [name]
    assert removed(cli, "--in", "faces", "--unrecorded")[0] == 0
    assert not (house / "faces" / name).exists()


@pytest.mark.slow
def test_a_queue_that_watch_holds_is_a_problem(cli, house):
    queue = Outbox(house / "queues" / "door.db")
    code, report, _ = removed(cli, "--in", "faces", "--in", "queues")
    queue.close()
    assert code == 1
    assert len(report["places"][0]["files"]) == 2
    assert "another process has it" in report["places"][1]["problem"]
    assert removed(cli, "--in", "queues")[0] == 0


HOLDER = """
import sys
from pathlib import Path
from edge_sphereface.stream.outputs.events.outbox import Outbox

queue = Outbox(Path(sys.argv[1]))
queue.put(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held_queue(house):
    """A queue that another process made, as `watch` does at its first start, and holds: its event is in the log."""
    path = house / "queues" / "new.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path, event(1, ANN, time="2001-01-01T00:00:00.000Z")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield path, holder
        holder.kill()


@pytest.mark.slow
def test_a_queue_that_another_process_made_and_holds_is_a_problem(cli, house, held_queue):
    path, _ = held_queue
    assert ANN.encode() in path.with_name("new.db-wal").read_bytes()
    (house / "watch.toml").write_text('webhook-spool = "queues/new.db"\n')
    code, report, _ = removed(cli, "--config", "watch.toml", "--in", "queues")
    assert code == 1
    assert {place["place"]: "another process has it" in place["problem"] for place in report["places"]} == {
        "queues/new.db": True,
        "queues": True,
    }
    code, _, err = cli("expire", path, "--keep-events", "30d")
    assert code == 1
    assert "another process has it" in err


def test_a_queue_of_a_process_that_was_killed_is_cleared(cli, house, held_queue):
    _, holder = held_queue
    holder.kill()
    holder.wait()
    code, report, _ = removed(cli, "--in", "queues/new.db")
    assert (code, report["places"][0]["events"]) == (0, 1)
    for path in (house / "queues").glob("new.db*"):
        assert ANN.encode() not in path.read_bytes()


@pytest.mark.parametrize("place", ["queues", "queues/door.db"])
@pytest.mark.filterwarnings("default")
def test_a_queue_that_cannot_be_read_is_a_problem(cli, house, place):
    path = house / "queues" / "door.db"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    for _ in range(2):
        code, report, _ = removed(cli, "--in", place)
        assert code == 1
        assert "door.db.damaged is a damaged queue" in report["places"][0]["problem"]
    (house / "queues" / "door.db.damaged").unlink()
    assert removed(cli, "--in", place)[0] == 0


def test_a_database_of_something_else_is_a_problem(cli, house):
    with sqlite3.connect(house / "other.db") as other:
        other.execute("CREATE TABLE precious (x)")
    other.close()
    code, report, _ = removed(cli, "--in", "other.db")
    assert code == 1
    assert "something else" in report["places"][0]["problem"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "--gallery PLACE"),
        (("--everywhere",), "give --in PATH"),
        (("--everywhere", "--in", "missing"), "no folder or file missing"),
    ],
)
def test_wrong_usage(cli, tmp_path, monkeypatch, words, part):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("remove", ANN, *words)
    assert code in (1, 2)
    assert part in err


def test_the_gallery_goes_first(cli, house, people, small_model):
    code, out, _ = cli("gallery", "list", "--gallery", people, "--json")
    name = json.loads(out)["identities"][0]["name"]
    code, out, _ = cli("remove", name, "--gallery", people, "--everywhere", "--in", "faces", "--json")
    assert code == 0
    assert json.loads(out)["embeddings"] > 0
    assert cli("remove", name, "--gallery", people, "--everywhere", "--in", "faces")[0] == 0, "nothing is left to do"
    assert cli("remove", name, "--gallery", people)[0] == 1


@pytest.mark.checkout
def test_the_commands_of_the_page_export_and_erase_one_person(cli, house, photo, small_model):
    page = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    block = re.search(r"## One person.*?```bash\n(.*?)```", page, re.DOTALL)[1]
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    picture(house / "faces", 7, {"r-7": "Ann Lee"}, b"face of Lee")
    with (house / "events.jsonl").open("a") as stream:
        stream.write(event(9, "Ann Lee", track=7) + "\n")
    assert cli("enroll", "--gallery", "people.db", "--model", small_model, "Ann Lee", photo)[0] == 0
    assert [cli(*command)[0] for command in commands] == [0, 0, 0]
    exported = house / "people.jsonl"
    assert b"Ann Lee" in exported.read_bytes()
    exported.unlink()
    for path in filter(Path.is_file, house.rglob("*")):
        assert b"Ann Lee" not in path.read_bytes(), path
        assert b"face of Lee" not in path.read_bytes(), path
    assert check_audit(house / "audit.jsonl").problems == ()


def test_a_rewrite_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(event(1, ANN) + "\n")
    before = path.read_bytes()

    def fail(text):
        raise MemoryError

    with pytest.raises(MemoryError):
        rewrite_events(path, fail)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["events.jsonl"]


def test_a_link_is_followed_only_to_an_own_file(cli, house):
    (house / "link.jsonl").symlink_to(house / "events.jsonl")
    assert removed(cli, "--in", "link.jsonl")[0] == 0
    assert (house / "link.jsonl").is_symlink()
    assert "Ann Özil'" in (house / "events.jsonl").read_text()
    assert '"name": "Ann' not in (house / "events.jsonl").read_text()


def test_what_is_a_queue(tmp_path, house):
    assert is_outbox(house / "queues" / "door.db")
    assert not is_outbox(house / "faces" / INDEX_NAME)
    assert not is_outbox(tmp_path / "missing")


# ---- the commands expire and audit ----------------------------------------------------------------------------------


def test_a_folder_of_which_nothing_is_recorded_is_left_alone(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    videos = tmp_path / "videos"
    name = picture(videos, 1, None, b"holiday", "mkv")
    os.utime(videos / name, (1e9, 1e9))
    keep = ("--keep-unknown", "8h", "--json")
    for _ in range(2):
        code, out, _ = cli("expire", "videos", *keep)
        (place,) = json.loads(out)["places"]
        assert (code, place["files"], place["unrecorded"]) == (0, [], [name])
    assert [path.name for path in videos.iterdir()] == [name], "no index is made"
    with FolderIndex(videos):
        pass
    assert cli("expire", "videos", "--keep-unknown", "8h")[1].startswith("videos: 0 files deleted\n  1 files were left")
    for words, left in ((("--dry-run",), True), ((), False)):
        code, out, _ = cli("expire", "videos", *keep, "--unrecorded", *words)
        assert json.loads(out)["places"][0]["files"] == [name]
        assert (videos / name).exists() == left


def test_a_file_without_events_is_refused_as_it_is(cli, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine\n")
    notes.chmod(0o644)
    code, _, err = cli("expire", notes, "--keep-events", "1d")
    assert code == 1
    assert "holds no event" in err
    assert (notes.read_text(), notes.stat().st_mode & 0o777) == ("mine\n", 0o644)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    notes.write_text("")
    assert cli("expire", notes, "--keep-events", "1d")[0] == 0, "every event may have gone"


@pytest.fixture
def strangers(house, spec):
    """Two strangers, of whom one is Ann, and a gallery that knows her by now; gives their embeddings."""
    kind = Fingerprint.of(spec)
    seen = datetime.fromtimestamp(1.7e9, timezone.utc)
    rows = np.eye(spec.embedding_size, dtype=np.float32)[:2]
    crop = np.zeros((112, 96, 3), dtype=np.uint8)
    with StrangerStore("strangers.db", fingerprint=kind, create=True) as store:
        store.add(
            [Sighting(camera="door", start=seen, end=seen, quality=0.5, embedding=row, crop=crop) for row in rows]
        )
        store.group(0.5)
    with open_gallery("people.db", kind, create=True) as gallery:
        gallery.enroll(ANN, rows[0])
        gallery.set_threshold(Threshold(value=0.5, precision="float32", fingerprint=kind.digest, source="test"))
    return rows


def test_sightings_of_whoever_is_removed_go(cli, house, strangers):
    places = ("--gallery", "people.db", "--in", "strangers.db")
    code, report, _ = removed(cli, *places)
    assert code == 0
    assert [(place["place"], place["sightings"]) for place in report["places"]] == [("strangers.db", 1)]
    content = (house / "strangers.db").read_bytes()
    assert strangers[0].tobytes() not in content
    assert strangers[1].tobytes() in content
    code, report, _ = removed(cli, *places)
    assert code == 1, "nobody knows any more whom they show"
    assert "may show them" in report["places"][0]["problem"]


def test_expire_removes_old_sightings(cli, house, strangers):
    words = ("expire", "strangers.db", "--keep-strangers", "1m")
    assert cli(*words)[:2] == (0, "strangers.db: 0 sightings deleted\n")
    with sqlite3.connect("strangers.db") as database:
        database.execute("UPDATE sighting SET served_s = served_s - 61 WHERE number = 1")
    database.close()
    assert cli(*words, "--dry-run")[1] == "strangers.db: 1 sighting would be deleted\n"
    assert cli(*words)[:2] == (0, "strangers.db: 1 sighting deleted\n")
    assert strangers[0].tobytes() not in (house / "strangers.db").read_bytes()
    assert cli("expire", "strangers.db", "--keep-events", "1d")[1] == "strangers.db: 0 sightings deleted\n"


def test_expire_deletes_from_a_queue(cli, house):
    path = house / "queues" / "old.db"
    with closing(Outbox(path)) as queue:
        for sequence, year in enumerate((2001, 2002, 2999)):
            queue.put(event(sequence, (ANN, BO)[year == 2999], time=f"{year}-01-01T00:00:00.000Z"))
    for words, verb, left in ((("--dry-run",), "would be deleted", 3), ((), "deleted", 1)):
        code, out, _ = cli("expire", path, "--keep-events", "30d", *words)
        assert (code, out) == (0, f"{path}: 2 events {verb}\n")
        with closing(Outbox(path)) as queue:
            assert len(queue) == left
    assert b'"name": "Ann' not in path.read_bytes()


def test_expire(cli, house):
    keep = ("--keep-known", "168h", "--keep-unknown", "8h", "--keep-events", "30d")
    code, out, _ = cli("expire", "faces", "events.jsonl", *keep, "--dry-run", "--json")
    assert code == 0
    assert [place["files"] for place in json.loads(out)["places"]] == [[], []]
    name = picture(house / "faces", 6, None, b"whoever")
    os.utime(house / "faces" / name, (1e9, 1e9))
    code, out, _ = cli("expire", "faces", *keep, "--dry-run")
    assert name in out
    assert cli("expire", "faces", *keep, "--dry-run")[1] == out, "a dry run records nothing"
    code, out, _ = cli("expire", "faces", *keep, "--audit", "audit.jsonl")
    assert (code, out) == (0, "faces: 1 file deleted\n")
    assert cli("expire", "faces")[0] == 2
    assert cli("expire", "nowhere", *keep)[0] == 1
    code, out, _ = cli("audit", "check", "audit.jsonl")
    assert code == 0
    assert "1 line, nothing wrong" in out
    head = out.split("head ")[1].split(":")
    assert cli("audit", "check", "audit.jsonl", "--head", f"{head[0]}:{head[1]}")[0] == 0
    assert cli("audit", "check", "audit.jsonl", "--head", f"1:{'0' * 64}")[0] == 1
    assert cli("audit", "check", "audit.jsonl", "--head", "x")[0] == 2
    assert cli("audit", "check", "missing.jsonl")[0] == 2
    code, out, _ = cli("audit", "show", "audit.jsonl", "--action", "expire")
    assert "by edge-sphereface expire  events=0  files=1" in out
