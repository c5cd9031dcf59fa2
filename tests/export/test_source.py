"""What is recognized of a network, and what is folded into its weights. The frameworks are not needed."""

import json
import math
import warnings

import numpy as np
import onnx
import pytest

from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.metrics import agreement
from edge_sphereface.model.certificate import certificate_path, load_certificate
from edge_sphereface.model.origin import Origin
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.errors import CheckpointError, ParityError, TopologyError
from export.faces import face_crops
from export.folding import fold_color_order, fold_normalization
from export.forms import PLAIN, FormOptions, make_forms
from export.graph import build_graph
from export.inspection import inspect, text
from export.known_checkpoints import known_checkpoint, published_files
from export.naming import MOMENTS, sort_names
from export.presets import Preprocessing, Told
from export.quantization.activation_statistics import embed_all, histograms
from export.quantization.kernels import KERNELS
from export.quantization.qdq import quantize_graph
from export.quantization.ranges import min_max
from export.source import open_network
from export.untrained import untrained_parameters

PAIRS, WIDTHS = (1, 0, 2, 0), (4, 4, 6, 8)


def parameters(**options):
    return untrained_parameters(pairs=PAIRS, widths=WIDTHS, embedding_size=8, input_size=(112, 112), **options)


def normalized(random):
    """Batch normalizations after each convolution and the embedding, which is not needed by the rest."""
    found = {}
    for name, values in parameters().items():
        layer, _, kind = name.partition(".")
        if kind == "weight":
            number = layer.removeprefix("conv").removeprefix("fc")
            found |= {f"bn{number}.{moment}": random.uniform(0.5, 1.5, len(values)) for moment in MOMENTS}
    return {name: values.astype(np.float32) for name, values in found.items()}


def opensphere_names(own, first="conv1"):
    """The same parameters under the names of opensphere, without slopes."""
    moments = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
    named = {}
    for name, values in own.items():
        layer, _, kind = name.partition(".")
        if layer in ("fc5", "bn5"):
            named[f"{'fc' if layer == 'fc5' else 'features'}.{moments.get(kind, kind)}"] = values
            continue
        stage, number = layer.lstrip("convrelub").split("_")
        pair, second = divmod(int(number), 2) if number != "1" else (0, 0)
        place = 2 if second else 1
        if layer.startswith("conv"):
            named[f"layer{stage}.{pair}.{first if pair == 0 else f'conv{place}'}.{kind}"] = values
        elif layer.startswith("bn"):
            named[f"layer{stage}.{pair}.bn{place}.{moments[kind]}"] = values
    return named


def uniface_names(own):
    named = {}
    for name, values in own.items():
        layer, _, kind = name.partition(".")
        if layer == "fc5":
            named[f"fc.{kind}"] = values
            continue
        stage, number = layer.lstrip("convrelu").split("_")
        around = "0" if number == "1" else f"{int(number) // 2}.block.{int(number) % 2}"
        named[f"layer{stage}.{around}.1.weight" if kind == "w" else f"layer{stage}.{around}.0.{kind}"] = values
    return named


def recognized(tmp_path, named, **options):
    write_ckpt(tmp_path / "x.ckpt", named)
    with open_network(tmp_path / "x.ckpt", Told(**options)) as network:
        return network


def test_names_of_each_publisher(tmp_path):
    network = recognized(tmp_path, parameters(bias=True))
    assert (network.preset.name, network.topology.is_original, network.topology.pairs) == ("mindspore", True, PAIRS)
    network = recognized(tmp_path, {f"module.{name}": values for name, values in uniface_names(parameters()).items()})
    assert (network.preset.name, network.topology.activation, network.topology.pairs) == ("uniface", "prelu", PAIRS)
    relu = {name: values for name, values in parameters(bias=True).items() if not name.startswith("relu")}
    network = recognized(tmp_path, opensphere_names(relu, first="conv"))
    assert (network.preset.name, network.topology.activation) == ("opensphere-deprecated", "relu")
    network = recognized(tmp_path, opensphere_names({**relu, **normalized(np.random.default_rng(0))}))
    assert (network.preset.name, network.topology.is_normalized) == ("opensphere", True)
    with pytest.raises(TopologyError, match=r"config\.yml"):
        recognized(tmp_path, opensphere_names(relu))
    network = recognized(tmp_path, opensphere_names(relu), preset="opensphere")
    assert network.topology.shortcut == "before_activation"


def test_missing_normalizations_are_named(tmp_path):
    both = {**parameters(), **normalized(np.random.default_rng(0))}
    named = opensphere_names({name: values for name, values in both.items() if name != "bn3_2.mean"})
    with pytest.raises(TopologyError, match=r"bn3_2\.mean is missing"):
        recognized(tmp_path, named)


def test_counters_and_heads_belong_to_training():
    class Info:
        shape = ()

    names = sort_names({"layer1.0.conv1.weight": Info, "layer1.0.bn1.num_batches_tracked": Info, "head.weight": Info})
    assert names.skipped == ("layer1.0.bn1.num_batches_tracked", "head.weight")


def test_normalization_folds_exactly():
    random = np.random.default_rng(0)
    own = {"conv1_1.weight": random.standard_normal((4, 3, 3, 3)), "fc5.weight": random.standard_normal((8, 6))}
    own["fc5.bias"] = random.standard_normal(8)
    moments = {
        f"bn{layer}.{moment}": random.uniform(0.5, 2, size)
        for layer, size in (("1_1", 4), ("5", 8))
        for moment in MOMENTS
    }
    folded = fold_normalization({**own, **moments}, 0.25)
    assert set(folded) == {"conv1_1.weight", "conv1_1.bias", "fc5.weight", "fc5.bias"}
    value = random.standard_normal(6)
    gamma, beta, mean, variance = (moments[f"bn5.{moment}"] for moment in MOMENTS)
    expected = (own["fc5.weight"] @ value + own["fc5.bias"] - mean) / np.sqrt(variance + 0.25) * gamma + beta
    np.testing.assert_allclose(folded["fc5.weight"] @ value + folded["fc5.bias"], expected, rtol=1e-12)
    patch = random.standard_normal((3, 3, 3))
    gamma, beta, mean, variance = (moments[f"bn1_1.{moment}"] for moment in MOMENTS)
    plain = np.tensordot(own["conv1_1.weight"], patch, 3)
    expected = (plain - mean) / np.sqrt(variance + 0.25) * gamma + beta
    np.testing.assert_allclose(
        np.tensordot(folded["conv1_1.weight"], patch, 3) + folded["conv1_1.bias"], expected, rtol=1e-12
    )


def test_nothing_is_folded_where_nothing_is_to_fold():
    own = parameters()
    folded = fold_normalization(own, 1e-5)
    assert all(folded[name] is values for name, values in own.items())
    np.testing.assert_array_equal(fold_color_order(own)["conv1_1.weight"][:, 0], own["conv1_1.weight"][:, 2])


@pytest.mark.parametrize(
    ("moment", "value", "words"),
    [("variance", -1.0, "variances of at least 0 in bn2_1"), ("gamma", 3e38, "after folding.* in conv2_1.weight")],
)
def test_normalization_that_cannot_be_folded(tmp_path, moment, value, words):
    moments = normalized(np.random.default_rng(0))
    moments[f"bn2_1.{moment}"][:] = value
    moments["bn2_1.variance"] *= np.float32(1e-4)
    write_ckpt(tmp_path / "x.ckpt", opensphere_names({**parameters(), **moments}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointError, match=words):
            convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="numpy"))
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.slow
def test_the_colors_of_a_crop_count(tmp_path):
    """The same weights told twice: one graph takes the blue of a crop for what the other takes its red for."""
    write_ckpt(tmp_path / "x.ckpt", uniface_names(parameters()))
    rgb = convert(tmp_path / "x.ckpt", tmp_path / "rgb.onnx", ConversionOptions(reference="numpy"))
    bgr = convert(
        tmp_path / "x.ckpt",
        tmp_path / "bgr.onnx",
        ConversionOptions(
            reference="numpy", told=Told(color_order="BGR", pixel_scale=1 / 128, alignment_fit="cp2tform")
        ),
    )
    assert (rgb.spec.pixel_scale, rgb.spec.alignment_fit) == (1 / 127.5, "umeyama")
    assert (bgr.spec.pixel_scale, bgr.spec.alignment_fit) == (1 / 128, "cp2tform")
    assert (rgb.spec.input_height, rgb.spec.input_width, rgb.spec.color_order) == (112, 112, "BGR")
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    first = Embedder(rgb.model, provider="cpu").embed(crops)
    second = Embedder(bgr.model, provider="cpu").embed(np.ascontiguousarray(crops[..., ::-1]))
    np.testing.assert_allclose(first, second, atol=0.02)  # the scales differ by half a percent
    assert np.abs(first - Embedder(bgr.model, provider="cpu").embed(crops)).max() > 0.05


def test_mindspore_is_no_reference_of_other_files(tmp_path, write_pth):
    write_pth(tmp_path / "x.pth", parameters())
    with pytest.raises(ParityError, match=r"MindSpore does not read x\.pth, a PyTorch file.*numpy"):
        convert(tmp_path / "x.pth", tmp_path / "x.onnx", ConversionOptions(reference="mindspore"))
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.slow
def test_the_command_says_what_it_found(tmp_path, write_pth, export_cli):
    write_pth(tmp_path / "x.pth", parameters())
    code, out, _ = export_cli("convert", tmp_path / "x.pth", "-o", tmp_path / "x.onnx")
    assert code == 0
    for words in (
        "PyTorch file, conventions of clcarwin/sphereface_pytorch; PReLU; identity added after the activation",
        "crops 112 x 112, BGR in the source, (x - 127.5) / 128",
        "no license and no accuracy are stated",
    ):
        assert words in out
    code, out, _ = export_cli(
        "convert", tmp_path / "x.pth", "-o", tmp_path / "x.onnx", "--json", "--color-order", "rgb"
    )
    source = json.loads(out)["source"]
    assert (code, source["format"], source["preset"], source["color_order"]) == (0, "PyTorch file", "clcarwin", "RGB")


@pytest.mark.slow
def test_a_model_tells_verify_what_it_was_made_with(tmp_path, write_pth, export_cli):
    write_pth(tmp_path / "x.pth", opensphere_names({**parameters(), **normalized(np.random.default_rng(0))}))
    told = ("--color-order", "rgb", "--pixel-scale", "1/127.5", "--shortcut", "after-activation")
    path = tmp_path / "x.onnx"
    code, out, _ = export_cli("convert", tmp_path / "x.pth", "-o", path, *told)
    assert code == 0
    assert "conventions of ydwen/opensphere, sfnet" in out
    assert "identity added after the activation" in out
    covers = [line for line in out.splitlines() if line.startswith("  covers ")]
    assert [line.split()[1] for line in covers] == ["color", "batch"]
    certificate_path(path).unlink()
    verify = ("verify", path, "--checkpoint", tmp_path / "x.pth")
    assert export_cli(*verify)[0] == 0
    first, second = load_certificate(certificate_path(path)).folded
    assert "the reference took RGB crops" in first
    assert "the reference normalized" in second
    assert export_cli(*verify, "--preset", "opensphere")[0] == 1, "it adds the identity before the activation"
    assert export_cli(*verify, "--color-order", "BGR")[0] == 1
    code, _, err = export_cli(*verify, "--pixel-scale", "1/128", "--alignment-fit", "umeyama")
    assert (code, "pixel scale 0.0078125, not 0.00784313" in err, "kind of fit umeyama, not cp2tform" in err) == (
        2,
        True,
        True,
    )


def test_a_file_that_tells_all_records_no_origin(tmp_path):
    assert recognized(tmp_path, parameters()).recorded_origin is None
    square = recognized(tmp_path, uniface_names(parameters()))
    assert square.recorded_origin == Origin(
        preset="uniface", color_order="RGB", shortcut="after_activation", is_normalized=False
    )


def test_single_values_replace_those_of_the_publisher(tmp_path):
    network = recognized(tmp_path, uniface_names(parameters()), pixel_mean=0.0, alignment_fit="cp2tform")
    assert network.preset.name == "uniface"
    assert network.preprocessing == Preprocessing(
        color_order="RGB", pixel_mean=0.0, pixel_scale=1 / 127.5, alignment_fit="cp2tform"
    )
    relu = {name: values for name, values in parameters(bias=True).items() if not name.startswith("relu")}
    network = recognized(tmp_path, opensphere_names(relu), shortcut="before_activation")
    assert (network.preset.name, network.topology.shortcut) == ("opensphere", "before_activation")


@pytest.fixture(scope="module")
def foreign_graph(tmp_path_factory, spec):
    """An ONNX graph without the metadata of this project."""
    folder = tmp_path_factory.mktemp("graph")
    write_ckpt(folder / "x.ckpt", parameters())
    with open_network(folder / "x.ckpt") as network:
        model = build_graph(network.topology, parameters(), spec)
    del model.metadata_props[:]
    onnx.save(model, folder / "x.onnx")
    return folder / "x.onnx"


def test_the_assumed_constant_of_batch_normalization_is_told(tmp_path, write_pth):
    write_pth(tmp_path / "x.pth", opensphere_names({**parameters(), **normalized(np.random.default_rng(0))}))
    described = inspect(tmp_path / "x.pth")
    assert (described.network.activation, described.network.normalization_epsilon) == ("relu", 1e-5)
    assert "ReLU; batch normalization (eps 1e-05, PyTorch's default, which the file does not tell)" in text(described)


ALL = {"color_order": "RGB", "pixel_mean": 0.0, "pixel_scale": 1.0, "alignment_fit": "umeyama"}


def test_inspect_goes_by_content(foreign_graph, tmp_path):
    """Whatever the name, a foreign graph is shown as the weights that it is."""
    other = tmp_path / "graph.bin"
    other.write_bytes(foreign_graph.read_bytes())
    first, second = inspect(foreign_graph), inspect(other)
    assert first.parameters == second.parameters
    assert (first.format, first.problem) == (second.format, second.problem) == ("ONNX graph", None)
    assert first.network == second.network
    assert all(row.bytes == 4 * math.prod(row.shape) for row in first.parameters)


def test_a_graph_needs_all_or_a_publisher(foreign_graph):
    with open_network(foreign_graph, Told(**ALL)) as network:
        assert (network.preset, network.preprocessing) == (None, Preprocessing(**ALL))
        assert network.recorded_origin.preset is None
    with pytest.raises(TopologyError) as error, open_network(foreign_graph):
        pass
    assert "does not tell their color order, pixel mean, pixel scale, kind of fit." in error.value.message
    assert "--color-order, --pixel-mean, --pixel-scale, --alignment-fit" in error.value.hint
    for name in ALL:
        rest = {other: value for other, value in ALL.items() if other != name}
        with pytest.raises(TopologyError) as error, open_network(foreign_graph, Told(**rest)):
            pass
        assert error.value.hint.endswith(f"or set --{name.replace('_', '-')}")
    told = Told(**ALL, shortcut="before_activation")
    with (
        pytest.raises(TopologyError, match="adds the identity after the activation"),
        open_network(foreign_graph, told),
    ):
        pass


def test_options_tell_numbers(export_cli):
    for option, value, words in (
        ("--pixel-scale", "1/0", "expected a number such as 127.5 or 1/127.5, got '1/0'"),
        ("--pixel-scale", "-1", "expected a number above 0"),
        ("--pixel-mean", "nan", "expected a number"),
        ("--color-order", "grb", "expected bgr or rgb, got 'grb'"),
    ):
        code, _, err = export_cli("convert", "x.onnx", option, value)
        assert (code, words in err) == (2, True)


def test_a_published_file_is_known_by_its_sha256():
    for name, file in published_files().items():
        known = known_checkpoint(file.sha256)
        assert name.startswith(known.preset)
        assert file.license == known.license
        assert file.url.startswith("https://")
        assert 0.98 < known.lfw_accuracy < 1


@pytest.mark.parametrize(
    ("names", "preset", "whose"),
    [
        (uniface_names, "opensphere", "uniface"),
        (uniface_names, "mindspore", "uniface"),
        (dict, "uniface", "MindSpore Hub.* or .*Caffe.* or clcarwin"),
        (dict, "opensphere", "MindSpore Hub"),
        (lambda stored: opensphere_names({**stored, **parameters(bias=True)}), "caffe", "opensphere, sfnet or"),
    ],
)
def test_a_publisher_whose_names_differ_is_refused(tmp_path, names, preset, whose):
    """Graph and reference would share the wrong colors and scale, so that the proof would pass."""
    with pytest.raises(TopologyError, match=rf"holds weights of .*{whose}.*, not of ") as error:
        recognized(tmp_path, names(parameters()), preset=preset)
    assert "leave out --preset" in error.value.hint
    assert "--color-order" in error.value.hint


@pytest.mark.parametrize("preset", ["mindspore", "caffe", "clcarwin"])
def test_publishers_with_the_same_names(tmp_path, preset):
    assert recognized(tmp_path, parameters(), preset=preset).preset.name == preset


@pytest.mark.slow
def test_all_forms_of_a_network_whose_publisher_is_named(tmp_path):
    write_ckpt(tmp_path / "x.ckpt", uniface_names(parameters()))
    made = make_forms(
        tmp_path / "x.ckpt",
        tmp_path / "forms",
        lambda _: None,
        FormOptions(
            tuned=False, precisions=(), reference="numpy", told=Told(preset="uniface"), plan=Plan(rounds=5, per_round=1)
        ),
        note=lambda _: None,
        reporter=lambda _: lambda _done, _total: None,
    )
    assert made.conversion.source.preset.name == "uniface"
    assert made.paths[PLAIN].exists()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["opensphere", "opensphere-deprecated"])
def test_a_network_with_relu_in_integers(tmp_path, preset):
    """A ReLU is the lower end of a range, behind a convolution or behind an addition."""
    relu = {name: values for name, values in parameters(bias=True).items() if not name.startswith("relu")}
    write_ckpt(tmp_path / "x.ckpt", opensphere_names(relu))
    made = convert(
        tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="numpy", told=Told(preset=preset))
    )
    model, crops = onnx.load(made.model), face_crops(made.spec, 8)
    ranges = {name: min_max(row) for name, row in histograms(model, crops, made.spec).items()}
    quantized = quantize_graph(model, made.spec, ranges, kernels=KERNELS["portable"])
    assert not [node for node in quantized.graph.node if node.op_type == "Relu"]
    expected, got = (embed_all(graph, crops, made.spec) for graph in (model, quantized))
    assert agreement(expected, got).min_cosine > 0.99
