"""Models taken from an address or a folder: nothing but what the publisher listed, and nothing unverified."""

import hashlib
import json
import shutil
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.errors import ChecksumError, DownloadError, OfflineError, OutputError
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.fetch import fetch_models
from edge_sphereface.model.manifest import MANIFEST, files_of_form, read_manifest, write_manifest

DIGEST = "a" * 64


def take(place, folder, **options):
    return fetch_models(str(place), folder, reporter=lambda _: lambda _done, _total: None, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def published(small_model, tmp_path):
    """A folder of two forms, which are the same network here."""
    folder = tmp_path / "published"
    folder.mkdir()
    for stem in ("m", "m.int8"):
        shutil.copy(small_model, folder / f"{stem}.onnx")
        shutil.copy(certificate_path(small_model), folder / f"{stem}.parity.json")
    (folder / "README.txt").write_text("read me")
    (folder / MANIFEST).write_text(write_manifest(folder.iterdir()))
    return folder


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, also from the middle of a file; ends the connection within a file named in ``break_in``."""

    def do_GET(self):
        self.server.requests.append(self.path)
        path, begin = self.translate_path(self.path), self.headers.get("Range")
        if begin is None and self.path not in self.server.break_in:
            super().do_GET()
            return
        with open(path, "rb") as stream:
            content = stream.read()[int((begin or "bytes=0-")[6:-1]) :]
        self.send_response(200 if begin is None else 206)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: 5000 if self.path in self.server.break_in else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(published):
    """The published folder at an address."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(published)))
    made.daemon_threads = True
    made.requests, made.break_in = [], ()
    made.address = f"http://127.0.0.1:{made.server_port}/"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.slow
def test_all_forms_of_an_address(printed, server, published, tmp_path):
    words = server.address, "--sha256", sha256(published / MANIFEST).upper(), "-o", tmp_path / "here"
    found = printed(build_parser, "fetch-model", "fetch-model", *words)
    assert names(tmp_path / "here") == names(published)
    assert (found["passed"], found["verified"]) == (True, True)
    assert {model["form"]: model["parity"]["passed"] for model in found["models"]} == {"float": True, "int8": True}
    printed(build_parser, "fetch-model", "fetch-model", *words)
    assert server.requests.count("/m.onnx") == 1  # what is there is not downloaded again


def test_one_form(server, published, tmp_path):
    took = take(f"{server.address}{MANIFEST}", tmp_path / "here", sha256=sha256(published / MANIFEST), form="int8")
    assert names(tmp_path / "here") == ["README.txt", MANIFEST, "m.int8.onnx", "m.int8.parity.json"]
    assert took.models == (tmp_path / "here" / "m.int8.onnx",)
    with pytest.raises(DownloadError, match="no form 'int4': the folder has float, int8"):
        take(published, tmp_path / "there", form="int4")


def test_an_interrupted_download_continues(server, published, tmp_path):
    server.break_in = ("/m.int8.onnx",)
    known = {"sha256": sha256(published / MANIFEST)}
    with pytest.raises(DownloadError, match=r"m\.int8\.onnx.*5000 bytes are kept"):
        take(server.address, tmp_path / "here", **known)
    assert not list((tmp_path / "here").glob("*.onnx"))
    server.break_in = ()
    take(server.address, tmp_path / "here", **known)
    assert names(tmp_path / "here") == names(published)
    assert (tmp_path / "here" / "m.int8.onnx").read_bytes() == (published / "m.int8.onnx").read_bytes()


def test_an_address_without_https_needs_the_sha256(server, tmp_path):
    for place in (server.address, f"{server.address}m.onnx"):
        with pytest.raises(DownloadError, match="replace what comes from .* SHA-256"):
            take(place, tmp_path / "here")
    assert server.requests == []
    assert not (tmp_path / "here").exists()


def test_another_manifest_is_refused(server, tmp_path):
    with pytest.raises(ChecksumError, match=f"expected {DIGEST}"):
        take(server.address, tmp_path / "here", sha256=DIGEST)
    assert not (tmp_path / "here").exists()


def test_a_file_that_is_not_the_listed_one_changes_nothing(server, published, tmp_path):
    (published / "m.int8.onnx").write_bytes(b"another")
    for place in (server.address, published):
        with pytest.raises(ChecksumError, match=r"not m\.int8\.onnx: expected SHA-256"):
            take(place, tmp_path / "here", sha256=sha256(published / MANIFEST))
        assert not list((tmp_path / "here").glob("*.*nnx"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no .*SHA256SUMS"),
        ("<html>log in</html>", "line 1 is not a SHA-256 and a file name: '<html>"),
        ("x" * 70_000, "more than 65536 bytes"),
    ],
)
def test_what_is_no_folder_of_models(server, published, tmp_path, content, message):
    if content is None:
        (published / MANIFEST).unlink()
    else:
        (published / MANIFEST).write_text(content)
    with pytest.raises(DownloadError, match=message):
        take(server.address, tmp_path / "here", sha256=hashlib.sha256((content or "").encode()).hexdigest())
    assert not (tmp_path / "here").exists()


def test_a_manifest_that_breaks_off(server, published, tmp_path):
    (published / MANIFEST).write_text(f"{DIGEST}  m.onnx\n" * 200)
    server.break_in = (f"/{MANIFEST}",)
    with pytest.raises(DownloadError, match="5000"):
        take(server.address, tmp_path / "here", sha256=DIGEST)


def test_no_network_and_none_allowed(server, tmp_path, monkeypatch, cli):
    server.server_close()
    code, _, err = cli("fetch-model", server.address, "--sha256", DIGEST, "-o", tmp_path / "here")
    assert code == 1
    assert "edge-sphereface fetch-model FOLDER" in err
    monkeypatch.setenv("EDGE_SPHEREFACE_OFFLINE", "1")
    with pytest.raises(OfflineError):
        take(server.address, tmp_path / "here", sha256=DIGEST)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("ftp://example.org/m.onnx", "Expected an https address, got ftp://example.org/m.onnx."),
        ("https:///m.onnx", "Expected an https address, got https:///m.onnx."),
        ("file://nas/models", "names another machine"),
        ("https://[::1/m.onnx", "not a URL"),
        ("https://ann:geheim@example.org/", "user name or a password"),
        ("https://example.org/..%2f..%2fm.onnx", "a name such as"),
        ("https://example.org/.m.onnx", "a name such as"),
        ("nowhere", "check the path; an address begins with https://\n"),
    ],
)
def test_places_that_are_refused(cli, tmp_path, monkeypatch, place, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("fetch-model", place)
    assert code == 1
    assert message in err
    assert "geheim" not in err
    assert names(tmp_path) == []


def test_the_output_says_what_the_sha256_verifies(cli, published, tmp_path):
    """That of the manifest covers all files, that of a model no certificate."""
    for name, message in ((MANIFEST, "every file the one that it lists"), ("m.onnx", "who made its certificate")):
        place = published / name
        code, out, _ = cli("fetch-model", place, "--sha256", sha256(place), "-o", tmp_path / "here", "--form", "float")
        assert code == 0
        assert f"{name} has the SHA-256 that you gave, and " in out
        assert message in out


def test_a_folder_of_this_machine(cli, published, tmp_path):
    """Copied; without the publisher's SHA-256 the output says what is not verified."""
    code, out, _ = cli("fetch-model", published.as_uri(), "-o", tmp_path / "here", "--form", "int8")
    assert code == 0
    assert "parity PASSED" in out
    assert f"not verified: compare the SHA-256 of SHA256SUMS, {sha256(published / MANIFEST)}" in out
    assert f"export EDGE_SPHEREFACE_MODEL={tmp_path / 'here' / 'm.int8.onnx'}" in out
    (published / "m.onnx").unlink()
    code, _, err = cli("fetch-model", published, "-o", tmp_path / "here")
    assert code == 1
    assert "lists m.onnx, and there is no such file" in err


def test_a_folder_that_has_everything_needs_no_writing(published, as_nobody):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders cannot be entered by another user
        here = Path(name) / "here"
        shutil.copytree(published, here)
        Path(name).chmod(0o755)
        here.chmod(0o555)
        with as_nobody():
            assert len(take(here, here).models) == 2


def test_one_model_is_verified_by_its_certificate(server, published, tmp_path):
    took = take(published / "m.int8.onnx", tmp_path / "here")
    assert names(tmp_path / "here") == ["m.int8.onnx", "m.int8.parity.json"]
    assert took.sha256 == sha256(published / "m.int8.onnx")
    (published / "m.onnx").write_bytes(b"another")
    with pytest.raises(ChecksumError, match="expected SHA-256"):
        take(published / "m.onnx", tmp_path / "here")
    (published / "m.int8.parity.json").unlink()
    with pytest.raises(DownloadError, match=r"no .*m\.int8\.parity\.json"):
        take(published / "m.int8.onnx", tmp_path / "there")
    assert not (tmp_path / "there").exists()
    took = take(f"{server.address}m.int8.onnx?token=x", tmp_path / "there", sha256=took.sha256)
    assert names(tmp_path / "there") == ["m.int8.onnx"]
    assert server.requests[-1] == "/m.int8.onnx?token=x"


def test_another_file_of_the_same_name_stays(cli, published, tmp_path):
    """Only ``--overwrite`` replaces it. A folder in the way is found before anything is moved."""
    here = tmp_path / "here"
    shutil.copytree(published, here)
    (here / "m.int8.onnx").write_text("mine")
    (here / "m.onnx").unlink()
    code, _, err = cli("fetch-model", published, "-o", here)
    assert code == 1
    assert "m.int8.onnx exists already" in err
    assert "allow files to be replaced: --overwrite" in err
    assert (here / "m.int8.onnx").read_text() == "mine"
    (here / "README.txt").unlink()
    (here / "README.txt").mkdir()
    with pytest.raises(OutputError, match=r"README\.txt: it is a folder"):
        take(published, here, overwrite=True)
    assert not (here / "m.onnx").exists()
    (here / "README.txt").rmdir()
    take(published, here, overwrite=True)
    assert names(here) == names(published)
    assert (here / "m.int8.onnx").read_bytes() == (published / "m.int8.onnx").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked")
def test_two_runs_into_one_folder(published, tmp_path):
    """The second is refused. What another interrupted run has left stays."""

    def second(_name):
        with pytest.raises(OutputError, match="Another process"):
            take(published, tmp_path / "here")
        return lambda _done, _total: None

    other = tmp_path / "here" / ".incoming" / "other"
    other.mkdir(parents=True)
    fetch_models(str(published), tmp_path / "here", reporter=second)
    assert names(tmp_path / "here") == [".incoming", *names(published)]
    assert names(other.parent) == ["other"]


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
@pytest.mark.parametrize(
    ("closed", "mode", "message"),
    [
        ("published/m.onnx", 0, "Cannot copy .*m.onnx: Permission denied"),
        ("published/SHA256SUMS", 0, "Cannot read .*SHA256SUMS: Permission denied"),
        ("published", 0o600, "Permission denied|There is no"),
        ("here/m.onnx", 0, "m.onnx exists already, and is another file or cannot be read"),
        ("here", 0o500, "may not write into"),
        ("here", 0, "Cannot read .*here: Permission denied"),
    ],
)
def test_what_this_user_may_not_read_or_write(published, as_nobody, closed, mode, message):
    with as_nobody(), tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for folder in ("published", "here"):
            (place / folder).mkdir()
        content = b"model"
        (place / "published" / "m.onnx").write_bytes(content)
        (place / "published" / MANIFEST).write_text(write_manifest([place / "published" / "m.onnx"]))
        if closed == "here/m.onnx":
            (place / closed).write_bytes(b"another")
        before = (place / closed).stat().st_mode
        (place / closed).chmod(mode)
        try:
            with pytest.raises((DownloadError, OutputError), match=message):
                take(place / "published", place / "here")
        finally:
            (place / closed).chmod(before)


def test_a_model_that_misses_its_certificate(printed, cli, published, tmp_path):
    certificate = json.loads((published / "m.parity.json").read_text())
    certificate["golden"]["embeddings"][0][0] += 1
    (published / "m.parity.json").write_text(json.dumps(certificate))
    (published / MANIFEST).write_text(write_manifest(published.glob("m.[op]*")))
    words = "fetch-model", published, "-o", tmp_path / "here"
    found = printed(build_parser, *words[:1], *words)
    assert found["passed"] is False
    code, out, _ = cli(*words)
    assert code == 1
    assert "FAILED, do not use it here" in out
    assert "next:" not in out


def test_a_manifest_names_only_files_of_models():
    """Other files, which may hold anything, are left out; the form of a name decides."""
    lines = [
        f"{DIGEST}  m.onnx", f"{DIGEST} *m.parity.json", f"{DIGEST}  ./README.txt", f"{DIGEST}  ../../x.onnx",
        f"{DIGEST}  .profile.txt", f"{DIGEST}  people.db", f"{DIGEST}  a\\b.onnx", f"{DIGEST}  m.onnx.part",
    ]  # fmt: skip
    files, others = read_manifest("\r\n".join(lines).encode(), place="x")
    assert [file.name for file in files] == ["m.onnx", "m.parity.json", "README.txt"]
    assert len(others) == 5


def test_a_manifest_that_an_editor_changed():
    """A byte order mark, comments, empty lines and capital letters change nothing."""
    text = f"\ufeff# models\n\n{DIGEST}  M.INT8.ONNX\n{DIGEST}  m.onnx\n{DIGEST}  M.INT8.parity.json\n \n"
    files, others = read_manifest(text.encode(), place="x")
    assert [file.name for file in files_of_form(files, "INT8")] == ["M.INT8.ONNX", "M.INT8.parity.json"]
    assert others == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no .onnx or .ncnn file"),
        (f"{DIGEST}  README.txt", "lists no .onnx or .ncnn file"),
        (f"{DIGEST}  m.onnx\n{DIGEST}  M.onnx", "twice"),
        (f"{DIGEST} m.onnx", "line 1"),
        (f"{DIGEST[:-1]}  m.onnx", "line 1"),
        (f"\n{DIGEST}  m.onnx\nm.onnx", "line 3"),
        (f"{DIGEST}  m.onnx\n" * 300, "300 lines"),
    ],
)
def test_what_is_no_manifest(text, message):
    with pytest.raises(DownloadError, match=message):
        read_manifest(text.encode(), place="x")
