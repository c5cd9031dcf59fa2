"""Makes ``docs/view.jpg``, the picture of the page of ``watch``: ``python -m scripts.page_picture``.

It needs Chromium and playwright, as the tests of the page do. The face is a NASA photograph in the public domain; the
other names stand for random vectors.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from playwright.sync_api import sync_playwright

from edge_sphereface import FaceStream, StreamSettings, load_pipeline, open_gallery
from edge_sphereface.gallery.crops import encode_crop
from edge_sphereface.stream import RecognitionSettings
from edge_sphereface.web import PageView
from export.convert import ConversionOptions, convert
from export.faces import astronaut
from export.pretrained import PRETRAINED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_sphereface import FacePipeline, Gallery
    from edge_sphereface.types import UInt8Array

_PICTURE = Path(__file__).resolve().parents[1] / "docs" / "view.jpg"
_NAMES = (
    "Ada Lovelace",
    "Grace Hopper",
    "Katherine Johnson",
    "Mae Jemison",
    "Margaret Hamilton",
    "Valentina Tereshkova",
)
_SIZE = {"width": 1280, "height": 800}
QUALITY = 85
_SECONDS = 5
"""Time of the stream before the picture is taken, so that the statistics have settled."""


def main() -> int:
    """Write the picture."""
    with TemporaryDirectory() as folder:
        model = convert(PRETRAINED, Path(folder) / "model.onnx", ConversionOptions(reference="numpy")).model
        pipeline = load_pipeline(model)
        with open_gallery(Path(folder) / "people.db", pipeline.embedder, create=True, keep_crops=True) as gallery:
            enroll_people(gallery, pipeline)
            page = PageView(port=0)
            settings = StreamSettings(name="front door", recognition=RecognitionSettings(threshold=0.5))
            stream = FaceStream(sway, pipeline=pipeline, gallery=gallery, settings=settings, frame_sinks=[page])
            thread = threading.Thread(target=stream.run)
            thread.start()
            try:
                time.sleep(_SECONDS)
                take_picture(page.url, _PICTURE, quality=QUALITY)
            finally:
                stream.stop()
                thread.join()
    return 0


def enroll_people(gallery: Gallery, pipeline: FacePipeline) -> None:
    """Enroll the astronaut, and other names with random vectors."""
    face = pipeline.process_one(astronaut()[:, ::-1].copy())
    gallery.enroll("Eileen Collins", face.embedding, crops=[encode_crop(face.crop)])
    random = np.random.default_rng(0)
    for name in _NAMES:
        vector = random.standard_normal((1, face.embedding.size)).astype(np.float32)
        gallery.enroll(name, vector / np.linalg.norm(vector))


def sway(left: int = 290, phase: float = 0.0) -> Iterator[UInt8Array]:
    """A head that sways, 20 frames a second: (540, 960, 3) uint8 BGR.

    Args:
        left: middle of the left edge of the person, in pixels.
        phase: of the movement, in radians.
    """
    portrait = astronaut()[:460, 40:420]
    for index in range(10**6):
        frame = np.full((540, 960, 3), (120, 110, 100), np.uint8)
        edge = left + round(20 * np.sin(index / 15 + phase))
        frame[80:, edge : edge + portrait.shape[1]] = portrait
        yield frame
        time.sleep(0.05)


def take_picture(url: str, path: Path, *, quality: int) -> None:
    """Write a JPEG file of the page, once somebody is there."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport=_SIZE, color_scheme="light")
        tab.goto(url)
        tab.wait_for_selector("#people .here")
        tab.wait_for_timeout(1500)
        tab.screenshot(path=path, type="jpeg", quality=quality)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
