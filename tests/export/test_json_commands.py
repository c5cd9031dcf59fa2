"""With ``--json`` every command of ``python -m export`` prints one JSON object, as its schema says."""

import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_sphereface.storage.files import sha256_of
from export import official
from export.checkpoint.ckpt_writer import write_ckpt
from export.commands import build_parser
from export.untrained import untrained_parameters
from scripts.json_schemas import RECORDS

NUMPY = ("--reference", "numpy")
LAX = ("--policy", "mean=0,p1=0,known=0,min=0,accuracy=none,tar=none,latency=none", "--rounds", "5")
"""A policy that an untrained network meets."""


@pytest.fixture(scope="module")
def place(tmp_path_factory, astronaut):
    """A folder with a checkpoint of a tiny network, photographs and labeled pairs."""
    folder = tmp_path_factory.mktemp("place")
    parameters = untrained_parameters(depth=10, widths=(4, 4, 4, 8), embedding_size=16)
    write_ckpt(folder / "x.ckpt", {f"network.{name}": values for name, values in parameters.items()})
    for name, image in {
        "people/ann/1.png": astronaut,
        "people/ann/2.png": astronaut[:-4],
        "people/bob/1.png": np.zeros_like(astronaut),
        "paired/ann/1.png": astronaut[:-1],
        "paired/ann/2.png": astronaut[:-2],
        "paired/bob/1.png": astronaut[:-3],
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), image)
    with (folder / "pairs.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("image1_path", "image2_path", "label"))
        rows.writerows([("ann/1.png", "ann/2.png", 1), ("ann/1.png", "bob/1.png", 0)] * 10)
    return folder


@pytest.fixture
def export(printed, place, monkeypatch):
    """Run a command in that folder; gives what it printed, which the schema of that name describes."""
    monkeypatch.chdir(place)
    return lambda name, *words: printed(build_parser, f"export {name}", *words)


@pytest.fixture
def model(export, place):
    """The network, converted."""
    if not (place / "x.onnx").exists():
        export("convert", "convert", "x.ckpt", "-o", "x.onnx", "--input-layout", "image", *NUMPY)
        export("convert", "convert", "x.ckpt", "-o", "nchw.onnx", *NUMPY)
    return "x.onnx"


def test_convert(export):
    assert export("convert", "convert", "x.ckpt", "-o", "y.onnx", *NUMPY)["parity"]["passed"]


def test_verify(export, model):
    assert export("verify", "verify", model, "--checkpoint", "x.ckpt", *NUMPY)["certificate"] == "x.parity.json"


@pytest.mark.parametrize("file", ["x.ckpt", "x.onnx"])
def test_inspect(export, model, file):
    assert export("inspect", "inspect", file)["path"] == file


def test_inspect_what_is_no_network(export, place):
    write_ckpt(place / "none.ckpt", {"a": np.zeros(3, np.float32)})
    found = export("inspect", "inspect", "none.ckpt")
    assert found["problem"]
    assert "architecture" not in found


def test_fetch(export, place, monkeypatch):
    digest = sha256_of(place / "x.ckpt")
    monkeypatch.setattr(official, "OFFICIAL", replace(official.OFFICIAL, sha256=digest))
    export("fetch", "fetch", "--from", "x.ckpt")


@pytest.mark.slow
def test_tune(export, model):
    found = export("tune", "tune", "nchw.onnx", "-o", "tuned.onnx", "--threads", "1", "--rounds", "5")
    assert found["networks"]
    assert found["stages"]


def test_every_command_has_a_schema():
    """``test_demo.py``, ``test_bundle.py``, ``test_rewrite.py`` and ``test_quantize_command.py`` run those not here."""
    names = {name.removeprefix("export ") for name, _ in RECORDS if name.startswith("export ")}
    assert set(build_parser().commands.choices) == names
