"""Files of labeled pairs and of landmarks."""

import csv
import os

import pytest

from edge_sphereface.errors import PairsError
from edge_sphereface.evaluation import pairs

PAIRS = "10\t300\nAnn\t1\t2\nAnn\t1\tBob Dil\t3\n"


def write(path, text):
    path.write_text(text)
    return path


def test_lfw_pairs(tmp_path):
    read = pairs.read_lfw_pairs(write(tmp_path / "pairs.txt", "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t13\n\n"))
    assert read == [("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", True), ("Ann/Ann_0001.jpg", "Bob/Bob_0013.jpg", False)]
    assert pairs.images_of(read) == ["Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bob/Bob_0013.jpg"]


def test_csv_pairs(tmp_path):
    text = "image1_path,image2_path,label\na.jpg,b.jpg,1\na.jpg,c.jpg,0\n"
    assert pairs.read_csv_pairs(write(tmp_path / "p.csv", text))[1] == ("a.jpg", "c.jpg", False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PAIRS, "line 3"),
        ("x\nAnn 1 2\n", "one kind"),
        ("x\nAnn one 2\n", "line 2"),
        ("", "one kind"),
    ],
)
def test_bad_pairs(tmp_path, text, words):
    with pytest.raises(PairsError, match=words):
        pairs.read_lfw_pairs(write(tmp_path / "p.txt", text))


@pytest.mark.parametrize("row", ["a.jpg,b.jpg,2", "a.jpg,,1", "a.jpg"])
def test_bad_csv(tmp_path, row):
    with pytest.raises(PairsError, match="line 2"):
        pairs.read_csv_pairs(write(tmp_path / "p.csv", f"image1_path,image2_path,label\n{row}\n"))


def test_bad_landmarks(tmp_path):
    with pytest.raises(PairsError, match="line 1.*ten numbers"):
        pairs.read_landmarks(write(tmp_path / "l.txt", "a.jpg 1 2 3\n"))
    with pytest.raises(PairsError, match="There is no list"):
        pairs.read_landmarks(tmp_path / "no.txt")


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (pairs.read_csv_pairs, "image1_path,image2_path,label\n" + "a" * 200_000 + ",b,1\n"),
        (pairs.read_csv_pairs, 'image1_path,image2_path,label\n"' + "a,b,1\n" * 50_000),
        (pairs.read_lfw_pairs, f"10\nAnn 1 {'2' * 5000}\n"),
        (pairs.read_landmarks, f"a.jpg {'1 ' * 9}{'9' * 5000}\n"),
        (pairs.read_landmarks, f"a.jpg {'1 ' * 9}nan\n"),
        (pairs.read_landmarks, f"a.jpg {'1 ' * 9}1e999\n"),
    ],
)
@pytest.mark.parametrize("field_bytes", [1 << 17, 1 << 30])
def test_what_a_line_must_not_hold(tmp_path, read, content, field_bytes, request):
    """Also where a library in the same process has raised csv's bound, which is global."""
    before = csv.field_size_limit(field_bytes)
    request.addfinalizer(lambda: csv.field_size_limit(before))
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(PairsError, match="line [0-9]+") as caught:
        read(path)
    assert len(str(caught.value)) < 1000


def test_empty_lines_among_landmarks(tmp_path):
    (tmp_path / "x.txt").write_text(f"\na.jpg {'1 ' * 10}\n\n")
    assert list(pairs.read_landmarks(tmp_path / "x.txt")) == ["a.jpg"]


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
@pytest.mark.parametrize("read", [pairs.read_csv_pairs, pairs.read_lfw_pairs, pairs.read_landmarks])
def test_a_pipe_is_no_list(tmp_path, read):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(PairsError, match="is a pipe"):
        read(tmp_path / "x")
