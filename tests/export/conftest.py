"""A shallow narrow network, quick to quantize, and crops to do it with."""

import pytest

from edge_sphereface.cli.runner import run
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from export.checkpoint.ckpt_writer import write_ckpt
from export.commands import build_parser
from export.convert import ConversionOptions, convert
from export.faces import face_crops
from export.quantization.crops import vivid
from export.untrained import untrained_parameters


@pytest.fixture(scope="session")
def shallow_models(tmp_path_factory):
    """A shallow narrow network in both layouts: quick to quantize."""
    folder = tmp_path_factory.mktemp("shallow")
    write_ckpt(folder / "x.ckpt", untrained_parameters(depth=10, widths=(8, 8, 16, 16), embedding_size=32))
    return {
        layout: convert(
            folder / "x.ckpt", folder / f"{layout}.onnx", ConversionOptions(reference="numpy", input_layout=layout)
        ).model
        for layout in ("nchw", "image")
    }


@pytest.fixture(scope="session")
def faces(shallow_models):
    return face_crops(Embedder(shallow_models["image"]).spec, 24)


@pytest.fixture(scope="session")
def crop_folder(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    for number, crop in enumerate([*faces, *vivid(faces)]):
        save_image(folder / f"{number}.png", crop)
    return folder


@pytest.fixture
def export_cli(capsys):
    """Run a command of the workstation stage; gives exit code, stdout and stderr."""

    def run_export(*words):
        code = run(build_parser(), [str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_export
