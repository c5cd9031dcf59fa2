"""Conversion: proven or not written, and the same bytes every time."""

import json
import os
import sys
import warnings
from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest

from edge_sphereface.detection.mtcnn import WEIGHTS_PACKAGE
from edge_sphereface.errors import ModelNotFoundError, OutputError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.metrics import agreement
from edge_sphereface.model.certificate import check_on_device, load_certificate
from export import convert as convert_module
from export import source as source_module
from export.checkpoint import open_checkpoint
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.errors import CheckpointError, ParityError, TopologyError
from export.known_checkpoints import known_checkpoint
from export.official import OFFICIAL
from export.parity import normalize_plainly
from export.presets import Told
from export.reference import NumpyReference
from export.topology import RESIDUAL_PAIRS, infer_topology
from export.untrained import untrained_parameters

NUMPY = ConversionOptions(reference="numpy")


def write(path, **options):
    write_ckpt(path, untrained_parameters(**{"widths": (4, 8, 8, 12), "embedding_size": 16, **options}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("depth", RESIDUAL_PAIRS)
def test_every_depth_with_and_without_bias(tmp_path, depth):
    for bias in (False, True):
        made = convert(write(tmp_path / "x.ckpt", depth=depth, bias=bias), tmp_path / "x.onnx", NUMPY)
        assert made.proof.passed
        assert made.proof.worst.max_abs_error < 1e-5
        model = onnx.load(made.model)
        assert sum(node.op_type == "Conv" for node in model.graph.node) == depth
        assert sum(node.op_type == "Add" for node in model.graph.node) == sum(RESIDUAL_PAIRS[depth])


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_bytes(tmp_path):
    source = write(tmp_path / "x.ckpt")
    for layout in ("nchw", "image"):
        first, second = (
            convert(
                source, tmp_path / name, ConversionOptions(reference="numpy", input_layout=layout)
            ).model.read_bytes()
            for name in ("1.onnx", "2.onnx")
        )
        assert first == second


def test_the_graph_is_what_was_promised(tmp_path):
    made = convert(write(tmp_path / "x.ckpt"), tmp_path / "x.onnx", NUMPY)
    model = onnx.load(made.model)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 17
    (given,), (result,) = model.graph.input, model.graph.output
    assert (given.name, result.name) == ("input", "embedding")
    assert given.type.tensor_type.shape.dim[0].dim_param == result.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert made.spec.source_is_official is False
    assert made.spec.source_sha256 == open_sha(tmp_path / "x.ckpt")
    assert made.spec.threshold_source == "the original's LFW threshold; not measured for these weights"


def open_sha(path):
    with open_checkpoint(path) as checkpoint:
        return checkpoint.sha256


def test_a_plain_onnxruntime_gets_the_same_without_this_package(tmp_path):
    """The float file holds for anyone who normalizes as the original does."""
    source = write(tmp_path / "x.ckpt")
    made = convert(source, tmp_path / "x.onnx", NUMPY)
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 96, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(made.model), providers=["CPUExecutionProvider"])
    plain = session.run(["embedding"], {"input": ((crops - np.float32(127.5)) / 128).transpose(0, 3, 1, 2)})[0]
    np.testing.assert_allclose(plain, Embedder(made.model).forward(crops), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_checkpoints(tmp_path, dtype):
    parameters = {name: value.astype(dtype) for name, value in untrained_parameters(widths=(4, 4, 4, 8)).items()}
    write_ckpt(tmp_path / "x.ckpt", parameters)
    made = convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", NUMPY)
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load(made.model).graph.initializer}
    np.testing.assert_array_equal(weights["conv2_3.weight"], parameters["conv2_3.weight"].astype(np.float32))


def test_safetensors(tmp_path):
    from safetensors.numpy import save_file

    save_file(untrained_parameters(widths=(4, 4, 4, 8)), tmp_path / "x.safetensors", metadata={"format": "ms"})
    assert convert(tmp_path / "x.safetensors", tmp_path / "x.onnx", NUMPY).proof.passed


@pytest.mark.slow
def test_the_kind_of_fit_is_kept_in_model_and_certificate(tmp_path):
    write(tmp_path / "x.ckpt")
    for chosen, fit in ((NUMPY, "cp2tform"), (replace(NUMPY, told=Told(alignment_fit="umeyama")), "umeyama")):
        made = convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", chosen)
        assert Embedder(made.model).spec.alignment_fit == fit
        assert load_certificate(made.certificate).alignment.fit == fit


def test_square_crops_have_their_own_template(tmp_path):
    made = convert(write(tmp_path / "x.ckpt", input_size=(112, 112)), tmp_path / "x.onnx", NUMPY)
    assert made.spec.crop_shape == (112, 112, 3)
    assert made.spec.landmark_template[0] == (38.2946, 51.6963)


def test_a_crop_without_a_known_template(tmp_path):
    with pytest.raises(TopologyError, match="template is known only for a height of 112"):
        convert(write(tmp_path / "x.ckpt", input_size=(128, 112)), tmp_path / "x.onnx", NUMPY)
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt"]


def test_what_fails_the_proof_is_not_written(tmp_path, monkeypatch):
    """One slope wrong by one percent in the graph, and there is no file."""
    real = convert_module.build_graph

    def wrong(topology, parameters, spec):
        parameters = {**parameters, "relu2_1.w": parameters["relu2_1.w"] * np.float32(1.01)}
        return real(topology, parameters, spec)

    monkeypatch.setattr(convert_module, "build_graph", wrong)
    with pytest.raises(ParityError, match="does not equal its checkpoint"):
        convert(write(tmp_path / "x.ckpt"), tmp_path / "x.onnx", NUMPY)
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(tmp_path, value):
    parameters = untrained_parameters(widths=(4, 4, 4, 8))
    parameters["conv3_2.weight"][0, 0, 0, 0] = value
    write_ckpt(tmp_path / "x.ckpt", parameters)
    with pytest.raises(CheckpointError, match="NaN or infinite values in conv3_2.weight"):
        convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", NUMPY)
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt"]


def test_weights_beyond_float32(tmp_path):
    parameters = untrained_parameters(widths=(4, 4, 4, 8))
    parameters["conv3_2.weight"] = parameters["conv3_2.weight"].astype(np.float64) * 1e300
    write_ckpt(tmp_path / "x.ckpt", parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointError, match="NaN or infinite values in conv3_2.weight"):
            convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", NUMPY)
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt"]


def test_an_old_file_survives_a_failure(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"old")
    (tmp_path / "x.ckpt").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError):
        convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", NUMPY)
    assert (tmp_path / "x.onnx").read_bytes() == b"old"


def test_outputs_that_cannot_be(tmp_path):
    source = write(tmp_path / "x.ckpt")
    with pytest.raises(OutputError, match=r"ends in \.onnx"):
        convert(source, tmp_path / "x.bin", NUMPY)
    with pytest.raises(OutputError, match="create the folder"):
        convert(source, tmp_path / "no" / "x.onnx", NUMPY)


def test_the_certificate(tmp_path):
    source = write(tmp_path / "x.ckpt")
    made = convert(source, tmp_path / "x.onnx", NUMPY)
    certificate = load_certificate(made.certificate)
    record = certificate.as_json()
    assert record["checkpoint"] == {"file": "x.ckpt", "sha256": open_sha(source), "is_official": False}
    assert record["onnx"]["opset"] == 17
    assert {(case["inputs"], case["batch"]) for case in record["cases"]} == {
        ("noise", 1), ("noise", 7), ("faces", 1), ("faces", 7)
    }  # fmt: skip
    assert record["bounds"]["conversion"] == {"max_abs_error": 1e-5, "min_cosine": 0.999999}
    assert check_on_device(Embedder(made.model), certificate).passed


def test_faces_of_the_proof_may_be_ones_own(tmp_path, photo):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(photo.read_bytes())
    options = ConversionOptions(reference="numpy", photos=tmp_path / "photos")
    assert convert(write(tmp_path / "x.ckpt"), tmp_path / "x.onnx", options).proof.passed
    (tmp_path / "photos" / "a.png").unlink()
    with pytest.raises(ParityError, match="No face was found"):
        convert(write(tmp_path / "x.ckpt"), tmp_path / "y.onnx", options)


def test_a_missing_detector_is_named_as_such(tmp_path, monkeypatch):
    """And not taken for a missing checkpoint or an unwritable output, though its error is a FileNotFoundError."""
    monkeypatch.setitem(sys.modules, WEIGHTS_PACKAGE, None)
    with pytest.raises(ModelNotFoundError, match="No face detector"):
        convert(write(tmp_path / "x.ckpt"), tmp_path / "x.onnx", NUMPY)
    assert os.listdir(tmp_path) == ["x.ckpt"]


@pytest.mark.slow
def test_the_official_file_is_known_by_its_hash_alone(tmp_path, monkeypatch):
    source = write(tmp_path / OFFICIAL.name)
    assert not convert(source, tmp_path / "x.onnx", NUMPY).spec.source_is_official
    monkeypatch.setattr(
        convert_module.official, "OFFICIAL", OFFICIAL.__class__(
            name="x", url="x", sha256=open_sha(source), max_bytes=1 << 30, license="x"
        )
    )  # fmt: skip
    official = known_checkpoint(OFFICIAL.sha256)
    monkeypatch.setattr(source_module, "known_checkpoint", {open_sha(source): official}.get)
    made = convert(source, tmp_path / "x.onnx", NUMPY)
    assert made.spec.source_is_official
    assert "0.28 to 0.305" in made.spec.threshold_source


def test_the_numpy_reference_against_torch_free_arithmetic(tmp_path):
    """SphereFace-4 of one channel, worked out with loops."""
    source = write(tmp_path / "x.ckpt", depth=4, widths=(1, 1, 1, 1), embedding_size=2, bias=True)
    with open_checkpoint(source) as checkpoint:
        topology = infer_topology(checkpoint.entries)
        got = NumpyReference(checkpoint, topology)
    crop = np.random.default_rng(0).integers(0, 256, (1, 112, 96, 3), dtype=np.uint8)
    batch = normalize_plainly(crop, convert(source, tmp_path / "x.onnx", NUMPY).spec)
    p = untrained_parameters(depth=4, widths=(1, 1, 1, 1), embedding_size=2, bias=True)
    value = batch[0].astype(float)
    for stage in range(1, 5):
        channels, height, width = value.shape
        padded = np.zeros((channels, height + 2, width + 2))
        padded[:, 1:-1, 1:-1] = value
        weight, bias, slope = p[f"conv{stage}_1.weight"], p[f"conv{stage}_1.bias"][0], p[f"relu{stage}_1.w"][0]
        value = np.array(
            [
                [
                    [(padded[:, y : y + 3, x : x + 3] * weight[0]).sum() + bias for x in range(0, width, 2)]
                    for y in range(0, height, 2)
                ]
            ]
        )
        value = np.maximum(value, 0) + slope * np.minimum(value, 0)
    expected = p["fc5.weight"] @ value.reshape(-1) + p["fc5.bias"]
    assert agreement(expected[None], got.forward(batch)).max_abs_error < 1e-6


@pytest.mark.slow
def test_trained_weights(shared, tmp_path):
    source = shared("checkpoints/sphere20a-w050-lfw.ckpt")
    made = convert(source, tmp_path / "m.onnx", NUMPY)
    assert (made.topology.name, made.topology.widths) == ("SphereFace-20", (32, 64, 128, 256))
    assert len(made.topology.skipped) == 8
    assert made.proof.worst.max_abs_error < 5e-6
    assert json.loads(made.certificate.read_text())["checkpoint"]["sha256"].startswith("48109ea5cdea5039")
