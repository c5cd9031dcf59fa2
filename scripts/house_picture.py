"""Makes ``docs/house.jpg``, the page of four cameras: ``python -m scripts.house_picture``.

One of the cameras is not connected. It needs Chromium and playwright, as the tests of the page do. The
face is a NASA photograph in the public domain; the other names stand for random vectors.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface import StreamSettings, load_pipeline, open_gallery
from edge_sphereface.cameras import Camera, CameraGroup
from edge_sphereface.errors import SourceError
from edge_sphereface.stream import RecognitionSettings
from edge_sphereface.web import PageView
from export.convert import ConversionOptions, convert
from export.pretrained import PRETRAINED
from scripts.page_picture import QUALITY, enroll_people, sway, take_picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_sphereface.types import UInt8Array

_PICTURE = Path(__file__).resolve().parents[1] / "docs" / "house.jpg"
_SECONDS = 6
"""Time of the cameras before the picture is taken."""


def main() -> int:
    """Write the picture."""
    with TemporaryDirectory() as folder:
        model = convert(PRETRAINED, Path(folder) / "model.onnx", ConversionOptions(reference="numpy")).model
        pipeline = load_pipeline(model)
        with open_gallery(Path(folder) / "people.db", pipeline.embedder, create=True, keep_crops=True) as gallery:
            enroll_people(gallery, pipeline)
            page = PageView(port=0)
            group = CameraGroup(
                _cameras(),
                detector=pipeline.detector,
                embedder=pipeline.embedder,
                gallery=gallery,
                frame_sinks=lambda camera: [page.of(camera.name)],
            )
            with page.showing(group):
                _write_picture(group, page)
    return 0


def _write_picture(group: CameraGroup, page: PageView) -> None:
    thread = threading.Thread(target=group.run)
    thread.start()
    try:
        time.sleep(_SECONDS)
        take_picture(page.url, _PICTURE, quality=QUALITY)
    finally:
        group.stop()
        thread.join()


def _cameras() -> list[Camera]:
    sources = {"front door": sway, "hall": lambda: sway(left=120, phase=2.0), "garden": _garden, "garage": _unplugged}
    settings = StreamSettings(recognition=RecognitionSettings(threshold=0.5))
    return [Camera(name=name, source=source, settings=settings) for name, source in sources.items()]


def _garden() -> Iterator[UInt8Array]:
    """A lawn below the sky, with nobody: (540, 960, 3) uint8 BGR, 10 frames a second."""
    picture = np.empty((540, 960, 3), np.uint8)
    picture[:220] = np.linspace((200, 150, 90), (235, 220, 200), 220)[:, None]
    picture[220:] = np.linspace((70, 130, 80), (40, 90, 50), 320)[:, None]
    while True:
        yield picture.copy()
        time.sleep(0.1)


def _unplugged() -> Iterator[UInt8Array]:
    raise SourceError("The camera is not connected.", hint="check its cable")
    yield  # a source is an iterator


if __name__ == "__main__":
    sys.exit(main())
