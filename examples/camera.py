"""Say who is in front of a camera: one JSON object a face, one a line.

    python camera.py --model sphereface20.int8.onnx --known people 0                  a USB camera
    python camera.py --model sphereface20.int8.onnx --known people rtsp://host/stream a camera on the network, or a file
    rpicam-vid … -o - | python camera.py --model … --known people - --size 640x480    raw I420 frames from a program

``people`` has a folder of photographs for each person. Docs: docs/raspberry-pi.md, docs/jetson.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from edge_sphereface import Embedder, FacePipeline, cosine_similarity, load_image, open_detector
from edge_sphereface.image import find_images


def main() -> None:
    """Read frames, find faces, compare each with the people who are known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="number of a camera, file, URL, or - for raw I420 frames on stdin")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--known", type=Path, required=True, metavar="FOLDER", help="a folder for each person")
    parser.add_argument("--provider", default="auto")
    parser.add_argument("--size", default="640x480", metavar="WxH", help="of frames on stdin")
    options = parser.parse_args()
    pipeline = FacePipeline(Embedder(options.model, provider=options.provider), open_detector())
    names, gallery = enroll(pipeline, options.known)
    width, height = map(int, options.size.split("x"))
    for frame in raw_frames(width, height) if options.source == "-" else frames(options.source):
        start = time.perf_counter()
        for item in pipeline.process(frame):
            similarities = cosine_similarity(item.embedding[None], gallery)[0]
            best = int(similarities.argmax())
            known = similarities[best] >= pipeline.embedder.spec.threshold
            line = {
                "name": names[best] if known else None,
                "similarity": round(float(similarities[best]), 3),
                "box": [round(float(edge)) for edge in item.face.box],
                "ms": round((time.perf_counter() - start) * 1000),
            }
            print(json.dumps(line), flush=True)


def enroll(pipeline, folder):
    """Names and embeddings of every face in FOLDER/NAME/*, (N, D)."""
    names, embeddings = [], []
    for path in find_images(folder):
        item = pipeline.process_one(load_image(path))
        names.append(path.relative_to(folder).parts[0])
        embeddings.append(item.embedding)
    return names, np.stack(embeddings)


def frames(source):
    """Frames of a camera, a file or a URL, (H, W, 3) uint8 BGR."""
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        sys.exit(f"cannot open {source}")
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield frame


def raw_frames(width, height):
    """The same from stdin, where another program writes I420."""
    size = width * height * 3 // 2
    while len(data := sys.stdin.buffer.read(size)) == size:
        yield cv2.cvtColor(np.frombuffer(data, np.uint8).reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420)


if __name__ == "__main__":
    main()
