"""Quantization: integer kernels, exact pixels, ranges, the search, and a gate that refuses what does harm."""

import json
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sphereface.certificate import check_on_device, load_certificate
from edge_sphereface.cli.contract import run
from edge_sphereface.compare import normalize
from edge_sphereface.detect import open_detector
from edge_sphereface.embed import Embedder
from edge_sphereface.image import save_image
from edge_sphereface.metrics import agreement
from edge_sphereface.model_spec import METADATA_KEY
from export.checkpoint.ckpt_writer import write_ckpt
from export.commands import build_parser
from export.convert import ConversionOptions, convert
from export.errors import CalibrationError
from export.faces import face_crops
from export.quantization.bias import correct_biases
from export.quantization.crops import calibration_crops, doubts, proof_crops, vivid
from export.quantization.embedded import embed_photographs
from export.quantization.float16 import no_float16_reason, to_float16
from export.quantization.layers import layer_of, layers_of
from export.quantization.observe import channel_means, embed_all, histograms, inner_tensors
from export.quantization.policy import Judgment, Policy, parse_policy
from export.quantization.proof import Latency, judge
from export.quantization.qdq import WEIGHT_LIMIT, quantize_graph
from export.quantization.ranges import BINS, RULES, Histogram, squared_error
from export.quantization.search import search
from export.rewrite import decompose_prelu
from export.rewrite.weights import read_weights, rebuild
from export.untrained import untrained_parameters

LOOSE = "mean=0.98,p1=0.9,min=0.8,latency=none"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A shallow narrow network in both layouts: quick to quantize."""
    folder = tmp_path_factory.mktemp("shallow")
    write_ckpt(folder / "x.ckpt", untrained_parameters(depth=10, widths=(8, 8, 16, 16), embedding_size=32))
    return {
        layout: convert(
            folder / "x.ckpt", folder / f"{layout}.onnx", ConversionOptions(reference="numpy", input_layout=layout)
        ).model
        for layout in ("nchw", "image")
    }


@pytest.fixture(scope="module")
def faces(models):
    return face_crops(Embedder(models["image"]).spec, 24)


@pytest.fixture(scope="module")
def crop_folder(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    for number, crop in enumerate([*faces, *vivid(faces)]):
        save_image(folder / f"{number}.png", crop)
    return folder


def quantized(path, crops, *, bits=7, floats=(), rule="min-max"):
    spec = Embedder(path).spec
    model = decompose_prelu(onnx.load(path))
    ranges = {name: RULES[rule](row) for name, row in histograms(model, crops, spec).items()}
    return quantize_graph(model, spec, ranges, weight_bits=bits, float_layers=floats)


def cosines(first, second):
    return np.einsum("nd,nd->n", normalize(first.copy()), normalize(second.copy()))


def saved(model, tmp_path, name="made.onnx"):
    onnx.save(model, tmp_path / name)
    return tmp_path / name


# --- the graph ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["nchw", "image"])
def test_everything_runs_in_integers(models, faces, layout, tmp_path):
    """No float island between quantized convolutions: after fusion every convolution and addition is an integer one."""
    path = saved(quantized(models[layout], faces), tmp_path)
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
def test_weights_keep_to_their_bits(models, faces, bits):
    weights = read_weights(quantized(models["image"], faces, bits=bits))
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


def test_both_layouts_give_the_same_bits(models, faces):
    """Pixels pass through quantization unchanged, whether they come as uint8 or as normalized floats."""
    results = [embed_all(quantized(path, faces), faces, Embedder(path).spec) for path in models.values()]
    assert np.array_equal(*results)


def test_quantized_is_close_to_float(models, faces):
    spec = Embedder(models["nchw"]).spec
    expected = embed_all(onnx.load(models["nchw"]), faces, spec)
    got = embed_all(quantized(models["nchw"], faces), faces, spec)
    assert cosines(expected, got).min() > 0.99


@pytest.mark.parametrize("floats", ["conv1_1", "conv2_2", "conv4_1", "fc5"])
@pytest.mark.parametrize("layout", ["nchw", "image"])
def test_a_layer_that_stays_float(models, faces, floats, layout):
    spec = Embedder(models[layout]).spec
    expected = embed_all(onnx.load(models[layout]), faces, spec)
    model = quantized(models[layout], faces, floats=(floats,))
    kept = {node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    assert f"{floats}.weight" in read_weights(model)
    assert f"{floats}.weight.q" not in read_weights(model)
    assert kept
    assert cosines(expected, embed_all(model, faces, spec)).min() > 0.98


def test_all_layers_float_is_the_float_model(models, faces):
    spec = Embedder(models["image"]).spec
    plain = onnx.load(models["image"])
    model = quantized(models["image"], faces, floats=layers_of(plain))
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


def test_layers(models):
    names = layers_of(onnx.load(models["image"]))
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


def test_histograms_count_every_value(models, faces):
    spec = Embedder(models["image"]).spec
    model = decompose_prelu(onnx.load(models["image"]))
    rows = histograms(model, faces, spec)
    assert set(rows) == set(inner_tensors(model))
    assert rows["conv1_1"].counts.sum() == len(faces) * 8 * 56 * 48
    assert rows["relu1_1.negative"].low == 0
    assert rows["conv1_1"].low < 0 < rows["conv1_1"].high


# --- biases and search -------------------------------------------------------------------------------------------


def test_corrected_biases_take_the_mean_error_out(models, faces):
    path = models["image"]
    spec = Embedder(path).spec
    model = decompose_prelu(onnx.load(path))
    ranges = {name: RULES["percentile-99.99"](row) for name, row in histograms(model, faces, spec).items()}

    def quantize(float_model):
        return quantize_graph(float_model, spec, ranges, weight_bits=7)

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

    found = search(onnx.load(path), spec, faces, vivid(faces), weight_bits=7, max_drift=max_drift, reporter=reporter)
    return found, steps


def test_the_search_takes_the_best_that_it_tried(models, faces):
    found, steps = search_with(models["image"], faces, 1.0)
    assert found.chosen.drift == min(found.tried.values())
    assert {f"{rule}, equalization {strength:g}" for rule in RULES for strength in (0, 0.5)} <= set(found.tried)
    assert set(found.layer_costs) == set(found.chosen.rules) == set(layers_of(onnx.load(models["image"])))
    assert found.chosen.float_layers == ()
    assert {what for what, _, _ in steps} >= {"rule by layer", "biases", "cost of layers"}
    assert all(done <= total for _, done, total in steps)
    record = found.as_json()
    assert json.loads(json.dumps(record)) == record


def test_costly_layers_stay_float_until_the_drift_is_small(models, faces):
    spec = Embedder(models["image"]).spec
    expected = embed_all(onnx.load(models["image"]), vivid(faces), spec)
    loose, _ = search_with(models["image"], faces, 1.0)
    drift = 1 - cosines(expected, embed_all(loose.model, vivid(faces), spec)).mean()
    found, _ = search_with(models["image"], faces, drift / 3)
    assert 0 < len(found.chosen.float_layers) < len(layers_of(onnx.load(models["image"])))
    assert 1 - cosines(expected, embed_all(found.model, vivid(faces), spec)).mean() <= drift / 3
    assert found.chosen.float_layers[0] == max(found.layer_costs, key=found.layer_costs.get)
    nothing, _ = search_with(models["image"], faces, 0.0)
    assert set(nothing.chosen.float_layers) == set(nothing.chosen.rules)
    assert agreement(expected, embed_all(nothing.model, vivid(faces), spec)).max_abs_error < 1e-5


# --- crops -------------------------------------------------------------------------------------------------------


def test_photographs_and_crops_both_serve(models, faces, astronaut, tmp_path):
    spec = Embedder(models["image"]).spec
    save_image(tmp_path / "crop.png", faces[0])
    save_image(tmp_path / "photo.png", astronaut)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no photograph")
    save_image(tmp_path / "empty.png", np.zeros_like(astronaut))
    found = calibration_crops(tmp_path, spec, open_detector(), count=10)
    assert len(found.crops) == 2
    assert any(np.array_equal(crop, faces[0]) for crop in found.crops), "a crop is taken as it is"
    reasons = {path.rsplit("/", 1)[-1]: reason for path, reason in found.skipped}
    assert set(reasons) <= {"broken.jpg", "empty.png"}
    assert reasons.get("empty.png", "no face was found") == "no face was found"


def test_a_quarter_is_left_for_the_proof(crop_folder, models):
    spec, detector = Embedder(models["image"]).spec, open_detector()
    found = calibration_crops(crop_folder, spec, detector, count=1000)
    assert (len(found.crops), len(found.unused)) == (36, 12)
    assert len(found.for_ranges) + found.judging_count == 36
    assert len(found.for_judging) == found.judging_count + -(-found.judging_count // 4), "some once more, garish"
    last = proof_crops(crop_folder, spec, detector, count=12)
    taken = {crop.tobytes() for crop in found.crops}
    assert not any(crop.tobytes() in taken for crop in last)
    again = calibration_crops(crop_folder, spec, detector, count=1000)
    assert np.array_equal(found.crops, again.crops), "the same crops every time"


def test_a_folder_without_faces(models, tmp_path, astronaut):
    save_image(tmp_path / "empty.png", np.zeros_like(astronaut))
    with pytest.raises(CalibrationError, match="none of 1 showed a usable one"):
        calibration_crops(tmp_path, Embedder(models["image"]).spec, open_detector(), count=10)


def test_doubts(models, crop_folder):
    """Untrained weights find everybody alike, so the crops pass for one person."""
    embedder = Embedder(models["image"])
    found = calibration_crops(crop_folder, embedder.spec, open_detector(), count=1000)
    few, one_person = doubts(found, embedder)
    assert "Only 36 crops" in few
    assert "one person only" in one_person


def test_different_people_raise_no_doubt(trained_model, shared):
    embedder = Embedder(trained_model)
    found = calibration_crops(shared("lfw") / "images", embedder.spec, open_detector(), count=60)
    assert doubts(found, embedder) == []


# --- policy and proof --------------------------------------------------------------------------------------------


def test_policy():
    assert parse_policy("strict") == Policy()
    assert parse_policy("strict,min=0.9,latency=none") == Policy(min=0.9, latency=None)
    for text in ("lax", "min", "min=", "min=x", "mean=0.9;min=0.8"):
        with pytest.raises(ValueError, match="expected|could not convert"):
            parse_policy(text)


@pytest.mark.parametrize(
    ("judgment", "holds", "words"),
    [
        (Judgment("it", 0.9, 0.8, at_least=True), True, ">= 0.8"),
        (Judgment("it", 0.7, 0.8, at_least=True), False, "< 0.8  MISSED"),
        (Judgment("it", 0.7, 0.8, at_least=False), True, "<= 0.8"),
        (Judgment("it", 0.9, 0.8, at_least=False), False, "> 0.8  MISSED"),
        (Judgment("it", None, 0.8, at_least=True, why_not="no pairs"), True, "not judged, no pairs"),
        (Judgment("it", 0.1, None, at_least=True), True, "not judged by this policy"),
    ],
)
def test_judgments(judgment, holds, words):
    assert judgment.holds is holds
    assert words in str(judgment)


def test_the_threshold_goes_along_with_the_scores(models, crop_folder):
    """Against itself a model keeps its threshold."""
    embedder = Embedder(models["image"])
    embedded = embed_photographs(embedder, embedder, sorted(crop_folder.iterdir()), open_detector())
    proof = judge(0.3, embedded, None, Latency({}, "not here"), Policy())
    assert proof.passed
    assert proof.threshold == pytest.approx(0.3, abs=1e-3)
    assert proof.drift == pytest.approx((1, 1, 1))
    assert "16 crops of the built-in photograph" in proof.source
    assert len(proof.cosines) == 48 + 16


# --- the command -------------------------------------------------------------------------------------------------


def command(capsys, *words):
    code = run(build_parser(), [str(word) for word in (*words, "--json")])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


@pytest.fixture(scope="module")
def made(models, crop_folder, tmp_path_factory):
    """A small model quantized by the command, and what it printed."""
    folder = tmp_path_factory.mktemp("made")
    words = ["quantize", models["image"], "--calibration", crop_folder, "-o", folder / "m.int8.onnx", "--policy", LOOSE]
    assert run(build_parser(), [str(word) for word in words]) == 0
    return folder / "m.int8.onnx"


def test_the_command_writes_model_certificate_and_report(made, models):
    assert {path.name.removeprefix("m.int8.") for path in made.parent.iterdir()} == {
        "onnx",
        "parity.json",
        "quantization.json",
        "quantization.md",
        "quantization.png",
    }
    embedder = Embedder(made)
    spec = embedder.spec
    record = spec.quantization
    assert (spec.precision, record.target, record.weight_bits) == ("int8", "portable", 7)
    assert "prelu" in spec.rewrites
    assert record.calibration_crops == 36
    assert dict(record.rules).keys() == set(layers_of(onnx.load(models["image"])))
    assert "carried over" in spec.threshold_source
    assert check_on_device(embedder, load_certificate(made.with_suffix(".parity.json"))).passed
    report = json.loads(made.with_suffix(".quantization.json").read_text())
    assert report["proof"]["cosine"]["mean"] == pytest.approx(record.cosine_mean, abs=1e-6)
    assert report["proof"]["latency"]["int8"]["samples"] == 100
    page = made.with_suffix(".quantization.md").read_text()
    for word in ("proof PASSED", "so few crops", "m.int8.quantization.png", "equalization", "onnxruntime"):
        assert word in page
    assert made.with_suffix(".quantization.png").read_bytes().startswith(b"\x89PNG")
    assert made.stat().st_size < models["image"].stat().st_size


def test_a_certificate_of_int8_tells_another_model(made, models, tmp_path):
    """Bounds for INT8 are wide, and still a damaged model fails."""
    model = onnx.load(made)
    weights = read_weights(model)
    weights["conv2_1.scale"] = weights["conv2_1.scale"] * np.float32(2)
    path = saved(rebuild(model, model.graph.node, weights), tmp_path)
    certificate = load_certificate(made.with_suffix(".parity.json"))
    from edge_sphereface.files import sha256_of

    certificate["onnx"]["sha256"] = sha256_of(path)
    assert not check_on_device(Embedder(path), certificate).passed


def test_verify_against_float(made, models, crop_folder, capsys):
    words = ["verify", made, "--float", models["image"], "--photos", crop_folder, "--policy", LOOSE]
    code, result, _ = command(capsys, *words)
    assert code == 0
    assert result["proof"]["passed"]
    assert result["proof"]["crops"] == 48 + 16
    code, result, _ = command(capsys, "verify", made)
    assert code == 1
    assert "--float" in result["error"]["hint"]
    code, result, _ = command(capsys, "verify", made, "--float", models["image"])
    assert (code, result["error"]["code"]) == (2, "usage")


def test_a_wrong_scale_is_refused(made, models, crop_folder, tmp_path, capsys):
    model = onnx.load(made)
    weights = read_weights(model)
    weights["conv3_2.weight.scale"] = weights["conv3_2.weight.scale"] * np.float32(4)
    path = saved(rebuild(model, model.graph.node, weights), tmp_path)
    words = ["verify", path, "--float", models["image"], "--photos", crop_folder, "--policy", "latency=none"]
    code, result, _ = command(capsys, *words)
    assert code == 1
    assert any("cosine" in reason for reason in result["proof"]["missed"])


@pytest.mark.parametrize("labelled", [False, True])
def test_a_poisoned_calibration_is_refused(models, faces, tmp_path, capsys, labelled):
    """Even without labelled pairs: the built-in photograph is always among the crops of the proof."""
    folder = tmp_path / "poison"
    folder.mkdir()
    for number, crop in enumerate(faces):
        save_image(folder / f"{number}.png", (126 + crop // 64).astype(np.uint8))
    pairs = []
    if labelled:
        for number, crop in enumerate(faces[:4]):
            save_image(tmp_path / f"{number}.png", crop)
        rows = "".join(f"{a}.png,{b}.png,{int(a == b)}\n" for a in range(4) for b in range(4))
        (tmp_path / "pairs.csv").write_text("image1_path,image2_path,label\n" + rows)
        (tmp_path / "marks.txt").write_text("".join(f"{n}.png 30 51 65 51 48 71 33 92 62 92\n" for n in range(4)))
        pairs = ["--pairs", tmp_path / "pairs.csv", "--images", tmp_path, "--landmarks", tmp_path / "marks.txt"]
    output = tmp_path / "out" / "m.int8.onnx"
    output.parent.mkdir()
    words = ["quantize", models["image"], "--calibration", folder, "-o", output, "--policy", "latency=none", *pairs]
    code, result, _ = command(capsys, *words)
    assert code == 1
    assert result["model"] is None
    assert result["files"] == []
    assert any("minimum" in reason for reason in result["proof"]["missed"])
    assert (result["proof"]["pairs"] is not None) is labelled
    assert list(output.parent.iterdir()) == []


def test_slower_than_asked_is_refused(models, crop_folder, tmp_path, capsys):
    bounds = f"{LOOSE},latency=0.001"
    words = ["quantize", models["image"], "--calibration", crop_folder, "-o", tmp_path / "m.onnx", "--policy", bounds]
    code = run(build_parser(), [str(word) for word in words])
    text = capsys.readouterr().out
    assert code == 1
    assert "refused: latency over" in text
    assert "Nothing was written." in text
    assert list(tmp_path.iterdir()) == []


def test_bad_input(made, models, crop_folder, make_onnx, tmp_path, capsys):
    output = tmp_path / "o.onnx"

    def error_of(*words):
        code, result, _ = command(capsys, "quantize", *words)
        assert not output.exists()
        return code, result["error"]["code"], result["error"]["message"]

    code, kind, message = error_of(made, "--calibration", crop_folder, "-o", output)
    assert (code, kind) == (1, "model-format")
    assert "int8 already" in message
    foreign = make_onnx(metadata={})
    assert error_of(foreign, "--calibration", crop_folder, "-o", output)[:2] == (1, "model-format")
    other = error_of(make_onnx(name="other.onnx"), "--calibration", crop_folder, "-o", output)
    assert other[:2] == (1, "model-format")
    assert "the graph that" in other[2]
    fast = tmp_path / "fast.onnx"
    run(build_parser(), ["rewrite", str(models["image"]), "-o", str(fast), "--max-latency", "100"])
    capsys.readouterr()
    assert "rewritten" in error_of(fast, "--calibration", crop_folder, "-o", output)[2]
    assert error_of(models["image"], "-o", output)[:2] == (2, "usage")
    assert error_of(models["image"], "--calibration", crop_folder, "-o", tmp_path / "o.int8")[:2] == (2, "usage")
    assert error_of(models["image"], "--calibration", tmp_path / "no", "-o", output)[:2] == (1, "image")
    empty = tmp_path / "empty"
    empty.mkdir()
    save_image(empty / "black.png", np.zeros((200, 200, 3), np.uint8))
    assert error_of(models["image"], "--calibration", empty, "-o", output)[:2] == (1, "calibration")
    words = ["--calibration", crop_folder, "-o", output, "--policy", "least=1"]
    assert error_of(models["image"], *words)[:2] == (2, "usage")
    words = ["--calibration", crop_folder, "-o", output, "--pairs", "p.csv"]
    assert error_of(models["image"], *words)[:2] == (2, "usage")


def test_doubts_and_skipped_photographs_are_said(models, crop_folder, tmp_path, capsys):
    for path in list(crop_folder.iterdir())[:8]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for number in range(8):
        (tmp_path / f"broken{number}.jpg").write_bytes(b"\xff\xd8 no photograph")
    (tmp_path / "out").mkdir()
    words = ["quantize", models["image"], "--calibration", tmp_path, "-o", tmp_path / "out" / "m.onnx"]
    code, result, progress = command(capsys, *words, "--policy", "mean=0,p1=0,min=0,latency=none")
    assert code == 0
    assert any("at least 50" in doubt for doubt in result["calibration"]["doubts"])
    assert "warning: Only" in progress
    skipped = result["calibration"]["skipped"]
    assert skipped
    assert all("broken" in row["path"] for row in skipped)


# --- float16 -----------------------------------------------------------------------------------------------------


def test_float16(models, tmp_path, capsys):
    output = tmp_path / "m.fp16.onnx"
    words = ["quantize", models["image"], "--precision", "float16", "-o", output, "--policy", "latency=none"]
    code, result, _ = command(capsys, *words)
    assert code == 0
    assert result["search"] is None
    assert result["calibration"] is None
    assert result["proof"]["cosine"]["min"] > 0.9999
    spec = Embedder(output).spec
    assert (spec.precision, spec.quantization.target, spec.quantization.weight_bits) == ("float16", "float16", 16)
    assert output.stat().st_size < 0.6 * models["image"].stat().st_size
    assert check_on_device(Embedder(output), load_certificate(output.with_suffix(".parity.json"))).passed


def test_float16_speed_is_judged_only_where_there_is_float16_arithmetic(models, monkeypatch):
    embedder = Embedder(models["image"], provider="cpu")
    for machine, flags, can in [
        ("x86_64", {"avx2", "f16c"}, False),
        ("aarch64", {"asimd"}, False),
        ("aarch64", {"asimd", "asimdhp"}, True),
    ]:
        monkeypatch.setattr("platform.machine", lambda name=machine: name)
        monkeypatch.setattr("export.quantization.float16.read_cpuinfo", lambda seen=flags: ("", frozenset(seen)))
        assert (no_float16_reason(embedder) == "") is can


def test_float16_keeps_inputs_and_outputs(models):
    plain = onnx.load(models["nchw"])
    made = to_float16(plain)
    assert made.graph.input == plain.graph.input
    assert made.graph.output == plain.graph.output
    assert {METADATA_KEY} == {entry.key for entry in made.metadata_props}


# --- the promise, on trained weights -----------------------------------------------------------------------------


def test_on_trained_weights(trained_model, shared, tmp_path, capsys):
    """Half the promise in a quarter of the time: 160 crops for the calibration, 600 pairs, the strict policy."""
    lines = shared("lfw/pairs.txt").read_text().splitlines()[:601]
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    lfw = shared("lfw")
    marks = lfw / "lfw_landmark.txt"
    words = ["quantize", trained_model, "--calibration", lfw / "images", "--count", 160, "-o", tmp_path / "m.int8.onnx"]
    pairs = ["--pairs", tmp_path / "pairs.txt", "--images", lfw / "images", "--landmarks", marks]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, result, _ = command(capsys, *words, *pairs)
    assert code == 0, result["proof"]["missed"]
    assert result["calibration"]["doubts"] == []
    proof = result["proof"]
    assert proof["cosine"]["mean"] >= 0.998
    assert proof["pairs"]["count"] == 600
    assert abs(proof["threshold"] - Embedder(trained_model).spec.threshold) < 0.02
    assert result["bytes"] / result["float_bytes"] <= 0.26
