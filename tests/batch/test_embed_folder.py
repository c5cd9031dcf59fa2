"""A folder of photographs to one Parquet file: every face once, whatever happens on the way."""

import base64
import csv
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_sphereface.batch import embed_folder
from edge_sphereface.batch.earlier_result import EarlierResult
from edge_sphereface.batch.engines import LocalEngine
from edge_sphereface.batch.journal import Journal, in_order
from edge_sphereface.batch.photograph_list import ListedPhotograph, decode_list, encode_list
from edge_sphereface.batch.tables import Photograph, photographs_table
from edge_sphereface.batch.versions import FileVersion
from edge_sphereface.cli.hints import hint_of
from edge_sphereface.errors import ImageError, ModelNotFoundError, OutputError
from edge_sphereface.image import load_image
from edge_sphereface.model.fingerprint import Fingerprint

ROOT = Path(__file__).resolve().parents[2]


def rows(path):
    return pq.read_table(path).to_pylist()


@pytest.mark.slow
def test_every_face_with_all_that_is_known_of_it(config, tmp_path):
    output = tmp_path / "faces.parquet"
    seen = []
    result = embed_folder(config, output, progress=lambda *done: seen.append(done))
    assert (result.photographs, result.faces, result.without_face, result.unreadable) == (10, 7, 1, 3)
    assert (result.resumed, seen[-1]) == (0, (10, 10))
    table = pq.read_table(output)
    assert table.column_names == ["path", "face_index", "box", "landmarks", "score", "embedding", "fingerprint"]
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[32]"
    found = table.to_pylist()
    keys = [(row["path"], row["face_index"]) for row in found]
    assert keys == sorted(keys)
    assert [key for key in keys if key[0] == "two.png"] == [("two.png", 0), ("two.png", 1)]
    pipeline = config.open()
    for row in found:
        face = pipeline.process(load_image(config.folder / row["path"]))[row["face_index"]]
        np.testing.assert_array_equal(np.float32(row["embedding"]), face.embedding)
        np.testing.assert_array_equal(np.float32(row["box"]), face.face.box)
        np.testing.assert_array_equal(np.float32(row["landmarks"]), face.face.landmarks.ravel())
        assert row["score"] == pytest.approx(face.face.score)
    kind = pipeline.embedder.fingerprint
    assert {row["fingerprint"] for row in found} == {kind.digest} == {result.fingerprint}
    assert Fingerprint.from_json(table.schema.metadata[b"edge_sphereface.fingerprint"].decode()) == kind
    with (tmp_path / "faces.unreadable.csv").open(newline="", encoding="utf-8") as stream:
        unreadable = {row["path"]: row["reason"] for row in csv.DictReader(stream)}
    assert set(unreadable) == {"broken.jpg", "text.jpg", "nothing.png"}
    assert all(unreadable.values())
    assert sorted(file.name for file in tmp_path.glob("faces*")) == ["faces.parquet", "faces.unreadable.csv"]
    for file in tmp_path.glob("faces*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_names_of_any_bytes(config, odd_name, tmp_path):
    assert embed_folder(config, tmp_path / "x.parquet").faces == 8
    assert odd_name in {row["path"] for row in rows(tmp_path / "x.parquet")}


def test_a_file_of_any_name_that_cannot_be_read_is_listed(config, odd_name, tmp_path):
    (config.folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no photograph")
    assert embed_folder(config, tmp_path / "x.parquet").unreadable == 4
    with (tmp_path / "x.unreadable.csv").open(newline="", encoding="utf-8") as stream:
        assert odd_name in {row["path"] for row in csv.DictReader(stream)}


def test_a_folder_without_faces_is_an_empty_table(config, tmp_path):
    for file in config.folder.rglob("*"):
        if file.is_file() and file.name != "empty.png":
            file.unlink()
    assert embed_folder(config, tmp_path / "x.parquet").faces == 0
    assert rows(tmp_path / "x.parquet") == []
    assert not (tmp_path / "x.unreadable.csv").exists()


@pytest.mark.slow
def test_a_result_is_not_overwritten_unasked(config, tmp_path):
    output = tmp_path / "x.parquet"
    embed_folder(config, output)
    before = output.read_bytes()
    with pytest.raises(OutputError, match="exists already") as refused:
        embed_folder(config, output)
    assert hint_of(refused.value).endswith("--update, or --overwrite")
    assert output.read_bytes() == before
    assert (tmp_path / "x.unreadable.csv").exists()
    for name in ("broken.jpg", "text.jpg", "nothing.png"):
        (config.folder / name).unlink()
    assert embed_folder(config, output, overwrite=True).faces == 7
    assert not (tmp_path / "x.unreadable.csv").exists(), "there is nothing to list any more"


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"update": True}])
def test_only_a_result_is_ever_replaced(config, tmp_path, options):
    photograph = config.folder / "a.png"
    (tmp_path / "link.parquet").symlink_to(photograph)
    (tmp_path / "text.parquet").write_text("precious")
    pq.write_table(pa.table({"mine": [1]}), tmp_path / "mine.parquet")
    for name, match in (
        ("photos/a.png", "ends in .parquet"),
        ("new.csv", "ends in .parquet"),
        ("link.parquet", "Cannot read .* as a Parquet file"),
        ("text.parquet", "Cannot read .* as a Parquet file"),
        ("mine.parquet", "is another Parquet file"),
    ):
        target = tmp_path / name
        before = target.read_bytes() if target.exists() else None
        with pytest.raises(OutputError, match=match):
            embed_folder(config, target, **options)
        assert (target.read_bytes() if target.exists() else None) == before
        assert not target.with_name(f"{target.name}.partial").exists()


def test_what_cannot_be_searched_is_not_deleted(config, tmp_path):
    """A link to a disk that is not mounted says nothing about the photographs on the disk."""
    output, disk, link = tmp_path / "x.parquet", tmp_path / "disk", config.folder / "b"
    link.rename(disk)
    link.symlink_to(disk)
    first = embed_folder(config, output)
    before = rows(output)
    assert (first.added, first.photographs) == (10, 10)
    disk.rename(tmp_path / "away")
    (config.folder / "two.png").unlink()
    with pytest.warns(UserWarning, match="lead nowhere are skipped: .*photos/b"):
        result = embed_folder(config, output, update=True, remove_deleted=True)
    assert (result.unknown, result.deleted, result.photographs) == (3, 1, 9)
    assert rows(output) == [row for row in before if row["path"] != "two.png"]


@pytest.mark.slow
def test_the_command_counts_what_is_new_changed_and_gone(cli, config, tmp_path):
    words = ["embed-folder", config.folder, tmp_path / "x.parquet", "--model", config.model, "--detector", "mtcnn"]
    photograph = config.folder / "a.png"
    before = photograph.read_bytes()
    code, _, errors = cli("embed-folder", config.folder, photograph, *words[3:], "--overwrite")
    assert (code, photograph.read_bytes()) == (2, before)
    assert "is an input of this command" in errors
    assert cli(*words)[0] == 0
    code, _, errors = cli(*words)
    assert code == 1
    assert "--update, or --overwrite" in errors
    (config.folder / "b/c/y.bmp").unlink()
    photograph.rename(config.folder / "renamed.png")
    code, out, _ = cli(*words, "--update")
    assert code == 0
    assert "; new: 1, changed: 0, unchanged: 8\n" in out
    assert "that are no longer in the folder: 2, kept; --remove-deleted removes them" in out


@pytest.mark.slow
def test_another_folder_does_not_empty_a_result(config, tmp_path):
    output, other = tmp_path / "x.parquet", tmp_path / "other"
    embed_folder(config, output)
    before = output.read_bytes()
    other.mkdir()
    shutil.copy(config.folder / "a.png", other / "new.png")
    with pytest.raises(OutputError, match="None of the 10 photographs of"):
        embed_folder(replace(config, folder=other), output, update=True, remove_deleted=True)
    assert output.read_bytes() == before
    assert not (tmp_path / "x.parquet.partial").exists()


@pytest.mark.slow
def test_rows_that_the_list_does_not_count_are_refused(config, tmp_path):
    output = tmp_path / "x.parquet"
    embed_folder(config, output)
    table = pq.read_table(output)
    key = b"edge_sphereface.photographs"
    listed = pq.read_metadata(output).metadata[key]
    (config.folder / "empty.png").unlink()
    for order in ([0, 1, 2], [0, 0, *range(1, len(table))], [0, 0, *range(2, len(table))]):
        with pq.ParquetWriter(output, table.schema) as writer:
            writer.write_table(table.take(order))
            writer.add_key_value_metadata({key: listed})
        damaged = output.read_bytes()
        with pytest.raises(OutputError, match="not those that its list of photographs counts"):
            embed_folder(config, output, update=True, remove_deleted=True)
        assert output.read_bytes() == damaged


def test_a_name_is_no_formula(config, tmp_path):
    (config.folder / "=cmd|x.png").write_text("no photograph")
    embed_folder(config, tmp_path / "x.parquet")
    with (tmp_path / "x.unreadable.csv").open(newline="", encoding="utf-8") as stream:
        assert "'=cmd|x.png" in [row["path"] for row in csv.DictReader(stream)]


def test_errors_before_any_work(config, tmp_path):
    for changed, kind, match in (
        ({"folder": tmp_path / "none"}, ImageError, "got .*none"),
        ({"model": tmp_path / "none.onnx"}, ModelNotFoundError, "no model"),
    ):
        with pytest.raises(kind, match=match):
            embed_folder(replace(config, **changed), tmp_path / "x.parquet")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ImageError, match="no photographs below"):
        embed_folder(replace(config, folder=tmp_path / "bare"), tmp_path / "x.parquet")
    with pytest.raises(OutputError, match="Cannot write"):
        embed_folder(config, tmp_path / "no" / "x.parquet")
    assert list(tmp_path.glob("x*")) == []


@pytest.mark.slow
def test_update_takes_new_and_changed_photographs_only(config, tmp_path):
    output, root = tmp_path / "x.parquet", config.folder
    assert embed_folder(config, output, update=True).faces == 7, "without a result, an update embeds all"
    first = {row["path"]: row for row in rows(output)}
    idle = CountingEngine()
    before = output.stat()
    result = embed_folder(config, output, engine=idle, update=True)
    assert (idle.paths, result.unchanged, result.faces, result.unreadable) == ((), 10, 7, 3)
    assert output.stat() == before, "nothing is new: nothing is written"

    shutil.copy(root / "a.png", root / "aa.png")
    shutil.copy(root / "two.png", root / "z.webp")
    shutil.copy(root / "a.png", root / "broken.jpg")
    (root / "b" / "c" / "x.PNG").unlink()
    counting = CountingEngine()
    result = embed_folder(config, output, engine=counting, update=True)
    assert counting.paths == ("aa.png", "broken.jpg", "z.webp")
    assert (result.photographs, result.unchanged, result.replaced, result.deleted) == (11, 7, 2, 1)
    assert (result.added, result.unknown) == (1, 0)
    assert (result.faces, result.without_face, result.unreadable) == (10, 1, 2)
    found = rows(output)
    keys = [(row["path"], row["face_index"]) for row in found]
    assert keys == sorted(keys)
    assert [row for row in found if row["path"] == "b/c/x.PNG"] == [first["b/c/x.PNG"]], "deleted ones are kept"
    assert stat.S_IMODE(output.stat().st_mode) == 0o600

    result = embed_folder(config, output, engine=idle, update=True, remove_deleted=True)
    assert (idle.paths, result.photographs, result.deleted, result.faces) == ((), 10, 1, 9)
    embed_folder(config, tmp_path / "whole.parquet")
    assert pq.read_table(output).equals(pq.read_table(tmp_path / "whole.parquet"))
    assert embed_folder(config, output, update=True, remove_deleted=True).deleted == 0


@pytest.mark.slow
def test_an_update_tries_again_what_the_system_did_not_read(config, tmp_path):
    output, hidden, elsewhere = tmp_path / "x.parquet", config.folder / "a.png", tmp_path / "a.png"

    class Hiding(LocalEngine):
        def run(self, config, paths):
            hidden.rename(elsewhere)
            return super().run(config, paths)

    assert embed_folder(config, output, engine=Hiding()).unreadable == 4
    elsewhere.rename(hidden)
    counting = CountingEngine()
    result = embed_folder(config, output, engine=counting, update=True)
    assert (counting.paths, result.unreadable, result.replaced) == (("a.png",), 3, 1)


@pytest.mark.slow
def test_an_update_of_another_model_or_without_a_list_is_refused(config, tmp_path):
    output = tmp_path / "x.parquet"
    embed_folder(config, output)
    content = output.read_bytes()
    with pytest.raises(OutputError, match="another model.*: averaging with the mirrored crop False there, True here"):
        embed_folder(replace(config, flip=True), output, update=True)
    with pytest.raises(OutputError, match="detector mtcnn.* there, yunet here"):
        EarlierResult(output, config.open().embedder.fingerprint, "yunet")
    table = pq.read_table(output)
    for damaged, match in (
        (lambda: pq.write_table(table, output), "no list of its photographs"),
        (lambda: pq.write_table(table.select(["path"]), output), "Expected a result with embeddings of 32 values"),
        (lambda: output.write_bytes(content[: len(content) // 2]), "Cannot read .* as a Parquet file"),
    ):
        damaged()
        with pytest.raises(OutputError, match=match):
            embed_folder(config, output, update=True)
        assert not (tmp_path / "x.parquet.partial").exists()
    for options in ({"overwrite": True, "update": True}, {"remove_deleted": True}):
        with pytest.raises(ValueError, match="update or overwrite"):
            embed_folder(config, output, **options)


@pytest.mark.slow
def test_an_update_that_was_stopped_resumes(config, tmp_path):
    """What was done is kept unless the photograph changed meanwhile; the earlier result stays until the end."""
    output, root = tmp_path / "x.parquet", config.folder
    embed_folder(config, output)
    before = output.read_bytes()
    for name in ("n1.png", "n2.png", "n3.png"):
        shutil.copy(root / "a.png", root / name)
    with pytest.raises(StopError):
        embed_folder(config, output, engine=LocalEngine(batch=1), update=True, progress=stop_after(2))
    assert output.read_bytes() == before
    with pytest.raises(OutputError, match="started with another"):
        embed_folder(config, output, overwrite=True)
    shutil.copy(root / "two.png", root / "n1.png")
    counting = CountingEngine()
    result = embed_folder(config, output, engine=counting, update=True)
    assert counting.paths == ("n1.png", "n3.png")
    assert (result.resumed, result.unchanged, result.photographs) == (1, 10, 13)
    embed_folder(config, tmp_path / "whole.parquet")
    assert rows(output) == rows(tmp_path / "whole.parquet")


def test_the_list_of_photographs_is_read_as_it_was_written():
    photographs = {
        "a/ä 王.jpg": ListedPhotograph(FileVersion(3, 1_700_000_000_123_456_789), 2, None),
        "b.jpg": ListedPhotograph(FileVersion(-1, -1), 0, "Cannot read b.jpg."),
    }
    encoded = encode_list(photographs)
    assert decode_list(encoded, "x") == photographs
    for damaged in (
        b"",
        encoded[:-4],
        b"?" + encoded[1:],
        base64.b64encode(zlib.compress(b"[]")),
        base64.b64encode(zlib.compress(b'{"path":["a"],"bytes":[1],"modified_ns":[1],"faces":[true],"error":[null]}')),
        base64.b64encode(zlib.compress(b'{"path":["a"],"bytes":[1],"modified_ns":[1],"faces":[],"error":[null]}')),
        base64.b64encode(zlib.compress(b'{"path":["a"],"bytes":[1],"modified_ns":[1],"faces":[-1],"error":[null]}')),
        base64.b64encode(
            zlib.compress(b'{"path":["a","a"],"bytes":[1,1],"modified_ns":[1,1],"faces":[1,1],"error":[null,null]}')
        ),
    ):
        with pytest.raises(OutputError, match="list of photographs in x is damaged"):
            decode_list(damaged, "x")


class StopError(Exception):
    pass


class CountingEngine(LocalEngine):
    """The local engine, which notes the paths that it was given."""

    paths = ()

    def run(self, config, paths):
        self.paths = tuple(paths)
        return super().run(config, paths)


def stop_after(count):
    def progress(done, total):
        if done >= count:
            raise StopError

    return progress


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(config, tmp_path):
    by_twos = LocalEngine(batch=2)
    whole, output = tmp_path / "whole.parquet", tmp_path / "x.parquet"
    embed_folder(config, whole, engine=by_twos)
    with pytest.raises(StopError):
        embed_folder(config, output, engine=by_twos, progress=stop_after(5))
    assert stat.S_IMODE((tmp_path / "x.parquet.partial").stat().st_mode) == 0o600
    counting = CountingEngine(batch=2)
    result = embed_folder(config, output, engine=counting)
    assert (result.resumed, result.photographs, len(counting.paths)) == (6, 10, 4)
    assert pq.read_table(output).equals(pq.read_table(whole))


@pytest.mark.slow
def test_killed_between_the_result_and_the_end(config, tmp_path, monkeypatch):
    """The result is there and the journal too: the same command ends what is left to end."""
    output = tmp_path / "x.parquet"

    def killed(journal):
        journal.close()
        raise StopError

    monkeypatch.setattr(Journal, "discard", killed)
    with pytest.raises(StopError):
        embed_folder(config, output)
    monkeypatch.undo()
    assert output.exists()
    before = rows(output)
    assert embed_folder(config, output).resumed == 10
    assert rows(output) == before
    assert not (tmp_path / "x.parquet.partial").exists()


@pytest.mark.slow
def test_photographs_that_came_meanwhile_are_taken_in_their_place(config, tmp_path):
    with pytest.raises(StopError):
        embed_folder(config, tmp_path / "x.parquet", engine=LocalEngine(batch=2), progress=stop_after(8))
    shutil.copy(config.folder / "a.png", config.folder / "aa.png")
    assert embed_folder(config, tmp_path / "x.parquet").photographs == 11
    embed_folder(config, tmp_path / "whole.parquet")
    assert rows(tmp_path / "x.parquet") == rows(tmp_path / "whole.parquet")


@pytest.mark.slow
def test_what_was_begun_with_another_model_is_not_mixed_in(config, tmp_path):
    with pytest.raises(StopError):
        embed_folder(config, tmp_path / "x.parquet", progress=stop_after(1))
    with pytest.raises(OutputError, match="started with another"):
        embed_folder(replace(config, flip=True), tmp_path / "x.parquet")
    embed_folder(config, tmp_path / "x.parquet")


@pytest.mark.slow
def test_two_runs_at_once(config, tmp_path):
    def second(done, total):
        with pytest.raises(OutputError, match="Another process works"):
            Journal(tmp_path / "x.parquet.partial", {})

    embed_folder(config, tmp_path / "x.parquet", progress=second)


@pytest.fixture
def many(config, tmp_path, astronaut):
    """Sixty photographs."""
    folder = tmp_path / "many"
    folder.mkdir()
    small = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)
    for number in range(60):
        cv2.imwrite(str(folder / f"{number:02d}.png"), np.roll(small, number % 7, axis=1))
    return replace(config, folder=folder)


@pytest.mark.slow
def test_killed_again_and_again(many, tmp_path, fork_server):
    """Nothing twice, nothing lost: after twenty kills the table is that of an undisturbed run."""
    whole, output = tmp_path / "whole.parquet", tmp_path / "x.parquet"
    embed_folder(many, whole)
    start = fork_server(Path(__file__).with_name("small_batches.py"))
    words = [many.folder, output, "--model", many.model, "--threads", "1", "--detector", "mtcnn", "--json"]
    kills = 0
    for attempt in range(60):
        process = start(*words)
        size = (tmp_path / "x.parquet.partial").stat().st_size if (tmp_path / "x.parquet.partial").exists() else 0
        if kills < 20:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and not process.has_ended():
                grown = tmp_path / "x.parquet.partial"
                if grown.exists() and grown.stat().st_size > size:
                    break
                time.sleep(0.002)
            time.sleep(random.Random(attempt).uniform(0, 0.03))
            kills += process.kill()
        out = process.stdout.read()
        code = process.wait()
        if code == 0 or (output.exists() and not (tmp_path / "x.parquet.partial").exists()):
            break  # done, or killed when all that was left was to say so
    assert kills >= 10
    assert code in (0, -signal.SIGKILL), out
    assert pq.read_table(output).num_rows == 60
    assert pq.read_table(output).equals(pq.read_table(whole))
    assert not (tmp_path / "x.parquet.partial").exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows sends no SIGINT to another process")
def test_ctrl_c_says_that_the_same_command_resumes(config, tmp_path):
    folder, journal = tmp_path / "linked", tmp_path / "x.parquet.partial"
    folder.mkdir()
    for number in range(1000):
        os.link(config.folder / "a.png", folder / f"{number:04d}.png")
    words = ["embed-folder", folder, tmp_path / "x.parquet", "--model", config.model, "--detector", "mtcnn"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_sphereface", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not journal.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "run the same command again to resume: finished work is kept\ninterrupted\n"
    assert journal.exists()


@pytest.mark.parametrize("cut", [1, 7, 11, 12, 13, 200])
def test_a_record_that_was_not_written_to_its_end_is_cut_off(tmp_path, cut):
    path = tmp_path / "journal"
    tables = [
        photographs_table([Photograph(f"{n}{m}", FileVersion(1, 2), None, ()) for m in range(2)], 4) for n in range(3)
    ]
    journal = Journal(path, {"x": 1})
    for table in tables[:2]:
        journal.append(table)
    whole = path.stat().st_size
    journal.append(tables[2])
    journal.close()
    with path.open("r+b") as stream:
        stream.truncate(min(whole + cut, path.stat().st_size - 1))
    again = Journal(path, {"x": 1})
    assert list(again.places) == ["00", "01", "10", "11"]
    assert path.stat().st_size == whole
    again.append(tables[2])
    tables = in_order(again, again.places.values(), 4, kept=1)
    assert [row for table in tables for row in table.column("path").to_pylist()] == [
        "00", "01", "10", "11", "20", "21",
    ]  # fmt: skip
    again.close()


def test_a_record_with_a_wrong_byte_is_not_believed(tmp_path):
    path = tmp_path / "journal"
    journal = Journal(path, {})
    journal.append(photographs_table([Photograph("a", FileVersion(1, 2), None, ())], 4))
    journal.close()
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    again = Journal(path, {})
    assert again.places == {}
    again.close()


@pytest.mark.skipif(os.name != "posix", reason="links and permissions as POSIX knows them")
def test_a_link_in_the_place_of_the_journal_is_not_followed(config, tmp_path):
    victim, output = tmp_path / "victim", tmp_path / "faces.parquet"
    victim.write_bytes(b"mine")
    (tmp_path / "faces.parquet.partial").symlink_to(victim)
    with pytest.raises(OutputError, match="regular file of this user"):
        embed_folder(config, output)
    assert victim.read_bytes() == b"mine"


@pytest.mark.skipif(os.name != "posix", reason="links and permissions as POSIX knows them")
def test_a_journal_that_others_may_read_becomes_private(tmp_path):
    path = tmp_path / "faces.parquet.partial"
    path.touch()
    path.chmod(0o666)
    Journal(path, {}).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_device_is_no_place_for_a_parquet_file(config):
    with pytest.raises(OutputError, match="regular file as output"):
        embed_folder(config, os.devnull, overwrite=True)
