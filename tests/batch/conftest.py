"""A folder of photographs, one of every kind that goes wrong."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from edge_sphereface.batch import OperatorConfig
from edge_sphereface.inference.session import SessionConfig


@pytest.fixture
def folder(tmp_path, astronaut):
    """Six photographs with seven faces, one without a face, three that cannot be read."""
    root = tmp_path / "photos"
    large, small = (cv2.resize(astronaut, (side, side), interpolation=cv2.INTER_AREA) for side in (320, 200))
    both = np.zeros((320, 520, 3), np.uint8)
    both[:, :320], both[:200, 320:] = large, small
    names = ("a.png", "b/ä 王.jpg", "b/c/x.PNG", "b/c/y.bmp", "z.webp")
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shifted = np.roll(large, 3 * number, axis=1)
        (root / name).write_bytes(cv2.imencode("." + name.rpartition(".")[2].lower(), shifted)[1].tobytes())
    cv2.imwrite(str(root / "two.png"), both)
    cv2.imwrite(str(root / "empty.png"), np.zeros((100, 100, 3), np.uint8))
    (root / "broken.jpg").write_bytes((root / "b/ä 王.jpg").read_bytes()[:300])
    (root / "text.jpg").write_text("no photograph")
    (root / "nothing.png").touch()
    (root / "notes.txt").write_text("not looked at")
    return root


@pytest.fixture
def odd_name(folder):
    """One more photograph, whose name is no UTF-8."""
    target = os.fsencode(folder) + b"/caf\xe9.png"
    try:
        with open(target, "wb") as stream:
            stream.write((folder / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    return "caf\\xe9.png"


@pytest.fixture
def config(folder, small_model):
    return OperatorConfig(folder=folder, model=small_model, detector="mtcnn", session=SessionConfig(threads=1))
