"""The certificate: what was proven is checked again, and one changed weight is seen."""

import hashlib
import json
import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge_sphereface.errors import CertificateError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.certificate import Bounds, certificate_path, check_on_device, golden_crops, load_certificate
from edge_sphereface.storage.files import sha256_of


@pytest.fixture
def certified(small_model, tmp_path):
    """A copy of the small model with its certificate."""
    model = tmp_path / "m.onnx"
    shutil.copy(small_model, model)
    shutil.copy(certificate_path(small_model), certificate_path(model))
    return model


def edit(model, change):
    path = certificate_path(model)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_holds_on_the_machine_that_wrote_it(certified):
    check = check_on_device(Embedder(certified), load_certificate(certificate_path(certified)))
    assert check.passed
    assert check.measured.max_abs_error < 1e-6
    assert check.measured.min_cosine > 0.9999999


def test_holds_with_other_threads_and_batches(certified):
    embedder = Embedder(certified, threads=1, batch_size=1)
    assert check_on_device(embedder, load_certificate(certificate_path(certified))).passed


def test_one_weight_changed_by_a_hundredth_is_seen(certified):
    model = onnx.load(certified)
    weight = next(w for w in model.graph.initializer if w.name == "conv3_5.weight")
    values = numpy_helper.to_array(weight).copy()
    values.reshape(-1)[np.abs(values).argmax()] *= 1.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, certified)
    path = edit(certified, lambda content: content["onnx"].update(sha256=sha256_of(certified)))
    check = check_on_device(Embedder(certified), load_certificate(path))
    assert not check.passed


def test_another_model_file_is_refused(certified, small_models):
    with pytest.raises(CertificateError, match="another model file"):
        check_on_device(Embedder(small_models["nchw"]), load_certificate(certificate_path(certified)))


def test_golden_inputs_are_the_same_for_all_time(spec):
    crops = golden_crops(spec)
    assert crops.shape == (4, 112, 96, 3)
    digest = hashlib.sha256(crops.tobytes()).hexdigest()
    assert digest == "de3847bf9957562d045b727bab34c34cdc30325b58cc931888a1c36c45b5820b"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(kind="other"), "The certificate is not .* it says .other. 1"),
        (lambda c: c.update(schema_version=2), "The certificate is not"),
        (lambda c: c.pop("onnx"), "lacks 'onnx'"),
        (lambda c: c["golden"].update(crops_sha256="0" * 64), "golden inputs"),
        (lambda c: c["golden"].pop("crops_sha256"), "golden lacks 'crops_sha256'"),
        (lambda c: c["golden"].update(embeddings=[[1.0]]), "golden embeddings of 32 numbers"),
        (lambda c: c["golden"].update(embeddings="x"), "golden.embeddings must be a list"),
        (lambda c: c["golden"].pop("embeddings"), "golden lacks 'embeddings'"),
        (lambda c: c["golden"]["embeddings"][0].__setitem__(0, 1e999), "not finite"),
        (lambda c: c.update(surprise=1), "unknown 'surprise'"),
        (lambda c: c["crops"].update(width=112), "112 x 112 BGR.* in the certificate, 112 x 96 BGR"),
        (lambda c: c["crops"].update(color_order="RGB"), "112 x 96 RGB.* in the certificate"),
        (lambda c: c["crops"].update(pixel_scale=0.5), "of other crops"),
        (lambda c: c["crops"]["landmark_template"][0].__setitem__(0, 38.2946), "of other crops"),
        (lambda c: c["crops"].pop("height"), "crops lacks 'height'"),
        (lambda c: c["alignment"].update(fit="umeyama"), "aligned by the fit 'umeyama'"),
        (lambda c: c["alignment"]["transform"][0].__setitem__(0, 0.4886), "aligned by the fit 'cp2tform'"),
        (lambda c: c["alignment"]["transform"][0].__setitem__(0, float("nan")), "not finite"),
        (lambda c: c["alignment"].update(transform="x"), "alignment.transform must be a list"),
        (lambda c: c.update(alignment=[]), "alignment must be a JSON object"),
    ],
)
def test_damaged_certificates(certified, change, words):
    path = edit(certified, change)
    with pytest.raises(CertificateError, match=words):
        check_on_device(Embedder(certified), load_certificate(path))


@pytest.mark.parametrize("part", ["alignment", "crops"])
def test_certificates_from_before_a_part_was_recorded(certified, part):
    path = edit(certified, lambda c: c.pop(part))
    assert check_on_device(Embedder(certified), load_certificate(path)).passed


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"9" * 5000])
def test_no_certificate_at_all(tmp_path, content):
    path = tmp_path / "x.parity.json"
    path.write_bytes(content)
    with pytest.raises(CertificateError):
        load_certificate(path)
    with pytest.raises(CertificateError, match="verifying the model"):
        load_certificate(tmp_path / "missing.parity.json")


def test_bounds():
    from edge_sphereface.metrics import Agreement

    bounds = Bounds(max_abs_error=1e-5, min_cosine=0.99)
    assert bounds.holds(Agreement(max_abs_error=1e-5, min_cosine=0.99))
    assert not bounds.holds(Agreement(max_abs_error=1.1e-5, min_cosine=1))
    assert not bounds.holds(Agreement(max_abs_error=0, min_cosine=0.98))
    assert not bounds.holds(Agreement(max_abs_error=float("nan"), min_cosine=1))


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_streams_are_no_certificates(tmp_path):
    (tmp_path / "device").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name in ("device", "pipe"):
        with pytest.raises(CertificateError, match=f"is a {name}"):
            load_certificate(tmp_path / name)
