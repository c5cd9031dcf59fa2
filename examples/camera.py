"""React to recognized faces on a camera: a starting point for an application of your own.

    python camera.py --model sphereface20.int8.onnx --gallery people.db 0                     a USB camera
    python camera.py --model sphereface20.int8.onnx --gallery people.db rtsp://host/stream    on the network, or a file
    rpicam-vid … -o - | python camera.py --model … --gallery people.db - --size 640x480       raw I420 of a program

`edge-sphereface watch` does all of this and more without code of your own; see docs/watch.md.
"""

from __future__ import annotations

import argparse
import sys

import cv2
import numpy as np

from edge_sphereface import Embedder, FaceStream, StreamSettings, open_detector, open_gallery
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.stream import RecognitionSettings


def main() -> None:
    """Follow faces, and act when somebody is recognized."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="number of a camera, file, URL, or - for raw I420 frames on stdin")
    parser.add_argument("--model", required=True)
    parser.add_argument("--gallery", required=True, help="made by edge-sphereface enroll")
    parser.add_argument("--threshold", type=float, help="of a name; the gallery's own, if left out")
    parser.add_argument("--provider", default="auto")
    parser.add_argument("--size", default="640x480", metavar="WxH", help="of frames on stdin")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    embedder = Embedder(options.model, provider=options.provider)
    with open_gallery(options.gallery, embedder) as gallery:
        FaceStream(
            raw_frames(width, height) if options.source == "-" else options.source,
            detector=open_detector(),
            embedder=embedder,
            gallery=gallery,
            settings=StreamSettings(recognition=RecognitionSettings(threshold=options.threshold)),
            on_event=act,  # in a thread of its own: it may take its time
        ).run()


def act(event):
    """Yours to replace: open a door, switch on a light, write a log."""
    if event.kind in ("identified", "unknown", "lost"):
        print(event.line(), flush=True)


def raw_frames(width, height):
    """Frames (H, W, 3) uint8 BGR from stdin, where another program writes I420. Any other iterator would do."""
    size = width * height * 3 // 2
    while len(data := sys.stdin.buffer.read(size)) == size:
        yield cv2.cvtColor(np.frombuffer(data, np.uint8).reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420)


if __name__ == "__main__":
    try:
        main()
    except EdgeSphereFaceError as error:
        sys.exit(str(error))
