"""The mapped matrix: appended to, numbered anew, and never believed against the database."""

import os

import numpy as np
import pytest

from edge_sphereface.gallery import open_gallery
from edge_sphereface.gallery.sqlite.change import _EMPTY_ROWS
from edge_sphereface.gallery.sqlite.matrix import Rows

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
    monkeypatch.setattr("edge_sphereface.gallery.sqlite.change._EMPTY_ROWS", 8)
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
