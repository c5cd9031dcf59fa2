"""Winograd's filtering: the transforms are exact, the graph computes the same network, and says what it costs."""

import re

import numpy as np
import onnx
import pytest

from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.tuning import Tuning
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.faces import face_crops
from export.plain import open_plain
from export.presets import Told
from export.quantization.activation_statistics import embed_all
from export.rewrite import to_winograd
from export.rewrite.cook_toom import MOST, TAPS, amplification, products, transforms
from export.rewrite.fast import weight_bytes
from export.rewrite.tile import StageForm, Tile, read_stages, stage_names
from export.tuning.tune import growth
from export.untrained import untrained_parameters

EPSILON = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("count", range(1, MOST + 1))
def test_transforms_filter_exactly(count, stride):
    """AT [(G g) * (BT d)] is the correlation of d with g, to the last digits of float64."""
    made, random = transforms(count, stride), np.random.RandomState(count)
    for _ in range(20):
        weights, inputs = random.standard_normal(TAPS), random.standard_normal(products(count, stride))
        got = made.outputs @ ((made.weights @ weights) * (made.inputs @ inputs))
        np.testing.assert_allclose(got, np.correlate(inputs, weights, "valid")[::stride], atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(2, 2), (3, 3), (4, 4), (2, 4), (6, 5), (7, 6)])
def test_the_error_stays_within_its_bound(size, stride):
    """One layer in float32: the error is at most error_growth times the rounding of a sum as long as the direct one."""
    tile = Tile(rows=size[0], columns=size[1])
    by_rows, by_columns = transforms(size[0], stride), transforms(size[1], stride)
    random, channels = np.random.RandomState(0), 64
    inputs = random.uniform(-1, 1, (100, channels, len(by_rows.inputs), len(by_columns.inputs)))
    weights = random.uniform(-1, 1, (channels, TAPS, TAPS))
    high, wide = ((count - 1) * stride + 1 for count in size)
    exact = sum(
        inputs[:, :, r : r + high : stride, c : c + wide : stride] * weights[:, r, c][None, :, None, None]
        for r in range(TAPS)
        for c in range(TAPS)
    ).sum(axis=1)

    def single(*factors):
        return np.einsum("ij,...jk,lk->...il", *(np.asarray(factor, np.float32) for factor in factors))

    moved = single(by_rows.weights, weights, by_columns.weights)
    product = (single(by_rows.inputs, inputs, by_columns.inputs) * moved).sum(axis=1, dtype=np.float32)
    error = np.abs(single(by_rows.outputs, product, by_columns.outputs) - exact).max()
    assert 0 < error <= EPSILON * tile.error_growth(stride) * channels * TAPS**2


def test_points_near_one_lose_fewer_digits_than_the_usual_ones():
    """The points 0, 1, -1, 1/2, -2 and not 0, 1, -1, 2, -2, which lose more (Barabasz et al.)."""
    assert amplification(4) < 12
    assert amplification(2) < 3


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A narrow SphereFace-20 with biases and slopes of every kind, which is harder than what the original has."""
    folder = tmp_path_factory.mktemp("network")
    parameters = untrained_parameters(widths=(4, 8, 8, 16), embedding_size=16, bias=True)
    random = np.random.RandomState(1)
    for name in parameters:
        if name.startswith("relu"):
            parameters[name] = random.uniform(-0.5, 1.5, parameters[name].shape).astype(np.float32)
    write_ckpt(folder / "x.ckpt", parameters)
    path = convert(
        folder / "x.ckpt", folder / "x.onnx", ConversionOptions(reference="numpy", input_layout="image")
    ).model
    return open_plain(path, "cpu")


@pytest.mark.parametrize("name", ["2x2", "4x4", "4x4w", "3x2w", "2x3", "1x2w", "4x4p", "4x3s", "6x6ps", "7x5ws"])
@pytest.mark.parametrize("stages", [(1,), (2,), (3,), (4,), (1, 2, 3, 4)])
def test_the_network_is_the_same(network, name, stages):
    """Any stage, any tile, any way of the products, sizes that tiles do not divide, batches of one and of several."""
    assert_same(network, dict.fromkeys(stages, StageForm.parse(name)))


@pytest.mark.parametrize(
    "names",
    [
        ("direct", "3x3+direct", "direct", "direct"),
        ("direct", "direct", "4x3ps+2x2", "direct"),
        ("2x2+direct", "3x2w+4x4s", "1x1+direct", "4x3s+2x2p"),
        ("4x4+7x6s", "6x5s+6x6s", "3x4p+4x4ps", "4x3ps+direct"),
    ],
)
def test_layers_of_stride_2_are_the_same(network, names):
    """After an image and after tiles of other sizes, before an image and before tiles of other sizes."""
    assert_same(network, read_stages(names))


def assert_same(network, forms):
    original, plain = network
    crops = face_crops(original.spec, 3)
    model = to_winograd(plain, forms)
    assert not [node for node in model.graph.node if node.op_type == "PRelu"]
    expected = embed_all(plain, crops, original.spec)
    for count in (1, 3):
        got = embed_all(model, crops[:count], original.spec)
        assert np.abs(got - expected[:count]).max() <= 2e-5 * np.abs(expected).max()


def test_both_layouts(small_models):
    for path in small_models.values():
        original, plain = open_plain(path, "cpu")
        crops = face_crops(original.spec, 2)
        got = embed_all(to_winograd(plain, {2: StageForm.parse("4x4")}), crops, original.spec)
        np.testing.assert_allclose(got, original.forward(crops), atol=1e-5 * np.abs(got).max())


def test_only_the_stages_asked_for_change(network):
    _, plain = network
    model = to_winograd(plain, {3: StageForm.parse("4x4")})
    kept = {node.name for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("conv")}
    assert not [name for name in kept if name.startswith("conv3") and name != "conv3_1"]
    assert {"conv1_2", "conv2_5", "conv3_1", "conv4_3"} <= kept
    assert onnx.checker.check_model(model, full_check=True) is None


def test_a_network_without_residual_layers_has_nothing_to_tile(tmp_path):
    write_ckpt(tmp_path / "x.ckpt", untrained_parameters(depth=4, widths=(4, 4, 4, 8), embedding_size=8))
    path = convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="numpy")).model
    original, plain = open_plain(path, "cpu")
    crops = face_crops(original.spec, 1)
    got = embed_all(to_winograd(plain, {1: StageForm.parse("4x4")}), crops, original.spec)
    np.testing.assert_allclose(got, original.forward(crops), rtol=1e-4, atol=1e-6)


def test_weights_grow_as_it_is_said(network):
    """But for transforms and indices, which are the same for every layer of a stage."""
    _, plain = network
    for name in ("2x2", "4x4w", "4x3p+2x2p"):
        forms = dict.fromkeys((2, 3), StageForm.parse(name))
        kernels = r"conv[23]_\d\.weight" if "+" in name else r"conv[23]_[^1]\.weight"
        rest = [tensor for tensor in plain.graph.initializer if not re.match(kernels, tensor.name)]
        made = [t for t in to_winograd(plain, forms).graph.initializer if re.search(r"\.matri(ces|x\d+)$", t.name)]
        size = sum(len(tensor.raw_data) for tensor in (*rest, *made))
        assert growth(plain, forms) == pytest.approx(size / weight_bytes(plain), rel=0.01)
    assert growth(plain, {}) == 1
    assert Tile.parse("2x2").weight_growth() == pytest.approx(16 / 9)
    assert Tile.parse("4x4").weight_growth() == 4
    assert Tile.parse("4x4").weight_growth(stride=2) == 9


@pytest.mark.parametrize(
    "text", ["", "4", "8x8", "0x2", "4x4q", "4x4w ", "4x4sp", "4x4wp", "+4x4", "4x4+", "4x4+2x2+2x2"]
)
def test_forms_that_are_none(text):
    with pytest.raises(ValueError, match="Expected a tile"):
        StageForm.parse(text)


def test_stages_are_read_as_they_are_written():
    names = ("4x4", "direct", "3x3ps+2x3w", "2x2+direct")
    forms = read_stages(names)
    assert forms == {
        1: StageForm(rest=Tile(rows=4, columns=4)),
        3: StageForm(
            first=Tile(rows=3, columns=3, factors="p", separate=True), rest=Tile(rows=2, columns=3, factors="w")
        ),
        4: StageForm(first=Tile(rows=2, columns=2)),
    }
    assert stage_names(forms, 4) == names


@pytest.mark.slow
def test_rewrite_writes_proof_and_record(small_model, tmp_path, export_cli, cli):
    output = tmp_path / "w.onnx"
    words = (
        "rewrite",
        small_model,
        "--stages",
        "4x4",
        "direct",
        "3x3+2x2p",
        "direct",
        "--threads",
        "1",
        "--rounds",
        "5",
    )
    code, shown, errors = export_cli(*words, "--max-latency", "none", "-o", output)
    assert code == 0, errors
    assert "PASSED" in shown
    spec = Embedder(output).spec
    assert spec.rewrites == ("winograd", "prelu")
    assert spec.tuning.stages == ("4x4", "direct", "3x3+2x2p", "direct")
    assert spec.tuning.threads == 1
    assert spec.tuning.weight_growth > 1
    assert cli("verify-model", output)[0] == 0
    assert "stages 4x4, direct, 3x3+2x2p, direct" in cli("info", "--model", output)[1]


def test_rewrite_refuses_stages_that_are_none(small_model, tmp_path, export_cli):
    for stages in (["9x9"] * 4, ["4x4"], ["4x4"] * 5):
        code, _, errors = export_cli("rewrite", small_model, "--stages", *stages, "-o", tmp_path / "w.onnx")
        assert code == 2
        assert "--stages: Expected" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_tuning_record_is_checked(spec):
    record = Tuning(
        stages=("4x4", "direct"),
        weight_growth=1.5,
        processor="x",
        threads=1,
        pinned_threads=False,
        memory_arena=True,
        batch=1,
        onnxruntime="1",
        samples=3,
        plain_ms=2.0,
        tuned_ms=1.0,
    )
    values = {name: getattr(record, name) for name in Tuning.__slots__}
    changes = [
        ("stages", ("9",)),
        ("threads", 0),
        ("batch", 1.5),
        ("plain_ms", float("nan")),
        ("memory_arena", 1),
        ("processor", 3),
    ]
    for name, wrong in [*changes, ("weight_growth", -1.0), ("stages", "4x4")]:
        with pytest.raises(ValueError, match=name):
            Tuning(**{**values, name: wrong})


@pytest.mark.parametrize("preset", ["opensphere", "opensphere-deprecated"])
def test_a_network_with_relu(tmp_path, preset):
    """The addition stands before or after the last activation of a pair."""
    parameters = untrained_parameters(depth=10, widths=(4, 4, 8, 8), embedding_size=8, bias=True)
    names = {"conv2_2": "layer2.1.conv1", "conv2_3": "layer2.1.conv2", "fc5": "fc"}
    names |= {f"conv{stage}_1": f"layer{stage}.0.conv1" for stage in range(1, 5)}
    names |= {f"conv3_{number}": f"layer3.{number // 2}.conv{1 + number % 2}" for number in range(2, 6)}
    renamed = {}
    for name, values in parameters.items():
        layer, _, kind = name.partition(".")
        if layer in names:
            renamed[f"{names[layer]}.{kind}"] = values
    write_ckpt(tmp_path / "x.ckpt", renamed)
    path = convert(
        tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="numpy", told=Told(preset=preset))
    ).model
    original, plain = open_plain(path, "cpu")
    crops = face_crops(original.spec, 2)
    got = embed_all(to_winograd(plain, dict.fromkeys((2, 3), StageForm.parse("4x4"))), crops, original.spec)
    np.testing.assert_allclose(got, original.forward(crops), atol=2e-5 * np.abs(got).max())
