"""Rewrites change no embedding, on random and on trained weights, and are kept only where they are faster."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_sphereface.cli.runner import run
from edge_sphereface.errors import ModelFormatError, OutputError
from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.metrics import agreement
from edge_sphereface.model.spec import ModelSpec
from export.checkpoint.ckpt_writer import write_ckpt
from export.commands import build_parser
from export.convert import ConversionOptions, convert
from export.errors import ParityError
from export.faces import face_crops
from export.quantization.activation_statistics import channel_maxima, embed_all, inner_tensors, observe
from export.rewrite import decompose_prelu, equalize_channels
from export.rewrite import fast as fast_module
from export.rewrite.tile import read_stages
from export.rewrite.weights import read_weights, rebuild
from export.untrained import untrained_parameters


def spec_of(model):
    return ModelSpec.from_metadata({entry.key: entry.value for entry in model.metadata_props})


def convert_with_slopes(tmp_path, slopes, **options):
    """A small network whose slopes a function of their shape chooses."""
    parameters = untrained_parameters(**{"widths": (4, 8, 8, 12), "embedding_size": 16, "depth": 10, **options})
    for name, values in parameters.items():
        if name.endswith(".w"):
            parameters[name] = slopes(values.shape).astype(np.float32)
    write_ckpt(tmp_path / "x.ckpt", parameters)
    return convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="numpy")).model


RANDOM = np.random.default_rng(3)
SLOPES = {
    "as trained": lambda shape: RANDOM.uniform(0, 0.5, shape),
    "negative and one": lambda shape: RANDOM.choice([-1.5, -0.1, 0, 1], shape),
    "some above one": lambda shape: RANDOM.choice([-2, 0.25, 1, 1.5, 4], shape),
    "all above one": lambda shape: RANDOM.uniform(1.1, 2, shape),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SLOPES)
@pytest.mark.parametrize("layout", ["nchw", "image"])
def test_prelu_decomposed_equals_prelu(tmp_path, kind, layout, crops):
    path = convert_with_slopes(tmp_path, SLOPES[kind])
    if layout == "image":
        options = ConversionOptions(reference="numpy", input_layout="image")
        path = convert(tmp_path / "x.ckpt", tmp_path / "image.onnx", options).model
    before = onnx.load(path)
    after = decompose_prelu(before)
    kinds = {node.op_type for node in after.graph.node}
    assert "PRelu" not in kinds
    signed = [node for node in after.graph.node if node.name.endswith(".signed")]
    assert bool(signed) == ("above" in kind), "the general form is used where it must be and only there"
    spec = spec_of(before)
    for inputs in (crops, face_crops(spec, 3)):
        measured = agreement(embed_all(before, inputs, spec), embed_all(after, inputs, spec))
        assert measured.max_abs_error < 2e-6
        assert measured.min_cosine > 1 - 1e-10


def test_every_slope_at_every_sign():
    """One PRelu alone, against its definition."""
    slopes = np.array([-3, -1, 0, 0.3, 1, 1.001, 2, 100], np.float32)
    node = helper.make_node("PRelu", ["x", "slope"], ["y"], name="relu")
    shape = ["n", 8, "h", "w"]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(slopes.reshape(-1, 1, 1), "slope")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.linspace(-5, 5, 8 * 2 * 11, dtype=np.float32).reshape(1, 8, 2, 11)
    import onnxruntime

    session = onnxruntime.InferenceSession(decompose_prelu(model).SerializeToString())
    expected = np.where(x < 0, x * slopes.reshape(-1, 1, 1), x)
    assert np.abs(session.run(None, {"x": x})[0] - expected).max() < 1e-4
    assert [node.op_type for node in model.graph.node] == ["PRelu"], "the input is left as it is"


def test_a_slope_for_all_channels_stays(small_models):
    model = onnx.load(small_models["nchw"])
    weights = read_weights(model)
    weights["relu1_1.w"] = np.full((1,), 0.25, np.float32)
    shared = rebuild(model, model.graph.node, weights)
    kept = [node.name for node in decompose_prelu(shared).graph.node if node.op_type == "PRelu"]
    assert kept == ["relu1_1"]


@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_equalized_equals_plain(tmp_path, strength, crops):
    path = convert_with_slopes(tmp_path, SLOPES["as trained"], depth=20)
    plain = onnx.load(path)
    weights = read_weights(plain)
    weights["conv2_2.weight"] = (
        weights["conv2_2.weight"] * np.geomspace(1, 100, 8).astype(np.float32)[:, None, None, None]
    )
    plain = rebuild(plain, plain.graph.node, weights)
    spec = spec_of(plain)
    after = equalize_channels(plain, channel_maxima(plain, crops, spec), strength)
    measured = agreement(embed_all(plain, crops, spec), embed_all(after, crops, spec))
    assert measured.max_abs_error < 5e-6
    assert measured.min_cosine > 1 - 1e-10
    before, now = (channel_maxima(model, crops, spec)["relu2_2"] for model in (plain, after))
    if strength == 0:
        assert np.array_equal(before, now)
    else:
        assert now.max() / now.min() < before.max() / before.min() / 3


def test_full_strength_brings_the_inside_of_a_pair_to_one_range(small_models, crops):
    plain = onnx.load(small_models["nchw"])
    spec = spec_of(plain)
    after = equalize_channels(plain, channel_maxima(plain, crops, spec), 1)
    inside = channel_maxima(after, crops, spec)["conv3_2"]
    tied = channel_maxima(after, crops, spec)["relu3_2"]
    assert np.maximum(inside, tied) == pytest.approx(np.maximum(inside, tied).max(), rel=1e-4)


def test_dead_channels_are_not_blown_up(small_models, crops):
    plain = onnx.load(small_models["nchw"])
    weights = read_weights(plain)
    dead = weights["conv1_2.weight"].copy()
    dead[3] = 0
    weights["conv1_2.weight"] = dead
    plain = rebuild(plain, plain.graph.node, weights)
    spec = spec_of(plain)
    after = equalize_channels(plain, channel_maxima(plain, crops, spec), 1)
    assert all(np.isfinite(values).all() for values in read_weights(after).values())
    assert agreement(embed_all(plain, crops, spec), embed_all(after, crops, spec)).max_abs_error < 5e-6


@pytest.mark.slow
def test_both_on_trained_weights(trained_model, shared):
    """On real faces: cosine at least 0.99999 (here far closer) for both rewrites together."""
    from edge_sphereface.detection import open_detector
    from export.quantization.crops import proof_crops

    plain = onnx.load(trained_model)
    spec = spec_of(plain)
    crops = proof_crops(shared("lfw") / "images", spec, open_detector(), count=64)
    equalized = equalize_channels(plain, channel_maxima(plain, crops[:16], spec), 0.5)
    expected = embed_all(plain, crops, spec)
    for rewritten in (decompose_prelu(plain), equalized, decompose_prelu(equalized)):
        measured = agreement(expected, embed_all(rewritten, crops, spec))
        assert measured.max_abs_error < 1e-5
        assert measured.min_cosine > 0.999999


def test_what_is_observed_is_what_flows(small_models, crops):
    model = onnx.load(small_models["nchw"])
    spec = spec_of(model)
    names = inner_tensors(model)
    assert {"conv1_1", "relu1_1", "add1_3"} <= set(names)
    seen = list(observe(model, names, crops, spec))
    assert sum(len(part["conv1_1"]) for part in seen) == len(crops)
    whole = embed_all(model, crops, spec)
    assert agreement(Embedder(small_models["nchw"]).forward(crops), whole).max_abs_error < 1e-6


@pytest.mark.slow
def test_the_command_writes_model_and_certificate(small_models, tmp_path, capsys, require_schema):
    words = ["rewrite", str(small_models["image"]), "-o", str(tmp_path / "fast.onnx"), "--max-latency", "100"]
    assert run(build_parser(), [*words, "--rounds", "5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    require_schema("export rewrite", result)
    assert result["parity"]["passed"]
    assert result["latency"]["rounds"] == 5
    assert result["latency"]["before"]["samples"] == 5
    embedder = Embedder(tmp_path / "fast.onnx")
    assert embedder.spec.rewrites == ("prelu",)
    assert embedder.spec.threshold == Embedder(small_models["image"]).spec.threshold
    from edge_sphereface.model.certificate import check_on_device, load_certificate

    assert check_on_device(embedder, load_certificate(tmp_path / "fast.parity.json")).passed
    again = ["rewrite", str(tmp_path / "fast.onnx"), "-o", str(tmp_path / "twice.onnx")]
    assert run(build_parser(), again) == 1
    assert "is rewritten (prelu)" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_not_faster_is_not_kept(small_models, tmp_path, capsys):
    words = ["rewrite", str(small_models["image"]), "-o", str(tmp_path / "fast.onnx"), "--max-latency", "0.001"]
    assert run(build_parser(), [*words, "--rounds", "5"]) == 1
    text = capsys.readouterr().out
    assert "refused" in text
    assert "--max-latency none" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_for_another_machine_it_is_written_at_any_latency(small_models, tmp_path):
    few, output = Plan(rounds=5, per_round=1), tmp_path / "slow.onnx"
    forms = read_stages(["1x1s"] * 4)  # more products than a direct convolution, and transforms besides
    assert fast_module.rewrite(small_models["image"], output, forms=forms, max_ratio=None, plan=few).written
    assert output.exists()


@pytest.mark.slow
def test_a_bound_that_is_no_number_keeps_nothing(small_models, tmp_path):
    few = Plan(rounds=5, per_round=1)
    made = fast_module.rewrite(small_models["image"], tmp_path / "fast.onnx", max_ratio=float("nan"), plan=few)
    assert not made.written
    assert list(tmp_path.iterdir()) == []


def test_the_source_is_never_overwritten(small_models, tmp_path):
    kept = small_models["image"].read_bytes()
    with pytest.raises(OutputError, match="would be lost"):
        fast_module.rewrite(small_models["image"], small_models["image"])
    assert small_models["image"].read_bytes() == kept


def test_what_is_not_equal_is_not_kept(small_models, tmp_path, monkeypatch):
    def wrong(model, _):
        weights = read_weights(model)
        weights["fc5.bias"] = weights["fc5.bias"] + np.float32(1)
        return rebuild(model, model.graph.node, weights)

    monkeypatch.setattr(fast_module, "to_winograd", wrong)
    with pytest.raises(ParityError, match="does not equal"):
        fast_module.rewrite(small_models["image"], tmp_path / "fast.onnx")
    assert list(tmp_path.iterdir()) == []


def test_foreign_models_are_refused(make_onnx, tmp_path):
    with pytest.raises(ModelFormatError, match="int8"):
        fast_module.rewrite(make_onnx(changes={"precision": "int8"}), tmp_path / "x.onnx")
    with pytest.raises(ModelFormatError, match="no metadata"):
        fast_module.rewrite(make_onnx(metadata={}), tmp_path / "x.onnx")
