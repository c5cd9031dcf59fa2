"""A server of the HTTP interface, with a detector that finds what a test says."""

import json
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_sphereface import Embedder, open_gallery
from edge_sphereface.alignment import LANDMARK_TEMPLATE
from edge_sphereface.pipeline import FacePipeline
from edge_sphereface.types import Face
from edge_sphereface.web import HttpInterface
from edge_sphereface.web.api import Parts
from edge_sphereface.web.picture_limits import PictureLimits
from edge_sphereface.web.picture_service import PictureService
from edge_sphereface.web.tokens import TokenBook, add_token

FORM = "multipart/form-data; boundary=xyz"


class FakeDetector:
    """Finds one face in each picture of 240 rows, two in one of 241 and none in others; waits where a test says."""

    name = "fake"

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Semaphore(0)
        self.shapes = []

    def detect(self, image):
        self.began.release()
        self.shapes.append(image.shape)
        assert self.gate.wait(10)
        count = {240: 1, 241: 2}.get(image.shape[0], 0)
        points = np.float32(LANDMARK_TEMPLATE)
        box = np.float32([15, 20, 81, 110])
        return [
            Face(box=box + 96 * place, landmarks=points + 96 * place, score=0.9 - place / 10) for place in range(count)
        ]


def picture(seed, height=240, kind=".png"):
    """A file of a picture of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4, 80, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (320, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(kind, image)[1].tobytes()


def form(**parts):
    """Body of a form; several files may share a field."""
    lines = []
    for field, files in parts.items():
        for data in files if isinstance(files, list) else [files]:
            head = f'--xyz\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\n\r\n'
            lines.append(head.encode() + data + b"\r\n")
    return b"".join(lines) + b"--xyz--\r\n"


class Client:
    """Sends requests to one server with one token."""

    def __init__(self, url, token=None, book=None):
        self.url, self.token, self.book = url, token, book

    def ask(self, path, data=None, kind="image/png", *, method=None, headers=None):
        """Status, headers and body of an answer; the body as JSON if it is any."""
        if isinstance(data, dict):
            data, kind = json.dumps(data).encode(), "application/json"
        about = {} if data is None or kind is None else {"Content-Type": kind}
        if self.token is not None:
            about["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(
            f"{self.url}api/{path}", data=data, headers={**about, **(headers or {})}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return self._read(answer.status, answer)
        except urllib.error.HTTPError as error:
            return self._read(error.code, error)

    @staticmethod
    def _read(status, answer):
        body = answer.read()
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return SimpleNamespace(status=status, headers=answer.headers, body=json.loads(body) if is_json else body)


@pytest.fixture(scope="session")
def web_embedder(small_model):
    return Embedder(small_model, threads=1)


@pytest.fixture
def detector():
    return FakeDetector()


@pytest.fixture
def people(tmp_path, web_embedder):
    with open_gallery(tmp_path / "people.db", web_embedder, create=True) as gallery:
        yield gallery


@pytest.fixture
def interface(detector, people, web_embedder, tmp_path):
    """Starts servers, and gives a client of a token with the scopes that a test names."""
    opened = []

    def start(scopes=("admin",), *, limits=None, answer_s=30, liveness=None, **parts):
        service = PictureService(
            FacePipeline(web_embedder, detector), people, liveness=liveness, limits=limits or PictureLimits()
        )
        token, book = None, None
        if scopes is not None:
            path = tmp_path / "tokens.json"
            token = add_token(path, "tester", scopes, per_second=1000, burst=10_000)
            book = TokenBook(path)
        server = HttpInterface(Parts(gallery=people, pictures=service, **parts), port=0, book=book, answer_s=answer_s)
        server.__enter__()
        opened.append((server, service))
        return Client(server.url, token, tmp_path / "tokens.json")

    yield start
    for server, service in opened:
        server.__exit__(None, None, None)
        detector.gate.set()
        service.close(10)


@pytest.fixture
def web():
    """What tests put requests together from."""
    return SimpleNamespace(FORM=FORM, form=form, picture=picture, Client=Client)
