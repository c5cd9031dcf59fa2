"""The gallery's file: private, refused when it is not one, whole after every error, and empty of who was removed."""

import hashlib
import os
import resource
import shutil
import signal
import sqlite3
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.errors import (
    GalleryBusyError,
    GalleryError,
    GalleryFormatError,
    GalleryKeyError,
    OutputError,
)
from edge_sphereface.gallery import Portrait, open_gallery, read_key, write_new_key
from edge_sphereface.gallery.crops import encode_crop
from edge_sphereface.gallery.sqlite import database, store
from edge_sphereface.gallery.sqlite.change import _EMPTY_ROWS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


def enrolled(make, faces, count=4, **options):
    gallery = make(**options)
    gallery.add(
        [
            Portrait(name=f"p{number}", metadata=None, embeddings=faces[number][None], crops=(None,))
            for number in range(count)
        ]
    )
    return gallery


def files_with(folder, needle):
    return sorted(file.name for file in folder.iterdir() if needle in file.read_bytes())


def test_every_file_is_private(make, faces, tmp_path):
    previous = os.umask(0)
    try:
        gallery = enrolled(make, faces)
        gallery.enroll("p1", faces[9])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(previous)
    assert set(modes) == {"people.db", "people.db-matrix", "people.db-shm", "people.db-wal"}
    assert set(modes.values()) == {0o600}


def test_removal_leaves_no_byte_behind(make, faces, crops, tmp_path):
    """Neither embedding, template, crop, name nor metadata, in the file, its log or the matrix; before, they are."""
    gallery = enrolled(make, faces, 30, keep_crops=True)
    crop = encode_crop(crops[0])
    gallery.enroll("Jane Quaverley", faces[35:37], crops=[crop, crop], metadata={"badge": "zebra-crossing"})
    gallery.enroll("Jane Quaverley", faces[37], crops=[crop])
    needles = {
        "embedding": faces[36].tobytes(),
        "template": gallery.template("Jane Quaverley").tobytes(),
        "name": b"Quaverley",
        "metadata": b"zebra-crossing",
        "crop": crop[40:140],
    }
    for what, needle in needles.items():
        assert files_with(tmp_path, needle), what
    with open_gallery(tmp_path / "people.db", gallery.fingerprint) as reader:
        assert reader.identify(faces[36]).name == "Jane Quaverley"
        gallery.remove(["Jane Quaverley"])
        for what, needle in needles.items():
            assert files_with(tmp_path, needle) == [], what
        assert reader.identify(faces[36]).name is None
        assert reader.identify(faces[7]).name == "p7"


def test_a_changed_template_is_overwritten_when_the_gallery_is_closed(make, faces, tmp_path):
    gallery = enrolled(make, faces)
    old = faces[1].tobytes()
    gallery.enroll("p1", faces[11])
    assert "people.db-matrix" in files_with(tmp_path, old)
    gallery.close()
    assert files_with(tmp_path, old) == ["people.db"], "it is still one of the members"


def test_removal_that_was_interrupted_is_finished_by_the_next_to_open(make, faces, tmp_path, monkeypatch, fingerprint):
    gallery = enrolled(make, faces, 20)
    monkeypatch.setattr(store, "erase", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        gallery.remove(["p3"])
    monkeypatch.undo()
    assert files_with(tmp_path, faces[3].tobytes())
    gallery._connection.close()
    open_gallery(tmp_path / "people.db", fingerprint).close()
    assert files_with(tmp_path, faces[3].tobytes()) == []


def test_removal_says_when_a_reader_keeps_the_bytes(make, faces, tmp_path):
    gallery = enrolled(make, faces, timeout_s=0.1)
    reader = sqlite3.connect(tmp_path / "people.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM identities").fetchone()
    with pytest.raises(GalleryBusyError, match="bytes are still in people.db-wal"):
        gallery.remove(["p0"])
    reader.close()
    gallery.remove(["p1"])
    assert files_with(tmp_path, faces[0].tobytes()) == []


def test_a_change_does_not_rewrite_the_matrix(make, faces, tmp_path):
    gallery = enrolled(make, faces, 30)
    matrix = tmp_path / "people.db-matrix"
    before, inode = matrix.read_bytes(), matrix.stat().st_ino
    gallery.enroll("new", faces[33])
    gallery.enroll("p1", faces[34])
    after = matrix.read_bytes()
    assert matrix.stat().st_ino == inode
    assert len(after) == len(before) + 2 * faces[0].nbytes
    assert after[4096 : len(before)] == before[4096:]


def test_empty_rows_do_not_pile_up(make, faces, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_sphereface.gallery.sqlite.change._EMPTY_ROWS", 8)
    assert _EMPTY_ROWS == 1024
    gallery = enrolled(make, faces, 4)
    for number in range(40):
        gallery.enroll(f"p{number % 4}", faces[number])
    assert (tmp_path / "people.db-matrix").stat().st_size <= 4096 + (2 * 4 + 9) * faces[0].nbytes
    assert gallery.check() == []
    assert gallery.search(gallery.template("p2"))[0][0].similarity == pytest.approx(1)


@pytest.mark.parametrize("harm", ["missing", "stale", "cut", "noise"])
def test_a_matrix_that_does_not_fit_is_not_believed(make, faces, tmp_path, harm):
    """The database is the truth; whoever writes next makes the matrix anew."""
    gallery = enrolled(make, faces)
    matrix = tmp_path / "people.db-matrix"
    old = matrix.read_bytes()
    gallery.remove(["p0"])
    gallery.enroll("p9", faces[9])
    gallery.close()
    replacement = {"stale": old, "cut": matrix.read_bytes()[:5000], "noise": os.urandom(9000)}.get(harm)
    matrix.unlink()
    if replacement is not None:
        matrix.write_bytes(replacement)
    again = make()
    assert [found.name for found in again.search(faces[9], top=1)[0]] == ["p9"]
    again.enroll("p8", faces[8])
    assert again._file.map(*[getattr(again._state(), name) for name in ("epoch", "token", "next_slot")]) is not None
    assert again.search(faces[8])[0][0].name == "p8"


def test_files_that_are_no_gallery(path, fingerprint):
    def refused(match):
        for create in (False, True):
            with pytest.raises(GalleryFormatError, match=match):
                open_gallery(path, fingerprint, create=create)

    path.write_bytes(b"\xff\xd8 a photograph")
    refused("no SQLite file")
    path.unlink()
    path.mkdir()
    refused("folder")
    path.rmdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE cats (name)")
    refused("no gallery")


def test_a_gallery_of_another_version_is_not_touched(make, faces, path, fingerprint):
    enrolled(make, faces).close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 2")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(GalleryFormatError, match="version 2; this package reads version 1"):
        open_gallery(path, fingerprint, create=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_gallery_is_told(make, faces, path, fingerprint, share):
    enrolled(make, faces, 40).close()
    whole = path.read_bytes()
    path.write_bytes(whole[: max(int(len(whole) * share), 10)])
    with pytest.raises(GalleryFormatError, match=r"damaged|no SQLite"):
        open_gallery(path, fingerprint)


def test_damaged_pages_are_told(make, faces, path, fingerprint):
    """Noise anywhere gives our error or the right answer; never a wrong one, never a traceback of SQLite's."""
    enrolled(make, faces, 40).close()
    whole = path.read_bytes()
    random = np.random.default_rng(3)
    told = 0
    for _ in range(40):
        harmed = bytearray(whole)
        start = int(random.integers(100, len(whole) - 600))
        harmed[start : start + 600] = random.bytes(600)
        path.write_bytes(harmed)
        (path.parent / "people.db-matrix").unlink(missing_ok=True)
        try:
            with open_gallery(path, fingerprint) as gallery:
                told += bool(gallery.check())
        except (GalleryFormatError, OutputError):
            told += 1
    assert told > 5, "most of a page is empty, and noise there harms nothing"


def test_tables_with_something_added_are_refused(make, faces, path, fingerprint):
    """A trigger in a file from elsewhere would run in our process."""
    enrolled(make, faces).close()
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TRIGGER t AFTER INSERT ON embeddings BEGIN DELETE FROM identities; END")
    raw.close()
    with pytest.raises(GalleryFormatError, match="tables"):
        open_gallery(path, fingerprint)


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX knows them")
def test_a_read_only_gallery_answers_and_refuses_to_change(make, faces, fingerprint, as_nobody):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        enrolled(make, faces, place=folder / "people.db").close()
        for mode in (0o777, 0o555):
            folder.chmod(mode)
            for file in folder.iterdir():
                file.chmod(0o444)
            with as_nobody():
                with open_gallery(folder / "people.db", fingerprint) as gallery:
                    assert gallery.identify(faces[2]).name == "p2"
                    for change in (lambda g: g.enroll("x", faces[8]), lambda g: g.remove(["p1"])):
                        with pytest.raises(OutputError, match="read-only"):
                            change(gallery)
        with as_nobody():
            with pytest.raises(OutputError, match="Cannot make the gallery"):
                open_gallery(folder / "new.db", fingerprint, create=True)
        folder.chmod(0o700)
        with as_nobody():
            with pytest.raises(GalleryError, match="may not read"):
                open_gallery(folder / "people.db", fingerprint)


def test_a_full_disk_is_told_and_nothing_is_lost(make, faces, path, fingerprint):
    """A limit on file size stands for a full disk: the database's log cannot grow any more."""
    gallery = enrolled(make, faces, 8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((path.parent / "people.db-wal").stat().st_size, before[1]))
    try:
        with pytest.raises(OutputError, match=r"disk"):
            gallery.add(
                [
                    Portrait(name=f"q{n}", metadata={"x": "y" * 30_000}, embeddings=faces[n][None], crops=(None,))
                    for n in range(20)
                ]
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert len(gallery) == 8
    gallery.enroll("later", faces[30])
    gallery.close()
    with open_gallery(path, fingerprint) as again:
        assert (len(again), again.check()) == (9, [])
        assert again.identify(faces[30]).name == "later"


def test_a_locked_gallery_is_told(make, faces, path):
    gallery = enrolled(make, faces, timeout_s=0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(GalleryBusyError, match="locked by another process"):
        gallery.enroll("x", faces[8])
    assert gallery.identify(faces[1]).name == "p1", "readers are not kept out"
    other.close()
    gallery.enroll("x", faces[8])


def test_an_encrypted_gallery_shows_names_and_nothing_else(make, faces, crops, tmp_path, key):
    gallery = make(key=key, keep_crops=True)
    gallery.enroll("Ann", faces[0], crops=[encode_crop(crops[0])])
    assert gallery.identify(faces[0]).name == "Ann"
    gallery.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["people.db"], "no matrix"
    for needle in (faces[0].tobytes()[:32], encode_crop(crops[0])[40:80]):
        assert files_with(tmp_path, needle) == []
    assert files_with(tmp_path, b"Ann") == ["people.db"]


def test_keys(make, faces, path, tmp_path, key, fingerprint, monkeypatch):
    make(key=key).enroll("Ann", faces[0])
    for wrong, match in ((None, "no key was given"), (bytes(32), "another key")):
        with pytest.raises(GalleryKeyError, match=match):
            open_gallery(path, fingerprint, key=wrong)
    make(tmp_path / "open.db").close()
    with pytest.raises(GalleryKeyError, match="not encrypted"):
        open_gallery(tmp_path / "open.db", fingerprint, key=key)
    with pytest.raises(GalleryKeyError, match="Milvus"):
        open_gallery("milvus:x.db", fingerprint, key=key)
    file = tmp_path / "key"
    write_new_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(read_key(file)) == 32
    with pytest.raises(OutputError, match="there already"):
        write_new_key(file)
    monkeypatch.setenv("EDGE_SPHEREFACE_GALLERY_KEY", file.read_text())
    assert read_key() == read_key(file)
    monkeypatch.setenv("EDGE_SPHEREFACE_GALLERY_KEY", "short")
    with pytest.raises(GalleryKeyError, match="32 bytes in base64 in the variable"):
        read_key()
    file.chmod(0o640)
    with pytest.raises(GalleryKeyError, match="mode 0640"):
        read_key(file)
    with pytest.raises(GalleryKeyError, match="Cannot read"):
        read_key(tmp_path / "none")


def test_values_moved_between_rows_are_noticed(make, faces, path, key, fingerprint):
    """Ciphertexts are bound to their row: nobody becomes Ann by swapping two of them."""
    gallery = enrolled(make, faces, 2, key=key)
    gallery.close()
    with sqlite3.connect(path) as raw:
        (one, a), (two, b) = raw.execute("SELECT id, template FROM identities").fetchall()
        raw.execute("UPDATE identities SET template = ? WHERE id = ?", (a, two))
        raw.execute("UPDATE identities SET template = ? WHERE id = ?", (b, one))
    raw.close()
    with open_gallery(path, fingerprint, key=key) as again:
        with pytest.raises(GalleryFormatError, match="changed or moved"):
            again.search(faces[0])


def test_a_copy_of_the_file_alone_is_a_whole_gallery(make, faces, path, tmp_path, fingerprint):
    enrolled(make, faces).close()
    shutil.copy(path, tmp_path / "copy.db")
    with open_gallery(tmp_path / "copy.db", fingerprint) as copy:
        assert copy.identify(faces[3]).name == "p3"


def test_a_gallery_that_was_rebuilt_elsewhere_is_noticed(make, faces, path, fingerprint):
    gallery = enrolled(make, faces)
    other = replace(fingerprint, precision="int8", quantization="z")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE state SET fingerprint = ?", (other.to_json(),))
    raw.close()
    with pytest.raises(ValueError, match="rebuilt for another model"):
        gallery.search(faces[0])


def test_tables_are_those_of_the_version():
    """Whoever changes the tables raises the version."""
    digest = hashlib.sha256("\n".join(database._TABLES).encode()).hexdigest()[:16]
    assert (database.VERSION, digest) == (1, "e5ffbdbbff82eb6c")
