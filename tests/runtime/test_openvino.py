"""On onnxruntime's OpenVINO provider: its threads, and the INT8 form that is made for it. Skipped without it."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest

from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import OPENVINO, SessionConfig, provider_options
from edge_sphereface.inference.telemetry import import_onnxruntime
from export.convert import ConversionOptions, convert
from export.faces import face_crops
from export.pretrained import PRETRAINED
from export.quantization.activation_statistics import histograms
from export.quantization.kernels import KERNELS
from export.quantization.qdq import quantize_graph
from export.quantization.ranges import RULES
from export.rewrite import decompose_prelu

needs_openvino = pytest.mark.skipif(
    OPENVINO not in import_onnxruntime().get_available_providers(), reason="needs onnxruntime-openvino"
)


def test_the_provider_gets_the_number_of_threads():
    """It does not take them from the session, as other providers do."""
    assert provider_options(OPENVINO, SessionConfig(threads=3)) == {"num_of_threads": "3"}
    given = {"num_of_threads": "2"}
    assert provider_options(OPENVINO, SessionConfig(threads=3, provider_options=given)) == given


@pytest.fixture(scope="module", params=["nchw", "image"])
def model(request, tmp_path_factory):
    """A trained network of quarter width, with its certificate."""
    path = tmp_path_factory.mktemp("openvino") / f"{request.param}.onnx"
    convert(PRETRAINED, path, ConversionOptions(input_layout=request.param, reference="numpy", threshold=0.24))
    return path


@pytest.fixture
def int8(model, tmp_path):
    """INT8 forms of that network by target, without a search for the best ranges."""

    def make(target):
        kernels, plain, spec = KERNELS[target], onnx.load(model), Embedder(model, provider="cpu").spec
        graph = plain if kernels.fuses_prelu else decompose_prelu(plain)
        crops = face_crops(spec, 12)
        found = histograms(graph, crops, spec, fused=kernels.fused)
        ranges = {name: RULES["percentile-99.999"](histogram) for name, histogram in found.items()}
        made = quantize_graph(graph, spec, ranges, kernels=kernels)
        path = tmp_path / f"{target}.onnx"
        onnx.save(made, path)
        return path

    return make


@needs_openvino
@pytest.mark.parametrize("batch", [1, 7])
def test_embeddings_are_those_of_the_cpu_provider(model, batch):
    embedder, expected = Embedder(model, provider="openvino"), Embedder(model, provider="cpu")
    crops = face_crops(embedder.spec, batch)
    assert embedder.provider.active[0] == OPENVINO
    assert embedder.provider.nodes is None or set(embedder.provider.nodes) == {OPENVINO}
    assert np.abs(embedder.embed(crops) - expected.embed(crops)).max() < 1e-5


@needs_openvino
def test_the_certificate_holds(model, cli):
    code, out, err = cli("verify-model", model, "--provider", "openvino", "--json")
    assert code == 0, out + err


@needs_openvino
@pytest.mark.parametrize("target", ["portable", "openvino"])
def test_int8_is_close_to_float(model, int8, target):
    embedder = Embedder(int8(target), provider="openvino")
    crops = face_crops(embedder.spec, 8)
    assert set(embedder.provider.nodes or {OPENVINO}) == {OPENVINO}
    cosines = (embedder.embed(crops) * Embedder(model, provider="cpu").embed(crops)).sum(axis=1)
    assert cosines.min() > 0.98


@needs_openvino
@pytest.mark.slow
def test_embeddings_are_nearly_the_same_without_vnni(int8, tmp_path):
    """Nearly: with oneDNN limited to AVX2, other roundings differ. There, 8-bit weights would saturate: 0.985."""
    path, output = int8("openvino"), tmp_path / "embeddings.npy"
    embedder = Embedder(path, provider="openvino")
    crops = face_crops(embedder.spec, 8)
    np.save(tmp_path / "crops.npy", crops)
    words = "import sys, numpy; from edge_sphereface.inference.embedder import Embedder; model, crops, output = "
    words += "sys.argv[1:]; numpy.save(output, Embedder(model, provider='openvino').embed(numpy.load(crops)))"
    command = [sys.executable, "-c", words, str(path), str(tmp_path / "crops.npy"), str(output)]
    subprocess.run(command, env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, check=True)
    assert (embedder.embed(crops) * np.load(output)).sum(axis=1).min() > 0.997


@needs_openvino
@pytest.mark.slow
def test_tune_chooses_among_providers(model, cli):
    code, out, err = cli("tune", model, "--provider", "cpu", "openvino", "--threads", 1, "--rounds", 10, "--json")
    assert code == 0, out + err
    assert {row["provider"] for row in json.loads(out)["rows"]} == {"cpu", "openvino"}


@needs_openvino
def test_one_thread_takes_one_processor(model):
    embedder = Embedder(model, provider="openvino", threads=1)
    crops = face_crops(embedder.spec, 16)
    embedder.forward(crops)
    began, used = time.perf_counter(), time.process_time()
    for _ in range(10):
        embedder.forward(crops)
    assert time.process_time() - used < 1.2 * (time.perf_counter() - began)


@needs_openvino
@pytest.mark.slow
def test_the_form_for_openvino_is_faster_there(int8):
    """Than the portable form, whose PReLU is two operators; both are measured in turn."""
    embedders = {target: Embedder(int8(target), provider="openvino", threads=1) for target in ("portable", "openvino")}
    samples = {target: [] for target in embedders}
    crops = face_crops(embedders["openvino"].spec, 4)
    for _ in range(30):
        for target, embedder in embedders.items():
            began = time.perf_counter()
            embedder.forward(crops)
            samples[target].append(time.perf_counter() - began)
    assert np.median(samples["openvino"]) < np.median(samples["portable"])
