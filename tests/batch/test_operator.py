"""The operator decodes one photograph while it searches another, and ends at once when nobody wants more."""

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_sphereface.batch.operator import PhotographOperator
from edge_sphereface.inference.session import SessionConfig

_LIMIT_S = 30


class Detector:
    """Tells when a photograph is about to be decoded: its size is asked for then."""

    def __init__(self):
        self.asked = threading.Semaphore(0)

    @property
    def max_side(self):
        self.asked.release()
        return 64

    def detect(self, image):
        raise NotImplementedError


@dataclass
class Pipeline:
    """Finds no face in any photograph; ``search`` is called with each first."""

    search: object
    detector: Detector = field(default_factory=Detector)
    embedder: object = field(default_factory=lambda: SimpleNamespace(spec=SimpleNamespace(embedding_size=4)))

    def crop_decoded(self, photograph):
        self.search(photograph)
        return [], None


@pytest.fixture
def run(tmp_path):
    names = [f"{number:02}.png" for number in range(12)]
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))

    def run(pipeline):
        config = SimpleNamespace(folder=tmp_path, session=SessionConfig(threads=1), open=lambda: pipeline)
        return PhotographOperator(config).run([names[start : start + 2] for start in range(0, len(names), 2)])

    return run


def test_with_one_thread_a_photograph_is_decoded_while_another_is_searched(run):
    decoded = []

    def search(photograph):
        # what is asked for one photograph, and again for the next one
        decoded.append(all(pipeline.detector.asked.acquire(timeout=_LIMIT_S) for _ in range(per_photograph + 1)))
        raise LookupError("seen enough")

    pipeline = Pipeline(lambda _: None)
    assert len(list(run(pipeline))) == 6
    asked = 0
    while pipeline.detector.asked.acquire(blocking=False):
        asked += 1
    per_photograph = asked // 12
    pipeline = Pipeline(search)
    with pytest.raises(LookupError):
        next(run(pipeline))
    assert decoded[0]


def test_it_ends_at_once_when_nobody_wants_the_rest(run):
    before = set(threading.enumerate())
    tables = run(Pipeline(lambda _: None))
    assert next(tables).num_rows == 2
    closing = threading.Thread(target=tables.close)
    closing.start()
    closing.join(_LIMIT_S)
    assert not closing.is_alive()
    assert set(threading.enumerate()) <= before
