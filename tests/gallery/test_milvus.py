"""What only a gallery in Milvus has to promise."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge_sphereface.errors import CropError, GalleryBusyError, GalleryError, GalleryFormatError, GalleryNotFoundError
from edge_sphereface.gallery import Portrait, open_gallery
from edge_sphereface.gallery.milvus.collections import Collections, crop_of
from edge_sphereface.gallery.milvus.store import MilvusGallery

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path):
    return f"milvus:{tmp_path / 'people.db'}"


@pytest.mark.slow
def test_the_folder_is_private(make, place, faces, tmp_path):
    previous = os.umask(0)
    try:
        make(place).enroll("Ann", faces[0])
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "people.db").stat().st_mode) == 0o700


@pytest.mark.parametrize("spoiled", [{"metadata": "[" * 3000}, {"metadata": "[1]"}, {"metadata": '{"a": NaN}'}])
def test_a_server_that_answers_with_garbage_is_told(make, place, faces, monkeypatch, spoiled):
    gallery = make(place)
    gallery.enroll("Ann", faces[0])
    real = Collections.identities
    monkeypatch.setattr(Collections, "identities", lambda *some: [{**row, **spoiled} for row in real(*some)])
    with pytest.raises(GalleryFormatError, match="metadata of .* is not a JSON object"):
        list(gallery.identities())


@pytest.mark.parametrize("crop", ["x", "é", 5])
def test_a_crop_from_a_server_that_is_none_is_told(crop):
    with pytest.raises(GalleryFormatError, match="not base64"):
        crop_of({"crop": crop})


@pytest.mark.slow
def test_removal_leaves_no_vector_in_the_files(make, place, faces, tmp_path):
    """Milvus Lite's files hold what was deleted until they happen to be merged; ours are written anew."""
    gallery = make(place)
    gallery.enroll("Ann", faces[:2])
    gallery.enroll("Bob", faces[2])

    def vectors():
        found = set()
        for file in (tmp_path / "people.db").rglob("*.parquet"):
            table = pq.read_table(file)
            for name in {"template", "embedding"} & set(table.column_names):
                found |= {np.array(row, np.float32).tobytes() for row in table.column(name).to_pylist() if row}
        return found

    assert {faces[0].tobytes(), gallery.template("Ann").tobytes(), faces[2].tobytes()} <= vectors()
    ann = gallery.template("Ann").tobytes()
    gallery.remove(["Ann"])
    assert not {faces[0].tobytes(), faces[1].tobytes(), ann} & vectors()
    assert faces[2].tobytes() in vectors()
    raw = b"".join(file.read_bytes() for file in (tmp_path / "people.db").rglob("*") if file.is_file())
    assert faces[0].tobytes() not in raw


@pytest.mark.slow
def test_one_process_at_a_time(make, place, faces, fingerprint):
    make(place).enroll("Ann", faces[0])
    code = "import sys; from edge_sphereface.gallery import open_gallery; open_gallery(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, place], capture_output=True, text=True, env=environment, check=False
    )
    assert GalleryBusyError.__name__ in done.stderr
    assert "admits one process at a time" in done.stderr


@pytest.mark.slow
def test_what_a_switch_left_half_done_is_dropped(make, place, faces, fingerprint):
    gallery = make(place)
    gallery.enroll("Ann", faces[0])
    orphan = gallery._collections._make(32)
    gallery.close()
    with open_gallery(place, fingerprint) as again:
        assert [identity.name for identity in again.identities()] == ["Ann"]
        assert not [name for name in again._client.list_collections() if orphan in name]


def test_a_graph_finds_what_exact_search_finds(tmp_path, faces, fingerprint):
    """HNSW, as on a cluster, over few enough vectors that it misses none."""
    names = [f"p{number}" for number in range(len(faces))]
    place = f"milvus:{tmp_path / 'graph.db'}"
    with MilvusGallery(place, fingerprint=fingerprint, create=True, exact=False) as gallery:
        gallery.add(
            [Portrait(name=name, metadata=None, embeddings=row[None], crops=(None,)) for name, row in zip(names, faces)]  # noqa: B905
        )
        assert [found[0].name for found in gallery.search(faces, top=1)] == names


def test_a_crop_that_milvus_cannot_hold(make, place, faces):
    gallery = make(place, keep_crops=True)
    with pytest.raises(CropError, match="at most 49149 bytes"):
        gallery.enroll("Ann", faces[0], crops=[b"\x89PNG\r\n\x1a\n" + bytes(60_000)])
    assert len(gallery) == 0


def test_places_that_are_none(tmp_path, fingerprint):
    (tmp_path / "file.db").write_text("x")
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "folder.db" / "x").touch()
    for place, kind, match in (
        (f"milvus:{tmp_path / 'file.db'}", GalleryFormatError, "got a file"),
        (f"milvus:{tmp_path / 'folder.db'}", GalleryFormatError, "not one of Milvus Lite"),
        (f"milvus:{tmp_path / 'faces'}", GalleryError, "ends in .db"),
        ("http://127.0.0.1:9/a b", GalleryError, "letters, digits"),
        ("http://127.0.0.1:9", GalleryNotFoundError, "No Milvus server answers at http://127.0.0.1:9"),
    ):
        with pytest.raises(kind, match=match):
            open_gallery(place, fingerprint, create=True, timeout_s=1)


def test_a_password_in_the_place_is_refused_and_not_repeated(fingerprint):
    with pytest.raises(GalleryError, match="EDGE_SPHEREFACE_MILVUS_TOKEN") as told:
        open_gallery("http://ann:s3cret@127.0.0.1:9", fingerprint, create=True)
    assert "s3cret" not in str(told.value)


@pytest.mark.slow
def test_a_cluster_is_spoken_to_by_uri(make, tmp_path, faces, fingerprint):
    """The server inside Milvus Lite answers on a port, as a cluster does: reached by URI, with a gallery of its own."""
    make(f"milvus:{tmp_path / 'people.db'}").enroll("Ann", faces[0])
    from milvus_lite.server_manager import server_manager_instance

    ((_, _, port),) = server_manager_instance._servers.values()
    with open_gallery(f"http://127.0.0.1:{port}/second_floor", fingerprint, create=True) as cluster:
        cluster.enroll("Bob", faces[1])
        assert cluster.identify(faces[1], threshold=0.5).name == "Bob"
        assert [identity.name for identity in cluster.identities()] == ["Bob"]
        assert cluster.remove(["Bob"]) == 1
    with pytest.raises(GalleryNotFoundError):
        open_gallery(f"http://127.0.0.1:{port}/third_floor", fingerprint)
