"""A kit of the trained network, and what a device may compute with it."""

import cv2
import numpy as np
import pytest

from edge_sphereface.image import save_image
from edge_sphereface.inference.session import SessionConfig, open_session
from edge_sphereface.kit.golden import open_kit
from export.kit.crops import folder_crops, seeded_crops
from export.kit.make import KitOptions, make_kit
from export.orl.faces import read_orl


@pytest.fixture(scope="session")
def kit(trained_model, made_once):
    """A kit with the seeded crops and two gray photographs of each of three people."""

    def make(place):
        for person, number, image in read_orl():
            if person <= 3 and number <= 2:
                folder = place / "people" / f"Name {person}"
                folder.mkdir(parents=True, exist_ok=True)
                save_image(folder / f"{number}.png", cv2.resize(image[40:-40, 40:-40], (96, 112)))
        spec = open_spec(trained_model)
        crops = [*seeded_crops(spec), *folder_crops(place / "people", spec)]
        make_kit([trained_model], place / "kit", crops, KitOptions(float_forms=("float32-b1", "float32-image")))

    return open_kit(made_once("kit", make) / "kit")


def open_spec(model):
    from edge_sphereface.inference.embedder import Embedder

    return Embedder(model, provider="cpu").spec


@pytest.fixture(scope="session")
def run(kit):
    """A function that gives the network's raw outputs for batches (N, 3, H, W) as a device computes them."""
    session, _ = open_session(kit.folder / "forms" / "float32-b1.onnx", SessionConfig(provider="cpu", threads=1))

    def outputs(batch):
        batch = np.ascontiguousarray(batch, dtype=np.float32)
        return np.stack([session.run(None, {"input": crop[None]})[0][0] for crop in batch])

    return outputs


@pytest.fixture(scope="session")
def crops(kit):
    """The golden crops, (N, H, W, 3) uint8 BGR."""
    return np.load(kit.folder / "crops" / "uint8.npy")


@pytest.fixture(scope="session")
def outputs(kit):
    """The expected raw outputs."""
    return kit.outputs()
