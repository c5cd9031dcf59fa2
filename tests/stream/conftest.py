"""A camera, a detector and a network that do what a test says."""

import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_sphereface import Embedder, FaceStream, StreamSettings, open_detector, open_gallery
from edge_sphereface.alignment import LANDMARK_TEMPLATE
from edge_sphereface.gallery.crops import encode_crop
from edge_sphereface.gallery.records import Threshold
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.stream import RecognitionSettings
from edge_sphereface.stream.capture.frame import Frame
from edge_sphereface.stream.capture.reader import SourceChange
from edge_sphereface.stream.capture.source import FrameSource
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.types import Face

TEMPLATE = np.float32(LANDMARK_TEMPLATE)


def face_at(x, y, scale=1.0, score=0.9):
    """A frontal face whose crop would begin at (x, y)."""
    landmarks = TEMPLATE * scale + np.float32([x, y])
    box = np.float32([x + 15 * scale, y + 20 * scale, x + 81 * scale, y + 110 * scale])
    return Face(box=box, landmarks=landmarks, score=score)


def frame_of(index, image=None, fps=25.0, **changes):
    picture = np.zeros((240, 320, 3), np.uint8) if image is None else image
    moments = {"time_s": index / fps, "read_at": time.monotonic(), "unix_time": 1e9 + index / fps}
    return Frame(**{"image": picture, "number": index, **moments, **changes})


def textured(seed, height=240, width=320):
    """Smooth noise, which optical flow can follow, and which is not blurred."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def whole_of(part):
    """The frame that an array is a view of, and the corner (x, y) of the part."""
    whole = part if part.base is None else part.base
    offset = part.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    row, rest = divmod(offset, whole.strides[0])
    return whole, np.float32([rest // whole.strides[1], row])


def middle_in(image, face):
    """The middle of a face, or the pixel of the image next to it."""
    return np.clip(face.landmarks.mean(axis=0), 0, np.float32(image.shape[1::-1]) - 1)


def is_inside(point, image):
    return 0 <= point[0] < image.shape[1] and 0 <= point[1] < image.shape[0]


class Script:
    """A detector and an embedder that know who is where: ``people[frame] = [(name, face), …]``.

    The number of a frame stands in its first pixels, the person in the color of the crop's middle. A part of a frame is
    a view of it, and shows the faces whose middle it contains.
    """

    name = "script"

    def __init__(self, spec, people, embeddings, scenery):
        self.spec, self.people, self.embeddings, self.scenery = spec, people, embeddings, scenery
        self.detections, self.searched, self.embedded = [], [], []
        self._now = 0

    @property
    def fingerprint(self):
        return Fingerprint.of(self.spec, flip=False)

    def tone(self, name):
        """Brightness of a person's nose."""
        return list(self.embeddings).index(name) * 40 + 20

    def image(self, index):
        image = textured(self.scenery(index))
        image[:2, :2] = (index // 256, index % 256, 0)
        self._now = index
        for name, face in self.people(index):
            left, top, right, bottom = face.box.astype(int)
            image[max(top, 2) : bottom, max(left, 2) : right] //= 2
            x, y = face.landmarks[2].astype(int)
            image[max(y - 8, 0) : y + 8, max(x - 8, 0) : x + 8] = self.tone(name)
        return image

    def detect(self, image):
        whole, corner = whole_of(image)
        self._now = int(whole[0, 0, 0]) * 256 + int(whole[0, 0, 1])
        self.detections.append(self._now)
        self.searched.append(tuple(map(int, (*corner, *(corner + image.shape[1::-1])))))
        faces = [face for _, face in self.people(self._now)]
        shown = [face for face in faces if is_inside(middle_in(whole, face) - corner, image)]
        return [replace(face, box=face.box - np.tile(corner, 2), landmarks=face.landmarks - corner) for face in shown]

    def embed(self, crops):
        rows = []
        for crop in crops:
            value = float(crop[68:76, 44:52].mean())
            name = list(self.embeddings)[min(max(round((value - 20) / 40), 0), len(self.embeddings) - 1)]
            self.embedded.append(name)
            rows.append(self.embeddings[name])
        return np.float32(rows).reshape(len(crops), -1)


@pytest.fixture
def cast():
    """Three people whose embeddings have nothing in common, and one who resembles the first."""
    rows = {name: np.eye(16, dtype=np.float32)[i] for i, name in enumerate(("ann", "bob", "cid"))}
    twin = np.float32([0.8, 0, 0, 0.6, *[0] * 12])
    return {**rows, "twin": twin}


@pytest.fixture
def script(spec, cast):
    def make(people, scenery=lambda _: 7):
        return Script(replace(spec, embedding_size=16), people, cast, scenery)

    return make


class FailingGallery:
    """A gallery that fails, or has no threshold any more, when a test says so."""

    def __init__(self, gallery):
        self._gallery = gallery
        self.failure, self.has_threshold = None, True

    def __getattr__(self, name):
        return getattr(self._gallery, name)

    @property
    def threshold(self):
        return self._gallery.threshold if self.has_threshold else None

    def search(self, *arguments, **options):
        if self.failure is not None:
            raise self.failure
        return self._gallery.search(*arguments, **options)


@pytest.fixture
def gallery_of(tmp_path):
    """Makes a gallery of people of a script, with crops, so that it can be rebuilt for another model."""

    def make(acting, names):
        gallery = open_gallery(tmp_path / "people.db", acting.fingerprint, create=True, keep_crops=True)
        for name in names:
            crop = encode_crop(np.full((112, 96, 3), acting.tone(name), np.uint8))
            gallery.enroll(name, acting.embeddings[name], crops=[crop])
        print_ = acting.fingerprint
        gallery.set_threshold(
            Threshold(value=0.6, precision=print_.precision, fingerprint=print_.digest, source="test")
        )
        return FailingGallery(gallery)

    return make


class FakeSource(FrameSource):
    """A source that plays a list: an image, an exception to raise, None for the end, or a number of seconds to hang."""

    name = "fake"

    def __init__(self, plays, *, live=True, interval_s=0.0, fps=None):
        self.plays, self.live, self.interval_s, self.fps = plays, live, interval_s, fps
        self.opened, self.closed, self.interrupted = 0, 0, 0
        self._released = SimpleNamespace(on=False)
        self._items = iter(())

    def open(self):
        self.opened += 1
        play = self.plays[min(self.opened - 1, len(self.plays) - 1)]
        if isinstance(play, Exception):
            raise play
        self._items = iter(play)

    def read(self):
        time.sleep(self.interval_s)
        item = next(self._items, None)
        if isinstance(item, Exception):
            raise item
        if isinstance(item, float):
            end = time.monotonic() + item
            while time.monotonic() < end and not self.interrupted:
                time.sleep(0.01)
            return None
        return item

    def close(self):
        self.closed += 1

    def interrupt(self):
        self.interrupted += 1


class JumpingClock:
    """The monotonic clock, set forward by a test: what takes seconds is tested without waiting for them."""

    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock():
    return JumpingClock()


@pytest.fixture
def black():
    return np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def fake_source():
    return FakeSource


@pytest.fixture
def stage():
    """What tests of tracking put together frames and faces from."""
    return SimpleNamespace(face_at=face_at, frame_of=frame_of, textured=textured)


@pytest.fixture
def make_event():
    """Makes the events of one run, numbered from 1; ``reason`` decides how long their lines are."""
    maker = EventMaker("test")

    def make(reason="unplugged", **fields):
        return maker.source_changed("camera", SourceChange(up=False, reason=reason, **fields), 1e9)

    return make


@pytest.fixture
def running():
    """Streams that run in a thread until the test is over."""
    streams = []

    def start(stream):
        thread = threading.Thread(target=stream.run, daemon=True)
        thread.start()
        streams.append((stream, thread))
        return stream

    yield start
    for stream, thread in streams:
        stream.stop()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def gallery(small_model, photo, tmp_path):
    with open_gallery(tmp_path / "people.db", Embedder(small_model), create=True) as gallery:
        yield gallery


@pytest.fixture
def served(gallery, running, portrait, small_model, wait_until):
    """A stream with its page; the gallery is closed after the stream has ended."""
    from edge_sphereface.web import PageView

    def start(**options):
        page = PageView(port=0, **options)
        stream = FaceStream(
            portrait,
            detector=open_detector(),
            embedder=Embedder(small_model),
            gallery=gallery,
            settings=StreamSettings(name="door", recognition=RecognitionSettings(threshold=0.4)),
            frame_sinks=[page],
        )
        running(stream)
        wait_until(lambda: page.port)
        return page, stream

    return start


@pytest.fixture(params=["uvicorn", "standard library"])
def stack(request, monkeypatch):
    """What serves health and metrics, with and without the extra ``web``."""
    if request.param == "uvicorn":
        pytest.importorskip("uvicorn")
    else:
        monkeypatch.setitem(sys.modules, "uvicorn", None)
        monkeypatch.setitem(sys.modules, "starlette", None)
    return request.param


@pytest.fixture
def portrait(astronaut):
    """Frames of somebody who sways, 20 a second, for ever: what a camera gives."""

    def frames():
        for index in range(10**9):
            frame = np.full((360, 480, 3), 90, np.uint8)
            left = 120 + round(20 * np.sin(index / 15))
            frame[20:320, left : left + 240] = astronaut[:300, 100:340]
            yield frame
            time.sleep(0.05)

    return frames


@pytest.fixture
def end_of():
    """Send a signal to a process and wait for its end, which takes less than two seconds.

    Beside busy processes it takes longer; a thread, a viewer or a source that is waited for takes ten or more.
    """

    def end(process, number):
        process.send_signal(number)
        return process.wait(6)

    return end


@pytest.fixture(scope="module")
def film(astronaut, tmp_path_factory):
    """Somebody for two seconds at 10 frames a second, then nobody for two, as a video."""
    path = tmp_path_factory.mktemp("film") / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for index in range(40):
        frame = np.full((240, 320, 3), 90, np.uint8)
        if index < 20:
            frame[20:220, 20 + index : 220 + index] = astronaut[20:220, 120:320]
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def certificates(tmp_path):
    """A folder with an authority (ca.pem) and a server (server.pem, server.key) of the name localhost."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def write(name, subject, key, issuer, issuer_key, *, authority):
        now = datetime.now(timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        (tmp_path / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def named(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    write("ca.pem", "authority", authority_key, "authority", authority_key, authority=True)
    write("server.pem", "localhost", server_key, "authority", authority_key, authority=False)
    (tmp_path / "server.key").write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return tmp_path
