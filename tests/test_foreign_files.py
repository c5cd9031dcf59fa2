"""A file of another program that is named by mistake stays as it is: root may have named any file of the system."""

import os
import sqlite3
import stat
from contextlib import closing

import pytest

from edge_sphereface.audit import AuditLog
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.gallery import open_gallery
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.retention import FolderIndex
from edge_sphereface.retention.event_files import read_lines
from edge_sphereface.retention.folder_index import INDEX_NAME
from edge_sphereface.strangers import StrangerStore
from edge_sphereface.strangers.store import is_store
from edge_sphereface.stream.outputs.events.jsonl import FileSink
from edge_sphereface.stream.outputs.events.outbox import Outbox, is_database, is_outbox

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs modes")


@pytest.fixture
def foreign(tmp_path):
    """Makes a file that others may read: of text, or a database, also one with a write-ahead log or a broken schema."""

    def make(kind, name):
        path = tmp_path / name
        if kind == "text":
            path.write_text("root:x:0:0:root:/root:/bin/bash\n" * 200)
        else:
            with closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA application_id = 7")
                if kind == "log":
                    database.execute("PRAGMA journal_mode = WAL")
                database.execute("CREATE TABLE precious (x)")
                database.commit()
            if kind == "broken":
                path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE TABL\xdc"))
        path.chmod(0o644)
        return path

    return make


def open_named_gallery(path, spec):
    with open_gallery(path, Fingerprint.of(spec), create=True):
        pass


def open_events(path, _):
    sink = FileSink(path)
    sink.open()
    return sink


OPENERS = {
    "gallery": open_named_gallery,
    "strangers": lambda path, spec: StrangerStore(path, fingerprint=Fingerprint.of(spec), create=True),
    "spool": lambda path, _: Outbox(path),
    "events": open_events,
    "event part": lambda path, _: list(read_lines(path)),
    "audit": lambda path, _: AuditLog(path).prepare(),
    "index": lambda path, _: FolderIndex(path.parent),
}


@pytest.mark.parametrize(
    ("kind", "opener"),
    [
        (kind, opener)
        for kind in ("text", "database", "log", "broken")
        for opener in OPENERS
        if opener != "index" or kind in ("database", "log")  # its name is its own: other content is damage
    ],
)
def test_a_file_of_another_program_is_refused_and_keeps_its_mode(foreign, spec, kind, opener):
    path = foreign(kind, INDEX_NAME if opener == "index" else "important")
    before = path.read_bytes()
    with pytest.raises(EdgeSphereFaceError):
        OPENERS[opener](path, spec)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.read_bytes() == before
    companions = {f"{path.name}-wal", f"{path.name}-shm"}  # SQLite makes them to read a write-ahead log
    assert set(os.listdir(path.parent)) - companions == {path.name}


READERS = {
    "gallery": lambda path, spec: open_gallery(path, Fingerprint.of(spec)),
    "gallery without a model": lambda path, _: open_gallery(path, None),
    "strangers": lambda path, _: StrangerStore(path),
    "strangers of a model": lambda path, spec: StrangerStore(path, fingerprint=Fingerprint.of(spec)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "statements",
    [
        None,
        ["VACUUM"],
        ["PRAGMA journal_mode = WAL"],
        ["PRAGMA user_version = 3", "VACUUM"],
        ["CREATE TABLE gone (x)", "DROP TABLE gone"],
    ],
)
def test_an_empty_file_is_refused_unchanged_by_what_makes_none(tmp_path, spec, statements, reader):
    """Of no bytes, or a database without tables."""
    path = tmp_path / "empty"
    path.touch()
    if statements is not None:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            for statement in statements:
                database.execute(statement)
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(EdgeSphereFaceError, match=r"empty|not a gallery"):
        READERS[reader](path, spec)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("opener", ["gallery", "strangers", "spool", "index"])
def test_a_database_of_another_program_is_refused_also_before_it_has_tables(tmp_path, spec, opener):
    path = tmp_path / (INDEX_NAME if opener == "index" else "important")
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA application_id = 7")
    before = path.read_bytes()
    with pytest.raises(EdgeSphereFaceError):
        OPENERS[opener](path, spec)
    assert path.read_bytes() == before


@pytest.mark.timeout(60)
def test_a_fifo_is_not_waited_for(tmp_path):
    """Opening one to look at its first bytes would wait for its writer."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert not any(looks(path) for looks in (is_database, is_outbox, is_store))
    with pytest.raises(EdgeSphereFaceError, match="FIFO|regular file"):
        list(read_lines(path))


@pytest.mark.parametrize("opener", ["gallery", "strangers", "spool", "events", "index"])
def test_an_empty_file_is_taken_and_closed_to_others(tmp_path, spec, opener):
    path = tmp_path / (INDEX_NAME if opener == "index" else "new")
    path.touch(0o644)
    path.chmod(0o644)
    opened = OPENERS[opener](path, spec)
    if opened is not None:
        opened.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
