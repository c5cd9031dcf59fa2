"""The mapped matrix: appended to, numbered anew, and never believed against the database."""

import os

import pytest

from edge_sphereface.gallery.sqlite.change import _EMPTY_ROWS


def test_a_change_does_not_rewrite_the_matrix(enrolled, faces, tmp_path):
    gallery = enrolled(faces, 30)
    matrix = tmp_path / "people.db-matrix"
    before, inode = matrix.read_bytes(), matrix.stat().st_ino
    gallery.enroll("new", faces[33])
    gallery.enroll("p1", faces[34])
    after = matrix.read_bytes()
    assert matrix.stat().st_ino == inode
    assert len(after) == len(before) + 2 * faces[0].nbytes
    assert after[4096 : len(before)] == before[4096:]


def test_empty_rows_do_not_pile_up(enrolled, faces, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_sphereface.gallery.sqlite.change._EMPTY_ROWS", 8)
    assert _EMPTY_ROWS == 1024
    gallery = enrolled(faces, 4)
    for number in range(40):
        gallery.enroll(f"p{number % 4}", faces[number])
    assert (tmp_path / "people.db-matrix").stat().st_size <= 4096 + (2 * 4 + 9) * faces[0].nbytes
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
