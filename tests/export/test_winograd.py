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
from export.rewrite.cook_toom import OUTPUTS, TAPS, amplification, transforms
from export.rewrite.fast import weight_bytes
from export.rewrite.tile import Tile, read_stages, stage_names
from export.tuning.tune import growth
from export.untrained import untrained_parameters

EPSILON = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("count", OUTPUTS)
def test_transforms_filter_exactly(count):
    """AT [(G g) * (BT d)] is the correlation of d with g, to the last digits of float64."""
    made, random = transforms(count), np.random.RandomState(count)
    for _ in range(20):
        weights, inputs = random.standard_normal(TAPS), random.standard_normal(count + TAPS - 1)
        got = made.outputs @ ((made.weights @ weights) * (made.inputs @ inputs))
        np.testing.assert_allclose(got, np.correlate(inputs, weights, "valid"), atol=1e-13)


@pytest.mark.parametrize("size", [(2, 2), (3, 3), (4, 4), (2, 4)])
def test_the_error_stays_within_its_bound(size):
    """One layer in float32: the error is at most error_growth times the rounding of a sum as long as the direct one."""
    tile = Tile(rows=size[0], columns=size[1])
    by_rows, by_columns = transforms(size[0]), transforms(size[1])
    random, channels = np.random.RandomState(0), 64
    inputs = random.uniform(-1, 1, (200, channels, size[0] + 2, size[1] + 2))
    weights = random.uniform(-1, 1, (channels, TAPS, TAPS))
    exact = sum(
        inputs[:, :, r : r + size[0], c : c + size[1]] * weights[:, r, c][None, :, None, None]
        for r in range(TAPS)
        for c in range(TAPS)
    ).sum(axis=1)

    def single(*factors):
        return np.einsum("ij,...jk,lk->...il", *(np.asarray(factor, np.float32) for factor in factors))

    moved = single(by_rows.weights, weights, by_columns.weights)
    product = (single(by_rows.inputs, inputs, by_columns.inputs) * moved).sum(axis=1, dtype=np.float32)
    error = np.abs(single(by_rows.outputs, product, by_columns.outputs) - exact).max()
    assert 0 < error <= EPSILON * tile.error_growth * channels * TAPS**2


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


@pytest.mark.parametrize("name", ["2x2", "4x4", "4x4w", "3x2w", "2x3", "1x2w"])
@pytest.mark.parametrize("stages", [(1,), (2,), (3,), (4,), (1, 2, 3, 4)])
def test_the_network_is_the_same(network, name, stages):
    """Any stage, any tile, either order of factors, sizes that tiles do not divide, batches of one and of several."""
    original, plain = network
    crops = face_crops(original.spec, 3)
    model = to_winograd(plain, dict.fromkeys(stages, Tile.parse(name)))
    assert not [node for node in model.graph.node if node.op_type == "PRelu"]
    expected = embed_all(plain, crops, original.spec)
    for count in (1, 3):
        got = embed_all(model, crops[:count], original.spec)
        assert np.abs(got - expected[:count]).max() <= 2e-5 * np.abs(expected).max()


def test_both_layouts(small_models):
    for path in small_models.values():
        original, plain = open_plain(path, "cpu")
        crops = face_crops(original.spec, 2)
        got = embed_all(to_winograd(plain, {2: Tile.parse("4x4")}), crops, original.spec)
        np.testing.assert_allclose(got, original.forward(crops), atol=1e-5 * np.abs(got).max())


def test_only_the_stages_asked_for_change(network):
    _, plain = network
    model = to_winograd(plain, {3: Tile.parse("4x4")})
    kept = {node.name for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("conv")}
    assert not [name for name in kept if name.startswith("conv3") and name != "conv3_1"]
    assert {"conv1_2", "conv2_5", "conv3_1", "conv4_3"} <= kept
    assert onnx.checker.check_model(model, full_check=True) is None


def test_a_network_without_residual_layers_has_nothing_to_tile(tmp_path):
    write_ckpt(tmp_path / "x.ckpt", untrained_parameters(depth=4, widths=(4, 4, 4, 8), embedding_size=8))
    path = convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="numpy")).model
    original, plain = open_plain(path, "cpu")
    crops = face_crops(original.spec, 1)
    got = embed_all(to_winograd(plain, {1: Tile.parse("4x4")}), crops, original.spec)
    np.testing.assert_allclose(got, original.forward(crops), rtol=1e-4, atol=1e-6)


def test_weights_grow_as_it_is_said(network):
    """But for transforms and indices, which are the same for every layer of a stage."""
    _, plain = network
    for name in ("2x2", "4x4w"):
        tiles = dict.fromkeys((2, 3), Tile.parse(name))
        rest = [tensor for tensor in plain.graph.initializer if not re.match(r"conv[23]_[^1].*weight", tensor.name)]
        made = [t for t in to_winograd(plain, tiles).graph.initializer if t.name.endswith(".matrices")]
        size = sum(len(tensor.raw_data) for tensor in (*rest, *made))
        assert growth(plain, tiles) == pytest.approx(size / weight_bytes(plain), rel=0.01)
    assert growth(plain, {}) == 1
    assert Tile.parse("2x2").weight_growth == pytest.approx(16 / 9)
    assert Tile.parse("4x4").weight_growth == 4


@pytest.mark.parametrize("text", ["", "4", "5x5", "0x2", "4x4q", "4x4w "])
def test_tiles_that_are_none(text):
    with pytest.raises(ValueError, match="Expected a tile"):
        Tile.parse(text)


def test_stages_are_read_as_they_are_written():
    tiles = read_stages(("4x4", "direct", "2x3w", "direct"))
    assert tiles == {1: Tile(rows=4, columns=4), 3: Tile(rows=2, columns=3, weights_first=True)}
    assert stage_names(tiles, 4) == ("4x4", "direct", "2x3w", "direct")


@pytest.mark.slow
def test_rewrite_writes_proof_and_record(small_model, tmp_path, export_cli, cli):
    output = tmp_path / "w.onnx"
    words = ("rewrite", small_model, "--stages", "4x4", "direct", "2x2w", "direct", "--threads", "1", "--rounds", "5")
    code, shown, errors = export_cli(*words, "--max-latency", "1000", "-o", output)
    assert code == 0, errors
    assert "PASSED" in shown
    spec = Embedder(output).spec
    assert spec.rewrites == ("winograd", "prelu")
    assert spec.tuning.stages == ("4x4", "direct", "2x2w", "direct")
    assert spec.tuning.threads == 1
    assert spec.tuning.weight_growth > 1
    assert cli("verify-model", output)[0] == 0
    assert "stages 4x4, direct, 2x2w, direct" in cli("info", "--model", output)[1]


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
    got = embed_all(to_winograd(plain, dict.fromkeys((2, 3), Tile.parse("4x4"))), crops, original.spec)
    np.testing.assert_allclose(got, original.forward(crops), atol=2e-5 * np.abs(got).max())
