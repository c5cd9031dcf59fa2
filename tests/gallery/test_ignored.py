"""People who are recognized and never reported."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from edge_sphereface.errors import GalleryFormatError, IdentityNotFoundError
from edge_sphereface.gallery import Portrait, open_gallery
from edge_sphereface.gallery.transfer import export_gallery, import_gallery

ROOT = Path(__file__).resolve().parents[2]


def options_of(gallery):
    return {"key": bytes(range(32))} if gallery.encrypted else {}


def test_an_ignored_person_is_found_and_not_named(gallery, faces):
    gallery.enroll("Ann", faces[0])
    assert gallery.count_ignored() == 0
    gallery.enroll("Postman", faces[1], ignored=True)
    assert gallery.count_ignored() == 1
    answer = gallery.identify(faces[1] + 0.1 * faces[5])
    assert (answer.name, answer.outcome) == (None, "ignored")
    assert [(found.name, bool(found.ignored)) for found in answer.candidates] == [("Postman", True), ("Ann", False)]
    assert gallery.identify(faces[0]).name == "Ann"
    assert [(one.name, one.ignored) for one in gallery.identities()] == [("Ann", False), ("Postman", True)]
    assert gallery.check() == []


def test_an_ignored_person_counts_where_others_are_decided(gallery, faces):
    """Whoever else reaches the threshold, the nearest is the person; and a name needs its margin over them, too."""
    gallery.add(
        [
            Portrait(name="Ann", metadata=None, embeddings=faces[:1], crops=(None,)),
            Portrait(name="Postman", metadata=None, embeddings=faces[1:2], crops=(None,), ignored=True),
        ]
    )
    nearer_postman = gallery.identify(0.95 * faces[0] + faces[1], threshold=0.5, margin=0.3)
    assert (nearer_postman.name, nearer_postman.outcome) == (None, "ignored")
    assert all(found.similarity > 0.5 for found in nearer_postman.candidates)
    nearer_ann = gallery.identify(faces[0] + 0.95 * faces[1], threshold=0.5, margin=0.3)
    assert (nearer_ann.name, nearer_ann.outcome) == (None, "ambiguous")
    assert gallery.identify(faces[0] + 0.95 * faces[1], threshold=0.5).name == "Ann"
    assert gallery.identify(faces[7], threshold=0.5).outcome == "unknown"
    both = gallery.identify_faces([faces[1], faces[1] + 0.2 * faces[7]])
    assert [one.outcome for one in both] == ["ignored", "ignored"], "no name is taken from the second"


def test_the_mark_is_changed_kept_and_undone(gallery, faces, fingerprint):
    gallery.enroll("Postman", faces[0], metadata={"route": 3})
    assert gallery.set_ignored("Postman", True).ignored
    assert gallery.set_ignored("Postman", True).ignored
    gallery.enroll("Postman", faces[1])
    assert gallery.get("Postman").ignored, "further photographs change nothing"
    assert gallery.portrait("Postman").ignored
    assert gallery.rename("Postman", "Postwoman").ignored
    gallery.enroll("Twin", faces[2])
    assert not gallery.merge("Postwoman", "Twin").ignored, "who stays, stays as it was"
    gallery.set_ignored("Twin", True)
    gallery.close()
    with open_gallery(gallery.location, fingerprint, **options_of(gallery)) as again:
        assert again.identify(faces[2]).outcome == "ignored"
        assert not again.set_ignored("Twin", False).ignored
        assert again.identify(faces[2]).name == "Twin"
        assert again.count_ignored() == 0
        assert again.check() == []
        with pytest.raises(IdentityNotFoundError):
            again.set_ignored("Nobody", True)


def test_an_export_keeps_the_mark(gallery, faces, make, tmp_path):
    gallery.enroll("Ann", faces[0])
    gallery.enroll("Postman", faces[1], ignored=True)
    export_gallery(gallery, tmp_path / "people.jsonl")
    other = make(tmp_path / "other.db", threshold=None)
    other.enroll("Ann", faces[2], ignored=True)
    import_gallery(other, tmp_path / "people.jsonl", existing="add")
    assert [(one.name, one.ignored) for one in other.identities()] == [("Ann", True), ("Postman", True)]


def test_an_export_of_an_earlier_version_is_read(make, faces, tmp_path):
    """Version 1 has no field `ignored`."""
    gallery, file = make(), tmp_path / "people.jsonl"
    gallery.enroll("Ann", faces[0])
    export_gallery(gallery, file)
    text = file.read_text()
    file.write_text(
        text.replace('"edge_sphereface_gallery": 2', '"edge_sphereface_gallery": 1').replace(', "ignored": false', "")
    )
    assert file.read_text() != text
    other = make(tmp_path / "other.db")
    import_gallery(other, file)
    assert not other.get("Ann").ignored
    file.write_text(text.replace('"edge_sphereface_gallery": 2', '"edge_sphereface_gallery": 3'))
    with pytest.raises(GalleryFormatError, match="in version 1 to 2"):
        import_gallery(other, file)


@pytest.mark.parametrize(("key", "version"), [(None, 1), (bytes(range(32)), 2)], ids=["plain", "encrypted"])
def test_a_gallery_of_an_earlier_version_is_migrated(enrolled, make_earlier, faces, path, fingerprint, key, version):
    enrolled(faces, 4, key=key).close()
    make_earlier(path, version)
    with open_gallery(path, fingerprint, key=key) as gallery:
        assert (gallery.identify(faces[1]).name, gallery.count_ignored(), gallery.check()) == ("p1", 0, [])
        gallery.set_ignored("p1", True)
        assert gallery.identify(faces[1]).outcome == "ignored"
        gallery.enroll("new", faces[9])
    with open_gallery(path, fingerprint, key=key) as again:
        assert [one.ignored for one in again.identities()] == [False, False, True, False, False]
        assert again.check() == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make files of another user")
def test_who_may_only_read_an_earlier_gallery_reads_it_and_follows_its_migration(
    enrolled, make_earlier, faces, fingerprint, as_nobody
):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "people.db"
        enrolled(faces, place=place).close()
        make_earlier(place, 1)
        for file in (place.parent, *place.parent.iterdir()):
            os.chown(file, 65534, 65534)
        place.chmod(0o400)
        with as_nobody():
            reader = open_gallery(place, fingerprint)
            assert (reader.identify(faces[1]).name, reader.count_ignored(), reader.writable) == ("p1", 0, False)
        place.chmod(0o600)
        code = "import sys; from edge_sphereface.gallery import open_gallery; "
        code += "open_gallery(sys.argv[1]).set_ignored('p1', True)"  # in another process, as SQLite shares a log
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code, place], check=True, env=environment)
        assert (reader.identify(faces[1]).outcome, reader.count_ignored()) == ("ignored", 1)
        reader.close()


def test_a_mark_that_was_set_without_the_key_is_noticed(enrolled, faces, path, key, fingerprint):
    """Whoever could ignore a person in a stolen gallery would switch an alarm off."""
    enrolled(faces, 2, key=key).close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE identities SET ignored = 1 WHERE name = 'p0'")
        raw.commit()
    with (
        open_gallery(path, fingerprint, key=key) as gallery,
        pytest.raises(GalleryFormatError, match="changed or moved"),
    ):
        gallery.identify(faces[0])


@pytest.mark.slow
def test_a_gallery_in_milvus_of_an_earlier_version_is_copied(tmp_path, make, faces, fingerprint):
    place = f"milvus:{tmp_path / 'people.db'}"
    gallery = make(place)
    gallery.enroll("Ann", faces[:2], metadata={"a": 1})
    collections = gallery._collections
    rows = collections.identities(["metadata", "enrolled_at", "template"])
    client, before = collections._client, collections._identities
    client.drop_collection(before)
    texts = [("id", 64), ("name", 1000), ("metadata", 1000), ("enrolled_at", 64)]
    collections._make_collection(before, texts, ("template", 32))
    client.insert(before, rows)
    collections.keep("version", "1")
    gallery.close()
    with open_gallery(place, fingerprint) as again:
        assert (again.get("Ann").metadata, again.get("Ann").embeddings, again.get("Ann").ignored) == (
            {"a": 1},
            2,
            False,
        )
        again.set_ignored("Ann", True)
        assert again.identify(faces[0]).outcome == "ignored"
