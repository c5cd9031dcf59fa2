"""Events on their way into a file: rotated, cut by the power, on a full disk."""

import json
import os
import stat
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_sphereface.errors import SinkError
from edge_sphereface.retention.event_files import rewrite_events
from edge_sphereface.stream import FileSink
from edge_sphereface.stream.outputs.events.dispatcher import EventDispatcher


def test_a_file_is_rotated_and_no_line_is_lost_or_cut(tmp_path, make_event):
    path = tmp_path / "events.jsonl"
    sink = FileSink(path, max_bytes=1000, keep=3)
    sink.open()
    for _ in range(20):
        sink.write(make_event())
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["events.jsonl", *(f"events.jsonl.{n}" for n in (1, 2, 3))]
    assert all(file.stat().st_size <= 1000 and stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    lines = [
        json.loads(line)["sequence"]
        for file in [*reversed(files[1:]), files[0]]
        for line in file.read_text().splitlines()
    ]
    assert lines == list(range(21 - len(lines), 21))


def test_a_file_that_was_rewritten_gets_the_next_line(tmp_path, make_event):
    path = tmp_path / "events.jsonl"
    sink = FileSink(path)
    sink.open()
    sink.write(make_event())
    sink.write(make_event())
    assert rewrite_events(path, lambda line: None if '"sequence": 1,' in line else line) == 1
    sink.write(make_event())
    path.unlink()
    sink.write(make_event())
    sink.close()
    assert [json.loads(line)["sequence"] for line in path.read_text().splitlines()] == [4]


def test_a_file_that_somebody_rewrites_waits_for_its_line(tmp_path, make_event):
    path = tmp_path / "events.jsonl"
    dispatcher = EventDispatcher(FileSink(path))

    def change(line):
        if not dispatcher.pending():
            dispatcher.give(make_event())
        return line.replace("front", "back")

    dispatcher.give(make_event())
    while dispatcher.pending():
        time.sleep(0.01)
    rewrite_events(path, change)
    dispatcher.close(5.0)
    assert [json.loads(line)["sequence"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_line_that_the_power_cut_is_closed(tmp_path, make_event):
    path = tmp_path / "events.jsonl"
    path.write_text('{"half": ')
    sink = FileSink(path)
    sink.open()
    sink.write(make_event())
    sink.close()
    assert json.loads(path.read_text().splitlines()[1])["sequence"] == 1


def test_a_place_that_cannot_be_written_is_said_at_the_start(tmp_path):
    with pytest.raises(SinkError, match="folder must exist"):
        EventDispatcher(FileSink(tmp_path / "missing" / "events.jsonl"))


@contextmanager
def files_of_at_most(size):
    """No file of this process can grow beyond as many bytes, as on a full disk."""
    resource = pytest.importorskip("resource", reason="needs limits of file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 30])
def test_a_full_disk_delays_events_and_loses_none(tmp_path, make_event, wait_until, room):
    """Whether it takes nothing of a line or a part of it. The file is larger than any other of this process."""
    path, kept = tmp_path / "events.jsonl", json.dumps({"version": 1, "text": "x" * (4 << 20)}) + "\n"
    path.write_text(kept)
    dispatcher = EventDispatcher(FileSink(path, max_bytes=8 << 20))
    with files_of_at_most(len(kept) + room):
        dispatcher.give(make_event())
        dispatcher.give(make_event())
        wait_until(lambda: "File too large" in dispatcher.problem or "only a part" in dispatcher.problem)
        assert dispatcher.pending() == 2
        assert path.stat().st_size == len(kept)
    wait_until(lambda: dispatcher.pending() == 0)
    assert dispatcher.problem == ""
    assert dispatcher.close(1.0) == 0
    assert [json.loads(line)["sequence"] for line in path.read_text().splitlines()[1:]] == [1, 2]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make links of another user")
def test_what_another_user_put_in_the_place_of_a_file_of_events_is_refused(tmp_path):
    tmp_path.chmod(0o1777)
    path, victim = tmp_path / "events.jsonl", tmp_path / "victim"
    victim.write_text("precious\n")
    for make, match in ((lambda: path.symlink_to(victim), "symbolic link"), (lambda: os.mkfifo(path), "FIFO")):
        make()
        os.chown(path, 65534, 65534, follow_symlinks=False)
        with pytest.raises(SinkError, match=f"{match} of another user"):
            EventDispatcher(FileSink(path))
        path.unlink()
    assert victim.read_text() == "precious\n"


@pytest.mark.skipif(os.name != "posix", reason="needs modes")
def test_a_file_of_events_is_not_open_to_others(tmp_path):
    path = tmp_path / "events.jsonl"
    path.touch()
    path.chmod(0o666)
    sink = FileSink(path)
    sink.open()
    sink.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_event_that_cannot_be_written_ends_no_thread(tmp_path, wait_until, make_event):
    class Picky:
        name, problem, dropped = "picky", "", 0
        taken = ()

        def open(self):
            pass

        def pending(self):
            return 0

        def write(self, event):
            if event.sequence == 1:
                raise ValueError("never")
            self.taken += (event.sequence,)

        def close(self):
            raise RuntimeError("cannot close")

    sink = Picky()
    dispatcher = EventDispatcher(sink)
    for _ in range(3):
        dispatcher.give(make_event())
    wait_until(lambda: sink.taken == (2, 3))
    assert (dispatcher.dropped, dispatcher.problem) == (1, "picky: an event was left out: never")
    assert dispatcher.close(5) == 0
    assert "cannot close" in dispatcher.problem


def test_a_name_that_is_no_text_is_written_as_an_escape(tmp_path, make_event):
    path = tmp_path / "events.jsonl"
    sink = FileSink(path)
    sink.open()
    sink.write(make_event("film\udcff.avi"))
    sink.close()
    assert json.loads(path.read_text())["reason"] == "film\udcff.avi"


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_a_link_of_this_user_is_followed_and_stays_when_the_file_is_rotated(tmp_path, make_event):
    (tmp_path / "card").mkdir()
    link = tmp_path / "events.jsonl"
    link.symlink_to("card/e.jsonl")
    sink = FileSink(link, max_bytes=300, keep=9)
    sink.open()
    for _ in range(4):
        sink.write(make_event())
    sink.close()
    assert os.listdir(tmp_path / "card") != ["e.jsonl"]
    lines = [line for file in (tmp_path / "card").iterdir() for line in file.read_text().splitlines()]
    assert sorted(json.loads(line)["sequence"] for line in lines) == [1, 2, 3, 4]
    assert link.is_symlink()
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.skipif(not os.path.exists("/dev/stderr"), reason="needs special files")
def test_descriptors_and_devices_are_written_into_and_not_rotated(capfd, make_event):
    for path in ("/dev/stderr", "/dev/stdout", "/dev/null"):
        sink = FileSink(Path(path), max_bytes=1)
        sink.open()
        for _ in range(2):
            sink.write(make_event())
        sink.close()
    written = capfd.readouterr()
    assert [json.loads(line)["sequence"] for line in written.err.splitlines()] == [1, 2]
    assert [json.loads(line)["sequence"] for line in written.out.splitlines()] == [3, 4]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_never_blocks_and_gets_whole_lines(tmp_path, make_event):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    sink = FileSink(path)
    sink.open()
    taken = 0
    with pytest.raises(SinkError, match="Nobody reads"):
        while True:
            sink.write(make_event("y" * 30_000))
            taken += 1
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    data = os.read(reader, 1 << 20)
    sink.write(make_event())
    data += os.read(reader, 1 << 20)
    os.close(reader)
    sink.close()
    lines = [json.loads(line)["sequence"] for line in data.splitlines()]
    assert lines == [*range(1, taken + 1), taken + 2]
