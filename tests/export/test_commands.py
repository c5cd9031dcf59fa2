"""``python -m export``: every command, as people and as machines call it."""

import json
import os
import subprocess
import sys

import pytest

from edge_sphereface.cli.runner import run
from edge_sphereface.storage.files import sha256_of
from export import commands, official
from export.checkpoint.ckpt_writer import write_ckpt
from export.commands import build_parser
from export.official import OFFICIAL, official_path
from export.untrained import untrained_parameters


@pytest.fixture
def export(capsys):
    """Run a command; gives exit code, stdout and stderr."""

    def call(*words):
        code = run(build_parser(), [str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def source(tmp_path):
    write_ckpt(tmp_path / "x.ckpt", untrained_parameters(depth=4, widths=(4, 4, 4, 8), embedding_size=16))
    return tmp_path / "x.ckpt"


@pytest.mark.slow
def test_convert(export, source):
    code, out, err = export("convert", source, "-o", source.with_suffix(".onnx"), "--reference", "numpy")
    assert code == 0
    assert "parity PASSED against numpy" in out
    assert "comparing with numpy" in err
    assert sorted(os.listdir(source.parent)) == ["x.ckpt", "x.onnx", "x.parity.json"]


def test_convert_for_machines(export, source, monkeypatch):
    monkeypatch.chdir(source.parent)
    options = ("--reference", "numpy", "--input-layout", "image", "--threshold", "0.25", "--threshold-source", "mine")
    code, out, _ = export("convert", source, *options, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["model"] == "x.onnx", "beside the caller, by the checkpoint's name"
    assert result["spec"]["input_layout"] == "image"
    assert (result["spec"]["threshold"], result["spec"]["threshold_source"]) == (0.25, "mine")
    assert result["parity"]["passed"] is True
    assert len(result["parity"]["cases"]) == 4


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (("convert", "/no/such.ckpt"), 1, "checkpoint"),
        (("convert",), 1, "checkpoint"),
        (("convert", "a", "b"), 2, "usage"),
        (("convert", "x", "--input-size", "112"), 2, "usage"),
        (("convert", "x", "--reference", "torch"), 2, "usage"),
        (("inspect", "/no/such.ckpt"), 1, "checkpoint"),
        (("inspect", "/no/such.onnx"), 1, "model-not-found"),
        (("verify", "/no/such.onnx", "--checkpoint", "x"), 2, "model-not-found"),
        (("verify",), 2, "usage"),
        (("fetch", "--from", "/no/such"), 1, "download"),
    ],
)
def test_errors(export, words, code, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, out, _ = export(*words, "--json")
    assert (got, json.loads(out)["error"]["code"]) == (code, kind)
    assert os.listdir(tmp_path) == []


def test_a_checkpoint_of_another_network(export, tmp_path):
    import numpy as np

    write_ckpt(tmp_path / "x.ckpt", {"layer1.weight": np.zeros((3, 3), np.float32)})
    code, out, _ = export("convert", tmp_path / "x.ckpt", "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"]) == (1, "topology")
    assert "another architecture" in error["message"]
    assert "1 of 1 parameters are unknown: layer1.weight" in error["message"]
    code, out, _ = export("inspect", tmp_path / "x.ckpt")
    assert code == 1
    assert "Expected a SphereFace network" in out


def test_verify(export, source):
    model = source.with_suffix(".onnx")
    export("convert", source, "-o", model, "--reference", "numpy")
    certificate = source.with_name("x.parity.json")
    certificate.unlink()
    code, out, _ = export("verify", model, "--checkpoint", source, "--reference", "numpy")
    assert code == 0
    assert "parity PASSED" in out
    assert certificate.is_file()


def test_verify_with_another_checkpoint(export, source, tmp_path):
    model = source.with_suffix(".onnx")
    export("convert", source, "-o", model, "--reference", "numpy")
    write_ckpt(tmp_path / "other.ckpt", untrained_parameters(depth=4, widths=(4, 4, 4, 4)))
    code, out, _ = export("verify", model, "--checkpoint", tmp_path / "other.ckpt", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "parity")


def test_verify_finds_a_changed_model(export, source):
    import onnx
    from onnx import numpy_helper

    path = source.with_suffix(".onnx")
    export("convert", source, "-o", path, "--reference", "numpy")
    model = onnx.load(path)
    bias = next(weight for weight in model.graph.initializer if weight.name == "fc5.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.01, "fc5.bias"))
    onnx.save(model, path)
    before = source.with_name("x.parity.json").read_bytes()
    code, out, _ = export("verify", path, "--checkpoint", source, "--reference", "numpy", "--json")
    result = json.loads(out)
    assert (code, result["parity"]["passed"], result["certificate"]) == (1, False, None)
    assert source.with_name("x.parity.json").read_bytes() == before


def test_verify_tells_a_model_that_gives_nan(export, source):
    """In JSON too, which has no infinity."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    path = source.with_suffix(".onnx")
    export("convert", source, "-o", path, "--reference", "numpy")
    model = onnx.load(path)
    bias = next(weight for weight in model.graph.initializer if weight.name == "fc5.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(np.nan), "fc5.bias"))
    onnx.save(model, path)
    code, out, _ = export("verify", path, "--checkpoint", source, "--reference", "numpy", "--json")
    result = json.loads(out)
    assert (code, result["parity"]["passed"]) == (1, False)
    assert {case["max_abs_error"] for case in result["parity"]["cases"]} == {None}


def test_inspect_a_checkpoint(export, small_checkpoint):
    code, out, _ = export("inspect", small_checkpoint, "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["architecture"], report["widths"], report["input"]) == ("SphereFace-20", [8, 8, 16, 16], [112, 96])
    assert report["is_official"] is False
    roles = {row["role"] for row in report["parameters"]}
    assert roles == {"network", "optimizer", "training head", "training state"}
    assert report["network_parameters"] == sum(value.size for value in untrained_parameters(
        widths=(8, 8, 16, 16), embedding_size=32
    ).values())  # fmt: skip
    code, out, _ = export("inspect", small_checkpoint)
    assert "moments.network.conv1_1.weight" in out
    assert "MindSpore checkpoint; not a published file that is known here" in out


def test_inspect_a_model(export, small_model, tmp_path):
    code, out, _ = export("inspect", small_model, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["nodes"]["Conv"] == 20
    assert report["inputs"] == [{"name": "image", "dtype": "uint8", "shape": ["batch", 112, 96, 3]}]
    assert report["spec"]["architecture"] == "SphereFace-20"
    assert "opset ai.onnx 17" in export("inspect", small_model)[1]


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x08\x08"])
def test_inspect_a_broken_model(export, tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    code, out, _ = export("inspect", tmp_path / "x.onnx", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "model-format")


def test_inspect_a_model_that_is_not_ours(export, make_onnx):
    code, out, _ = export("inspect", make_onnx(metadata={}), "--json")
    report = json.loads(out)
    assert (code, report["spec"]) == (1, None)
    assert "no metadata" in report["problem"]


@pytest.fixture
def pinned(source, monkeypatch):
    """Another file in the official one's place."""
    file = OFFICIAL.__class__(
        name="official.ckpt", url="http://127.0.0.1:9/x", sha256=sha256_of(source), max_bytes=1 << 20, license="none"
    )
    monkeypatch.setattr(official, "OFFICIAL", file)
    return file


def test_fetch_takes_a_file_that_was_brought(export, source, pinned):
    code, out, _ = export("fetch", "--from", source, "--json")
    assert code == 0
    assert sha256_of(json.loads(out)["path"]) == pinned.sha256


def test_fetch_without_network_says_what_to_do(export, pinned, monkeypatch):
    code, _, err = export("fetch")
    assert code == 1
    assert "--from FILE" in err
    monkeypatch.setenv("EDGE_SPHEREFACE_OFFLINE", "1")
    code, out, _ = export("fetch", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "offline")


def test_the_official_file_is_the_default(export, source, pinned, tmp_path):
    export("fetch", "--from", source)
    model = tmp_path / "m.onnx"
    code, out, _ = export("convert", "-o", model, "--reference", "numpy", "--json")
    assert (code, json.loads(out)["spec"]["source_is_official"]) == (0, True)
    assert export("verify", model, "--reference", "numpy")[0] == 0


def test_a_published_file_is_named_as_in_fetch(export, source, pinned, tmp_path):
    code, _, err = export("convert", "mindspore")
    assert (code, "python -m export fetch" in err) == (1, True)
    _, out, _ = export("fetch", "--from", source)
    assert "next: python -m export convert mindspore" in out
    model = tmp_path / "m.onnx"
    assert export("convert", "mindspore", "-o", model, "--reference", "numpy")[0] == 0
    assert export("verify", model, "--checkpoint", "mindspore", "--reference", "numpy")[0] == 0
    assert "SphereFace" in export("inspect", "mindspore")[1]


def test_the_official_file_is_the_one_of_the_mission():
    assert OFFICIAL.name == "sphereface_ascend_v160_casiawebface_official_cv_acc98.48.ckpt"
    assert OFFICIAL.url == f"https://download.mindspore.cn/models/r1.6/{OFFICIAL.name}"
    assert OFFICIAL.sha256 == "e81a805c60de07ab293fb14a3d59d393fd76198169263e35dcc99150c73089a3"
    assert int(214.58 * (1 << 20)) < OFFICIAL.max_bytes
    assert official_path().name == OFFICIAL.name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_disk_that_fills_up_leaves_nothing_half_written(source, tmp_path):
    """The kernel refuses to write more than 8 KiB of a file."""
    script = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
from edge_sphereface.cli.runner import run
from export.commands import build_parser
sys.exit(run(build_parser(), ["convert", {str(source)!r}, "-o", {str(tmp_path / "y.onnx")!r}, "--json"]))
"""
    # -B: compiled modules would be cut off at the limit as well, and kept
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "output"
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt"]


def test_every_command_has_help_with_an_example():
    chosen = build_parser().commands.choices
    assert set(chosen) == {
        "fetch",
        "inspect",
        "convert",
        "rewrite",
        "tune",
        "quantize",
        "ncnn",
        "liveness",
        "verify",
        "model",
        "kit",
        "demo",
    }
    for command in chosen.values():
        assert "example" in command.epilog
        assert "--json" in command.format_help()


@pytest.mark.integration
def test_module_entry_point():
    done = subprocess.run([sys.executable, "-m", "export", "--help"], capture_output=True, text=True, check=True)
    assert "convert" in done.stdout
    assert commands.build_parser().prog == "python -m export"
