"""What every kind of gallery promises."""

import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from edge_sphereface.errors import (
    EmbeddingError,
    FingerprintError,
    GalleryFormatError,
    GalleryNotFoundError,
    IdentityError,
    IdentityNotFoundError,
    ThresholdError,
)
from edge_sphereface.gallery import Portrait, Threshold, open_gallery
from edge_sphereface.gallery.transfer import export_gallery, import_gallery

NAMES = [
    "Ann",
    "Robert'); DROP TABLE identities; --",
    'id == "x" or 1 == 1',
    "Дзержинский",
    "王小明",
    "محمد",
    "👩🏽‍🚀 O'Hara \\ % _",
    "e\u0301",
]


def portraits(faces, names):
    return [
        Portrait(name=name, metadata=None, embeddings=face[None], crops=(None,))
        for name, face in zip(names, faces, strict=True)
    ]


def options_of(gallery):
    return {"key": bytes(range(32))} if gallery.encrypted else {}


def test_enroll_and_identify(gallery, faces):
    added = gallery.enroll("Ann", faces[0], metadata={"role": "staff", "näme": [1, None]})
    assert (added.name, added.added, added.embeddings, added.own_similarity, added.lookalikes) == (
        "Ann",
        1,
        1,
        None,
        (),
    )
    gallery.enroll("Bob", faces[1:3])
    answer = gallery.identify(faces[0] + 0.1 * faces[5])
    assert (answer.name, answer.outcome, answer.threshold) == ("Ann", "identified", 0.6)
    assert [candidate.name for candidate in answer.candidates] == ["Ann", "Bob"]
    assert answer.candidates[0].similarity == pytest.approx(0.995, abs=0.02)
    stranger = gallery.identify(faces[7])
    assert (stranger.name, stranger.outcome) == (None, "unknown")
    identity = gallery.get("Ann")
    assert (identity.metadata, identity.embeddings) == ({"role": "staff", "näme": [1, None]}, 1)
    assert len(gallery) == 2


def test_the_template_is_the_unit_mean_beside_its_members(gallery, faces):
    gallery.enroll("Ann", faces[:2])
    gallery.enroll("Ann", faces[2])
    mean = faces[:3].mean(axis=0)
    np.testing.assert_allclose(gallery.template("Ann"), mean / np.linalg.norm(mean), atol=1e-6)
    (portrait,) = gallery.portraits()
    assert sorted(map(tuple, portrait.embeddings)) == sorted(map(tuple, faces[:3])), "bit for bit"
    assert gallery.template("Bob") is None
    np.testing.assert_array_equal(gallery.portrait("Ann").embeddings, portrait.embeddings)
    assert gallery.portrait("Bob") is None
    assert gallery.check() == []


def test_search_is_exact(gallery, faces):
    """The same candidates and similarities as comparing with every template, in the same order."""
    names = [f"p{number:02d}" for number in range(len(faces))]
    gallery.add(portraits(faces, names))
    probes = np.random.default_rng(2).standard_normal((9, faces.shape[1]), dtype=np.float32)
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    expected = probes @ faces.T
    for found, row in zip(gallery.search(probes, top=6), expected, strict=True):
        best = np.argsort(-row)[:6]
        assert [candidate.name for candidate in found] == [names[number] for number in best]
        np.testing.assert_allclose([candidate.similarity for candidate in found], row[best], atol=1e-6)
    assert [len(found) for found in gallery.search(probes[:1], top=1000)] == [40]
    assert gallery.search(np.empty((0, faces.shape[1]))) == []


def test_removed_and_changed_templates_are_not_found(gallery, faces):
    gallery.add(portraits(faces[:6], "abcdef"))
    gallery.enroll("a", faces[10:14])
    assert gallery.remove(["b", "c"]) == 2
    assert sorted(found.name for found in gallery.search(faces[1], top=9)[0]) == ["a", "d", "e", "f"]
    assert gallery.identify(faces[1]).outcome == "unknown"
    assert gallery.check() == []
    with pytest.raises(IdentityNotFoundError, match="'b'"):
        gallery.get("b")


def test_removing_a_name_that_is_not_there_removes_none(gallery, faces):
    gallery.add(portraits(faces[:2], ["Ann", "Bob"]))
    with pytest.raises(IdentityNotFoundError, match="Zoe"):
        gallery.remove(["Ann", "Zoe"])
    assert len(gallery) == 2


@pytest.mark.slow
def test_names_of_any_script_and_of_any_malice(gallery, faces):
    gallery.enroll("bystander", faces[30])
    for name, face in zip(NAMES, faces, strict=False):
        gallery.enroll(name, face)
        kept = gallery.identify(face).name
        assert gallery.get(name).name == kept
    assert len(list(gallery.identities())) == len(NAMES) + 1
    gallery.remove(NAMES)
    assert [identity.name for identity in gallery.identities()] == ["bystander"]


def test_two_ways_to_type_an_accent_are_one_person(gallery, faces):
    gallery.enroll("Zoe\u0301", faces[0])
    assert gallery.enroll("Zo\u00e9", faces[0]).embeddings == 2


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00b", "\ud800", "x" * 1025, 5, None])
def test_names_that_cannot_be_kept(make, faces, name):
    gallery = make()
    with pytest.raises(IdentityError):
        gallery.enroll(name, faces[0])
    assert len(gallery) == 0


@pytest.mark.parametrize("metadata", [{"x": float("nan")}, {"x": "y" * 40_000}, {"x": object()}, [1]])
def test_metadata_that_cannot_be_kept(make, faces, metadata):
    gallery = make()
    with pytest.raises(IdentityError):
        gallery.enroll("Ann", faces[0], metadata=metadata)
    assert len(gallery) == 0


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda row: row * np.nan, "NaN"),
        (lambda row: row * 0, "zero"),
        (lambda row: row[:-1], "of 32 numbers"),
        (lambda row: row[None, None], "of 32 numbers"),
        (lambda row: row[None][:0], "at least one"),
        (lambda row: np.stack([row, -row]), "cancel"),
    ],
)
def test_embeddings_that_are_none_are_refused(make, faces, spoil, match):
    gallery = make()
    with pytest.raises(EmbeddingError, match=match):
        gallery.enroll("Ann", spoil(faces[0]))
    assert len(gallery) == 0


def test_two_names_for_one_face_are_told_with_their_similarity(gallery, faces):
    gallery.enroll("Ann", faces[0])
    (other,) = gallery.enroll("Anna", faces[0] + 0.3 * faces[1]).lookalikes
    assert other.name == "Ann"
    assert 0.9 < other.similarity < 1
    assert gallery.enroll("Bob", faces[2]).lookalikes == ()
    assert gallery.enroll("Bob", faces[3]).own_similarity == pytest.approx(float(faces[2] @ faces[3]), abs=1e-5)


def test_margin_and_threshold(gallery, faces):
    gallery.enroll("Ann", faces[0])
    gallery.enroll("Anna", faces[0] + 0.2 * faces[1])
    assert gallery.identify(faces[0]).name == "Ann"
    close = gallery.identify(faces[0], margin=0.2, top=1)
    assert (close.name, close.outcome, len(close.candidates)) == (None, "ambiguous", 1)
    assert gallery.identify(faces[0], threshold=0.999).threshold == 0.999
    with pytest.raises(EmbeddingError, match="one embedding"):
        gallery.identify(faces[:2])
    with pytest.raises(ValueError, match="top"):
        gallery.search(faces[0], top=0)


def test_thresholds_are_kept_by_precision(gallery, fingerprint, faces):
    int8 = replace(fingerprint, precision="int8", quantization="x")
    record = Threshold(value=0.4, precision="int8", fingerprint=int8.digest, source="INT8", far=0.01, low=0.3, high=0.5)
    gallery.set_threshold(record)
    assert gallery.thresholds()["int8"] == record
    assert gallery.threshold.value == 0.6
    gallery.set_threshold(replace(record, precision="float32", fingerprint="other"))
    assert gallery.threshold is None, "of other weights"
    gallery.enroll("Ann", faces[0])
    with pytest.raises(ThresholdError, match="no threshold"):
        gallery.identify(faces[0])


def test_the_closest_pair(gallery, faces):
    assert gallery.closest_pair() is None
    gallery.add(portraits([*faces[:20], faces[7] + 0.5 * faces[30]], [f"p{n:02d}" for n in range(21)]))
    first, second, similarity = gallery.closest_pair()
    assert (first, second) == ("p07", "p20")
    assert similarity == pytest.approx(float(faces[7] @ gallery.template("p20")), abs=1e-5)


@pytest.mark.slow
def test_embeddings_of_another_kind_are_refused_with_a_sentence(gallery, fingerprint, faces):
    gallery.enroll("Ann", faces[0])
    gallery.close()
    for change, words in (
        ({"precision": "int8", "quantization": "y"}, "precision float32 there, int8 here"),
        ({"weights_sha256": "1" * 64}, "weights"),
        ({"flip": True}, "mirrored"),
        ({"landmark_template": ((1.0, 1.0),) * 5}, "alignment"),
        ({"alignment_fit": "umeyama"}, r"alignment \(kind of fit\) cp2tform there, umeyama here"),
        ({"pixel_scale": 1.0}, "pixel scale"),
    ):
        with pytest.raises(FingerprintError, match=words):
            open_gallery(gallery.location, replace(fingerprint, **change), **options_of(gallery))
    with open_gallery(gallery.location, **options_of(gallery)) as unchecked:
        assert [identity.name for identity in unchecked.identities()] == ["Ann"]
        with pytest.raises(FingerprintError, match="without the fingerprint"):
            unchecked.search(faces[0])
        with pytest.raises(FingerprintError, match="without the fingerprint"):
            unchecked.enroll("Bob", faces[1])


def test_what_was_enrolled_is_there_when_it_is_opened_again(gallery, fingerprint, faces):
    gallery.enroll("Ann", faces[:3], metadata={"a": 1})
    gallery.close()
    with open_gallery(gallery.location, fingerprint, **options_of(gallery)) as again:
        assert (again.get("Ann").embeddings, again.get("Ann").metadata) == (3, {"a": 1})
        assert again.identify(faces[1]).candidates[0].name == "Ann"
        assert again.keep_crops


@pytest.mark.slow
def test_several_threads_may_use_one_gallery(gallery, faces):
    failures = []

    def work(number):
        try:
            gallery.enroll(f"p{number}", faces[number])
            assert gallery.search(faces[number])[0][0].name == f"p{number}"
        except Exception as error:  # noqa: BLE001 -- told below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(gallery) == 8


@pytest.mark.parametrize("place", ["none.db", "milvus:none.db"])
def test_no_gallery(tmp_path, monkeypatch, fingerprint, place):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GalleryNotFoundError, match=r"no gallery .*none\.db"):
        open_gallery(place, fingerprint)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="made_by"):
        open_gallery(place, create=True)


THRESHOLD = {"value": 0.3, "precision": "int8", "fingerprint": "x", "source": "y"}
THRESHOLD |= {"far": None, "low": None, "high": None, "tar": None}


def test_a_threshold_of_a_gallery_from_before_tracks_is_read():
    assert not Threshold.from_json(json.dumps(THRESHOLD)).tracks
    assert Threshold.from_json(json.dumps({**THRESHOLD, "tracks": True})).tracks


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({**THRESHOLD, "value": 2}),
        json.dumps({**THRESHOLD, "far": 10**30}),
        json.dumps({**THRESHOLD, "low": "a"}),
        json.dumps({**THRESHOLD, "surprise": 1}),
        json.dumps(THRESHOLD).replace("0.3", "1e999"),
        json.dumps(THRESHOLD).replace("0.3", "9" * 5000),
        "[" * 100_000,
    ],
)
def test_what_is_no_threshold(text):
    with pytest.raises(GalleryFormatError, match="record of a threshold is not .*calibrate it again"):
        Threshold.from_json(text)


LOOK_LIKE_ANN = [
    *("An\u200bn", "\u2060Ann", "Ann\ufeff", "An\u00adn", "An\u200dn", "An\u200cn", "Ann\u3164", "Ann\ufe0f"),
    *("Ann\U000e0041", "\uff21nn", "Ann\u034f", "Ann\u2800", "\u200eAnn"),
]


@pytest.mark.slow
def test_names_that_only_look_like_another_are_refused(gallery, faces):
    """Nobody becomes a second Ann whom no list can tell from the first, whichever comes first."""
    gallery.enroll("Ann", faces[0])
    for name in LOOK_LIKE_ANN:
        with pytest.raises(IdentityError, match="looks like the name 'Ann'") as refused:
            gallery.enroll(name, faces[1])
        assert refused.value.hint
    assert [identity.name for identity in gallery.identities()] == ["Ann"]
    gallery.enroll(odd := "Louis \u2162", faces[2])
    with pytest.raises(IdentityError, match="looks like the name 'Louis .u2162'"):
        gallery.enroll("Louis III", faces[3])
    assert gallery.enroll(odd, faces[4]).embeddings == 2
    gallery.remove([odd])
    assert gallery.enroll("Louis III", faces[3]).embeddings == 1
    with pytest.raises(IdentityError, match="looks like"):
        gallery.add(portraits(faces[:2], ["\ufb01nn", "finn"]))
    assert len(gallery) == 2
    assert gallery.enroll("\ufb01nn", faces[5]).embeddings == 1


@pytest.mark.parametrize("name", ["\u202eAnn", "Ann\u2066", "\u200b", "\u3000", "\u3164\u2800"])
def test_names_that_mislead_are_refused(make, faces, name):
    with pytest.raises(IdentityError):
        make().enroll(name, faces[0])


def test_spaces_of_any_kind_are_one_space(gallery, faces):
    for number, name in enumerate(["Ann Lee", "Ann  Lee", "\u00a0Ann\u2003Lee", "Ann\u3000Lee "]):
        assert gallery.enroll(name, faces[0]).embeddings == number + 1
    assert gallery.get("Ann\u3000Lee").name == "Ann Lee"
    assert gallery.remove(["Ann\u3000Lee", "Ann Lee"]) == 4


@pytest.mark.parametrize(
    "name",
    [
        *("ann", "ANN", "Ann Lee", "O\u2019Hara", "O\u00b4Brien", "M\u00aa Jos\u00e9", "N\u00ba 5", "Louis \u2162"),
        *(
            "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",
            "क\u094d\u200dष",
            "\u0d05\u0d28\u0d4d\u200d",
            "👩\u200d🚀",
            "❤\ufe0f",
        ),
        *("\u0e2a\u0e33\u0e23\u0e32\u0e0d", "\u0e99\u0eb3", "\u845b\U000e0100", "\uff94\uff8f\uff80\uff9e"),
        *("1\ufe0f\u20e3", "🏴\U000e0067\U000e0062\U000e007f", "\U0001fae9"),
    ],
)
def test_names_that_look_different_are_kept(make, faces, name):
    gallery = make()
    gallery.enroll("Ann", faces[0])
    assert gallery.enroll(f"  {name} ", faces[1]).name == name
    assert len(gallery) == 2


def execute(path, statement, *values):
    """Change a gallery file as no version of this package does today."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(statement, values)


def test_names_that_an_earlier_version_kept(make, faces, tmp_path):
    """They stay, take photographs and move to other galleries; no new name may look like them."""
    gallery = make()
    old = ["Ann  Lee", "Bo\u200bb", "\uff23y"]
    gallery.add(portraits(faces[:3], ["a", "b", "c"]))
    gallery.close()
    for name, odd in zip("abc", old, strict=True):
        execute(gallery.location, "UPDATE identities SET name = ? WHERE name = ?", odd, name)
    gallery = make()
    assert [gallery.enroll(name, faces[5]).embeddings for name in old] == [2, 2, 2]
    for name in ("Ann Lee", "Bob", "Cy"):
        with pytest.raises(IdentityError, match="looks like"):
            gallery.enroll(name, faces[6])
    assert import_exported(gallery, make(tmp_path / "other.db"), tmp_path) == ["Ann Lee", *old[1:]]
    full = make(tmp_path / "full.db")
    full.enroll("Bob", faces[7])
    with pytest.raises(IdentityError, match="looks like the name 'Bob'"):
        import_exported(gallery, full, tmp_path)
    assert len(full) == 1


def test_names_that_another_process_adds_or_that_were_not_added_after_all(make, faces):
    here, there = make(), make()
    here.enroll("Cy", faces[0])
    there.enroll("Bo\u200bb", faces[1])
    with pytest.raises(IdentityError, match="looks like"):
        here.enroll("Bob", faces[2])
    there.remove(["Bo\u200bb"])
    with pytest.raises(IdentityError, match="looks like"):
        here.add(portraits(faces[:2], ["Bo\u200bb", "C\u200by"]))
    assert here.enroll("Bob", faces[2]).embeddings == 1


def import_exported(gallery, other, folder):
    export_gallery(gallery, folder / "x.jsonl")
    import_gallery(other, folder / "x.jsonl")
    return [identity.name for identity in other.identities()]


def test_a_threshold_that_an_earlier_version_kept(gallery, fingerprint, faces, tmp_path):
    """Its record has no ``tracks``: it was calibrated on photographs. Galleries and exports hold such records."""
    old = {"value": 0.6, "precision": "float32", "fingerprint": fingerprint.digest, "source": "photographs"}
    old |= {"far": 0.01, "low": 0.5, "high": 0.7, "tar": 0.9}
    threshold = Threshold.from_json(json.dumps(old))
    assert threshold.as_json() == {**old, "tracks": False}
    gallery.enroll("Ann", faces[0])
    gallery.set_threshold(threshold)
    export_gallery(gallery, tmp_path / "new.jsonl")
    head, *lines = (tmp_path / "new.jsonl").read_text().splitlines()
    head = json.loads(head)
    del head["thresholds"][0]["tracks"]
    (tmp_path / "old.jsonl").write_text("\n".join([json.dumps(head), *lines]) + "\n")
    with open_gallery(tmp_path / "other.db", fingerprint, create=True) as other:
        assert import_gallery(other, tmp_path / "old.jsonl").added == 1
        assert other.threshold == threshold
        execute(tmp_path / "other.db", "UPDATE thresholds SET record = ?", json.dumps(old))
        assert other.identify(faces[0]).name == "Ann"
        assert (other.threshold, other.check()) == (threshold, [])


def test_rename_and_merge_keep_what_was_enrolled(gallery, faces):
    gallery.enroll("Ann", faces[:2], metadata={"role": "staff"})
    gallery.enroll("Bob", faces[2])
    since = gallery.get("Ann").enrolled_at
    renamed = gallery.rename("Ann", " Ann  Lee ")
    assert (renamed.name, renamed.metadata, renamed.embeddings) == ("Ann Lee", {"role": "staff"}, 2)
    assert renamed.enrolled_at == since
    assert gallery.rename("Ann Lee", "Ann Lee") == renamed
    merged = gallery.merge("Bob", "Ann Lee")
    assert (merged.name, merged.metadata, merged.embeddings) == ("Ann Lee", {"role": "staff"}, 3)
    assert [identity.name for identity in gallery.identities()] == ["Ann Lee"]
    assert gallery.identify(faces[2], threshold=0.3).name == "Ann Lee"
    assert gallery.check() == []


def test_rename_and_merge_refuse_what_would_lose_someone(gallery, faces):
    gallery.enroll("Ann", faces[0])
    gallery.enroll("Bob", faces[1])
    with pytest.raises(IdentityError, match="already"):
        gallery.rename("Ann", "Bob")
    with pytest.raises(IdentityError, match="looks like"):
        gallery.rename("Ann", "Bob\u200b")
    with pytest.raises(IdentityError, match="twice"):
        gallery.merge("Ann", "Ann")
    for change in (gallery.rename, gallery.merge):
        with pytest.raises(IdentityNotFoundError):
            change("Cid", "Ann")
    with pytest.raises(IdentityNotFoundError):
        gallery.merge("Ann", "Cid")
    assert [(identity.name, identity.embeddings) for identity in gallery.identities()] == [("Ann", 1), ("Bob", 1)]


def test_an_old_name_leaves_no_bytes(make, faces, tmp_path):
    gallery = make()
    gallery.enroll("Aurelia Kowalczyk", faces[0])
    gallery.rename("Aurelia Kowalczyk", "Bea")
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert files
    assert not any(b"Kowalczyk" in data for data in files)
