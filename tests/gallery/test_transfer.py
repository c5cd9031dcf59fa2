"""Export, import, and another model for kept crops."""

import json
import os
import sqlite3
import stat
from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from edge_sphereface.errors import (
    CropError,
    FingerprintError,
    GalleryBusyError,
    GalleryError,
    GalleryFormatError,
    IdentityError,
    OutputError,
)
from edge_sphereface.gallery import Portrait, Threshold, open_gallery
from edge_sphereface.gallery.crops import decode_crop, encode_crop
from edge_sphereface.gallery.sqlite.tables import Tables
from edge_sphereface.gallery.transfer import Imported, export_gallery, import_gallery, read_fingerprint
from edge_sphereface.inference.embedder import Embedder


def content(gallery):
    return [
        (p.name, p.metadata, sorted(zip((row.tobytes() for row in p.embeddings), p.crops, strict=True)))
        for p in gallery.portraits()
    ]


@pytest.fixture
def exported(gallery, faces, crops, tmp_path, fingerprint):
    crop = [encode_crop(image) for image in crops[:3]]
    gallery.enroll("Zoë 王", faces[:3], crops=crop, metadata={"ä": "ö"})
    gallery.enroll("Bob", faces[3], crops=crop[:1])
    int8 = replace(fingerprint, precision="int8", quantization="q")
    gallery.set_threshold(Threshold(value=0.3, precision="int8", fingerprint=int8.digest, source="test"))
    assert export_gallery(gallery, tmp_path / "people.jsonl") == 2
    return tmp_path / "people.jsonl"


def test_everything_survives_from_every_kind_to_a_file(gallery, exported, make, tmp_path, fingerprint):
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    assert read_fingerprint(exported) == fingerprint
    other = make(tmp_path / "other.db", keep_crops=True, threshold=None)
    assert import_gallery(other, exported).added == 2
    assert content(other) == content(gallery)
    assert other.thresholds() == gallery.thresholds()
    assert other.check() == []


@pytest.mark.parametrize("metadata", ['{"id": 1%s}' % ("0" * 22), '{"deep": %s1%s}' % ("[" * 40, "]" * 40)])  # noqa: UP031
def test_metadata_that_an_earlier_version_kept_is_read_exported_and_imported(
    enrolled, faces, path, make, tmp_path, metadata
):
    """Earlier versions kept integers of any size, and deeper nesting than records have."""
    gallery = enrolled(faces)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE identities SET metadata = ? WHERE name = 'p1'", (metadata,))
    raw.close()
    assert [identity.metadata for identity in gallery.identities()] == [{}, json.loads(metadata), {}, {}]
    assert gallery.check() == []
    assert export_gallery(gallery, tmp_path / "people.jsonl") == 4
    other = make(tmp_path / "other.db")
    import_gallery(other, tmp_path / "people.jsonl")
    assert content(other) == content(gallery)


def test_metadata_that_cannot_be_read_is_told_with_its_name(enrolled, faces, path):
    gallery = enrolled(faces)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE identities SET metadata = ? WHERE name = 'p1'", ('{"a":' * 9000 + "1" + "}" * 9000,))
    raw.close()
    with pytest.raises(GalleryFormatError, match="metadata of 'p1' is not a JSON object.*nested") as caught:
        list(gallery.identities())
    assert "remove that identity" in caught.value.hint
    assert gallery.get("p2").metadata == {}
    assert len(gallery.check()) == 1
    gallery.remove(["p1"])
    assert (len(list(gallery.identities())), gallery.check()) == (3, [])


def test_names_that_are_there(gallery, exported, faces):
    before = content(gallery)
    with pytest.raises(IdentityError, match="2 of 2 names"):
        import_gallery(gallery, exported)
    assert import_gallery(gallery, exported, existing="skip") == Imported(added=0, skipped=2, new=0, embeddings=0)
    assert content(gallery) == before
    assert import_gallery(gallery, exported, existing="add") == Imported(added=2, skipped=0, new=0, embeddings=4)
    assert gallery.get("Bob").embeddings == 2


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda lines: lines[:-1], "truncated"),
        (lambda lines: lines[:1] + lines[2:], "ends after 1"),
        (lambda lines: [*lines, lines[1]], "continues"),
        (lambda lines: ["{}", *lines[1:]], "not an export"),
        (
            lambda lines: [
                lines[0].replace('"edge_sphereface_gallery": 2', '"edge_sphereface_gallery": 3'),
                *lines[1:],
            ],
            "no",
        ),
        (lambda lines: ["\x00binary"], "not a JSON"),
        (lambda lines: [lines[0], lines[1][:-9], *lines[2:]], "not a JSON"),
        (lambda lines: [lines[0], lines[1].replace('"embeddings": ["', '"embeddings": ["AAAA'), *lines[2:]], "line 2"),
        (lambda lines: [lines[0], lines[1].replace('"name": "', '"name": "\\u0000'), *lines[2:]], "control"),
        (lambda lines: [lines[0], json.dumps({"name": "x"}), *lines[2:]], "lacks 'crops', 'embeddings', 'metadata'"),
        (
            lambda lines: [lines[0], lines[1].replace('"name"', '"nam"'), *lines[2:]],
            "lacks 'name' and has unknown 'nam'",
        ),
        (lambda lines: [lines[0], lines[1].replace('"name"', '"x": 1, "name"'), *lines[2:]], "unknown 'x'"),
        (lambda lines: [lines[0], lines[1], lines[1], lines[3]], "line 3, is damaged: 'Ann' occurs twice"),
        (lambda lines: [lines[0].replace('"fingerprint"', '"fingerprints"'), *lines[1:]], "not an export"),
        (lambda lines: [lines[0].replace('"thresholds": [{', '"thresholds": [{"x": 1, '), *lines[1:]], "threshold"),
        (lambda lines: [lines[0].replace('"value": 0.6', '"value": 1.5'), *lines[1:]], "threshold"),
        (
            lambda lines: [*lines[:2], lines[2].replace('"crops": [null]', '"crops": ["aGVsbG8="]'), lines[3]],
            "line 3.*PNG",
        ),
        (
            lambda lines: [
                *lines[:2],
                lines[2].replace('"metadata": {}', f'"metadata": {{"x": "{"y" * 40000}"}}'),
                lines[3],
            ],
            "line 3.*metadata",
        ),
        (lambda lines: [*lines[:3], '{"identities": true}'], "truncated"),
        (lambda lines: [*lines[:3], '{"identities": 2, "x": 1}'], "truncated"),
        (lambda lines: [lines[0], lines[1].replace('"name": "', '"name": "\u202e'), *lines[2:]], "change the order"),
        (
            lambda lines: [lines[0].replace('"embedding_size": 32', '"embedding_size": "x"'), *lines[1:]],
            "record of what",
        ),
    ],
)
def test_an_export_that_is_damaged_adds_nothing(make, faces, tmp_path, spoil, match):
    gallery = make()
    gallery.enroll("Ann", faces[0])
    gallery.enroll("Bob", faces[1])
    export_gallery(gallery, tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    (tmp_path / "x.jsonl").write_text("\n".join(spoil(lines)) + "\n")
    other = make(tmp_path / "other.db")
    with pytest.raises((GalleryFormatError, FingerprintError), match=match):
        import_gallery(other, tmp_path / "x.jsonl")
    assert len(other) == 0


def test_an_export_of_another_kind_or_none(make, faces, tmp_path, fingerprint):
    export_gallery(make(), tmp_path / "x.jsonl")
    with open_gallery(tmp_path / "int8.db", replace(fingerprint, precision="int8"), create=True) as other:
        with pytest.raises(FingerprintError, match="precision int8 there, float32 here"):
            import_gallery(other, tmp_path / "x.jsonl")
    with pytest.raises(GalleryError, match="Cannot read"):
        read_fingerprint(tmp_path / "none.jsonl")


@pytest.fixture(params=["file", "encrypted", "milvus"])
def with_crops(request, small_models, crops, tmp_path, key):
    """A gallery of a narrow network with crops kept."""
    embedder = Embedder(small_models["image"])
    place = f"milvus:{tmp_path / 'crops.db'}" if request.param == "milvus" else tmp_path / "crops.db"
    options = {"key": key} if request.param == "encrypted" else {}
    with open_gallery(place, embedder, create=True, keep_crops=True, **options) as gallery:
        for name, some in (("Ann", crops[:3]), ("Bob", crops[3:4])):
            gallery.enroll(name, embedder.embed(some), crops=[encode_crop(crop) for crop in some])
        yield gallery


@pytest.mark.slow
def test_rebuild_with_another_model(with_crops, small_models, crops, make_onnx):
    """Another size, another kind: everything comes from the crops, and the gallery is the other model's."""
    other = Embedder(make_onnx(changes={"landmark_template": with_crops.fingerprint.landmark_template}))
    assert with_crops.rebuild(other) == 4
    assert with_crops.fingerprint == other.fingerprint
    expected = other.embed(crops[:3])
    found = {p.name: p for p in with_crops.portraits()}
    assert sorted(map(tuple, found["Ann"].embeddings)) == sorted(map(tuple, expected))
    assert with_crops.identify(other.embed(crops[3:4]), threshold=0.9).candidates[0].similarity == pytest.approx(1)
    assert with_crops.check() == []
    with pytest.raises(ValueError, match="numbers"):
        with_crops.search(Embedder(small_models["image"]).embed(crops[:1]))


@pytest.mark.slow
def test_rebuild_for_another_fit(with_crops, marked, small_models, make_onnx):
    """The crops become those of the other fit, as rebuilding again presumes; embeddings and crops agree."""
    embedder = Embedder(small_models["image"])
    template = embedder.spec.landmark_template
    original = [marked.cut("cp2tform", turn) for turn in (0.0, 0.3)]
    with_crops.remove(["Ann", "Bob"])
    with_crops.enroll("Eve", embedder.embed(np.stack(original)), crops=[encode_crop(crop) for crop in original])
    (before,) = with_crops.portraits()
    other = Embedder(make_onnx(changes={"landmark_template": template, "alignment_fit": "umeyama"}))
    assert with_crops.rebuild(other, detector=marked) == 2
    (after,) = with_crops.portraits()
    kept = [decode_crop(crop, (112, 96, 3)) for crop in after.crops]
    for number, turn in enumerate((0.0, 0.3)):
        direct = marked.marks(marked.cut("umeyama", turn))
        assert np.abs(marked.marks(kept[number]) - direct).max() < 0.3
        assert np.abs(marked.marks(original[number]) - direct).max() > 1.2
    np.testing.assert_array_equal(after.embeddings, other.embed(np.stack(kept)))
    assert (with_crops.fingerprint, with_crops.check()) == (other.fingerprint, [])
    assert with_crops.rebuild(other) == 2
    (again,) = with_crops.portraits()
    assert again.crops == after.crops != before.crops, "the same fit leaves the crops"


def test_a_crop_without_a_face_stops_a_rebuild_for_another_fit(with_crops, marked, small_models, make_onnx):
    embedder = Embedder(small_models["image"])
    crop = marked.cut("cp2tform", 0.0)
    with_crops.enroll("Eve", embedder.embed(crop[None]), crops=[encode_crop(crop)])
    before = {portrait.name: portrait for portrait in with_crops.portraits()}
    changes = {"landmark_template": embedder.spec.landmark_template, "alignment_fit": "umeyama"}
    with pytest.raises(GalleryError, match=r"no face was found in crops of 2 of 3 identities: 'Ann', 'Bob'\. Nothing"):
        with_crops.rebuild(Embedder(make_onnx(changes=changes)), detector=marked)
    assert (with_crops.fingerprint, with_crops.check()) == (embedder.fingerprint, [])
    for portrait in with_crops.portraits():
        assert portrait.crops == before[portrait.name].crops
        np.testing.assert_array_equal(portrait.embeddings, before[portrait.name].embeddings)


def test_rebuild_is_refused_whole(make, faces, small_models, crops, tmp_path):
    embedder = Embedder(small_models["image"])
    with open_gallery(tmp_path / "none.db", embedder, create=True) as gallery:
        gallery.enroll("Ann", embedder.embed(crops[:1]), crops=[encode_crop(crops[0])])
        with pytest.raises(GalleryError, match="Crops of 1 of 1 identities .* were not kept: 'Ann'"):
            gallery.rebuild(embedder)
    with open_gallery(tmp_path / "some.db", embedder, create=True, keep_crops=True) as gallery:
        gallery.enroll("Ann", embedder.embed(crops[:1]), crops=[encode_crop(crops[0])])
        template = tuple((x + 1, y) for x, y in embedder.spec.landmark_template)
        for change, words in (
            ({"landmark_template": template}, "have 112 x 96 pixels, and the model takes another landmark template"),
            ({"input_width": 112}, r"have 112 x 96 pixels, and the model takes crops of 112 x 112 pixels\. Nothing"),
            ({"alignment_fit": "umeyama"}, r"another fit \(cp2tform\) than .* takes \(umeyama\): a detector must"),
        ):
            changed = copy(embedder)
            changed.spec = replace(embedder.spec, **change)
            with pytest.raises(FingerprintError, match=words):
                gallery.rebuild(changed)

        class Disturbed(Embedder):
            def embed(self, batch):
                with open_gallery(tmp_path / "some.db", embedder) as other:
                    other.enroll("Bob", embedder.embed(crops[1:2]), crops=[encode_crop(crops[1])])
                return super().embed(batch)

        with pytest.raises(GalleryBusyError, match="changed while it was rebuilt"):
            gallery.rebuild(Disturbed(small_models["image"]))
        assert gallery.check() == []
        assert len(gallery) == 2


def test_what_is_no_crop_is_not_kept(gallery, faces):
    for crop in (b"", b"JPEG", b"\x89PNG\r\n\x1a\n" + bytes(1 << 20), "text"):
        with pytest.raises(CropError):
            gallery.enroll("Ann", faces[0], crops=[crop])
    assert len(gallery) == 0


def test_crops_lose_nothing_and_are_checked(crops):
    np.testing.assert_array_equal(decode_crop(encode_crop(crops[0]), (112, 96, 3)), crops[0])
    for data in (b"", b"x" * 50, encode_crop(crops[0][:, :50]), b"\x89PNG" * 400_000):
        with pytest.raises(CropError):
            decode_crop(data, (112, 96, 3))


@pytest.mark.slow
def test_an_import_that_fails_late_adds_nothing(make, faces, tmp_path, monkeypatch):
    """All people come in one transaction: a disk that fails at the last leaves the gallery as it was."""
    many = make(tmp_path / "many.db")
    rows = np.random.default_rng(0).standard_normal((1200, 32), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    many.add([Portrait(name=f"p{n}", metadata=None, embeddings=row[None], crops=(None,)) for n, row in enumerate(rows)])
    export_gallery(many, tmp_path / "x.jsonl")
    other = make(tmp_path / "other.db", threshold=None)
    other.enroll("Ann", faces[0])
    real, left = Tables.add, iter(range(1199))

    def failing(*arguments, **options):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        real(*arguments, **options)

    monkeypatch.setattr(Tables, "add", failing)
    with pytest.raises(OutputError, match="No space left"):
        import_gallery(other, tmp_path / "x.jsonl")
    monkeypatch.undo()
    assert [identity.name for identity in other.identities()] == ["Ann"]
    assert (other.check(), other.thresholds()) == ([], {})
    assert other.identify(faces[0], threshold=0.6).name == "Ann"
    assert import_gallery(other, tmp_path / "x.jsonl").added == 1200
    assert (len(other), other.threshold.value, other.check()) == (1201, 0.6, [])


@pytest.mark.skipif(os.name != "posix", reason="FIFOs")
def test_an_export_in_a_fifo_is_refused(make, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(GalleryError, match="regular file"):
        import_gallery(make(), tmp_path / "fifo")
