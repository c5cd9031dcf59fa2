"""Downloads over a real HTTP server on loopback that breaks off, lies, or speaks ranges."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from edge_sphereface.errors import ChecksumError, DownloadError, OfflineError
from edge_sphereface.storage.download import PinnedFile, fetch, install, read_url

CONTENT = os.urandom(300_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; ``break_after`` bytes it hangs up, ``ranges`` says whether it resumes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.break_after = None
        self.ranges = True
        self.status = None
        self.length = None
        self.location = None
        self.requests = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.requests.append(wanted)
        if self.server.status:
            self.send_error(self.server.status)
            return
        if self.server.location:
            self.send_response(302)
            self.send_header("Location", self.server.location)
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start and start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", self.server.length or str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    instance = Server()
    thread = threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield instance
    instance.shutdown()
    thread.join()
    instance.server_close()


@pytest.fixture
def pinned(server):
    return PinnedFile(
        name="x.bin",
        url=f"http://127.0.0.1:{server.server_port}/x.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        max_bytes=400_000,
        license="test",
    )


def test_downloads_checks_and_reports_progress(pinned, tmp_path):
    seen = []
    path = fetch(pinned, tmp_path / "x.bin", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert os.listdir(tmp_path) == ["x.bin"]


def test_a_file_system_without_modes_takes_the_file(pinned, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    assert fetch(pinned, tmp_path / "x.bin").read_bytes() == CONTENT


def test_does_not_download_twice(server, pinned, tmp_path):
    fetch(pinned, tmp_path / "x.bin")
    fetch(pinned, tmp_path / "x.bin")
    assert len(server.requests) == 1


def test_resumes_where_it_broke_off(server, pinned, tmp_path):
    server.break_after = 200_000
    with pytest.raises(DownloadError, match="200000 bytes are kept"):
        fetch(pinned, tmp_path / "x.bin")
    assert not (tmp_path / "x.bin").exists()
    server.break_after = None
    assert fetch(pinned, tmp_path / "x.bin").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=200000-"]


def test_starts_again_where_the_server_does_not_resume(server, pinned, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(b"rubbish")
    server.ranges = False
    assert fetch(pinned, tmp_path / "x.bin").read_bytes() == CONTENT


def test_a_part_that_was_whole_already(pinned, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(CONTENT)
    assert fetch(pinned, tmp_path / "x.bin").read_bytes() == CONTENT


def test_another_file_is_deleted_and_refused(server, pinned, tmp_path):
    server.content = b"<html>captive portal</html>"
    with pytest.raises(ChecksumError, match="expected SHA-256"):
        fetch(pinned, tmp_path / "x.bin")
    assert os.listdir(tmp_path) == []


def test_a_flood_is_broken_off(server, pinned, tmp_path):
    server.content = bytes(1_000_000)
    with pytest.raises(DownloadError, match="more than the 400000 bytes"):
        fetch(pinned, tmp_path / "x.bin")
    assert os.listdir(tmp_path) == []


def test_a_damaged_file_in_place_is_fetched_again(pinned, tmp_path):
    (tmp_path / "x.bin").write_bytes(b"damaged")
    assert fetch(pinned, tmp_path / "x.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["plenty", "9" * 5000])
def test_a_length_that_no_file_has_is_not_believed(server, pinned, tmp_path, length):
    server.length = length
    assert read_url(pinned.url, limit=400_000, remedy=pinned.remedy) == CONTENT
    assert fetch(pinned, tmp_path / "x.bin").read_bytes() == CONTENT


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_disk_that_fills_up_is_called_that(pinned, tmp_path):
    """And what was received stays for the next try."""
    script = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (131072, 131072))
from pathlib import Path
from edge_sphereface.storage.download import PinnedFile, fetch
from edge_sphereface.errors import OutputError
try:
    fetch({pinned!r}, Path({str(tmp_path)!r}) / "x.bin")
except OutputError as error:
    print(error)
"""
    # -B: compiled modules would be cut off at the limit as well, and kept
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    assert "free some space" in done.stdout
    assert (tmp_path / "x.bin.part").stat().st_size == 131072
    assert fetch(pinned, tmp_path / "x.bin").read_bytes() == CONTENT


def test_no_such_file_on_the_server(server, pinned, tmp_path):
    server.status = 404
    with pytest.raises(DownloadError, match="404.*copy it here"):
        fetch(pinned, tmp_path / "x.bin")


def test_a_redirection_to_what_is_no_url(server, pinned, tmp_path):
    server.location = "http://[bad/"
    with pytest.raises(DownloadError, match="Invalid IPv6 URL"):
        fetch(pinned, tmp_path / "x.bin")
    with pytest.raises(DownloadError, match="Invalid IPv6 URL"):
        read_url(pinned.url, limit=400_000, remedy=pinned.remedy)


def test_no_network_says_what_to_do(server, pinned, tmp_path):
    server.server_close()
    with pytest.raises(DownloadError, match="copy it here"):
        fetch(pinned, tmp_path / "x.bin")


def test_offline_forbids(server, pinned, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_SPHEREFACE_OFFLINE", "1")
    with pytest.raises(OfflineError, match="EDGE_SPHEREFACE_OFFLINE"):
        fetch(pinned, tmp_path / "x.bin")
    assert server.requests == []


def test_offline_is_content_with_what_is_there(pinned, tmp_path, monkeypatch):
    (tmp_path / "x.bin").write_bytes(CONTENT)
    monkeypatch.setenv("EDGE_SPHEREFACE_OFFLINE", "1")
    assert fetch(pinned, tmp_path / "x.bin").read_bytes() == CONTENT


def test_install_takes_only_the_pinned_file(pinned, tmp_path):
    (tmp_path / "good").write_bytes(CONTENT)
    (tmp_path / "bad").write_bytes(CONTENT[:-1])
    assert install(pinned, tmp_path / "good", tmp_path / "x.bin").read_bytes() == CONTENT
    with pytest.raises(ChecksumError, match="is not x.bin"):
        install(pinned, tmp_path / "bad", tmp_path / "y.bin")
    with pytest.raises(DownloadError, match="no file"):
        install(pinned, tmp_path / "missing", tmp_path / "y.bin")
    assert not (tmp_path / "y.bin").exists()
