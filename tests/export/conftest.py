"""Crops of one face, and the commands of the workstation stage."""

import pytest

from edge_sphereface.cli.runner import run
from edge_sphereface.inference.embedder import Embedder
from export.commands import build_parser
from export.faces import face_crops


@pytest.fixture(scope="session")
def faces(shallow_models):
    """24 crops of one face."""
    return face_crops(Embedder(shallow_models["image"]).spec, 24)


@pytest.fixture
def export_cli(capsys, built):
    """Run a command of the workstation stage; gives exit code, stdout and stderr."""

    def run_export(*words):
        code = run(built(build_parser), [str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_export
