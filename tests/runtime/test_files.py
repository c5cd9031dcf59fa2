"""Writing: whole or not at all, whatever fails."""

import errno
import hashlib
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import closing

import pytest

from edge_sphereface.errors import ModelNotFoundError, OutputError
from edge_sphereface.storage.files import (
    PRIVATE,
    SHARED,
    atomic_write,
    destination,
    ensure_folder,
    open_private,
    require_own,
    restrict,
    sha256_of,
)


def test_written_whole_with_its_mode(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with atomic_write(path, mode=PRIVATE) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    with atomic_write(path, mode=SHARED) as stream:
        stream.write(b"newer")
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [ValueError("ours"), KeyboardInterrupt()])
def test_any_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_write(path, mode=SHARED) as stream:
        stream.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_errors_of_the_caller_stay_what_they_are(tmp_path):
    """Only what writing itself raises becomes an OutputError."""
    for error in (ModelNotFoundError("no model"), FileNotFoundError(errno.ENOENT, "other file"), ConnectionError()):
        with pytest.raises(type(error)) as caught, atomic_write(tmp_path / "x", mode=SHARED):
            raise error
        assert caught.value is error
    assert os.listdir(tmp_path) == []


def test_a_write_into_a_full_disk_is_explained(tmp_path):
    with pytest.raises(OutputError, match="free some space"), atomic_write(tmp_path / "x", mode=SHARED):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OutputError, match="No space left.*free some space"),
        atomic_write(tmp_path / "x", mode=SHARED) as s,
    ):
        s.write(b"data")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_real_write_error_leaves_nothing(tmp_path):
    """The kernel itself refuses to write more than 64 KiB."""
    script = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
from edge_sphereface.storage.files import SHARED, atomic_write
from edge_sphereface.errors import ModelNotFoundError, OutputError
try:
    with atomic_write({str(tmp_path / "x")!r}, mode=SHARED) as stream:
        for _ in range(100):
            stream.write(bytes(4096))
except OutputError as error:
    print(error)
"""
    # -B: compiled modules would be cut off at the limit as well, and kept
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_read_only_folder(as_nobody):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders cannot be entered by another user
        os.chmod(folder, 0o555)
        with as_nobody(), pytest.raises(OutputError, match="must be writable"):
            with atomic_write(os.path.join(folder, "x"), mode=SHARED):
                pass
        assert os.listdir(folder) == []


def test_no_database_is_replaced_or_appended_to(tmp_path):
    path = tmp_path / "people.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t(x)")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="SQLite"), atomic_write(path, mode=SHARED) as stream:
        stream.write(b"data")
    with pytest.raises(OutputError, match="SQLite"):
        open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["people.db"]


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(OutputError, match="name a file"), atomic_write(tmp_path / "x", mode=SHARED) as stream:
        stream.write(b"data")
    assert os.listdir(tmp_path) == ["x"]


def test_ensure_folder(tmp_path):
    assert ensure_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot create"):
        ensure_folder(tmp_path / "file" / "x")
    with pytest.raises(OutputError, match="file exists and is not a folder.*name another"):
        ensure_folder(tmp_path / "file")


def test_sha256(tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "x").write_bytes(data)
    seen = []
    assert sha256_of(tmp_path / "x", progress=seen.append) == hashlib.sha256(data).hexdigest()
    assert sum(seen) == len(data)


posix = pytest.mark.skipif(os.name != "posix", reason="links and permissions as POSIX knows them")


@pytest.fixture
def strangers(tmp_path):
    """A function that gives a file or link to another user, in a folder that anybody may write."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can make files of another user")
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)

    def give(name, make=os.mknod):
        make(folder / name)
        os.chown(folder / name, 65534, 65534, follow_symlinks=False)
        return folder / name

    return give


@posix
def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "x", tmp_path / "link"
    target.write_bytes(b"old")
    inode = target.stat().st_ino
    link.symlink_to("far/x")
    with atomic_write(link, mode=PRIVATE) as stream:
        stream.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_ino != inode, "replaced in one step, not overwritten"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path / "far")) == ["x"]
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="too many symbolic links"), atomic_write(tmp_path / "a", mode=SHARED):
        pass


def test_a_link_or_a_fifo_of_another_user_is_refused(strangers, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    link = strangers("x", make=lambda path: path.symlink_to(victim))
    with pytest.raises(OutputError, match="symbolic link of another user"), atomic_write(link, mode=SHARED):
        pass
    assert victim.read_bytes() == b"mine"
    with pytest.raises(OutputError, match="FIFO of another user"), atomic_write(strangers("f", os.mkfifo), mode=SHARED):
        pass


@posix
def test_special_files_are_written_into(tmp_path):
    """A device and a FIFO stay what they are, and get nothing of a result that failed."""
    fifo, got = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    with pytest.raises(ZeroDivisionError), atomic_write(fifo, mode=PRIVATE) as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    with atomic_write(fifo, mode=PRIVATE) as stream:
        stream.write(b"all of ")
        stream.write(b"it")
    reader.join(timeout=30)
    assert got == [b"all of it"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    before = os.stat("/dev/null")
    with atomic_write("/dev/null", mode=PRIVATE) as stream:
        stream.write(b"x")
    assert os.stat("/dev/null")[:3] == before[:3]


@posix
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link"])
def test_standard_output_is_written_into_whatever_it_is(tmp_path, name):
    """Also where it is a file that a shell appends to: that file is neither replaced nor cut off."""
    if name == "link":
        (tmp_path / "link").symlink_to("/dev/stdout")
        name = tmp_path / "link"
    script = f"""
from edge_sphereface.storage.files import SHARED, atomic_write
with atomic_write({str(name)!r}, mode=SHARED) as stream:
    stream.write(b"new")
print("after", flush=True)
"""
    words = [sys.executable, "-c", script]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b"newafter\n"
    log = tmp_path / "log"
    log.write_bytes(b"old ")
    with log.open("ab") as output:
        subprocess.run(words, stdout=output, check=True)
    assert log.read_bytes() == b"old newafter\n"


@posix
def test_a_reader_that_leaves_a_pipe_is_no_fault_of_the_path():
    """What `-o /dev/stdout | head` does; the command line then ends quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError), atomic_write(f"/dev/fd/{writer}", mode=PRIVATE) as stream:
            stream.write(b"x")
    finally:
        os.close(writer)


@posix
def test_private_files_are_made_and_kept_private(tmp_path):
    path = tmp_path / "x"
    previous = os.umask(0)
    try:
        os.close(open_private(path, os.O_RDWR | os.O_CREAT))
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"content")
    for open_it in (lambda: os.close(open_private(path, os.O_RDWR)), lambda: restrict(path)):
        path.chmod(0o666)
        open_it()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"content"
    os.close(open_private(path, os.O_WRONLY | os.O_TRUNC))
    assert path.read_bytes() == b""
    with pytest.raises(FileNotFoundError):
        open_private(tmp_path / "none", os.O_RDWR)
    restrict(tmp_path / "none")
    require_own(tmp_path / "none")


@posix
@pytest.mark.parametrize(
    ("content", "mode", "is_taken"),
    [
        (b'{"event": 1}', 0o644, True),
        (b"root:x:0:0", 0o600, True),  # damage: a private file was never another program's
        (b"root:x:0:0", 0o644, False),
        (b"SQLite format 3\0", 0o644, False),
    ],
)
def test_a_file_of_something_else_keeps_its_mode(tmp_path, content, mode, is_taken):
    path = tmp_path / "x"
    path.write_bytes(content)
    path.chmod(mode)
    if is_taken:
        os.close(open_private(path, os.O_RDWR, start=b'{"'))
    else:
        with pytest.raises(OutputError, match="something else|SQLite"):
            open_private(path, os.O_RDWR, start=b'{"')
    assert stat.S_IMODE(path.stat().st_mode) == (0o600 if is_taken else mode)
    assert path.read_bytes() == content


@posix
@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "other", "foreign link"])
def test_what_is_no_file_of_this_user_is_refused_untouched(tmp_path, strangers, kind):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    path = tmp_path / "x"
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "other":
        path = strangers("x", make=lambda name: name.write_bytes(b"theirs"))
        path.chmod(0o666)
    else:
        path = strangers("x", make=lambda name: name.symlink_to(victim))
    before = path.lstat()
    for flags in (os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_TRUNC | os.O_CREAT):
        with pytest.raises(OSError, match="regular file of this user|directory"):
            open_private(path, flags)
    for check in (require_own, restrict):
        with pytest.raises(OutputError, match="regular file of this user"):
            check(path)
    assert path.lstat()[:7] == before[:7]
    assert victim.read_bytes() == b"mine"


@posix
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EROFS])
def test_a_file_system_without_modes_is_a_warning(tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "x"
    path.write_bytes(b"content")
    path.chmod(0o666)
    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.warns(UserWarning, match="cannot be set to 0600"):
        os.close(open_private(path, os.O_RDWR))
    with pytest.warns(UserWarning, match="cannot be set to 0600"):
        restrict(path)
    assert path.read_bytes() == b"content"
    for mode in (PRIVATE, SHARED):
        with atomic_write(path, mode=mode) as stream:
            stream.write(b"new")
        assert path.read_bytes() == b"new"


@posix
def test_a_mode_that_fails_for_another_reason_is_an_error(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "x"
    path.touch(0o666)
    path.chmod(0o666)
    monkeypatch.setattr(os, "chmod", fail)
    with pytest.raises(OSError, match="Input/output"):
        restrict(path)


@posix
@pytest.mark.parametrize(
    ("folder_owner", "folder_mode", "file_mode", "allowed"),
    [
        (65534, 0o755, 0o644, True),  # the owner's file in the owner's folder
        (0, 0o755, 0o600, True),  # a service's file in a folder of root
        (0, 0o755, 0o644, False),
        (0, 0o1777, 0o600, False),
        (0, 0o775, 0o600, False),
    ],
)
def test_root_works_for_others_where_nobody_else_can_have_put_a_file(
    tmp_path, folder_owner, folder_mode, file_mode, allowed
):
    if os.geteuid() != 0:
        pytest.skip("only root can make files of another user")
    folder = tmp_path / "folder"
    folder.mkdir()
    path, link = folder / "x", folder / "link"
    path.write_bytes(b"theirs")
    link.symlink_to("x")
    path.chmod(file_mode)
    os.chown(path, 65534, 65534)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    os.chown(folder, folder_owner, folder_owner)
    folder.chmod(folder_mode)
    if allowed:
        restrict(path)
        os.close(open_private(path, os.O_RDWR))
    else:
        with pytest.raises(OutputError, match="another user's file"):
            restrict(path)
    if folder_owner == 65534:
        assert destination(link) == path
    else:
        with pytest.raises(OutputError, match="symbolic link of another user"):
            destination(link)
