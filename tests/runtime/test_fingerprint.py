"""What made an embedding is told exactly: the same digest for what may be compared, another for all else."""

import json
from dataclasses import replace

import pytest

from edge_sphereface.alignment import LANDMARK_TEMPLATE
from edge_sphereface.cli.hints import hint_of
from edge_sphereface.errors import FingerprintError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.model.origin import Origin
from edge_sphereface.model.spec import LAYOUT_IMAGE

ORIGINAL = Origin(preset=None, color_order="BGR", shortcut="after_activation", is_normalized=False)


def test_forms_of_one_model_are_one_kind(small_models, spec):
    """Layouts and rewrites give the same embeddings."""
    kinds = {Embedder(model).fingerprint.digest for model in small_models.values()}
    assert len(kinds) == 1
    rewritten = replace(spec, rewrites=("prelu",), input_layout=LAYOUT_IMAGE, threshold=0.1)
    assert Fingerprint.of(spec) == Fingerprint.of(rewritten)
    assert Embedder(small_models["image"], flip=True).fingerprint.digest not in kinds


@pytest.mark.parametrize(
    "change",
    [
        {"source_sha256": "1" * 64},
        {"precision": "float16"},
        {"embedding_size": 128},
        {"input_height": 128},
        {"pixel_mean": 0.0},
        {"pixel_scale": 1.0},
        {"architecture": "SphereFace-4"},
        {"landmark_template": ((31.0, 51.0), (65.0, 51.0), (48.0, 71.0), (33.0, 92.0), (62.0, 92.0))},
        {"alignment_fit": "umeyama"},
        {"origin": replace(ORIGINAL, color_order="RGB")},
        {"origin": replace(ORIGINAL, shortcut="before_activation")},
    ],
)
def test_everything_else_makes_another_kind(spec, change):
    here, there = Fingerprint.of(replace(spec, **change)), Fingerprint.of(spec)
    assert here.digest != there.digest
    with pytest.raises(FingerprintError, match="another kind"):
        there.require(here, "It")


def test_an_origin_like_the_originals_changes_nothing(spec):
    """Galleries made before the origin was recorded keep their digest."""
    kind = Fingerprint.of(replace(spec, origin=replace(ORIGINAL, preset="clcarwin", is_normalized=True)))
    assert kind == Fingerprint.of(spec)
    assert "shortcut" not in json.loads(kind.to_json())


def test_kept_crops_of_another_size_are_not_recommended(spec):
    there, square = Fingerprint.of(spec), replace(spec, input_width=112)
    with pytest.raises(FingerprintError) as found:
        there.require(Fingerprint.of(square), "It")
    assert (found.value.hint[-29:], found.value.remedy) == ("enroll from photographs again", "create-gallery")
    with pytest.raises(FingerprintError) as found:
        there.require(Fingerprint.of(replace(spec, precision="float16")), "It")
    assert found.value.remedy == "rebuild-gallery"
    assert "--keep-crops" in hint_of(found.value)


def test_precision_is_named_without_the_record_that_it_implies(spec):
    there, here = Fingerprint.of(spec), replace(Fingerprint.of(spec), precision="int8", quantization="a" * 64)
    assert there.differences(here) == ["precision float32 there, int8 here"]
    assert len(here.differences(replace(here, quantization="b" * 64))) == 1


def test_it_survives_json(spec):
    fingerprint = Fingerprint.of(spec)
    assert Fingerprint.from_json(fingerprint.to_json()) == fingerprint
    assert fingerprint.digest.startswith("esf1-")


@pytest.mark.parametrize("text", ["", "[]", "{}", "{" * 9000, "x" * 99_999, '{"architecture": 1}'])
def test_what_is_no_fingerprint(text):
    with pytest.raises(FingerprintError, match="record of what made"):
        Fingerprint.from_json(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("embedding_size", 0),
        ("pixel_mean", float("nan")),
        ("landmark_template", [[1, 2]]),
        ("alignment_fit", "x"),
        ("flip", 1),
    ],
)
def test_values_that_cannot_be(spec, name, value):
    import json

    values = {**Fingerprint.of(spec).as_json(), name: value}
    with pytest.raises(FingerprintError):
        Fingerprint.from_json(json.dumps(values))


def test_kin_differ_in_precision_alone(spec):
    fingerprint = Fingerprint.of(spec)
    fingerprint.require_kin(replace(fingerprint, precision="int8", quantization="x"), "It")
    with pytest.raises(FingerprintError, match="weights"):
        fingerprint.require_kin(replace(fingerprint, precision="int8", weights_sha256="1" * 64), "It")


def test_records_without_the_kind_of_fit_keep_their_digest(spec):
    """The text that a version without ``alignment_fit`` wrote: galleries and thresholds made then stay valid."""
    text = (
        '{"architecture": "SphereFace-20", "color_order": "BGR", "crop_height": 112, "crop_width": 96, '
        '"embedding_size": 512, "flip": false, "landmark_template": [[30.2946, 51.6963], [65.5318, 51.5014], '
        "[48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]], "
        '"pixel_mean": 127.5, "pixel_scale": 0.0078125, '
        f'"precision": "float32", "quantization": "", "weights_sha256": "{"0" * 64}"}}'
    )
    old = Fingerprint.from_json(text)
    assert old.alignment_fit == "umeyama"
    assert old.digest == "esf1-2458891ffd4c0fb82b5953d67968907d"
    assert old.to_json() == text
    spec = replace(spec, landmark_template=LANDMARK_TEMPLATE)
    assert Fingerprint.of(replace(spec, alignment_fit="umeyama")) == old
    with pytest.raises(FingerprintError, match=r"alignment \(kind of fit\) umeyama there, cp2tform here"):
        old.require(Fingerprint.of(spec), "The gallery")
