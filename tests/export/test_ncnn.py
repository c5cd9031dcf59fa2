"""``python -m export ncnn``: pnnx converts, ncnn computes the same, and what misses its bounds is not written."""

import json
import os

import onnx
import pytest

from edge_sphereface.errors import ExtraError, ModelFormatError, OutputError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.certificate import certificate_path, check_on_device, load_certificate
from edge_sphereface.model.ncnn_file import read_ncnn_model
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.ncnn_form import NcnnOptions, make_ncnn_form
from export.pnnx import require_pnnx
from export.quantization.policy import parse_policy
from export.untrained import untrained_parameters
from tests.ncnn_files import ncnn_parts


@pytest.fixture(scope="module")
def needs_both():
    pytest.importorskip("ncnn", reason="the extra ncnn is not installed")
    try:
        require_pnnx()
    except ExtraError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def form(needs_both, small_model, tmp_path_factory):
    output = tmp_path_factory.mktemp("ncnn") / "m.ncnn"
    return output, make_ncnn_form(small_model, output, NcnnOptions())


def test_is_proven_and_certified(form, small_model):
    path, made = form
    assert made.proof.passed
    assert made.written
    embedder = Embedder(path)
    assert embedder.spec == made.spec
    assert (made.spec.rewrites, made.spec.precision, made.spec.quantization) == (("ncnn",), "float32", None)
    record = load_certificate(certificate_path(path))
    assert (record.onnx.opset, record.versions["ncnn"]) == (0, embedder.provider.ncnn)
    assert record.reference.name == small_model.name
    assert check_on_device(embedder, record).passed


def test_pnnx_makes_what_the_tests_take_for_it(form, small_model):
    """Else the tests of the runtime, which do without pnnx, would prove nothing about its files."""
    path, _ = form
    _, network, weights = ncnn_parts(small_model)
    found = read_ncnn_model(path).network
    kinds = [line.split()[0] for line in found.text.splitlines()[2:]]
    assert kinds == [line.split()[0] for line in network.splitlines()[2:]]
    assert path.read_bytes()[: found.weights_bytes] == weights


@pytest.mark.slow
def test_half_precision_passes_the_gate(needs_both, small_model, tmp_path, export_cli, require_schema):
    output = tmp_path / "m.float16.ncnn"
    words = ("ncnn", small_model, "--precision", "float16", "-o", output)
    code, out, err = export_cli(*words, "--json")
    assert code == 0, err
    report = json.loads(out)
    require_schema("export ncnn", report)
    assert report["proof"]["cosine"]["min"] > 0.99
    assert report["spec"]["quantization"]["target"] == "float16"
    assert load_certificate(certificate_path(output)).quality
    assert Embedder(output).fingerprint != Embedder(small_model).fingerprint


@pytest.mark.slow
def test_large_tiles_are_a_precision_of_their_own(needs_both, small_model, tmp_path):
    """Judged in half precision, which is modelled here; neither its embeddings nor its name are those of float16."""
    forms = {precision: tmp_path / f"{precision}.ncnn" for precision in ("float16", "float16-large-tiles")}
    made = {name: make_ncnn_form(small_model, path, NcnnOptions(precision=name)) for name, path in forms.items()}
    half, large = (Embedder(path) for path in forms.values())
    assert large.spec.precision == large.spec.quantization.target == "float16-large-tiles"
    assert len({model.fingerprint for model in (half, large, Embedder(small_model))}) == 3
    assert large.spec.threshold != half.spec.threshold
    assert made["float16-large-tiles"].judged.drift[0] < made["float16"].judged.drift[0]
    record = load_certificate(certificate_path(large.path))
    assert any(">= 0.998" in words for words in record.quality)
    assert record.bounds.device.min_cosine == 0.997
    assert check_on_device(large, record).passed
    if made["float16-large-tiles"].arithmetic == "float32":
        assert any("modelled by num" in words for words in record.quality)


def test_what_misses_a_bound_is_not_written(needs_both, small_model, tmp_path):
    policy = parse_policy("min=0.9999999999")
    made = make_ncnn_form(
        small_model,
        tmp_path / "m.ncnn",
        NcnnOptions(precision="float16", policy=policy),
    )
    assert not made.written
    assert os.listdir(tmp_path) == []


def test_networks_with_biases_and_relu(needs_both, tmp_path):
    """Square crops, too: pnnx puts the ReLU into the convolution."""
    parameters = untrained_parameters(depth=4, widths=(4, 4, 4, 8), embedding_size=8, input_size=(112, 112), bias=True)
    write_ckpt(tmp_path / "x.ckpt", parameters)
    plain = convert(tmp_path / "x.ckpt", tmp_path / "m.onnx", ConversionOptions(reference="numpy")).model
    model = onnx.load(plain)
    for node in model.graph.node:
        if node.op_type == "PRelu":
            node.op_type = "Relu"
            del node.input[1:]
    onnx.save(model, plain)
    assert make_ncnn_form(plain, tmp_path / "m.ncnn", NcnnOptions()).proof.passed
    network = read_ncnn_model(tmp_path / "m.ncnn").network.text
    assert " 9=1" in network
    assert "PReLU" not in network


def test_other_outputs_and_sources_are_refused(needs_both, small_model, form, tmp_path):
    with pytest.raises(OutputError, match=r"ends in \.ncnn"):
        make_ncnn_form(small_model, tmp_path / "m.onnx", NcnnOptions())
    path, _ = form
    with pytest.raises(ModelFormatError, match=r"rewritten \(ncnn\)"):
        make_ncnn_form(path, tmp_path / "m.ncnn", NcnnOptions())
