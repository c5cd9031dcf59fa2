"""Writing: whole or not at all, whatever fails."""

import errno
import hashlib
import os
import subprocess
import sys
import tempfile

import pytest

from edge_sphereface.errors import ModelNotFoundError, OutputError
from edge_sphereface.files import PRIVATE, SHARED, atomic_write, ensure_folder, sha256_of


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
from edge_sphereface.files import SHARED, atomic_write
from edge_sphereface.errors import ModelNotFoundError, OutputError
try:
    with atomic_write({str(tmp_path / "x")!r}, mode=SHARED) as stream:
        for _ in range(100):
            stream.write(bytes(4096))
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
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


def test_sha256(tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "x").write_bytes(data)
    seen = []
    assert sha256_of(tmp_path / "x", progress=seen.append) == hashlib.sha256(data).hexdigest()
    assert sum(seen) == len(data)
