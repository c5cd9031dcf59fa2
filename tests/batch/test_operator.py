"""The operator decodes one photograph while it searches another, and ends at once when nobody wants more."""

import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_sphereface.batch.operator import PhotographOperator
from edge_sphereface.inference.session import SessionConfig

_LIMIT_S = 30


class Pipeline:
    """Finds no face in any photograph."""

    embedder = SimpleNamespace(spec=SimpleNamespace(embedding_size=4))

    def __init__(self):
        self.decoded = threading.Semaphore(0)

    def decode_file(self, file):
        self.decoded.release()
        return file

    def crop_decoded(self, photograph):
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


def test_with_one_thread_a_photograph_is_decoded_while_another_is_searched_but_not_a_third(run):
    seen = []

    class Waiting(Pipeline):
        def crop_decoded(self, photograph):
            if not seen:
                seen.append([self.decoded.acquire(timeout=_LIMIT_S) for _ in range(2)])
                seen.append(self.decoded.acquire(timeout=0.1))
            return [], None

    assert len(list(run(Waiting()))) == 6
    assert seen == [[True, True], False]


def test_it_ends_at_once_when_nobody_wants_the_rest(run):
    before = set(threading.enumerate())
    tables = run(Pipeline())
    assert next(tables).num_rows == 2
    closing = threading.Thread(target=tables.close)
    closing.start()
    closing.join(_LIMIT_S)
    assert not closing.is_alive()
    assert set(threading.enumerate()) <= before
