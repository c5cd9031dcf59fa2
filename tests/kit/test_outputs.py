"""Files of outputs as tools of vendors write them, and files that are not."""

import json

import numpy as np
import pytest

from edge_sphereface.errors import KitError
from edge_sphereface.kit.outputs import read_outputs

COUNT, SIZE = 4, 6
ROWS = np.random.RandomState(0).standard_normal((COUNT, SIZE)).astype(np.float32)


def read(*places, **options):
    return read_outputs(places, count=COUNT, size=SIZE, **options)


def write_bins(folder, rows, name="{:04d}_0.bin"):
    folder.mkdir(exist_ok=True)
    for number, row in enumerate(rows):
        (folder / name.format(number)).write_bytes(row.tobytes())
    return folder


def test_one_array(tmp_path):
    path = tmp_path / "outputs.npy"
    for rows in (
        ROWS,
        ROWS[:, :, None, None],
        ROWS[None],
        ROWS.reshape(-1),
        np.asfortranarray(ROWS),
        np.ascontiguousarray(ROWS.T),
        ROWS.astype("<f8"),
    ):
        np.save(path, rows)
        np.testing.assert_array_equal(read(path), ROWS)
    np.save(path, ROWS.astype(np.float16))
    np.testing.assert_array_equal(read(path), ROWS.astype(np.float16).astype(np.float32))


def test_an_array_for_each_crop(tmp_path):
    paths = []
    for number, row in enumerate(ROWS):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], row[None])
    np.testing.assert_array_equal(read(*paths), ROWS)


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    """As text, crop 10 would come before crop 2."""
    rows = np.arange(12 * SIZE, dtype=np.float32).reshape(12, SIZE)
    folder = write_bins(tmp_path / "out", rows, name="crop_{}_0.bin")
    (folder / "sumary.json").write_text("{}")
    np.testing.assert_array_equal(read_outputs([folder], count=12, size=SIZE), rows)


def test_binary_files_of_either_type(tmp_path):
    np.testing.assert_array_equal(read(write_bins(tmp_path / "a", ROWS)), ROWS)
    half = ROWS.astype(np.float16)
    np.testing.assert_array_equal(read(write_bins(tmp_path / "b", half)), half.astype(np.float32))
    together = tmp_path / "all.bin"
    together.write_bytes(ROWS.tobytes())
    np.testing.assert_array_equal(read(together), ROWS)
    assert read(together, dtype="float16").shape == (COUNT, 2 * SIZE)


def test_half_of_an_output_is_not_taken_for_half_precision(tmp_path):
    """Both have as many bytes; float32 read as float16 is not finite somewhere."""
    rows = np.random.RandomState(0).standard_normal((4, 512)).astype(np.float32)
    folder = write_bins(tmp_path / "out", rows[:, :256])
    np.testing.assert_array_equal(read_outputs([folder], count=4, size=512), rows[:, :256])


@pytest.mark.parametrize("separator", [" ", ",", ";", ", ", "\t", "\n"])
def test_text(tmp_path, separator):
    path = tmp_path / "outputs.csv"
    lines = [separator.join(f"{value:.9g}" for value in row) for row in ROWS]
    path.write_text("\n".join(lines) + "\n")
    np.testing.assert_array_equal(read(path), ROWS)


def test_text_with_names_and_wrapped_lines(tmp_path):
    named = tmp_path / "outputs.csv"
    body = "\n".join(",".join(map(repr, row.tolist())) for row in ROWS)
    named.write_text(f"{','.join('abcdef')}\n{body}\n")
    np.testing.assert_allclose(read(named), ROWS)
    paths = []
    for number, row in enumerate(ROWS):  # as numpy prints an array
        paths.append(tmp_path / f"{number}.txt")
        values = row.tolist()
        paths[-1].write_text(f"[{values[0]} {values[1]}\n {values[2]} {values[3]} {values[4]} {values[5]}]\n")
    np.testing.assert_allclose(read(*paths), ROWS)


def test_json_lines(tmp_path):
    path = tmp_path / "outputs.jsonl"
    for wrap in (lambda row: row, lambda row: {"crop": 1, "embedding": row}, lambda row: {"values": [row]}):
        path.write_text("\n".join(json.dumps(wrap(row.tolist())) for row in ROWS) + "\n\n")
        np.testing.assert_allclose(read(path), ROWS)


def test_double_precision_and_rounded_halves_are_told_from_other_types(tmp_path):
    """Numbers that hold fewer digits than their type has room for look like numbers of a smaller type too."""
    path = tmp_path / "all.bin"
    rows = np.random.RandomState(1).standard_normal((4, 256)).astype(np.float32)
    path.write_bytes(rows.astype("<f8").tobytes())
    np.testing.assert_array_equal(read_outputs([path], count=4, size=256), rows)
    path.write_bytes(np.hstack([rows, -rows]).tobytes())
    assert read_outputs([path], count=4, size=256).shape == (4, 512)
    half = rows.astype(np.float16).astype(np.float32)[:, :128]
    path.write_bytes(half.tobytes())
    np.testing.assert_array_equal(read_outputs([path], count=4, size=256), half)
    path.write_bytes(rows.astype(np.float16).tobytes())
    np.testing.assert_array_equal(read_outputs([path], count=4, size=256), rows.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("first", [None, 0, 1])
@pytest.mark.parametrize("names", [True, False])
def test_numbers_of_columns_and_rows_are_no_outputs(tmp_path, first, names):
    lines = [("" if first is None else ",") + ",".join(map(str, range(SIZE)))] if names else []
    for number, row in enumerate(ROWS):
        label = [] if first is None else [str(first + number)]
        lines.append(",".join([*label, *(f"{value:.9g}" for value in row)]))
    (tmp_path / "o.csv").write_text("\n".join(lines))
    np.testing.assert_array_equal(read(tmp_path / "o.csv"), ROWS)


def test_hidden_files_of_a_folder_are_left_out(tmp_path):
    folder = write_bins(tmp_path / "out", ROWS)
    (folder / "._0000_0.bin").write_bytes(b"Mac OS X junk")
    np.testing.assert_array_equal(read(folder), ROWS)


def test_many_files_take_no_more_memory_than_one(tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(4400))
    with pytest.raises(KitError, match="has at most"):
        read(*[path] * 40)


def test_a_column_for_each_crop(tmp_path):
    path = tmp_path / "outputs.csv"
    np.savetxt(path, ROWS.T, delimiter=",", fmt="%.9g")
    np.testing.assert_array_equal(read(path), ROWS)


def test_texts_that_are_no_table_of_numbers_get_a_hint(tmp_path):
    path = tmp_path / "outputs.csv"
    for text in (b"name,1\ncrop-0.bin,2", b'a\n"1.5","2.5"', "1,2".encode("utf-16")):
        path.write_bytes(text)
        with pytest.raises(KitError) as caught:
            read(path)
        assert "in UTF-8, without names of files, quotes and decimal commas" in caught.value.hint


def test_values_that_are_not_finite_are_kept(tmp_path):
    """They are a finding, not a broken file."""
    (tmp_path / "o.bin").write_bytes(np.full((COUNT, SIZE), 0x7F800001, "<u4").tobytes())  # a NaN that signals
    assert np.isnan(read(tmp_path / "o.bin")).all()
    path = tmp_path / "outputs.txt"
    path.write_text(" ".join(["nan", "inf", *["1"] * (COUNT * SIZE - 2)]))
    assert np.isnan(read(path)[0, 0])
    np.save(tmp_path / "large.npy", np.full((COUNT, SIZE), 1e300))
    assert np.isinf(read(tmp_path / "large.npy")).all()


def test_other_sizes_of_an_output_are_kept(tmp_path):
    np.save(tmp_path / "o.npy", np.ones((COUNT, 3), np.float32))
    assert read(tmp_path / "o.npy").shape == (COUNT, 3)
    assert read(write_bins(tmp_path / "out", np.ones((COUNT, 9), np.float32))).shape == (COUNT, 9)


def npy(kind, shape, content=b""):
    """A .npy file whose header says something else than its content is."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", b"", "not a .npy file"),
        ("a.npy", b"\x93NUMPY\x01\x00\xff\xff{", "not a .npy file"),
        ("a.npy", npy("<f4", "(99999999999,)"), "expected an array"),
        ("a.npy", npy("<f4", "(4, 6)", b"1234"), "4 bytes follow"),
        ("a.npy", npy("|O", "(1,)", b"12345678"), "expected an array"),
        ("a.npy", npy("<i4", "(1,)", b"1234"), "expected an array"),
        ("a.npy", npy("<f4", "()", b"1234"), r"got an array of shape \(\)"),
        ("a.npy", npy("<f4", "(True,)", b"1234"), "expected an array"),
        ("a.npy", npy("<f4", f"({'1, ' * 100})", b"1234"), "expected an array"),
        ("a.npy", npy("<f4", "(" * 2000), "not a .npy file"),
        ("a.bin", bytes(range(7, 127, 5)), "look like integers of int8"),
        ("a.csv", b"1,5;2,5\n3,5;4,5\n", "line 1: a comma stands between digits"),
        ("a.csv", b"1,5 -2,5\n", "not a decimal comma"),
        ("a.jsonl", b"[1.5]\n", r"got an array of shape \(1, 1\)"),
        ("a.bin", b"123", "float32 numbers, got one of 3 bytes"),
        ("a.bin", b"", "got one of 0 bytes"),
        ("a.txt", b"", "holds no numbers"),
        ("a.txt", b"1 2 three\n4 5 6\n7 x", "line 3: expected numbers, got 'x'"),
        ("a.txt", b"\xff\xfe", "not text"),
        ("a.txt", b"1" * 50 + b" 2", "a word of 50 characters"),
        ("a.jsonl", b"[1, 2\n", "line 1"),
        ("a.jsonl", b'{"other": [1]}\n', "expected a list of numbers"),
        ("a.jsonl", b"[true, false]\n", "expected a list of numbers"),
        ("a.json", b"{}", "Expected outputs as"),
        ("a.npz", b"PK", "Expected outputs as"),
    ],
)  # fmt: skip
def test_files_that_hold_no_outputs(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(KitError, match=words):
        read(tmp_path / name)


def test_integers_are_to_be_dequantized(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((COUNT, SIZE), np.int8))
    with pytest.raises(KitError, match="got int8") as caught:
        read(tmp_path / "a.npy")
    assert "dequantize first" in caught.value.hint


def test_a_wrong_number_of_outputs(tmp_path):
    np.save(tmp_path / "o.npy", np.ones((COUNT + 1, SIZE), np.float32))
    with pytest.raises(KitError, match=r"outputs of 4 crops, 6 numbers each; got an array of shape \(5, 6\)"):
        read(tmp_path / "o.npy")
    folder = write_bins(tmp_path / "out", np.ones((COUNT - 1, SIZE), np.float32))
    with pytest.raises(KitError, match="got 3 files with 18 numbers"):
        read(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(KitError, match="found 0"):
        read(tmp_path / "empty")
    with pytest.raises(KitError, match=r"one kind, got .bin, .npy"):
        read(tmp_path / "o.npy", folder / "0000_0.bin")
    with pytest.raises(KitError, match="There is no file of outputs"):
        read(tmp_path / "missing.npy")


def test_a_file_beyond_what_the_kit_needs_is_not_read(tmp_path):
    with (tmp_path / "o.npy").open("wb") as stream:
        stream.truncate(1 << 40)  # a sparse file
    with pytest.raises(KitError, match="has at most"):
        read(tmp_path / "o.npy")
