"""The command: what it writes, and a gate that refuses what does harm."""

import json
import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest

from edge_sphereface.cli.runner import run
from edge_sphereface.compare import normalize
from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.model.certificate import check_on_device, load_certificate
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.model.quantization import ProcessorWarning, mismatch_here
from edge_sphereface.model.spec import METADATA_KEY
from export.commands import build_parser
from export.faces import face_crops
from export.layers import layers_of
from export.plain import open_plain
from export.quantization.activation_statistics import embed_all
from export.quantization.embedding_weights import quantize_blocks
from export.quantization.float16 import to_float16
from export.quantization.float16_arm import to_float16_for_arm
from export.rewrite.fast import rewrite
from export.rewrite.tile import read_stages
from export.rewrite.weights import read_weights, rebuild

LOOSE = "mean=0.98,p1=0.9,known=0.8,min=0.8,latency=none"
FEW = ("--rounds", "5")
"""Latency samples of each model: as few as give an interval."""


def saved(model, tmp_path, name="made.onnx"):
    onnx.save(model, tmp_path / name)
    return tmp_path / name


# --- the command -------------------------------------------------------------------------------------------------


def command(capsys, *words):
    code = run(build_parser(), [str(word) for word in (*words, *FEW, "--json")])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


@pytest.fixture(scope="session")
def quantized(shallowest_models, crop_folder, tmp_path_factory):
    """A small model quantized by the command, and what it printed."""
    folder = tmp_path_factory.mktemp("quantized")
    words = [
        "quantize",
        shallowest_models["image"],
        "--calibration",
        crop_folder,
        "-o",
        folder / "m.int8.onnx",
        "--policy",
        LOOSE,
    ]
    assert run(build_parser(), [str(word) for word in (*words, *FEW)]) == 0
    return folder / "m.int8.onnx"


@pytest.mark.slow
def test_the_command_writes_model_certificate_and_report(quantized, shallowest_models):
    assert {path.name.removeprefix("m.int8.") for path in quantized.parent.iterdir()} == {
        "onnx",
        "parity.json",
        "quantization.json",
        "quantization.md",
        "quantization.png",
    }
    embedder = Embedder(quantized)
    spec = embedder.spec
    record = spec.quantization
    assert (spec.precision, record.target, record.weight_bits) == ("int8", "portable", 7)
    assert "prelu" in spec.rewrites
    assert record.calibration_crops == 36
    assert dict(record.rules).keys() == set(layers_of(onnx.load(shallowest_models["image"])))
    assert "carried over" in spec.threshold_source
    assert check_on_device(embedder, load_certificate(quantized.with_suffix(".parity.json"))).passed
    report = json.loads(quantized.with_suffix(".quantization.json").read_text())
    assert report["proof"]["cosine"]["mean"] == pytest.approx(record.cosine_mean, abs=1e-6)
    assert report["proof"]["latency"]["int8"]["samples"] == 5
    page = quantized.with_suffix(".quantization.md").read_text()
    for word in ("proof PASSED", "so few crops", "m.int8.quantization.png", "equalization", "onnxruntime"):
        assert word in page
    assert quantized.with_suffix(".quantization.png").read_bytes().startswith(b"\x89PNG")
    assert quantized.stat().st_size < shallowest_models["image"].stat().st_size


def test_a_certificate_of_int8_tells_another_model(quantized, shallowest_models, tmp_path):
    """Bounds for INT8 are wide, and still a damaged model fails."""
    model = onnx.load(quantized)
    weights = read_weights(model)
    weights["conv2_1.scale"] = weights["conv2_1.scale"] * np.float32(2)
    path = saved(rebuild(model, model.graph.node, weights), tmp_path)
    certificate = load_certificate(quantized.with_suffix(".parity.json"))
    from edge_sphereface.storage.files import sha256_of

    certificate = replace(certificate, onnx=replace(certificate.onnx, sha256=sha256_of(path)))
    assert not check_on_device(Embedder(path), certificate).passed


@pytest.mark.slow
def test_verify_against_float(quantized, shallowest_models, crop_folder, capsys, require_schema):
    words = ["verify", quantized, "--float", shallowest_models["image"], "--photos", crop_folder, "--policy", LOOSE]
    code, result, _ = command(capsys, *words)
    require_schema("export verify", result)
    assert code == 0
    assert result["proof"]["passed"]
    assert result["proof"]["crops"] == 48 + 16
    code, result, _ = command(capsys, "verify", quantized)
    assert code == 2
    assert "--float" in result["error"]["hint"]
    code, result, _ = command(capsys, "verify", quantized, "--float", shallowest_models["image"])
    assert (code, result["error"]["code"]) == (2, "usage")


@pytest.mark.slow
def test_a_wrong_scale_is_refused(quantized, shallowest_models, crop_folder, tmp_path, capsys):
    model = onnx.load(quantized)
    weights = read_weights(model)
    weights["conv3_1.weight.scale"] = weights["conv3_1.weight.scale"] * np.float32(4)
    path = saved(rebuild(model, model.graph.node, weights), tmp_path)
    words = ["verify", path, "--float", shallowest_models["image"], "--photos", crop_folder, "--policy", "latency=none"]
    code, result, _ = command(capsys, *words)
    assert code == 1
    assert any("cosine" in reason for reason in result["proof"]["missed"])


@pytest.mark.slow
@pytest.mark.parametrize("labeled", [False, True])
def test_a_poisoned_calibration_is_refused(shallowest_models, faces, tmp_path, capsys, require_schema, labeled):
    """Even without labeled pairs: the built-in photograph is always among the crops of the proof."""
    folder = tmp_path / "poison"
    folder.mkdir()
    for number, crop in enumerate(faces):
        save_image(folder / f"{number}.png", (126 + crop // 64).astype(np.uint8))
    pairs = []
    if labeled:
        for number, crop in enumerate(faces[:4]):
            save_image(tmp_path / f"{number}.png", crop)
        rows = "".join(f"{a}.png,{b}.png,{int(a == b)}\n" for a in range(4) for b in range(4))
        (tmp_path / "pairs.csv").write_text("image1_path,image2_path,label\n" + rows)
        (tmp_path / "marks.txt").write_text("".join(f"{n}.png 30 51 65 51 48 71 33 92 62 92\n" for n in range(4)))
        pairs = ["--pairs", tmp_path / "pairs.csv", "--images", tmp_path, "--landmarks", tmp_path / "marks.txt"]
    output = tmp_path / "out" / "m.int8.onnx"
    output.parent.mkdir()
    words = [
        "quantize",
        shallowest_models["image"],
        "--calibration",
        folder,
        "-o",
        output,
        "--policy",
        "latency=none",
        *pairs,
    ]
    code, result, _ = command(capsys, *words)
    require_schema("export quantize", result)
    assert code == 1
    assert result["model"] is None
    assert result["files"] == []
    assert any("built-in photograph" in reason for reason in result["proof"]["missed"])
    assert (result["proof"]["pairs"] is not None) is labeled
    assert list(output.parent.iterdir()) == []


@pytest.mark.slow
def test_slower_than_asked_is_refused(shallowest_models, crop_folder, tmp_path, capsys):
    bounds = f"{LOOSE},latency=0.001"
    words = [
        "quantize",
        shallowest_models["image"],
        "--calibration",
        crop_folder,
        "-o",
        tmp_path / "m.onnx",
        "--policy",
        bounds,
    ]
    code = run(build_parser(), [str(word) for word in (*words, *FEW)])
    text = capsys.readouterr().out
    assert code == 1
    assert "refused: latency over" in text
    assert "Nothing was written. For another machine than this, give --policy latency=none." in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_bad_input(quantized, shallowest_models, crop_folder, make_onnx, tmp_path, capsys):
    output = tmp_path / "o.onnx"

    def error_of(*words):
        code, result, _ = command(capsys, "quantize", *words)
        assert not output.exists()
        return code, result["error"]["code"], result["error"]["message"]

    code, kind, message = error_of(quantized, "--calibration", crop_folder, "-o", output)
    assert (code, kind) == (1, "model-format")
    assert "has the precision int8" in message
    foreign = make_onnx(metadata={})
    assert error_of(foreign, "--calibration", crop_folder, "-o", output)[:2] == (1, "model-format")
    other = error_of(make_onnx(name="other.onnx"), "--calibration", crop_folder, "-o", output)
    assert other[:2] == (1, "model-format")
    assert "the graph that" in other[2]
    fast = tmp_path / "fast.onnx"
    run(build_parser(), ["rewrite", str(shallowest_models["image"]), "-o", str(fast), "--max-latency", "100", *FEW])
    capsys.readouterr()
    assert "rewritten" in error_of(fast, "--calibration", crop_folder, "-o", output)[2]
    assert error_of(shallowest_models["image"], "-o", output)[:2] == (2, "usage")
    image = shallowest_models["image"]
    assert error_of(image, "--calibration", crop_folder, "-o", tmp_path / "o.int8")[:2] == (1, "output")
    assert error_of(image, "--calibration", crop_folder, "-o", tmp_path / "no" / "o.onnx")[:2] == (1, "output")
    kept = image.read_bytes()
    assert "would be lost" in error_of(image, "--calibration", crop_folder, "-o", image)[2]
    assert image.read_bytes() == kept
    assert error_of(image, "--calibration", crop_folder, "-o", output, "--provider", "cuda")[:2] == (2, "usage")
    pairs = ["--pairs", tmp_path / "p.csv", "--images", tmp_path / "no"]
    assert error_of(image, "--calibration", crop_folder, "-o", output, *pairs)[:2] == (1, "pairs")
    assert error_of(shallowest_models["image"], "--calibration", tmp_path / "no", "-o", output)[:2] == (1, "image")
    empty = tmp_path / "empty"
    empty.mkdir()
    save_image(empty / "black.png", np.zeros((200, 200, 3), np.uint8))
    assert error_of(shallowest_models["image"], "--calibration", empty, "-o", output)[:2] == (1, "calibration")
    words = ["--calibration", crop_folder, "-o", output, "--policy", "least=1"]
    assert error_of(shallowest_models["image"], *words)[:2] == (2, "usage")
    words = ["--calibration", crop_folder, "-o", output, "--pairs", "p.csv"]
    assert error_of(shallowest_models["image"], *words)[:2] == (2, "usage")


@pytest.mark.slow
def test_doubts_and_skipped_photographs_are_said(
    shallowest_models, crop_folder, astronaut, tmp_path, capsys, require_schema
):
    """And pairs of photographs whose faces are found are no obstacle where they are too few to be judged."""
    for name in ("photographs", "paired", "out"):
        (tmp_path / name).mkdir()
    for path in list(crop_folder.iterdir())[:8]:
        (tmp_path / "photographs" / path.name).write_bytes(path.read_bytes())
    for number in range(8):
        (tmp_path / "photographs" / f"broken{number}.jpg").write_bytes(b"\xff\xd8 no photograph")
    for number in range(1, 4):
        save_image(tmp_path / "paired" / f"{number}.png", astronaut[:-number])
    (tmp_path / "pairs.csv").write_text("image1_path,image2_path,label\n" + 10 * "1.png,2.png,1\n1.png,3.png,0\n")
    words = ["quantize", shallowest_models["image"], "--calibration", tmp_path / "photographs"]
    words += ["--pairs", tmp_path / "pairs.csv", "--images", tmp_path / "paired", "-o", tmp_path / "out" / "m.onnx"]
    code, result, progress = command(capsys, *words, "--policy", "mean=0,p1=0,known=0,min=0,latency=none")
    require_schema("export quantize", result)
    assert code == 0
    assert result["files"]
    assert result["proof"]["pairs"]["count"] + result["proof"]["pairs"]["left_out"] == 20
    assert any("at least 50" in doubt for doubt in result["calibration"]["doubts"])
    assert "warning: Only" in progress
    skipped = result["calibration"]["skipped"]
    assert skipped
    assert all("broken" in row["path"] for row in skipped)


@pytest.mark.slow
def test_a_form_that_is_hardly_in_integers_says_so(shallowest_models, crop_folder, tmp_path, capsys):
    words = ["quantize", shallowest_models["image"], "--calibration", crop_folder, "-o", tmp_path / "m.onnx"]
    code, result, progress = command(capsys, *words, "--max-drift", "0", "--policy", LOOSE)
    assert code == 0
    assert all(layer["float"] for layer in result["search"]["layers"])
    assert "warning: 5 of 5 layers, with 100% of the weights, stay in float32" in progress


@pytest.mark.slow
def test_for_openvino(shallowest_models, crop_folder, tmp_path, capsys, require_schema):
    """Judged on the CPU where that provider is missing: its embeddings, but not its latency, which says nothing."""
    output, source = tmp_path / "m.int8.onnx", shallowest_models["image"]
    words = ["quantize", source, "--calibration", crop_folder, "--target", "openvino", "-o", output]
    if "OpenVINOExecutionProvider" not in import_onnxruntime().get_available_providers():
        code, result, _ = command(capsys, *words)
        assert (code, result["error"]["code"]) == (1, "provider")
        assert "'openvino', which is not in this onnxruntime" in result["error"]["message"]
        assert "--provider cpu" in result["error"]["hint"]
        assert not output.exists()
    code, result, progress = command(capsys, *words, "--provider", "cpu", "--policy", LOOSE)
    require_schema("export quantize", result)
    assert code == 0
    assert f"warning: {mismatch_here('openvino')}" in progress
    assert result["proof"]["latency_reason"] == mismatch_here("openvino")
    assert result["proof"]["cosine"]["mean"] > 0.99
    with pytest.warns(ProcessorWarning, match="OpenVINO provider"):
        embedder = Embedder(output, provider="cpu")
    record = embedder.spec.quantization
    assert (embedder.spec.precision, record.target, record.weight_bits) == ("int8", "openvino", 7)
    assert "prelu" not in embedder.spec.rewrites
    assert check_on_device(embedder, load_certificate(output.with_suffix(".parity.json"))).passed


# --- float16 -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("target", "recorded"), [("portable", "float16"), ("arm64", "float16-arm64")])
def test_float16(shallowest_models, tmp_path, capsys, target, recorded):
    output, source = tmp_path / "m.fp16.onnx", shallowest_models["image"]
    words = ["quantize", source, "--precision", "float16", "--target", target, "-o", output, "--policy", "latency=none"]
    code, result, progress = command(capsys, *words)
    assert code == 0
    assert result["search"] is None
    assert result["calibration"] is None
    assert result["proof"]["cosine"]["min"] > 0.9999
    mismatch = mismatch_here(recorded)
    assert bool(mismatch) == (f"warning: {mismatch}" in progress)
    assert result["proof"]["latency_reason"] == mismatch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProcessorWarning)
        embedder = Embedder(output)
    record = embedder.spec.quantization
    assert (embedder.spec.precision, record.target, record.weight_bits) == ("float16", recorded, 16)
    largest = 0.6 if target == "portable" else 2  # filtering needs more weights
    assert output.stat().st_size < largest * source.stat().st_size
    assert check_on_device(embedder, load_certificate(output.with_suffix(".parity.json"))).passed


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--target", "x86-vnni"], "no float16 arithmetic"),
        (["--target", "arm64", "--provider", "cuda"], "--target arm64 is for the CPU"),
        (["--target", "openvino"], "no float16 arithmetic"),
        (["--precision", "weights8", "--target", "arm64"], "weights8 has one form"),
        (["--precision", "int8", "--calibration", ".", "--provider", "openvino"], "--provider judges float16"),
        (["--precision", "int8", "--calibration", ".", "--target", "openvino", "--provider", "cuda"], "or the CPU"),
    ],
)
def test_a_form_that_does_not_exist_is_refused(tmp_path, capsys, words, reason):
    words = ["quantize", "m.onnx", "--precision", "float16", "-o", str(tmp_path / "half.onnx"), *words]
    assert run(build_parser(), words) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["nchw", "image"])
def test_the_form_for_arm_computes_products_in_float16_and_the_rest_in_float32(shallowest_models, layout):
    """As onnxruntime's kernels for Arm need it: in float16, Add and Mul take 20 times as many instructions."""
    made = onnx.shape_inference.infer_shapes(to_float16_for_arm(onnx.load(shallowest_models[layout])))
    tensors = [*made.graph.value_info, *made.graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in tensors}
    types |= {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    by_kind = {node.op_type: set() for node in made.graph.node}
    for node in made.graph.node:
        by_kind[node.op_type] |= {types[name] for name in node.output if name in types}
    for kind in ("MatMul", "Conv", "Gather"):
        assert by_kind[kind] == {onnx.TensorProto.FLOAT16}, kind
    for kind in ("Add", "Mul", "Max"):
        assert by_kind[kind] == {onnx.TensorProto.FLOAT}, kind
    assert "Gemm" not in by_kind
    casts = [(node.input[0], node.attribute[0].i) for node in made.graph.node if node.op_type == "Cast"]
    assert len(casts) == len(set(casts)), "a tensor is cast to a type only once"


@pytest.mark.parametrize("columns", [128, 200])
def test_blocks_of_weights_are_rounded_to_the_nearest_value(columns):
    """Each weight is rounded to the nearest of 255 values of its block, and what fills the last block is zero."""
    matrix = np.random.RandomState(0).standard_normal((3, columns)).astype(np.float32)
    matrix[1] = 0
    values, scales = quantize_blocks(matrix)
    read = ((values.astype(np.float32) - 128) * scales[:, :, None]).reshape(3, -1)
    expected = np.pad(matrix, ((0, 0), (0, read.shape[1] - columns)))
    largest = np.abs(expected.reshape(3, -1, 128)).max(axis=2).repeat(128, axis=1)
    assert (np.abs(read - expected) <= largest / 254 * 1.0001).all()
    assert not read[:, columns:].any()


@pytest.mark.slow
def test_8_bits_for_the_weights_of_the_embedding_layer(shallowest_models, tmp_path, capsys):
    """The form says what it is: no float32, near it by a measured cosine, and of another gallery."""
    tuned, output = tmp_path / "tuned.onnx", tmp_path / "m.w8.onnx"
    source = shallowest_models["image"]
    rewrite(
        source,
        tuned,
        forms=read_stages(("2x2", "2x2", "2x2", "2x2")),
        max_ratio=float("inf"),
        plan=Plan(rounds=5, per_round=1),
    )
    words = ["quantize", tuned, "--precision", "weights8", "-o", output, "--policy", "latency=none"]
    code, result, _ = command(capsys, *words)
    assert code == 0
    assert 0.9999 < result["proof"]["cosine"]["min"] < 1
    embedder, spec = Embedder(output), Embedder(tuned).spec
    record = embedder.spec.quantization
    assert (embedder.spec.precision, record.target, record.weight_bits) == ("weights8", "weights8", 8)
    assert (embedder.spec.rewrites, embedder.spec.tuning) == (spec.rewrites, None)
    assert Fingerprint.of(embedder.spec) != Fingerprint.of(spec)
    assert check_on_device(embedder, load_certificate(output.with_suffix(".parity.json"))).passed


@pytest.mark.parametrize("layout", ["nchw", "image"])
def test_the_form_for_arm_stays_near_float(shallowest_models, layout):
    original, plain = open_plain(shallowest_models[layout], "cpu")
    crops = face_crops(original.spec, 3)
    expected = normalize(embed_all(plain, crops, original.spec))
    got = normalize(embed_all(to_float16_for_arm(plain), crops, original.spec))
    assert np.einsum("nd,nd->n", expected, got).min() > 0.9999


def test_float16_keeps_inputs_and_outputs(shallowest_models):
    plain = onnx.load(shallowest_models["nchw"])
    made = to_float16(plain)
    assert made.graph.input == plain.graph.input
    assert made.graph.output == plain.graph.output
    assert {METADATA_KEY} == {entry.key for entry in made.metadata_props}
