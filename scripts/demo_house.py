"""Watches four made cameras with the network of the project, and serves the page: ``python -m scripts.demo_house``.

People of the ORL faces walk past each camera, rendered as in the benchmarks. Some are enrolled, some are strangers.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.stream.face_renderer import Pose, draw, texture_of
from edge_sphereface import StreamSettings, load_pipeline, open_gallery
from edge_sphereface.cameras import Camera, CameraGroup
from edge_sphereface.cli.event_lines import PlainLines
from edge_sphereface.gallery.crops import encode_crop
from edge_sphereface.stream import RecognitionSettings
from edge_sphereface.stream.outputs.events.jsonl import StreamSink
from edge_sphereface.web import PageView
from export.convert import ConversionOptions, convert
from export.orl.faces import read_orl
from export.orl.photographs import name_of
from export.pretrained import PRETRAINED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_sphereface import FacePipeline, Gallery
    from edge_sphereface.types import UInt8Array

PLACES = ("front door", "yard", "hall", "garage")
_PEOPLE, _ENROLLED, _PHOTOGRAPHS = 8, 6, 3
"""People who walk, of whom the first are enrolled from their first photographs."""
_SIZE = (640, 360)
_FPS = 15.0
_VISIT_S = 8.0
_THRESHOLD = 0.5


def main() -> int:
    """Run until Ctrl-C, or for a number of seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/demo-house"), help="of the model and the gallery")
    parser.add_argument("--port", type=int, default=8080, help="of the page")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after this time")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    model = arguments.folder / "model.onnx"
    if not model.exists():
        convert(PRETRAINED, model, ConversionOptions(reference="numpy"))
    place = arguments.folder / "people.db"
    place.unlink(missing_ok=True)
    pipeline = load_pipeline(model)
    with open_gallery(place, pipeline.embedder, create=True, keep_crops=True) as gallery:
        looks = enroll(gallery, pipeline)
        watch(gallery, pipeline, looks, port=arguments.port, seconds=arguments.seconds)
    return 0


def enroll(gallery: Gallery, pipeline: FacePipeline) -> list[list[UInt8Array]]:
    """Enroll the first people; returns the heads of all, from photographs that are not enrolled."""
    heads = []
    for person, group in groupby(read_orl(), key=lambda photograph: photograph.person):
        if len(heads) == _PEOPLE:
            break
        found = [(photograph.image, pipeline.process_one(photograph.image)) for photograph in group]
        if person <= _ENROLLED:
            for _, face in found[:_PHOTOGRAPHS]:
                gallery.enroll(name_of(person), face.embedding, crops=[encode_crop(face.crop)])
        others = found[_PHOTOGRAPHS : 2 * _PHOTOGRAPHS]
        heads.append([texture_of(image, face.face.landmarks.astype(float)) for image, face in others])
    return heads


def watch(
    gallery: Gallery, pipeline: FacePipeline, looks: Sequence[Sequence[UInt8Array]], *, port: int, seconds: float
) -> None:
    """Watch the made cameras, and serve the page."""
    page, end = PageView(port=port), time.monotonic() + seconds
    settings = StreamSettings(recognition=RecognitionSettings(threshold=_THRESHOLD))
    group = CameraGroup(
        [
            Camera(name=place, source=made_camera(looks, number), settings=settings)
            for number, place in enumerate(PLACES)
        ],
        detector=pipeline.detector,
        embedder=pipeline.embedder,
        gallery=gallery,
        sinks=[StreamSink(sys.stdout, form=PlainLines(names_stream=True), left=lambda: group.stop())],  # noqa: PLW0108
        frame_sinks=lambda camera: [page.of(camera.name)],
        on_turn=lambda: group.stop() if time.monotonic() > end else None,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: group.stop())
    sys.stderr.write(f"{len(PLACES)} cameras, {len(gallery)} people known; Ctrl-C ends\nthe page: {page.url}\n")
    with page.showing(group):
        group.run()


def made_camera(looks: Sequence[Sequence[UInt8Array]], number: int) -> Callable[[], Iterator[UInt8Array]]:
    """A camera that people walk past, one after another, paced by the clock."""
    random = np.random.default_rng(number)
    width, height = _SIZE
    patches = random.integers(90, 170, (9, 16), dtype=np.uint8)
    wall = cv2.resize(cv2.cvtColor(patches, cv2.COLOR_GRAY2BGR), _SIZE, interpolation=cv2.INTER_CUBIC)

    def frames() -> Iterator[UInt8Array]:
        began = due = time.monotonic()
        while True:
            due += 1 / _FPS
            time.sleep(max(due - time.monotonic(), 0.0))
            visit, share = divmod((due - began) / _VISIT_S + number / len(PLACES), 1)
            picture = np.array(wall, dtype=np.uint8)
            walk = np.sin(2 * np.pi * share)
            pose = Pose(x=-60 + (width + 120) * share, y=height * 0.5, scale=0.9, yaw=12 * walk, look=2 * share)
            draw(picture, looks[(int(visit) * len(PLACES) + number * 3) % len(looks)], pose)
            yield picture

    return frames


if __name__ == "__main__":
    sys.exit(main())
