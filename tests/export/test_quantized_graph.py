"""The quantized graph: integer kernels, exact pixels; the ranges, biases and layers that the search chooses."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sphereface.compare import normalize
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import json_object
from edge_sphereface.metrics import agreement
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.layers import layer_of, layers_of, weight_counts
from export.quantization import search as searching
from export.quantization.activation_statistics import channel_means, embed_all, extended, histograms, inner_tensors
from export.quantization.bias import correct_biases
from export.quantization.crops import vivid
from export.quantization.kernels import KERNELS, Kernels
from export.quantization.prefix import EMPTY
from export.quantization.qdq import WEIGHT_LIMIT, quantize_graph
from export.quantization.ranges import BINS, RULES, Histogram, squared_error
from export.quantization.search import search
from export.rewrite import decompose_prelu
from export.rewrite.weights import read_weights
from export.untrained import untrained_parameters


def quantized(path, crops, *, bits=7, floats=(), rule="min-max", kernels=None):
    kernels = kernels or Kernels(weight_bits=bits)
    spec = Embedder(path).spec
    model = onnx.load(path) if kernels.fuses_prelu else decompose_prelu(onnx.load(path))
    found = histograms(model, crops, spec, fused=kernels.fused)
    ranges = {name: RULES[rule](row) for name, row in found.items()}
    return quantize_graph(model, spec, ranges, kernels=kernels, float_layers=floats)


def cosines(first, second):
    return np.einsum("nd,nd->n", normalize(first.copy()), normalize(second.copy()))


def saved(model, tmp_path, name="made.onnx"):
    onnx.save(model, tmp_path / name)
    return tmp_path / name


# --- the graph ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["nchw", "image"])
def test_everything_runs_in_integers(shallow_models, faces, layout, tmp_path):
    """No float island between quantized convolutions: after fusion every convolution and addition is an integer one."""
    path = saved(quantized(shallow_models[layout], faces), tmp_path)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    assert kinds.count("QLinearConv") == 2 * 10, "each convolution and the product of its PReLU"
    assert kinds.count("QLinearAdd") == 10 + 3
    assert kinds.count("QGemm") == 1
    assert not {"Conv", "FusedConv", "Gemm", "PRelu", "Relu", "DequantizeLinear"} & set(kinds)
    assert kinds.count("Add") == (1 if layout == "nchw" else 0), "the input's own offset, on floats, and nothing else"


@pytest.mark.parametrize("bits", [7, 8])
def test_weights_keep_to_their_bits(shallow_models, faces, bits):
    weights = read_weights(quantized(shallow_models["image"], faces, bits=bits))
    whole = {name: values for name, values in weights.items() if name.endswith(".weight.q")}
    assert len(whole) == 2 * 10 + 1
    for values in whole.values():
        assert values.dtype == np.int8
        assert np.abs(values.astype(int)).max() == WEIGHT_LIMIT[bits]
    assert all(not values.any() for name, values in weights.items() if name.endswith(".weight.zero"))
    assert {values.dtype for name, values in weights.items() if name.endswith(("1_1.q", "1_1.zero"))} == {
        np.dtype("uint8")
    }
    assert 255 * WEIGHT_LIMIT[7] * 2 < 2**15, "two products fit into 16 bits"


def test_both_layouts_give_the_same_bits(shallow_models, faces):
    """Pixels pass through quantization unchanged, whether they come as uint8 or as normalized floats."""
    results = [embed_all(quantized(path, faces), faces, Embedder(path).spec) for path in shallow_models.values()]
    assert np.array_equal(*results)


def test_quantized_is_close_to_float(shallow_models, faces):
    spec = Embedder(shallow_models["nchw"]).spec
    expected = embed_all(onnx.load(shallow_models["nchw"]), faces, spec)
    got = embed_all(quantized(shallow_models["nchw"], faces), faces, spec)
    assert cosines(expected, got).min() > 0.99


@pytest.mark.parametrize("floats", ["conv1_1", "conv2_2", "conv4_1", "fc5"])
@pytest.mark.parametrize("layout", ["nchw", "image"])
def test_a_layer_that_stays_float(shallow_models, faces, floats, layout):
    spec = Embedder(shallow_models[layout]).spec
    expected = embed_all(onnx.load(shallow_models[layout]), faces, spec)
    model = quantized(shallow_models[layout], faces, floats=(floats,))
    kept = {node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    assert f"{floats}.weight" in read_weights(model)
    assert f"{floats}.weight.q" not in read_weights(model)
    assert kept
    assert cosines(expected, embed_all(model, faces, spec)).min() > 0.98


def test_all_layers_float_is_the_float_model(shallow_models, faces):
    spec = Embedder(shallow_models["image"]).spec
    plain = onnx.load(shallow_models["image"])
    model = quantized(shallow_models["image"], faces, floats=layers_of(plain))
    assert not [node for node in model.graph.node if "Quantize" in node.op_type]
    assert agreement(embed_all(plain, faces, spec), embed_all(model, faces, spec)).max_abs_error < 2e-6


def test_dead_channels_and_large_biases(tmp_path, faces):
    """A channel without weights but with a bias: the bias must survive, and nothing may overflow."""
    parameters = untrained_parameters(depth=4, widths=(8, 8, 8, 8), embedding_size=16, bias=True)
    parameters["conv2_1.weight"][3] = 0
    parameters["conv2_1.weight"][4] = 1e-30
    parameters["conv2_1.bias"][3:5] = 5.0
    parameters["conv3_1.weight"][:] = 0
    parameters["conv3_1.bias"][:] = 0.25
    write_ckpt(tmp_path / "x.ckpt", parameters)
    path = convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="numpy")).model
    spec = Embedder(path).spec
    expected, got = embed_all(onnx.load(path), faces, spec), embed_all(quantized(path, faces), faces, spec)
    assert np.isfinite(got).all()
    assert cosines(expected, got).min() > 0.99


def test_nothing_but_zeros(tmp_path, faces):
    parameters = {
        name: np.zeros_like(values) for name, values in untrained_parameters(depth=4, widths=(4,) * 4).items()
    }
    parameters["fc5.bias"][:] = 1
    write_ckpt(tmp_path / "x.ckpt", parameters)
    path = convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="numpy")).model
    got = embed_all(quantized(path, faces), faces[:2], Embedder(path).spec)
    assert got == pytest.approx(1, abs=1e-2)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A network of five layers, of which only the third one has wide convolutions."""
    folder = tmp_path_factory.mktemp("wide")
    write_ckpt(folder / "x.ckpt", untrained_parameters(depth=4, widths=(8, 8, 128, 8), embedding_size=16))
    return convert(folder / "x.ckpt", folder / "x.onnx", ConversionOptions(reference="numpy")).model


def test_weights_for_amx_are_shifted_and_give_the_same_bits(wide, faces):
    """Only where the convolution is wide: the zero point leads to another kernel, the whole numbers are the same."""
    spec = Embedder(wide).spec
    models = {target: quantized(wide, faces, kernels=KERNELS[target]) for target in ("x86-vnni", "x86-amx")}
    usual, shifted = (read_weights(model) for model in models.values())
    moved = [name for name in usual if not np.array_equal(usual[name], shifted[name])]
    assert moved == ["conv3_1.weight.q", "conv3_1.weight.zero"]
    assert np.array_equal(shifted["conv3_1.weight.q"].astype(int), usual["conv3_1.weight.q"].astype(int) - 1)
    assert (shifted["conv3_1.weight.zero"] == -1).all()
    assert np.array_equal(*(embed_all(model, faces, spec) for model in models.values()))


@pytest.mark.parametrize("layout", ["nchw", "image"])
def test_for_openvino_prelu_follows_its_convolution_and_activations_are_symmetric(shallow_models, faces, layout):
    """Nothing is rounded between a convolution, its bias and its PRelu, so that one kernel can compute all three."""
    path = shallow_models[layout]
    spec = Embedder(path).spec
    model = quantized(path, faces, kernels=KERNELS["openvino"])
    writers = {name: node for node in model.graph.node for name in node.output}
    weights = read_weights(model)
    prelus = [node for node in model.graph.node if node.op_type == "PRelu"]
    assert len(prelus) == 10
    assert {writers[node.input[0]].op_type for node in prelus} == {"Conv"}
    rounded = [node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.name != "pixels.q"]
    assert len(rounded) == 10 + 3 + 1, "each PRelu, each residual addition, and what the embedding layer reads"
    for node in rounded:
        assert weights[node.input[2]].dtype == np.int8
        assert weights[node.input[2]] == 0
    assert all(values.dtype == np.float32 for name, values in weights.items() if name.endswith(".bias"))
    expected = embed_all(onnx.load(path), faces, spec)
    assert cosines(expected, embed_all(model, faces, spec)).min() > 0.99


def test_the_largest_value_of_either_sign_is_in_a_symmetric_range(shallow_models, faces):
    spec = Embedder(shallow_models["image"]).spec
    model = onnx.load(shallow_models["image"])
    weights = read_weights(quantized(shallow_models["image"], faces, kernels=KERNELS["openvino"]))
    for name, histogram in histograms(model, faces, spec, fused=KERNELS["openvino"].fused).items():
        largest = max(-histogram.low, histogram.high)
        assert weights[f"{name}.scale"] * 127 == pytest.approx(largest, rel=1e-5), name


@pytest.mark.parametrize("floats", [(), ("conv2_2", "conv2_3", "conv3_1")])
@pytest.mark.parametrize("layout", ["nchw", "image"])
@pytest.mark.parametrize("target", ["portable", "openvino"])
def test_the_rest_of_a_network_gives_the_bits_of_the_whole(shallow_models, faces, layout, floats, target):
    """From every layer on, and where float layers write and read the tensors between."""
    kernels = KERNELS[target]
    spec = Embedder(shallow_models[layout]).spec
    plain = onnx.load(shallow_models[layout])
    model = plain if kernels.fuses_prelu else decompose_prelu(plain)
    found = histograms(model, faces, spec, fused=kernels.fused)
    ranges = {name: RULES["percentile-99.99"](row) for name, row in found.items()}
    whole = embed_all(quantize_graph(model, spec, ranges, kernels=kernels, float_layers=floats), faces, spec)
    prefix = EMPTY
    for layer in layers_of(model)[:-1]:
        part = quantize_graph(model, spec, ranges, kernels=kernels, float_layers=floats, prefix=prefix)
        prefix = extended(prefix, layer, part, faces, spec)
        rest = quantize_graph(model, spec, ranges, kernels=kernels, float_layers=floats, prefix=prefix)
        computed = {layer_of(node.name) for node in rest.graph.node if node.op_type in ("Conv", "Gemm")}
        assert computed == set(layers_of(model)) - prefix.layers
        assert np.array_equal(embed_all(rest, faces, spec, prefix=prefix), whole)


def test_layers(shallow_models):
    names = layers_of(onnx.load(shallow_models["image"]))
    assert names == [
        "conv1_1",
        *(f"conv2_{n}" for n in (1, 2, 3)),
        *(f"conv3_{n}" for n in range(1, 6)),
        "conv4_1",
        "fc5",
    ]
    assert layer_of("relu3_2.negative") == layer_of("add3_2") == "conv3_2"
    assert layer_of("to_nchw") is None
    assert layer_of("flatten") == "fc5"


# --- ranges ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(-50, 0),
    high=st.floats(0.01, 50),
    seed=st.integers(0, 99),
    sparse=st.booleans(),
)
def test_every_rule_stays_within_what_was_seen(low, high, seed, sparse):
    random = np.random.default_rng(seed)
    counts = random.integers(0, 50, BINS).astype(float)
    if sparse:
        counts *= random.random(BINS) < 0.01
    counts[0] += 1
    counts[-1] += 1
    histogram = Histogram(low, high, counts)
    for name, rule in RULES.items():
        found = rule(histogram)
        width = (high - low) / BINS
        assert low - width <= found.low <= 0 or found.low == low, name
        assert 0 <= found.high <= high + width, name
        assert found.high > found.low, name


def test_an_outlier_is_cut_off_by_all_but_min_max():
    values = np.concatenate([np.random.default_rng(0).normal(size=1_000_000), [90.0]])
    low, high = values.min(), values.max()
    counts = np.histogram(values, BINS, range=(low, high))[0].astype(float)
    found = {name: rule(Histogram(low, high, counts)).high for name, rule in RULES.items()}
    assert found["min-max"] == 90
    assert max(value for name, value in found.items() if name != "min-max") < 70


def test_squared_error_finds_the_least():
    values = np.random.default_rng(1).laplace(size=300_000)
    low, high = values.min(), values.max()
    counts = np.histogram(values, BINS, range=(low, high))[0].astype(float)
    found = squared_error(Histogram(low, high, counts))

    def error(lowest, highest):
        scale = (highest - lowest) / 255
        rounded = np.clip(np.rint((values - lowest) / scale), 0, 255) * scale + lowest
        return ((rounded - values) ** 2).mean()

    assert error(*found) < 0.75 * error(low, high)
    for share in (0.8, 1.25):
        assert error(*found) <= error(found.low * share, found.high * share) * 1.02


@pytest.mark.slow
@pytest.mark.parametrize("target", ["portable", "openvino"])
def test_the_search_looks_for_symmetric_ranges_where_they_are_needed(shallowest_models, faces, target, monkeypatch):
    seen = []

    def watched(rule):
        return lambda histogram: seen.append(histogram) or rule(histogram)

    monkeypatch.setattr(searching, "RULES", {name: watched(rule) for name, rule in RULES.items()})
    path = shallowest_models["image"]
    spec, kernels = Embedder(path).spec, KERNELS[target]
    reporter = lambda _: lambda *_: None  # noqa: E731
    search(onnx.load(path), spec, faces, vivid(faces), kernels=kernels, max_drift=1, reporter=reporter)
    assert {histogram.low == -histogram.high for histogram in seen} == {kernels.is_symmetric}


def test_the_mirrored_histogram_leads_to_the_best_symmetric_range():
    """Of skewed values, such as PReLU writes: the best range of either sign alone is not the best one of both."""
    values = np.random.default_rng(2).laplace(size=300_000)
    values = np.where(values < 0, values / 4, values)
    low, high = values.min(), values.max()
    histogram = Histogram(low, high, np.histogram(values, BINS, range=(low, high))[0].astype(float))
    mirrored = histogram.mirrored()
    assert mirrored.counts.sum() == 2 * len(values)
    assert mirrored.counts == pytest.approx(mirrored.counts[::-1], abs=1)
    found = squared_error(mirrored)
    assert found.low == pytest.approx(-found.high)

    def error(limit):
        scale = limit / 127
        return ((np.clip(np.rint(values / scale), -127, 127) * scale - values) ** 2).mean()

    for share in (0.8, 1.25):
        assert error(found.high) <= error(found.high * share) * 1.02


def test_histograms_count_every_value(shallow_models, faces):
    spec = Embedder(shallow_models["image"]).spec
    model = decompose_prelu(onnx.load(shallow_models["image"]))
    rows = histograms(model, faces, spec)
    assert set(rows) == set(inner_tensors(model))
    assert rows["conv1_1"].counts.sum() == len(faces) * 8 * 56 * 48
    assert rows["relu1_1.negative"].low == 0
    assert rows["conv1_1"].low < 0 < rows["conv1_1"].high


# --- biases and search -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_corrected_biases_take_the_mean_error_out(shallow_models, faces):
    path = shallow_models["image"]
    spec = Embedder(path).spec
    model = decompose_prelu(onnx.load(path))
    ranges = {name: RULES["percentile-99.99"](row) for name, row in histograms(model, faces, spec).items()}

    def quantize(float_model, prefix=EMPTY):
        return quantize_graph(float_model, spec, ranges, kernels=KERNELS["portable"], prefix=prefix)

    names = ["conv2_3", "embedding"]
    wanted = channel_means(model, names, faces, spec)
    before = channel_means(quantize(model), names, faces, spec)
    after = channel_means(quantize(correct_biases(model, spec, quantize, faces)), names, faces, spec)
    for name in names:
        assert np.abs(after[name] - wanted[name]).mean() < 0.2 * np.abs(before[name] - wanted[name]).mean(), name


def search_with(path, faces, max_drift):
    spec = Embedder(path).spec
    steps = []

    def reporter(what):
        return lambda done, total: steps.append((what, done, total))

    found = search(
        onnx.load(path), spec, faces, vivid(faces), kernels=KERNELS["portable"], max_drift=max_drift, reporter=reporter
    )
    return found, steps


@pytest.fixture(scope="module")
def loose_search(shallowest_models, faces):
    """A search that any drift satisfies, and its progress."""
    return search_with(shallowest_models["image"], faces, 1.0)


@pytest.mark.slow
def test_the_search_takes_the_best_that_it_tried(shallowest_models, loose_search):
    found, steps = loose_search
    assert found.chosen.drift == min(found.tried.values())
    assert {f"{rule}, equalization {strength:g}" for rule in RULES for strength in (0, 0.5)} <= set(found.tried)
    assert set(found.layer_costs) == set(found.chosen.rules) == set(layers_of(onnx.load(shallowest_models["image"])))
    assert found.chosen.float_layers == ()
    assert {what for what, _, _ in steps} >= {"rule by layer", "biases", "cost of layers"}
    assert all(done <= total for _, done, total in steps)
    record = json_object(found.report())
    assert json.loads(json.dumps(record)) == record


@pytest.mark.slow
def test_costly_layers_stay_float_until_the_drift_is_small(shallowest_models, loose_search, faces):
    """Those first that gain most for their size, which is their share of the weights and of the layers."""
    plain = onnx.load(shallowest_models["image"])
    spec, layers = Embedder(shallowest_models["image"]).spec, layers_of(plain)
    expected = embed_all(plain, vivid(faces), spec)
    loose, _ = loose_search
    drift = 1 - cosines(expected, embed_all(loose.model, vivid(faces), spec)).mean()
    found, _ = search_with(shallowest_models["image"], faces, drift / 3)
    assert 0 < len(found.chosen.float_layers) < len(layers)
    assert 1 - cosines(expected, embed_all(found.model, vivid(faces), spec)).mean() <= drift / 3
    weights = weight_counts(plain)
    gains = {
        layer: cost / (weights[layer] / sum(weights.values()) + 1 / len(layers))
        for layer, cost in found.layer_costs.items()
    }
    order = sorted(gains, key=gains.get, reverse=True)
    assert found.chosen.float_layers == tuple(order[: len(found.chosen.float_layers)])
    assert order != sorted(found.layer_costs, key=found.layer_costs.get, reverse=True), "the size counts"


@pytest.mark.slow
def test_every_layer_stays_float_where_no_drift_is_allowed(shallowest_models, faces):
    spec = Embedder(shallowest_models["image"]).spec
    expected = embed_all(onnx.load(shallowest_models["image"]), vivid(faces), spec)
    nothing, _ = search_with(shallowest_models["image"], faces, 0.0)
    assert set(nothing.chosen.float_layers) == set(nothing.chosen.rules)
    assert agreement(expected, embed_all(nothing.model, vivid(faces), spec)).max_abs_error < 1e-5
