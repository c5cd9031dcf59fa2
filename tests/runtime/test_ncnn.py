"""Models for ncnn: the same embeddings as on onnxruntime, and no damaged file reaches ncnn, which would crash."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from edge_sphereface.errors import ExtraError, ModelFormatError, ModelNotFoundError, ProviderError
from edge_sphereface.evaluation.model_selection import Measurement, Setting, choose
from edge_sphereface.gallery import open_gallery
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import ProviderReport, SessionConfig
from edge_sphereface.metrics import agreement
from edge_sphereface.model.certificate import CONVERSION_BOUNDS, certificate_path, golden_crops
from edge_sphereface.model.manifest import ListedFile, files_of_form, form_of
from edge_sphereface.model.ncnn_file import read_ncnn_model
from edge_sphereface.model.ncnn_network import read_network
from tests.ncnn_files import ncnn_parts, resealed, write_ncnn


@pytest.fixture(scope="module")
def model(small_model, tmp_path_factory):
    return write_ncnn(small_model, tmp_path_factory.mktemp("ncnn") / "m.ncnn")


@pytest.fixture
def damaged(model, tmp_path):
    """A function that writes a content, and returns the message with which it is refused."""

    def refuse(content):
        path = tmp_path / "damaged.ncnn"
        path.write_bytes(content)
        with pytest.raises(ModelFormatError) as caught:
            read_ncnn_model(path)
        assert caught.value.hint
        return caught.value.message

    return refuse


@pytest.fixture
def needs_ncnn():
    pytest.importorskip("ncnn", reason="the extra ncnn is not installed")


@pytest.mark.usefixtures("needs_ncnn")
def test_embeds_as_onnxruntime_does(model, small_model):
    original, other = Embedder(small_model, provider="cpu", threads=1), Embedder(model, threads=1)
    crops = golden_crops(original.spec)
    assert CONVERSION_BOUNDS.holds(agreement(original.forward(crops), other.forward(crops)))
    assert np.array_equal(other.forward(crops[:1]), other.forward(crops)[:1])
    assert other.forward(crops[:0]).shape == (0, original.spec.embedding_size)
    assert other.fingerprint == original.fingerprint


@pytest.mark.usefixtures("needs_ncnn")
def test_says_that_ncnn_runs_it(model):
    import ncnn

    info = Embedder(model, threads=1).info()
    assert (info.provider.active, info.provider.nodes) == (("ncnn",), {"ncnn": read_ncnn_model(model).network.layers})
    assert (info.provider.ncnn, info.provider.onnxruntime) == (ncnn.__version__, None)
    assert str(info.provider).endswith(f"nodes in float32; 1 threads; ncnn {ncnn.__version__}")


@pytest.mark.usefixtures("needs_ncnn")
def test_half_precision_is_computed_where_the_processor_has_it(small_model, tmp_path):
    import ncnn

    half, original = Embedder(write_ncnn(small_model, tmp_path / "h.ncnn", "float16")), Embedder(small_model)
    assert half.provider.arithmetic == ("float16" if ncnn.cpu_support_arm_asimdhp() else "float32")
    crops = golden_crops(original.spec)
    assert 0.999 < (half.embed(crops) * original.embed(crops)).sum(axis=1).min() < 1
    assert half.path.stat().st_size < 0.6 * small_model.stat().st_size


@pytest.mark.usefixtures("needs_ncnn")
def test_threads_share_a_model(model):
    embedder = Embedder(model, threads=1)
    crops = golden_crops(embedder.spec)
    expected = embedder.embed(crops)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(found, expected) for found in pool.map(embedder.embed, [crops] * 8))


@pytest.mark.usefixtures("needs_ncnn")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_after_several_threads_is_refused_and_does_not_hang(model):
    """In a process of its own, since ncnn's threads are one pool for a process."""
    program = """
import os, sys
import numpy as np
from edge_sphereface import Embedder
from edge_sphereface.errors import ProviderError
several, one = Embedder(sys.argv[1], threads=2), Embedder(sys.argv[1], threads=1)
crops = np.zeros((1, *several.spec.crop_shape), np.uint8)
several.embed(crops)
child = os.fork()
if child == 0:
    try:
        one.embed(crops)
        several.embed(crops)
    except ProviderError as error:
        os._exit(7 if "forked" in error.message else 8)
    os._exit(9)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(model)], timeout=60, check=False)
    assert done.returncode == 7


@pytest.mark.usefixtures("needs_ncnn")
def test_a_gallery_serves_both(model, small_model, tmp_path):
    """Enrolled by onnxruntime and identified by ncnn, and the other way round."""
    embedders = [Embedder(path, provider="cpu", threads=1) for path in (small_model, model)]
    crops = golden_crops(embedders[0].spec)
    for number, (one, other) in enumerate((embedders, embedders[::-1])):
        with open_gallery(tmp_path / f"{number}.db", one, create=True) as gallery:
            gallery.enroll("Ann", one.embed(crops[:1])[0])
        with open_gallery(tmp_path / f"{number}.db", other) as gallery:
            ((match,),) = gallery.search(other.embed(crops[:1]))
            assert (match.name, round(match.similarity, 5)) == ("Ann", 1.0)


@pytest.mark.parametrize(
    "options",
    [
        {"provider": "cuda"},
        {"session": SessionConfig(threads=2, pinned_threads=True)},
        {"session": SessionConfig(memory_arena=True)},
        {"session": SessionConfig(provider_options={"a": "b"})},
    ],
)
def test_options_of_onnxruntime_are_refused(model, options):
    with pytest.raises(ProviderError, match="ncnn") as caught:
        Embedder(model, **options)
    assert "ONNX file" in caught.value.hint


def test_without_the_package_the_extra_is_named(model, small_model, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(ExtraError, match=r"pip install '.*\[ncnn\]'"):
        Embedder(model)
    choice = choose([small_model, model], [Setting(threads=1)], what=Measurement(rounds=1))
    assert choice.best.form.path == small_model
    assert [(form.path, "[ncnn]" in form.dropped) for form in choice.dropped] == [(model, True)]


@pytest.mark.usefixtures("needs_ncnn")
def test_a_form_for_ncnn_counts_as_the_less_simple(model, small_model):
    """It is chosen only if it is measurably faster, and is not tried with settings that it lacks."""
    settings = [Setting(threads=1), Setting(threads=1, memory_arena=True)]
    choice = choose([model, small_model], settings, what=Measurement(rounds=2))
    assert {row.setting for row in choice.rows if row.form.path == model} == {settings[0]}
    assert all(rival.row.form.path == small_model for rival in choice.rivals if choice.fastest.form.path == model)


@pytest.mark.usefixtures("needs_ncnn")
def test_commands_take_it(model, cli, require_schema, tmp_path):
    code, out, _ = cli("info", model, "--json")
    assert (code, json.loads(out)["provider"]["active"]) == (0, ["ncnn"])
    require_schema("info", json.loads(out))
    code, out, _ = cli("doctor", "--model", model, "--json")
    (found,) = [one for one in json.loads(out)["findings"] if one["check"] == "model"]
    assert (code, found["status"]) == (0, "warn")
    assert "no parity certificate" in found["message"]
    code, _, err = cli("info", model, "--provider", "cuda")
    assert (code, "ncnn runs it, on the CPU" in err) == (1, True)


@pytest.mark.usefixtures("needs_ncnn")
def test_commands_say_that_half_precision_was_not_tested(small_model, cli, tmp_path):
    half = write_ncnn(small_model, tmp_path / "h.ncnn", "float16")
    record = json.loads(certificate_path(small_model).read_text())
    record["onnx"]["sha256"] = hashlib.sha256(half.read_bytes()).hexdigest()
    certificate_path(half).write_text(json.dumps(record))
    lacks = Embedder(half).provider.arithmetic == "float32"
    for command in ("info", "verify-model"):
        assert ("not tested" in cli(command, half)[1]) is lacks, command


@pytest.mark.parametrize(
    ("precision", "arithmetic", "lacks"),
    [
        ("float16", "float32", True),
        ("float16", "float16", False),
        ("float32", "float32", False),
        ("float16", None, False),
    ],
)
def test_half_precision_is_lacking_only_where_ncnn_replaces_it(precision, arithmetic, lacks):
    provider = ProviderReport(
        requested="auto", active=(), nodes=None, threads=1, onnxruntime=None, arithmetic=arithmetic
    )
    assert provider.lacks_half_precision(precision) is lacks


@pytest.mark.parametrize("suffix", [".bin", ".onnx", ""])
def test_another_suffix_is_said_to_be_wrong(model, tmp_path, suffix):
    renamed = shutil.copy(model, tmp_path / f"other{suffix}")
    with pytest.raises(ModelFormatError, match="is a model for ncnn") as caught:
        Embedder(renamed)
    assert caught.value.hint == "rename it to other.ncnn"


@pytest.mark.usefixtures("needs_ncnn")
def test_tune_copies_it_under_a_name_that_fits(model, cli, require_schema, tmp_path):
    code, out, _ = cli("tune", model, "--threads", 1, "--rounds", 1, "-o", tmp_path / "best.onnx", "--json")
    report = json.loads(out)
    require_schema("tune", report)
    assert (code, report["output"], report["best"]["rewrites"]) == (0, str(tmp_path / "best.ncnn"), ["ncnn"])
    assert (tmp_path / "best.ncnn").read_bytes() == model.read_bytes()
    assert not (tmp_path / "best.onnx").exists()


def test_onnx_files_do_not_import_it(small_model):
    script = (
        f"import sys; from edge_sphereface.inference.embedder import Embedder; Embedder({str(small_model)!r}); "
        "sys.exit('ncnn' in sys.modules or 'edge_sphereface.inference.ncnn_backend' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_certificate_has_the_name_of_the_file(tmp_path):
    assert certificate_path(tmp_path / "m.ncnn").name == "m.ncnn.parity.json"
    assert certificate_path(tmp_path / "m.onnx").name == "m.parity.json"


def test_forms_of_a_folder():
    every = ["m.onnx", "m.parity.json", "m.ncnn", "m.ncnn.parity.json", "m.float16.ncnn", "README.txt"]
    listed = [ListedFile(name=name, sha256="0" * 64) for name in every]
    chosen = {form: [file.name for file in files_of_form(listed, form)] for form in ("float", "ncnn", "float16.ncnn")}
    assert chosen["float"] == ["m.onnx", "m.parity.json", "README.txt"]
    assert chosen["ncnn"] == ["m.ncnn", "m.ncnn.parity.json", "README.txt"]
    assert chosen["float16.ncnn"] == ["m.float16.ncnn", "README.txt"]
    assert form_of("m.float16.ncnn") == "float16.ncnn"


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelNotFoundError):
        Embedder(tmp_path / "no.ncnn")


def test_damaged_files(model, damaged):
    content = model.read_bytes()
    assert "does not end in ESFNCNN1" in damaged(content[:-1])
    assert "does not end in ESFNCNN1" in damaged(b"ESFNCNN1")
    assert "its header has" in damaged(content[:-16] + (1 << 60).to_bytes(8, "little") + content[-8:])
    assert "header has another SHA-256" in damaged(content[:-16] + (10).to_bytes(8, "little") + content[-8:])
    assert "header has another SHA-256" in damaged(content.replace(b'"threshold"', b'"threshole"'))
    assert "weights have another SHA-256" in damaged(b"\0\0\0\0\1" + content[5:])
    assert "its header counts" in damaged(content[1:])
    assert "network has another SHA-256" in damaged(content.replace(b"7767517", b"7767518"))


def test_forged_files(model, damaged):
    """Their hashes are right."""
    content = read_ncnn_model(model).network
    weights = model.read_bytes()[: content.weights_bytes]
    assert "bytes of weights, and it has" in damaged(resealed(model, weights=weights[:-4]))
    assert "bytes of weights, and it has" in damaged(resealed(model, weights=weights + bytes(4)))
    assert "not of precision float32" in damaged(resealed(model, weights=b"Gk0\1" + weights[4:]))
    assert "not text in UTF-8" in damaged(resealed(model, network=b"7767517\n\xff\n"))
    assert "does not begin with 7767517" in damaged(resealed(model, network=b"1\n"))
    assert "kind must be" in damaged(resealed(model, header={"kind": "x"}))


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"\n\d+ ", "\n2000000000 ", "its second line does not count"),
        ("PReLU ", "Python ", "unknown kind, 'Python'"),
        (r"1 1 1 2 0=8", "1 1 1 2 0=9", "has parameters {0: 9}, expected {0: 8}"),
        (r"1 1 1 2 0=8", "1 1 1 2 -23300=8", "not a number"),
        (r"1 1 1 2 0=8", "1 1 9 2 0=8", "takes '9', which no layer before it leaves"),
        (r"1 1 1 2 0=8", "1 1 1 1 0=8", "makes '1', which is no name, is another layer's"),
        (r"1 1 1 2 0=8", "1 2000000000 1 2 0=8", "another number of inputs or outputs"),
        (r"1 1 1 2 0=8", "1 1 1", "lacks the name of a value"),
        (r" 0=8 1=3 ", " 0=16777217 1=3 ", "not a convolution"),
        (r" 0=8 1=3 ", " 0=80000 1=3 ", "has parameters"),
        (r" 6=216\n", " 6=217\n", "expected"),
        (r" 2=1 3=2 ", " 2=9 3=2 ", "has parameters"),
        (r"BinaryOp .*", "BinaryOp a 2 1 3 8 9 0=7", "takes|parameters"),
        ("InnerProduct .*", "InnerProduct a 1 1 x out0 0=32 1=1 2=5376", "takes 'x'"),
        ("Flatten .*", "Split a 1 17 1 2", "another number"),
        (r"out0", "other", "does not end in out0 of 32 values alone"),
        (r"Input +in0 0 1 in0", "Input in0 0 1 0", "is another layer's, or is not the input's"),
        (r"(?s)Flatten.*", "", "its second line"),
    ],
)
def test_networks_that_ncnn_would_run_beyond_its_buffers(small_model, pattern, replacement, message):
    spec, network, _ = ncnn_parts(small_model)
    network = re.sub(" +", " ", network)
    other = re.sub(pattern, replacement, network, count=1)
    assert other != network
    with pytest.raises(ModelFormatError, match=re.escape(message) if "|" not in message else message):
        read_network(other, spec)


def test_a_network_must_fit_its_specification(small_model):
    spec, network, weights = ncnn_parts(small_model)
    assert read_network(network, spec).weights_bytes == len(weights)
    with pytest.raises(ModelFormatError, match=r"expected {0: 33"):
        read_network(network, replace(spec, embedding_size=33))
    with pytest.raises(ModelFormatError, match="layout nchw"):
        read_network(network, replace(spec, input_layout="image"))
    with pytest.raises(ModelFormatError, match="float32 or float16 or float16-large-tiles, got 'int8'"):
        read_network(network, replace(spec, precision="int8"))
    wide = re.sub(r"0=8 (.*) 6=216", r"0=64 \1 6=1728", network, count=1)
    with pytest.raises(ModelFormatError, match="more than 16777216 values"):
        read_network(wide, replace(spec, input_height=2048, input_width=2048))
