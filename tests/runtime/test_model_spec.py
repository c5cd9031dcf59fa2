"""The contract in the metadata: what is written is read, and nothing else is accepted."""

import json
from dataclasses import replace

import pytest

from edge_sphereface.batch.tables import DETECTOR_KEY, FINGERPRINT_KEY
from edge_sphereface.errors import ModelFormatError
from edge_sphereface.model.certificate import KIND
from edge_sphereface.model.origin import Origin
from edge_sphereface.model.spec import METADATA_KEY, ModelSpec


def test_round_trip(spec):
    assert ModelSpec.from_metadata({METADATA_KEY: spec.to_json()}) == spec
    assert spec.to_json() == ModelSpec.from_json(spec.to_json()).to_json()


def test_no_metadata_says_what_to_do():
    with pytest.raises(ModelFormatError, match=r"no metadata.*convert the checkpoint again"):
        ModelSpec.from_metadata({"other": "x"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ('{"schema_version": 1}', "version 1; this package reads version 4"),
        ('{"schema_version": 2}', "lacks"),
        ('{"schema_version": 3}', "lacks"),
        ('{"schema_version": 4}', "lacks"),
        ('{"schema_version": 3.0}', "version 3.0"),
        ("[" * 100_000, "not JSON"),
        ('{"schema_version": ' + "9" * 5000 + "}", "not JSON.*5000 digits"),
        ('{"schema_version": 3, "threshold": 1e999}', "not JSON.*too large"),
    ],
)
def test_rubbish(text, words):
    with pytest.raises(ModelFormatError, match=words):
        ModelSpec.from_json(text)


@pytest.mark.parametrize(("version", "absent"), [(3, ("alignment_fit",)), (2, ("alignment_fit", "tuning"))])
def test_models_of_earlier_versions_were_aligned_by_umeyama(spec, version, absent):
    values = {**spec.as_json(), "schema_version": version}
    for name in absent:
        del values[name]
    read = ModelSpec.from_json(json.dumps(values))
    assert (read.alignment_fit, read.tuning, read.schema_version) == ("umeyama", None, 4)
    assert ModelSpec.from_json(read.to_json()) == read == replace(spec, alignment_fit="umeyama")


def test_an_origin_is_written_only_where_there_is_one(spec):
    """So the metadata of a network of MindSpore stay as they were, and models without the record are read."""
    assert "origin" not in json.loads(spec.to_json())
    origin = Origin(preset=None, color_order="RGB", shortcut="before_activation", is_normalized=True)
    made = replace(spec, origin=origin)
    assert ModelSpec.from_json(made.to_json()) == made
    assert origin.folded == ("color order (RGB to BGR)", "batch normalization")
    with pytest.raises(ModelFormatError, match=r"origin\.color_order must be 'BGR' or 'RGB'"):
        ModelSpec.from_json(made.to_json().replace("RGB", "GRB"))


def test_unknown_fields_are_refused(spec):
    with pytest.raises(ModelFormatError, match="unknown.*surprise"):
        ModelSpec.from_json(json.dumps({**spec.as_json(), "surprise": 1}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embedding_size", 0),
        ("embedding_size", "512"),
        ("input_height", 10**9),
        ("input_width", True),
        ("input_layout", "nhwc"),
        ("color_order", "RGB"),
        ("pixel_mean", float("nan")),
        ("pixel_scale", None),
        ("threshold", "0.3"),
        ("threshold", 1.5),
        ("input_height", 1 << 2000),
        ("pixel_mean", 1e300),
        ("source_file", "\ud800"),
        ("source_sha256", "x"),
        ("landmark_template", ((1.0, 2.0),)),
        ("landmark_template", ((1.0, 2.0), (1.0, float("inf")), (1.0, 2.0), (1.0, 2.0), (1.0, 2.0))),
        ("landmark_template", 5),
        ("landmark_template", ((1.0, 2.0),) * 5),
        ("landmark_template", ((1.0, 1.0), (2.0, 1.0), (3.0, 3.0), (4.0, 4.0), (4.0, 500.0))),
        ("alignment_fit", "procrustes"),
        ("alignment_fit", None),
        ("pixel_scale", 0.0),
        ("pixel_scale", -0.5),
        ("architecture", None),
        ("widths", 64),
        ("widths", ("a",)),
        ("source_is_official", "no"),
        ("rewrites", "prelu"),
        ("rewrites", (1,)),
        ("quantization", {"target": "portable"}),
    ],
)
def test_impossible_values_are_named(spec, field, value):
    with pytest.raises(ModelFormatError, match=field):
        replace(spec, **{field: value})


def test_names_in_files_do_not_move_with_the_code():
    """Files of earlier versions must be read. In parts, so that no renaming of modules finds them."""
    assert METADATA_KEY.split(".") == ["edge_sphereface", "model_spec"]
    assert KIND.split(".") == ["edge_sphereface", "parity_certificate"]
    assert FINGERPRINT_KEY.split(b".") == [b"edge_sphereface", b"fingerprint"]
    assert DETECTOR_KEY.split(b".") == [b"edge_sphereface", b"detector"]
