"""The mapped matrix: appended to, numbered anew, and never believed against the database."""

import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.errors import OutputError
from edge_sphereface.gallery import open_gallery
from edge_sphereface.gallery.sqlite import database
from edge_sphereface.gallery.sqlite.template_matrix import Rows
from edge_sphereface.gallery.sqlite.transaction import _EMPTY_ROWS

CHECKSUM = 8


def test_a_change_does_not_rewrite_the_matrix(enrolled, faces, tmp_path):
    gallery = enrolled(faces, 30)
    matrix = tmp_path / "people.db-matrix"
    before, inode = matrix.read_bytes(), matrix.stat().st_ino
    gallery.enroll("new", faces[33])
    gallery.enroll("p1", faces[34])
    after = matrix.read_bytes()
    assert matrix.stat().st_ino == inode
    assert len(after) == len(before) + 2 * (faces[0].nbytes + CHECKSUM)
    assert after[4096 : len(before)] == before[4096:]


def test_empty_rows_do_not_pile_up(enrolled, faces, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_sphereface.gallery.sqlite.transaction._EMPTY_ROWS", 8)
    assert _EMPTY_ROWS == 1024
    gallery = enrolled(faces, 4)
    for number in range(40):
        gallery.enroll(f"p{number % 4}", faces[number])
    assert (tmp_path / "people.db-matrix").stat().st_size <= 4096 + (2 * 4 + 9) * (faces[0].nbytes + CHECKSUM)
    assert gallery.check() == []
    assert gallery.search(gallery.template("p2"))[0][0].similarity == pytest.approx(1)


@pytest.mark.parametrize("harm", ["missing", "stale", "cut", "noise"])
def test_a_matrix_that_does_not_fit_is_not_believed(enrolled, make, faces, tmp_path, harm):
    """The database is the truth; whoever writes next makes the matrix anew."""
    gallery = enrolled(faces)
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


def spoiled(content, kind, row_bytes):
    """A matrix of which some bytes have changed behind the gallery's back."""
    rows = [bytearray(content[4096 + slot * row_bytes : 4096 + (slot + 1) * row_bytes]) for slot in range(4)]
    if kind == "rows exchanged":
        rows[0], rows[1] = rows[1], rows[0]
    elif kind == "numbers exchanged":
        rows[0][:-CHECKSUM], rows[1][:-CHECKSUM] = rows[1][:-CHECKSUM], rows[0][:-CHECKSUM]
    elif kind == "zeroed":
        rows[1][:] = bytes(row_bytes)
    elif kind == "NaN":
        rows[1][:-CHECKSUM] = np.full((row_bytes - CHECKSUM) // 4, np.nan, "<f4").tobytes()
    elif kind == "words exchanged":
        rows[1][:8], rows[1][8:16] = rows[1][8:16], rows[1][:8]
    else:
        rows[1][int(kind)] ^= 0x10
    return content[:4096] + b"".join(map(bytes, rows)) + content[4096 + 4 * row_bytes :]


@pytest.mark.parametrize(
    "kind", ["rows exchanged", "numbers exchanged", "words exchanged", "zeroed", "NaN", "0", "70", "127", "130"]
)
def test_a_matrix_that_is_damaged_is_not_believed(enrolled, faces, tmp_path, fingerprint, kind):
    """Nobody gets another's name: templates come from the database, `check` says so, the next change mends it."""
    enrolled(faces, 12).close()
    matrix = tmp_path / "people.db-matrix"
    row_bytes = faces[0].nbytes + CHECKSUM
    matrix.write_bytes(spoiled(matrix.read_bytes(), kind, row_bytes))
    with open_gallery(tmp_path / "people.db", fingerprint) as gallery:
        for number in range(12):
            best, second = gallery.search(faces[number], top=2)[0]
            assert (best.name, best.similarity) == (f"p{number}", pytest.approx(1))
            assert second.similarity < 0.9
    with open_gallery(tmp_path / "people.db") as gallery:
        (problem,) = gallery.check()
        assert f"{2 if 's exchanged' in kind and 'words' not in kind else 1} of 12 rows of people.db-matrix" in problem
    with open_gallery(tmp_path / "people.db", fingerprint) as gallery:
        gallery.search(faces[0])
        gallery.enroll("new", faces[20])
        assert gallery.check() == []
        assert gallery.search(faces[1])[0][0].name == "p1"


def test_checksums_stay_right_through_changes(enrolled, faces, tmp_path, fingerprint):
    """Rows appended, replaced, zeroed when a gallery is closed, numbered anew: each is verified by the next to open."""
    gallery = enrolled(faces, 12)
    gallery.enroll("p1", faces[20])
    gallery.enroll("new", faces[21])
    gallery.close()
    for change in (lambda g: g.remove(["p2"]), lambda g: g.enroll("p3", faces[22]), lambda g: g.remove(["p1", "new"])):
        with open_gallery(tmp_path / "people.db", fingerprint) as gallery:
            state = gallery._state()
            assert gallery._file.map(state.epoch, state.token, state.next_slot) is not None
            assert gallery.check() == []
            change(gallery)
            assert gallery.check() == []


@pytest.mark.parametrize("size", [1, 31, 32, 512])
def test_every_flipped_bit_of_a_row_is_found(size):
    rows, epoch = Rows(size), os.urandom(16)
    words = rows.packed(0, np.random.default_rng(0).standard_normal((5, size), dtype=np.float32), epoch)
    assert rows.wrong(words, epoch) == []
    assert rows.wrong(words, os.urandom(16)) == [0, 1, 2, 3, 4], "of another epoch"
    raw = words.view("u1")
    for byte in range(0, raw.shape[1], max(1, raw.shape[1] // 100)):
        for bit in range(8):
            raw[3, byte] ^= 1 << bit
            assert rows.wrong(words, epoch) == [3]
            raw[3, byte] ^= 1 << bit


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX knows them")
@pytest.mark.parametrize("suffix", ["-matrix", "-matrix-next"])
def test_a_link_in_the_place_of_the_matrix_is_not_followed(enrolled, faces, tmp_path, fingerprint, suffix):
    """Neither by what overwrites old rows nor by what writes new ones."""
    enrolled(faces).close()
    victim, matrix = tmp_path / "victim", tmp_path / f"people.db{suffix}"
    victim.write_bytes(b"mine" * 5000)
    for change in (lambda g: g.enroll("x", faces[9]), lambda g: g.enroll("x", faces[10]), lambda g: g.remove(["p1"])):
        matrix.unlink(missing_ok=True)
        matrix.symlink_to(victim)
        with open_gallery(tmp_path / "people.db", fingerprint) as gallery:
            change(gallery)
            assert gallery.search(faces[2])[0][0].name == "p2"
        assert victim.read_bytes() == b"mine" * 5000
    assert not matrix.is_symlink()


def test_a_matrix_of_an_earlier_version_is_overwritten(enrolled, faces, tmp_path, fingerprint):
    enrolled(faces).close()
    matrix = tmp_path / "people.db-matrix"
    matrix.write_bytes(matrix.read_bytes().replace(b"ESFGMTX2", b"ESFGMTX1"))
    with open_gallery(tmp_path / "people.db", fingerprint) as gallery:
        assert gallery.search(faces[2])[0][0].name == "p2"
        gallery.enroll("x", faces[9])
        assert gallery.check() == []
    assert matrix.read_bytes().startswith(b"ESFGMTX2")


def fill_the_disk(monkeypatch):
    """The next transaction that writes ends as on a full disk: its matrix is there, and it is not committed."""

    @contextmanager
    def failing(connection, *, write):
        with database.transaction(connection, write=write):
            yield
            if write:
                raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("edge_sphereface.gallery.sqlite.store.transaction", failing)


@pytest.mark.parametrize("change", ["enroll", "remove", "made anew"])
def test_whoever_is_open_finds_everyone_after_a_change_that_failed(
    enrolled, faces, path, fingerprint, change, monkeypatch
):
    """The file that others have mapped is neither overwritten nor believed."""
    writer = enrolled(faces, 8)
    watching = [open_gallery(path, fingerprint) for _ in range(2)]
    names = [f"p{number}" for number in range(8)]

    def seen(gallery, count=8):
        return [gallery.search(face, top=1)[0][0].name for face in faces[:count]]

    assert [seen(gallery) for gallery in [writer, *watching]] == [names] * 3
    with monkeypatch.context() as patched, pytest.raises(OutputError, match="full"):
        if change == "made anew":
            path.with_name("people.db-matrix").unlink()
        fill_the_disk(patched)
        writer.remove(["p7"]) if change == "remove" else writer.enroll("x", faces[20])
    assert [seen(gallery) for gallery in [writer, *watching]] == [names] * 3
    watching[0].enroll("y", faces[21])
    for gallery in [writer, *watching]:
        assert seen(gallery) == names
        assert gallery.search(faces[21])[0][0].name == "y"
        assert gallery.check() == []
        gallery.close()


@pytest.mark.parametrize("checks", [0, 1])
def test_a_matrix_that_is_damaged_while_mapped_is_made_anew_by_check(enrolled, faces, path, fingerprint, checks):
    """Every open gallery remaps, whichever of them checked."""
    enrolled(faces, 12).close()
    matrix = path.with_name("people.db-matrix")
    galleries = [open_gallery(path, fingerprint) for _ in range(2)]
    harmed = spoiled(matrix.read_bytes(), "rows exchanged", faces[0].nbytes + CHECKSUM)
    for gallery in galleries:
        gallery.search(faces[0])
    matrix.write_bytes(harmed)
    assert galleries[0].search(faces[0])[0][0].name == "p1", "in the pages that are mapped"
    assert galleries[checks].check() == ["2 of 12 rows of people.db-matrix are damaged; the file was rebuilt"]
    for gallery in galleries:
        assert [gallery.search(face)[0][0].name for face in faces[:3]] == ["p0", "p1", "p2"]
        assert gallery.check() == []
        gallery.close()


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX knows them")
@pytest.mark.parametrize("suffix", ["-matrix", "-matrix-next"])
@pytest.mark.parametrize("content", ["theirs", "ours"])
def test_a_file_with_a_second_name_is_not_written(enrolled, faces, path, fingerprint, suffix, content):
    enrolled(faces).close()
    victim, matrix = path.with_name("victim"), Path(f"{path}{suffix}")
    before = b"mine" * 5000 if content == "theirs" else Path(f"{path}-matrix").read_bytes()
    victim.write_bytes(before)
    victim.chmod(0o644)
    for change in (lambda g: g.enroll("x", faces[9]), lambda g: g.enroll("x", faces[10]), lambda g: g.remove(["p1"])):
        with open_gallery(path, fingerprint) as gallery:
            gallery.search(faces[0])
            matrix.unlink(missing_ok=True)
            matrix.hardlink_to(victim)
            change(gallery)
            assert gallery.search(faces[2])[0][0].name == "p2"
            if suffix == "-matrix":  # also when what has changed is overwritten
                matrix.unlink()
                matrix.hardlink_to(victim)
        assert victim.read_bytes() == before
    assert victim.stat().st_mode & 0o777 == 0o644


def test_a_folder_in_the_place_of_the_next_matrix_is_named(enrolled, faces, path):
    gallery = enrolled(faces)
    path.with_name("people.db-matrix").unlink()
    path.with_name("people.db-matrix-next").mkdir()
    with pytest.raises(OutputError) as caught:
        gallery.enroll("x", faces[9])
    assert caught.value.message == f"Cannot write {path}-matrix-next: Is a directory."
    assert "delete that folder" in caught.value.hint


def test_a_matrix_whose_header_is_damaged_is_not_overwritten_while_others_have_mapped_it(
    enrolled, faces, path, fingerprint
):
    gallery = enrolled(faces)
    watching = open_gallery(path, fingerprint)
    assert watching.search(faces[2])[0][0].name == "p2"
    gallery.enroll("p1", faces[20])  # its old row is overwritten when the gallery is closed
    with path.with_name("people.db-matrix").open("r+b") as matrix:
        matrix.write(b"noise")
    gallery.close()
    for number in range(2):
        assert watching.search(faces[2], top=1)[0][0].name == "p2"
        watching.enroll(f"x{number}", faces[21 + number])
    assert watching.check() == []
    watching.close()
