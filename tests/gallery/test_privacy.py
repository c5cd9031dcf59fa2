"""Faces are their owner's alone: private files, no byte of who was removed, encryption."""

import contextlib
import os
import sqlite3
import stat

import pytest

from edge_sphereface.errors import GalleryBusyError, GalleryFormatError, GalleryKeyError, OutputError
from edge_sphereface.gallery import open_gallery, read_key, write_new_key
from edge_sphereface.gallery.crops import encode_crop
from edge_sphereface.gallery.sqlite import store


def files_with(folder, needle):
    return sorted(file.name for file in folder.iterdir() if needle in file.read_bytes())


def test_every_file_is_private(enrolled, faces, tmp_path):
    previous = os.umask(0)
    try:
        gallery = enrolled(faces)
        gallery.enroll("p1", faces[9])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(previous)
    assert set(modes) == {"people.db", "people.db-matrix", "people.db-shm", "people.db-wal"}
    assert set(modes.values()) == {0o600}


def test_removal_leaves_no_byte_behind(enrolled, faces, crops, tmp_path):
    """Neither embedding, template, crop, name nor metadata, in the file, its log or the matrix; before, they are."""
    gallery = enrolled(faces, 30, keep_crops=True)
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


def test_a_changed_template_is_overwritten_when_the_gallery_is_closed(enrolled, faces, tmp_path):
    gallery = enrolled(faces)
    old = faces[1].tobytes()
    gallery.enroll("p1", faces[11])
    assert "people.db-matrix" in files_with(tmp_path, old)
    gallery.close()
    assert files_with(tmp_path, old) == ["people.db"], "it is still one of the members"


def test_removal_that_was_interrupted_is_finished_by_the_next_to_open(
    enrolled, faces, tmp_path, monkeypatch, fingerprint
):
    gallery = enrolled(faces, 20)
    monkeypatch.setattr(store, "erase", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        gallery.remove(["p3"])
    monkeypatch.undo()
    assert files_with(tmp_path, faces[3].tobytes())
    gallery._connection.close()
    open_gallery(tmp_path / "people.db", fingerprint).close()
    assert files_with(tmp_path, faces[3].tobytes()) == []


def test_removal_says_when_a_reader_keeps_the_bytes(enrolled, faces, tmp_path):
    gallery = enrolled(faces, timeout_s=0.1)
    reader = sqlite3.connect(tmp_path / "people.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM identities").fetchone()
    with pytest.raises(GalleryBusyError, match="bytes remain in people.db-wal"):
        gallery.remove(["p0"])
    reader.close()
    gallery.remove(["p1"])
    assert files_with(tmp_path, faces[0].tobytes()) == []


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
    with pytest.raises(OutputError, match="exists already"):
        write_new_key(file)
    monkeypatch.setenv("EDGE_SPHEREFACE_GALLERY_KEY", file.read_text())
    assert read_key() == read_key(file)
    if os.name == "posix":  # as `--key-file <(pass gallery)` gives it
        reader, writer = os.pipe()
        os.write(writer, file.read_bytes())
        os.close(writer)
        assert read_key(f"/dev/fd/{reader}") == read_key(file)
        os.close(reader)
    monkeypatch.setenv("EDGE_SPHEREFACE_GALLERY_KEY", "short")
    with pytest.raises(GalleryKeyError, match="32 bytes in base64 in the variable"):
        read_key()
    file.chmod(0o640)
    with pytest.raises(GalleryKeyError, match="mode 0640"):
        read_key(file)
    with pytest.raises(GalleryKeyError, match="There is no key file"):
        read_key(tmp_path / "none")


@pytest.mark.parametrize(
    ("size", "error"),
    [(43, GalleryKeyError), (42, GalleryFormatError)],
)
def test_a_damaged_key_check_is_told(enrolled, faces, path, key, fingerprint, size, error):
    """One of the right size cannot be told from a wrong key."""
    enrolled(faces, 1, key=key).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE state SET key_check = zeroblob(?)", (size,))
    raw.close()
    with pytest.raises(error, match="encrypted with another key, or is damaged|its key check is invalid"):
        open_gallery(path, fingerprint, key=key)


def test_values_moved_between_rows_are_noticed(enrolled, faces, path, key, fingerprint):
    """Ciphertexts are bound to their row: nobody becomes Ann by swapping two of them."""
    gallery = enrolled(faces, 2, key=key)
    gallery.close()
    with sqlite3.connect(path) as raw:
        (one, a), (two, b) = raw.execute("SELECT id, template FROM identities").fetchall()
        raw.execute("UPDATE identities SET template = ? WHERE id = ?", (a, two))
        raw.execute("UPDATE identities SET template = ? WHERE id = ?", (b, one))
    raw.close()
    with open_gallery(path, fingerprint, key=key) as again:
        with pytest.raises(GalleryFormatError, match="changed or moved"):
            again.search(faces[0])


TAMPERINGS = {
    "names": "UPDATE identities SET name = CASE name WHEN 'p0' THEN 'p1 ' ELSE 'p0' END",
    "one name": "UPDATE identities SET name = 'Eve' WHERE name = 'p0'",
    "metadata": """UPDATE identities SET metadata = '{"role": "admin"}' WHERE name = 'p0'""",
    "moment": "UPDATE identities SET enrolled_at = '1999-01-01' WHERE name = 'p0'",
    "embeddings": "UPDATE embeddings SET identity = 3 - identity",
    "threshold": "UPDATE thresholds SET record = replace(record, '0.6', '-1.0')",
    "thresholds": "UPDATE thresholds SET precision = 'int8'",
    "gallery": "UPDATE state SET gallery = 'x'",
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_whatever_is_changed_without_the_key_is_noticed(enrolled, faces, path, key, fingerprint, what):
    """Name, metadata, moment and template are bound together, embeddings to their identity, thresholds to theirs."""
    enrolled(faces, 2, key=key).close()
    with sqlite3.connect(path) as raw:
        raw.execute(TAMPERINGS[what])
    raw.close()

    def use():
        with open_gallery(path, fingerprint, key=key) as gallery:
            assert what in ("embeddings", "threshold", "thresholds") or gallery.search(faces[0]) is None
            list(gallery.portraits())
            gallery.thresholds()

    with pytest.raises((GalleryFormatError, GalleryKeyError), match="changed or moved|another key|bytes|decode"):
        use()
    with contextlib.suppress(GalleryKeyError), open_gallery(path, fingerprint, key=key) as gallery:
        assert gallery.check() != []


def test_a_name_that_is_changed_while_a_gallery_is_open_is_noticed(enrolled, faces, path, key):
    gallery = enrolled(faces, 2, key=key)
    assert gallery.identify(faces[0]).name == "p0"
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE identities SET name = 'Eve' WHERE name = 'p0'")
    raw.close()
    for action in (lambda: gallery.identify(faces[0]), lambda: list(gallery.identities())):
        with pytest.raises(GalleryFormatError, match="changed or moved"):
            action()


def test_an_encrypted_gallery_of_an_earlier_version_says_what_to_do(
    enrolled, make_earlier, faces, path, key, fingerprint
):
    enrolled(faces, 2, key=key).close()
    make_earlier(path, 1)
    with pytest.raises(GalleryFormatError, match="did not bind names.*import that into a new gallery"):
        open_gallery(path, fingerprint, key=key)
