"""Every later step works for networks of other publishers: 112 x 112, ReLU, batch normalization, other depths."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from edge_sphereface.compare import normalize
from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.evaluation.model_selection import Setting
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.certificate import certificate_path, check_on_device, load_certificate
from edge_sphereface.model.quantization import INT8_TARGETS
from export.convert import ConversionOptions, convert
from export.faces import face_crops
from export.layers import layers_of
from export.plain import open_plain
from export.presets import Told
from export.quantization.activation_statistics import channel_maxima, channel_means, embed_all, histograms
from export.quantization.bias import correct_biases
from export.quantization.float16 import to_float16
from export.quantization.kernels import KERNELS
from export.quantization.prefix import EMPTY
from export.quantization.qdq import quantize_graph
from export.quantization.ranges import RULES
from export.quantization.search import search
from export.rewrite import decompose_prelu, to_winograd
from export.rewrite.equalize import equalize_channels
from export.rewrite.fast import rewrite
from export.rewrite.tile import read_stages
from export.tuning.search import Candidates, measure_stages
from export.untrained import untrained_parameters

AUTHORS_64 = (3, 7, 16, 3)
SQUARE = (112, 112)


def opensphere(pairs, widths, size, *, normalized):
    """Parameters as ydwen/opensphere names them: no slopes; a batch normalization after each convolution."""
    made = untrained_parameters(pairs=pairs, widths=widths, embedding_size=size, input_size=SQUARE, bias=not normalized)
    random, named = np.random.default_rng(0), {}

    def normalization(name, width):
        named[f"{name}.weight"], named[f"{name}.bias"] = random.uniform(0.5, 1.5, width), random.normal(0, 0.1, width)
        named[f"{name}.running_mean"] = random.normal(0, 0.1, width)
        named[f"{name}.running_var"] = random.uniform(0.5, 1.5, width)

    for name, values in made.items():
        layer, _, kind = name.partition(".")
        if layer == "fc5":
            named[f"fc.{kind}"] = values
        elif layer.startswith("conv"):
            stage, number = map(int, layer[4:].split("_"))
            block, place = (0, 1) if number == 1 else (number // 2, 1 + number % 2)
            # The branches of a deep network are damped, as training does, so that activations do not grow.
            named[f"layer{stage}.{block}.conv{place}.{kind}"] = values if place == 1 else values * np.float32(0.3)
            if normalized and kind == "weight":
                normalization(f"layer{stage}.{block}.bn{place}", len(values))
    if normalized:
        normalization("features", size)
    return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in named.items()}


@pytest.fixture(scope="module")
def networks(tmp_path_factory, write_pth) -> Mapping[str, object]:
    """Converted networks by name, each open with its plain graph."""
    folder, random = tmp_path_factory.mktemp("networks"), np.random.default_rng(1)
    slopes = untrained_parameters(
        pairs=(1, 0, 1, 0), widths=(4, 4, 4, 8), embedding_size=8, input_size=SQUARE, bias=True
    )
    for name in slopes:
        if name.startswith("relu"):
            slopes[name] = random.uniform(-0.5, 1.5, slopes[name].shape).astype(np.float32)
    sources = {
        "deep": (opensphere(AUTHORS_64, (4, 4, 4, 8), 16, normalized=True), Told(preset="opensphere")),
        "relu": (opensphere((1, 0, 1, 0), (4, 4, 8, 8), 16, normalized=False), Told(preset="opensphere")),
        "relu-last-sum": (
            opensphere((0, 1, 0, 1), (4, 4, 4, 8), 16, normalized=True),
            Told(preset="opensphere-deprecated"),
        ),
        "prelu": (slopes, Told(color_order="RGB", pixel_scale=1 / 127.5, alignment_fit="umeyama")),
    }
    opened = {}
    for name, (parameters, told) in sources.items():
        write_pth(folder / f"{name}.pth", parameters)
        options = ConversionOptions(reference="numpy", input_layout="image", told=replace(told, input_size=SQUARE))
        path = convert(folder / f"{name}.pth", folder / f"{name}.onnx", options).model
        opened[name] = open_plain(path, "cpu")
    return opened


NAMES = ["deep", "relu", "relu-last-sum", "prelu"]


def cosines(first, second):
    return np.einsum("nd,nd->n", normalize(first), normalize(second))


def test_the_networks_are_what_they_say(networks):
    spec = networks["deep"][0].spec
    assert spec.architecture == "SphereFace-62 (3-7-16-3)"
    assert spec.crop_shape == (112, 112, 3)
    kinds = {node.op_type for node in networks["deep"][1].graph.node}
    assert "Relu" in kinds
    assert not kinds & {"PRelu", "BatchNormalization"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stages", [("2x2", "4x4w", "3x2w", "1x2"), ("direct", "2x3w", "direct", "2x2")])
def test_winograds_filtering_computes_the_same(networks, name, stages):
    original, plain = networks[name]
    crops = face_crops(original.spec, 2)
    expected = embed_all(plain, crops, original.spec)
    got = embed_all(to_winograd(plain, read_stages(stages)), crops, original.spec)
    assert np.abs(got - expected).max() <= 3e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", NAMES)
def test_float16_stays_near(networks, name):
    original, plain = networks[name]
    crops = face_crops(original.spec, 4)
    found = cosines(embed_all(to_float16(plain), crops, original.spec), embed_all(plain, crops, original.spec))
    assert found.min() > 0.999


@pytest.mark.parametrize("name", NAMES)
def test_equalized_channels_compute_the_same(networks, name):
    original, plain = networks[name]
    crops = face_crops(original.spec, 2)
    equalized = equalize_channels(plain, channel_maxima(plain, crops, original.spec), 0.5)
    before, after = ({t.name: t.raw_data for t in model.graph.initializer} for model in (plain, equalized))
    assert before["conv1_1.weight"] != after["conv1_1.weight"], "nothing was equalized"
    expected = embed_all(plain, crops, original.spec)
    np.testing.assert_allclose(embed_all(equalized, crops, original.spec), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("target", INT8_TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_int8_stays_near(networks, name, target):
    original, plain = networks[name]
    crops = face_crops(original.spec, 8)
    kernels = KERNELS[target]
    model = plain if kernels.fuses_prelu else decompose_prelu(plain)
    rule = RULES["percentile-99.99"]
    found = histograms(model, crops, original.spec, fused=kernels.fused)
    ranges = {name: rule(histogram) for name, histogram in found.items()}
    quantized = quantize_graph(model, original.spec, ranges, kernels=kernels)
    found = cosines(embed_all(quantized, crops, original.spec), embed_all(plain, crops, original.spec))
    assert found.min() > 0.97


@pytest.mark.parametrize("name", ["relu", "relu-last-sum"])
def test_biases_are_corrected_before_the_cut(networks, name):
    """An integer kernel writes only what follows the ReLU, but the mean that counts is that of the values before it."""
    original, plain = networks[name]
    crops = face_crops(original.spec, 8)
    ranges = {name: (low / 3, high / 3) for name, (low, high) in measured_ranges(plain, crops, original.spec).items()}

    def quantize(model, prefix):
        return quantize_graph(model, original.spec, ranges, kernels=KERNELS["portable"], prefix=prefix)

    corrected = correct_biases(plain, original.spec, quantize, crops)
    layers = [node.name for node in plain.graph.node if node.op_type == "Conv"]
    wanted = channel_means(plain, layers, crops, original.spec)
    drift = []
    for model in (plain, corrected):
        quantized = quantize(model, EMPTY)
        written = {node.name: node.output[0] for node in quantized.graph.node if node.op_type == "Conv"}
        found = channel_means(quantized, list(written.values()), crops, original.spec)
        drift.append(max(np.abs(found[written[layer]] - wanted[layer]).max() for layer in layers))
    assert drift[1] < drift[0] / 20


def measured_ranges(model, crops, spec):
    return {name: (found.low, found.high) for name, found in histograms(model, crops, spec).items()}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["portable", "openvino"])
@pytest.mark.parametrize("name", ["relu", "prelu"])
def test_the_search_finds_an_int8_form(networks, name, target):
    original, plain = networks[name]
    crops = face_crops(original.spec, 12)
    found = search(
        plain,
        original.spec,
        crops[:8],
        crops[8:],
        kernels=KERNELS[target],
        max_drift=0.05,
        reporter=lambda _: lambda *_: None,
    )
    drift = 1 - cosines(embed_all(found.model, crops, original.spec), embed_all(plain, crops, original.spec))
    assert drift.mean() < 0.05
    assert not found.chosen.float_layers
    assert set(found.chosen.rules) == set(layers_of(plain))


@pytest.mark.parametrize("name", ["deep", "prelu"])
def test_every_stage_is_measured_by_itself(networks, name):
    """Stages without residual layers are left out."""
    _, plain = networks[name]
    few = Candidates(ways=("",), sizes=("2x2",), first=())
    times = measure_stages(
        plain, Setting(threads=1), batch=1, rounds=1, reporter=lambda _: lambda *_: None, candidates=few
    )
    assert list(times) == ([1, 2, 3, 4] if name == "deep" else [1, 3])


@pytest.mark.parametrize("name", ["deep", "prelu"])
def test_a_tuned_form_is_written_with_its_proof(networks, name, tmp_path):
    original, _ = networks[name]
    output = tmp_path / "tuned.onnx"
    rewrite(
        original.path,
        output,
        forms=read_stages(("2x2", "direct", "2x2w", "2x2")),
        max_ratio=float("inf"),
        plan=Plan(rounds=1, per_round=1),
    )
    tuned = Embedder(output, provider="cpu")
    assert check_on_device(tuned, load_certificate(certificate_path(output))).passed
    assert tuned.fingerprint == original.fingerprint
