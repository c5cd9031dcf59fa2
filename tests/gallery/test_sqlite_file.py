"""Files that are no gallery or a damaged one, and errors while one is used: told, and nothing is lost."""

import hashlib
import os
import resource
import shutil
import signal
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.errors import (
    FingerprintError,
    GalleryBusyError,
    GalleryError,
    GalleryFormatError,
    GalleryNotFoundError,
    OutputError,
)
from edge_sphereface.gallery import Portrait, open_gallery
from edge_sphereface.gallery.sqlite import database

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path):
    """A folder in memory on Linux: what files hold is tested here, and a disk would be waited for at each commit."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="edge-sphereface-tests-") as folder:
        yield Path(folder)


def test_files_that_are_no_gallery(path, fingerprint):
    def refused(match):
        for create in (False, True):
            with pytest.raises(GalleryFormatError, match=match):
                open_gallery(path, fingerprint, create=create)

    path.write_bytes(b"\xff\xd8 a photograph")
    refused("not an SQLite file")
    path.unlink()
    path.mkdir()
    refused("folder")
    path.rmdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE cats (name)")
    refused("not a gallery")


def test_a_gallery_of_another_version_is_not_touched(enrolled, faces, path, fingerprint):
    enrolled(faces).close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 4")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(GalleryFormatError, match="version 4; this package reads 1 to 3"):
        open_gallery(path, fingerprint, create=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_gallery_is_told(enrolled, faces, path, fingerprint, share):
    enrolled(faces, 40).close()
    whole = path.read_bytes()
    path.write_bytes(whole[: max(int(len(whole) * share), 10)])
    with pytest.raises(GalleryFormatError, match=r"damaged|not an SQLite"):
        open_gallery(path, fingerprint)


def test_damaged_pages_are_told(enrolled, faces, path, fingerprint):
    """Noise anywhere gives our error or the right answer; never a wrong one, never a traceback of SQLite's."""
    enrolled(faces, 40).close()
    whole = path.read_bytes()
    random = np.random.default_rng(3)
    told = 0
    used = np.flatnonzero(np.frombuffer(whole[100:-600], np.uint8)) + 100  # most of a page is empty
    for _ in range(40):
        harmed = bytearray(whole)
        start = int(random.choice(used))
        harmed[start : start + 600] = random.bytes(600)
        path.write_bytes(harmed)
        (path.parent / "people.db-matrix").unlink(missing_ok=True)
        try:
            with open_gallery(path, fingerprint) as gallery:
                told += bool(gallery.check())
        except (GalleryFormatError, OutputError):
            told += 1
    assert told > 20


def test_tables_with_something_added_are_refused(enrolled, faces, path, fingerprint):
    """A trigger in a file from elsewhere would run in our process."""
    enrolled(faces).close()
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TRIGGER t AFTER INSERT ON embeddings BEGIN DELETE FROM identities; END")
    raw.close()
    with pytest.raises(GalleryFormatError, match="tables"):
        open_gallery(path, fingerprint)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere an open file cannot be deleted")
def test_a_file_that_was_deleted_is_told_and_one_that_was_replaced_is_opened(enrolled, make, faces, path):
    gallery = enrolled(faces)
    for file in path.parent.glob("people.db*"):
        file.unlink()
    with pytest.raises(GalleryNotFoundError, match=r"people\.db"):
        gallery.search(faces[0])
    with pytest.raises(GalleryNotFoundError, match=r"people\.db"):
        gallery.enroll("new", faces[0])
    make().enroll("new", faces[0])
    assert [candidate.name for candidate in gallery.search(faces[0])[0]] == ["new"]
    assert len(gallery) == 1


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX knows them")
def test_a_read_only_gallery_answers_and_refuses_to_change(enrolled, faces, fingerprint, as_nobody):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        enrolled(faces, place=folder / "people.db").close()
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


def test_a_full_disk_is_told_and_nothing_is_lost(enrolled, faces, path, fingerprint):
    """A limit on file size stands for a full disk: the database's log cannot grow any more."""
    gallery = enrolled(faces, 8)
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


def test_a_locked_gallery_is_told(enrolled, faces, path):
    gallery = enrolled(faces, timeout_s=0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(GalleryBusyError, match="locked by another process"):
        gallery.enroll("x", faces[8])
    assert gallery.identify(faces[1]).name == "p1", "readers are not kept out"
    other.close()
    gallery.enroll("x", faces[8])


def test_a_copy_of_the_file_alone_is_a_whole_gallery(enrolled, faces, path, tmp_path, fingerprint):
    enrolled(faces).close()
    shutil.copy(path, tmp_path / "copy.db")
    with open_gallery(tmp_path / "copy.db", fingerprint) as copy:
        assert copy.identify(faces[3]).name == "p3"


def test_a_gallery_that_was_rebuilt_elsewhere_is_noticed(enrolled, faces, path, fingerprint):
    gallery = enrolled(faces)
    other = replace(fingerprint, precision="int8", quantization="z")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE state SET fingerprint = ?", (other.to_json(),))
    raw.close()
    with pytest.raises(ValueError, match="rebuilt for another model"):
        gallery.search(faces[0])


def test_tables_are_those_of_the_version():
    """Whoever changes the tables raises the version."""
    digest = hashlib.sha256("\n".join(database._TABLES).encode()).hexdigest()[:16]
    assert (database.VERSION, digest) == (3, "32cda4fded2e4f9d")


def test_a_claim_of_rows_that_nobody_has_takes_no_memory(enrolled, faces, path, fingerprint):
    enrolled(faces).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE state SET next_slot = 1000000000000")
    raw.close()
    with open_gallery(path, fingerprint) as gallery:
        with pytest.raises(GalleryFormatError, match="claims 1000000000000 rows for 4 identities"):
            gallery.search(faces[0])


def open_copy(gallery, path, folder):
    """What a kill would leave: the file and its log, copied while the gallery is open."""
    for suffix in ("", "-wal", "-matrix"):
        shutil.copy(f"{path}{suffix}", folder / f"killed.db{suffix}")
    gallery.close()
    return folder / "killed.db"


def test_a_checkpoint_that_only_wrote_the_first_page_is_no_damage(enrolled, faces, path, tmp_path, fingerprint):
    """SQLite writes the page with the new size first; the log holds the others."""
    enrolled(faces, 1).close()
    gallery = enrolled(faces, 1)
    gallery.add(
        [Portrait(name=f"q{n}", metadata={"x": "y" * 9000}, embeddings=faces[:1], crops=(None,)) for n in range(40)]
    )
    killed = open_copy(gallery, path, tmp_path)
    whole, log = path.read_bytes(), Path(f"{killed}-wal").read_bytes()
    page = int.from_bytes(whole[16:18], "big")
    assert len(killed.read_bytes()) < len(whole) - 10 * page, "most pages are in the log alone"
    killed.write_bytes(whole[:page] + killed.read_bytes()[page:])
    with open_gallery(killed, fingerprint) as again:
        assert (len(again), again.check()) == (41, [])
    assert killed.read_bytes()[28:32] == whole[28:32]
    # Without what the log should hold it is damage, and nothing is written to either file
    cut = log[: 32 + 5 * (24 + page)]
    short = whole[:page] + whole[page : 3 * page]
    for content in (cut, b""):
        killed.write_bytes(short)
        Path(f"{killed}-wal").write_bytes(content)
        with pytest.raises(GalleryFormatError, match="damaged"):
            open_gallery(killed, fingerprint)
        assert killed.read_bytes() == short
        assert Path(f"{killed}-wal").read_bytes() == content


def test_an_empty_file_beside_a_log_is_damage_and_the_log_stays(enrolled, faces, path, tmp_path, fingerprint):
    """SQLite alone would delete the log."""
    killed = open_copy(enrolled(faces), path, tmp_path)
    killed.write_bytes(b"")
    before = Path(f"{killed}-wal").read_bytes()
    for create in (False, True):
        with pytest.raises(GalleryFormatError, match="it is empty, and killed.db-wal is not") as caught:
            open_gallery(killed, fingerprint, create=create)
        assert f"delete {killed} and {killed}-wal" in caught.value.hint
    assert Path(f"{killed}-wal").read_bytes() == before


def test_a_log_without_its_gallery_is_told_and_nothing_is_made(enrolled, faces, path, tmp_path, fingerprint):
    """Left by a kill, the gallery deleted by hand: the message names what to delete, and then it works."""
    killed = open_copy(enrolled(faces), path, tmp_path)
    killed.unlink()
    for _ in range(2):
        with pytest.raises(GalleryFormatError, match="is missing, and its log killed.db-wal") as caught:
            open_gallery(killed, fingerprint, create=True)
        assert not killed.exists()
    assert f"delete {killed}-wal" in caught.value.hint
    Path(f"{killed}-wal").unlink()
    with open_gallery(killed, fingerprint, create=True) as gallery:
        gallery.enroll("Ann", faces[0])
        assert (len(gallery), gallery.check()) == (1, [])


def test_a_file_that_its_maker_left_empty_is_made_into_a_gallery(path, faces, fingerprint):
    path.touch()
    with open_gallery(path, fingerprint, create=True) as gallery:
        gallery.enroll("Ann", faces[0])
        assert gallery.check() == []


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX knows them")
def test_a_log_in_a_read_only_folder_is_told(enrolled, faces, path, fingerprint, as_nobody):
    with tempfile.TemporaryDirectory() as name:
        killed = open_copy(enrolled(faces), path, Path(name))
        for file in killed.parent.iterdir():
            file.chmod(0o444)
        killed.parent.chmod(0o555)
        with (
            as_nobody(),
            pytest.raises(GalleryError, match="write-ahead log, which cannot be read.*open the gallery once"),
        ):
            open_gallery(killed, fingerprint)
        killed.parent.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX knows them")
def test_a_gallery_that_others_may_write_becomes_private(enrolled, faces, path, tmp_path, fingerprint):
    """Whoever made the file, empty or not, and whatever mode its log has."""
    path.touch()
    path.chmod(0o666)
    previous = os.umask(0)
    try:
        gallery = enrolled(faces)
        killed = open_copy(gallery, path, tmp_path)
        for file in tmp_path.glob("killed*"):
            file.chmod(0o666)
        with open_gallery(killed, fingerprint) as again:
            again.enroll("x", faces[9])
            modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()}
    finally:
        os.umask(previous)
    assert set(modes.values()) == {"0o600"}, modes
    assert "killed.db-wal" in modes


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make files of another user")
def test_a_gallery_of_another_user_that_anybody_may_write_is_refused(enrolled, faces, path, fingerprint):
    enrolled(faces).close()
    for name in (path.name, f"{path.name}-wal"):
        file = path.with_name(name)
        file.touch()
        os.chown(file, 65534, 65534)
        file.chmod(0o666)
        before = path.read_bytes()
        with pytest.raises(OutputError, match="another user's file"):
            open_gallery(path, fingerprint)
        assert path.read_bytes() == before
        os.chown(file, 0, 0)


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX knows them")
def test_a_link_and_its_gallery_are_one(enrolled, faces, path, tmp_path, fingerprint):
    """Both names lead to one log and one matrix: what is removed by one name is not left beside the other."""
    enrolled(faces).close()
    (tmp_path / "link").mkdir()
    link = tmp_path / "link" / "other.db"
    link.symlink_to(path)
    with open_gallery(link, fingerprint) as gallery:
        gallery.enroll("x", faces[9])
        assert gallery.identify(faces[9]).name == "x"
    assert os.listdir(tmp_path / "link") == ["other.db"]


HUGE = (1 << 63) - 1
GARBAGE = {
    "identities": {
        "name": [b"\xff\xfe", 7],
        "metadata": [b"{}", "[1", "{}" * 9, "[]", '{"a": NaN}', "9" * 5000],
        "slot": ["x", -1, HUGE, 3.5, b"1"],
        "template": ["text", b"", b"\x00" * 128, b"\xff" * 128, b"\x01" * 127, 5, "\u0141" * 32],
        "enrolled_at": [b"x", b""],
        "ignored": ["x", b"", 2, -1],
    },
    "embeddings": {
        "embedding": ["text", b"", b"\x00" * 128, b"\xff" * 128, 5, 2.5],
        "identity": ["x", 999, HUGE, b""],
        "crop": ["text", 5],
    },
    "state": {
        "gallery": [b"x"],
        "fingerprint": [b"x", "[]", "{" * 5000, "9" * 5000],
        "keep_crops": ["x", b""],
        "epoch": ["x", b"short", 1],
        "token": ["x", b"short", 1],
        "next_slot": ["x", -1, HUGE, 2.5],
        "erasing": ["x", b""],
        "key_check": ["x", b"", b"x" * 60, 5],
    },
    "thresholds": {"precision": [b"x", "int8"], "record": [b"x", "{}", "[]", "9" * 5000, b"\xff"]},
    "dead_slots": {"slot": [-5, HUGE, 1]},
}


@pytest.mark.parametrize("options", [{}, {"key": bytes(range(32))}], ids=["plain", "encrypted"])
@pytest.mark.parametrize("place", [(table, column) for table, columns in GARBAGE.items() for column in columns])
def test_values_that_are_none_of_ours(enrolled, faces, path, fingerprint, place, options):
    """SQLite keeps a value of any type in any column: our error or the right answer, and `check` names it."""
    table, column = place
    enrolled(faces, 4, **options).close()
    whole = path.read_bytes()
    matrix = path.with_name("people.db-matrix")
    rows = matrix.read_bytes() if matrix.exists() else b""
    for value in GARBAGE[table][column]:
        for mapped in (False,) if options else (True, False):
            path.write_bytes(whole)
            spoil(path, table, column, value)
            matrix.write_bytes(rows) if mapped else matrix.unlink(missing_ok=True)
            told = use(path, fingerprint, faces, options, unfound=None if column == "slot" else "")
            harmless = table == "dead_slots" or (not options and (table, column, value) in HARMLESS)
            assert told or harmless, (value, mapped)


def spoil(path, table, column, value):
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA ignore_check_constraints = ON")
        raw.execute("PRAGMA synchronous = OFF")
        if table == "dead_slots":
            raw.execute("INSERT INTO dead_slots VALUES (?)", (value,))
        else:
            where = "" if table == "thresholds" else "WHERE rowid = 1"
            raw.execute(f"UPDATE {table} SET {column} = ? {where}", (value,))
    raw.close()


HARMLESS = [("identities", "name", 7)]  # SQLite makes a text of it


def use(path, fingerprint, faces, options, *, unfound):
    """Do everything with a gallery that may hold garbage; whether something was told."""
    told = []

    def attempt(action):
        try:
            return action()
        except (GalleryError, OutputError, FingerprintError) as error:
            told.append(error)  # with its frames: they must keep no lock

    gallery = attempt(lambda: open_gallery(path, fingerprint, timeout_s=1, **options))
    if gallery is None:
        return told
    with gallery:
        for number in range(4):
            found = attempt(lambda number=number: gallery.identify(faces[number], threshold=0.6))
            assert found is None or found.name in (f"p{number}", *(["7", unfound] if number == 0 else [])), found
        attempt(lambda: list(gallery.identities()))
        attempt(lambda: list(gallery.portraits()))
        attempt(lambda: [gallery.template(f"p{number}") for number in range(4)])
        attempt(gallery.thresholds)
        problems = attempt(gallery.check) or []
        attempt(lambda: gallery.enroll("p1", faces[20]))
        attempt(lambda: gallery.enroll("new", faces[21]))
        attempt(lambda: gallery.remove(["p2"]))
        attempt(gallery.closest_pair)
    assert problems or not told, "check must name what everything else trips over"
    return told + problems


def test_a_schema_that_is_not_utf_8_is_damage(tmp_path, fingerprint):
    """SQLite quotes the schema in its error, which Python cannot decode: a UnicodeDecodeError, no sqlite3.Error."""
    open_gallery(tmp_path / "people.db", fingerprint, create=True).close()
    content = (tmp_path / "people.db").read_bytes()
    (tmp_path / "people.db").write_bytes(content.replace(b"CREATE TABLE ", b"CRE\x85TE \xff\x85BLE "))
    with pytest.raises(GalleryFormatError, match="damaged"):
        open_gallery(tmp_path / "people.db", fingerprint)
