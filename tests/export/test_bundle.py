"""The folder of `python -m export model`: what its README.txt names is there, and what missed a bound is not."""

import json
import re
import shlex
from dataclasses import replace

import pytest

from edge_sphereface.cli.__main__ import build_parser, main
from edge_sphereface.cli.runner import run
from edge_sphereface.errors import ExtraError
from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.fetch import fetch_models
from export.bundle import FIGURES, README, make_bundle, readme
from export.commands import build_parser as export_parser
from export.forms import FormOptions, Photographs
from export.ncnn_form import require_ncnn
from export.pretrained import PRETRAINED

pytestmark = pytest.mark.filterwarnings("ignore::edge_sphereface.model.quantization.ProcessorWarning")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, orl):
    """Float, rewritten and FP16 forms of the trained network of the project; for ncnn, too, where it is installed."""
    try:
        require_ncnn()
        ncnn = True
    except ExtraError:
        ncnn = False
    return make_bundle(
        PRETRAINED,
        tmp_path_factory.mktemp("bundle") / "new",
        FormOptions(
            tuned=False, precisions=("float16",), ncnn=ncnn, reference="numpy", plan=Plan(rounds=5, per_round=1)
        ),
        photographs=Photographs(calibration=orl, labeled=None),
        note=lambda _: None,
        reporter=lambda _: lambda _done, _total: None,
    )


@pytest.mark.slow
def test_every_file_is_there_and_every_model_proves_itself(bundle):
    assert all(path.is_file() for path in bundle.files)
    assert {path.name for path in bundle.files} == {path.name for path in bundle.files[0].parent.iterdir()}
    for form in bundle.forms:
        assert Embedder(form.path).spec.source_sha256 == bundle.sha256
        assert main(["verify-model", str(form.path), "--provider", "cpu"]) == 0


@pytest.mark.slow
def test_the_readme_names_what_exists(bundle):
    """Its files are in the folder, and its commands parse."""
    folder = bundle.files[0].parent
    text = (folder / README).read_text()
    for name in re.findall(r"[\w.]+\.(?:onnx|parity\.json|ncnn(?!\.))\b", text):
        assert (folder / name).is_file(), name
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    commands = [line for line in lines if line.startswith("edge-sphereface ")]
    assert len(commands) >= 6
    for line in commands:
        build_parser().parse_args(shlex.split(line.replace("HEX", "0" * 64))[1:])


@pytest.mark.slow
def test_the_folder_can_be_published(bundle, tmp_path):
    """Its manifest lists every file with its SHA-256, so that a device takes and verifies all of them."""
    folder = bundle.files[0].parent
    took = fetch_models(str(folder), tmp_path / "new", reporter=lambda _: lambda _done, _total: None)
    assert {path.name for path in took.files} == {path.name for path in folder.iterdir()}
    assert took.left_out == ()


@pytest.mark.slow
def test_the_figures_are_those_of_the_forms(bundle, require_schema):
    figures = json.loads((bundle.files[0].parent / FIGURES).read_text())
    require_schema("export model", figures)
    assert [form["name"] for form in figures["forms"]] == [form.name for form in bundle.forms]
    assert figures["environment"]["threads"] >= 1
    half = next(form for form in bundle.forms if form.name == "float16")
    assert half.cosine_min > 0.9999
    assert half.latency.samples == 5


@pytest.mark.slow
def test_a_form_that_was_refused_is_named_with_its_reason(bundle):
    changes = {"path": None, "latency": None, "sha256": None, "refused": "too slow"}
    forms = tuple(replace(form, **changes) if form.name == "float16" else form for form in bundle.forms)
    text = readme(replace(bundle, forms=forms))
    assert "NOT WRITTEN: too slow" in text
    assert "Jetson" not in text


@pytest.mark.parametrize(
    "words", [["--pretrained", "x.ckpt"], ["--lfw", "lfw"], ["--pretrained", "--calibration", "missing"], [__file__]]
)
def test_what_cannot_work_is_said_first_and_leaves_nothing(words, capsys, tmp_path, monkeypatch):
    """Also a folder without photographs, and a file that is no checkpoint."""
    monkeypatch.chdir(tmp_path)
    assert run(export_parser(), ["model", *words]) in (1, 2)
    assert "error" in capsys.readouterr().err
    assert not list(tmp_path.rglob("model"))
