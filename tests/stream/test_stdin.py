"""Video on standard input: MJPEG, YUV4MPEG2 and raw frames, whole, broken off and damaged."""

import io
import json
import os
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sphereface.errors import SourceError
from edge_sphereface.stream.capture.factory import SourceOptions, make_source
from edge_sphereface.stream.capture.stdin import StdinSource, jpeg_end

HEIGHT, WIDTH = 48, 64


def picture(number):
    """A smooth picture, so that subsampled colors and JPEG keep it."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 3, y * 4, np.full_like(x, 60 * number)], axis=-1).astype(np.uint8)


def jpeg(image, *, thumbnail=b""):
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    if not thumbnail:
        return data
    return data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]


def raw(image, kind):
    if kind == "BGR3":
        return image.tobytes()
    if kind == "RGB3":
        return image[:, :, ::-1].tobytes()
    i420 = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    if kind == "YU12":
        return i420.tobytes()
    luma = i420[:HEIGHT]
    u, v = i420[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    if kind == "NV12":
        return luma.tobytes() + np.stack([u, v], axis=-1).tobytes()
    u, v = (np.repeat(plane, 2, axis=0) for plane in (u, v))
    return np.stack([luma[:, 0::2], u, luma[:, 1::2], v], axis=-1).tobytes()


def read_all(data, **options):
    source = StdinSource(io.BufferedReader(io.BytesIO(data)), **options)
    source.open()
    images = []
    while (image := source.read()) is not None:
        images.append(image)
    return images


def close_to(image, expected):
    return image.shape == expected.shape and np.abs(image.astype(int) - expected.astype(int)).mean() < 4


@pytest.mark.parametrize("kind", ["BGR3", "RGB3", "YU12", "NV12", "YUYV"])
def test_raw_frames(kind):
    data = b"".join(raw(picture(number), kind) for number in range(3))
    images = read_all(data, size=(WIDTH, HEIGHT), pixel_format=kind.lower())
    assert len(images) == 3
    assert all(close_to(image, picture(number)) for number, image in enumerate(images))


def test_mjpeg_passes_over_thumbnails_and_what_stands_between():
    inner = jpeg(picture(3)[:16, :16])
    data = b"".join(jpeg(picture(number), thumbnail=inner) + b"\0\0" for number in range(3))
    images = read_all(data)
    assert len(images) == 3
    assert all(close_to(image, picture(number)) for number, image in enumerate(images))


def test_y4m():
    frames = b"".join(b"FRAME\n" + raw(picture(number), "YU12") for number in range(3))
    images = read_all(b"YUV4MPEG2 W64 H48 F25:1 C420jpeg\n" + frames)
    assert len(images) == 3
    assert all(close_to(image, picture(number)) for number, image in enumerate(images))


@pytest.mark.parametrize("kind", ["jpeg", "raw", "y4m"])
def test_a_frame_that_breaks_off_is_the_end(kind):
    whole = {
        "jpeg": jpeg(picture(0)),
        "raw": raw(picture(0), "BGR3"),
        "y4m": b"FRAME\n" + raw(picture(0), "YU12"),
    }[kind]
    head = b"YUV4MPEG2 W64 H48\n" if kind == "y4m" else b""
    options = {"size": (WIDTH, HEIGHT)} if kind == "raw" else {}
    assert len(read_all(head + whole + whole[:-7], **options)) == 1


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"", {}, "Expected a video on standard input, got b''"),
        (b"hello, world", {}, "Expected a video on standard input, got b'hello, wor'"),
        (b"", {"pixel_format": "YU12"}, "need a size"),
        (b"", {"pixel_format": "H264", "size": (64, 48)}, "expected one of BGR3, RGB3, YU12, NV12, YUYV"),
        (b"", {"pixel_format": "NV12", "size": (63, 48)}, "63 x 48 pixels in NV12 are not read"),
        (b"", {"size": (100_000, 100_000)}, "100000 x 100000 pixels"),
        (b"YUV4MPEG2 W64 H48 C444\n", {}, "the layout 444, expected 4:2:0"),
        (b"YUV4MPEG2 W99999999 H99999999\n", {}, "announced a video"),
    ],
)
def test_what_is_no_video_is_refused(data, options, message):
    with pytest.raises(SourceError, match=message):
        read_all(data, **options)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300), at=st.integers(0, 600), kind=st.sampled_from(["jpeg", "y4m"]))
def test_damage_gives_pictures_an_end_or_our_error(data, at, kind):
    good = jpeg(picture(1)) * 2 if kind == "jpeg" else b"YUV4MPEG2 W64 H48\n" + b"FRAME\n" + raw(picture(1), "YU12")
    try:
        images = read_all(good[:at] + data + good[at:])
    except SourceError:
        return
    assert all(image.ndim == 3 for image in images)


def test_the_end_of_a_jpeg_is_where_its_last_marker_ends():
    data = jpeg(picture(2))
    assert jpeg_end(data) == len(data)
    assert jpeg_end(data + data) == len(data)
    assert all(jpeg_end(data[:cut]) is None for cut in (2, 3, 20, len(data) // 2, len(data) - 1))


def test_a_read_that_waits_is_interrupted(monkeypatch):
    """Nothing comes through the pipe, and the stream must stop."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stdin, os.fdopen(writer, "wb"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
        source = make_source("-", SourceOptions(size=(WIDTH, HEIGHT)))
        source.open()
        found = []
        thread = threading.Thread(target=lambda: found.append(source.read()))
        thread.start()
        source.interrupt()
        thread.join(10)
        assert not thread.is_alive()
        assert found == [None]


@pytest.mark.skipif(os.name != "posix", reason="needs pipes as POSIX has them")
@pytest.mark.slow
def test_watch_reads_a_pipe(small_model, astronaut):
    """A face that comes through a pipe, as from a camera, is reported; the stream ends with the pipe."""
    command = [sys.executable, "-m", "edge_sphereface", "watch", "-", "--json", "--detector", "mtcnn"]
    process = subprocess.Popen(
        [*command, "--model", str(small_model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    events, frame, seen = [], jpeg(astronaut), threading.Event()

    def listen():
        for line in process.stdout:
            events.append(json.loads(line)["event"])
            if events[-1] == "appeared":
                seen.set()

    listener = threading.Thread(target=listen)
    listener.start()
    for _ in range(600):
        process.stdin.write(frame)
        if seen.wait(0.1):
            break
    process.stdin.close()
    assert process.wait(60) == 0
    listener.join(10)
    process.stdout.close()
    assert events[0] == "source-up"
    assert "appeared" in events
    assert "source-down" in events
