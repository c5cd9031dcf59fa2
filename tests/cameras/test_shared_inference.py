"""One detector and one model for several cameras."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from edge_sphereface.cameras.shared_inference import SharedInference
from edge_sphereface.detection.detector import TwoStepDetector
from edge_sphereface.errors import EmbeddingError


class GatedEmbedder:
    """Embeds a crop as the value of its first pixel; the first run waits until it is let through. 255 is refused."""

    spec = fingerprint = None

    def __init__(self):
        self.runs, self.entered, self.gate = [], threading.Event(), threading.Event()

    def embed(self, crops):
        self.runs.append(len(crops))
        self.entered.set()
        assert self.gate.wait(10)
        if (crops[:, 0, 0, 0] == 255).any():
            raise EmbeddingError("The model computed NaN.")
        return crops[:, 0, 0, :1].astype(np.float32)


def crops_of(*values):
    return np.uint8(values)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)


@pytest.fixture
def busy(wait_until):
    """A model in the middle of a run, and a way to ask for more from other cameras."""
    embedder = GatedEmbedder()
    inference = SharedInference(SimpleNamespace(name="none"), embedder)
    answers, threads = {}, []

    def ask(name, *values):
        share = inference.join(name)

        def run():
            try:
                answers[name] = inference.embedder(share).embed(crops_of(*values)).ravel().tolist()
            except EmbeddingError as error:
                answers[name] = error.message

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        if len(threads) == 1:
            assert embedder.entered.wait(10)
        else:
            wait_until(lambda: share.waiting)
        return share

    def finish():
        embedder.gate.set()
        for thread in threads:
            thread.join(10)
        return answers

    return SimpleNamespace(ask=ask, finish=finish, embedder=embedder, inference=inference)


def test_faces_that_wait_go_into_one_batch(busy):
    busy.ask("first", 1)
    shares = [busy.ask("second", 2, 3), busy.ask("third", 4)]
    assert busy.finish() == {"first": [1], "second": [2, 3], "third": [4]}
    assert busy.embedder.runs == [1, 3]
    assert shares[0].used_s == pytest.approx(2 * shares[1].used_s)


def test_a_batch_has_a_bound(busy):
    busy.ask("first", 1)
    for index in range(4):
        busy.ask(str(index), *[index] * 7)
    answers = busy.finish()
    assert busy.embedder.runs == [1, 14, 14]
    assert answers["3"] == [3] * 7


def test_one_camera_that_cannot_be_embedded_does_not_harm_the_others_of_its_batch(busy):
    busy.ask("first", 1)
    busy.ask("good", 2)
    busy.ask("bad", 255)
    assert busy.finish() == {"first": [1], "good": [2], "bad": "The model computed NaN."}


def test_work_does_not_count_the_wait(busy):
    """Budgets are kept by doing less; doing less does not help against the work of others."""
    busy.ask("first", 1)
    share = busy.ask("second", 2)
    busy.finish()
    assert share.waited_s > 0
    assert busy.inference.busy_s == 0


def test_detections_of_two_cameras_never_overlap():
    running, most = 0, 0

    class Detector:
        name = "slow"

        def detect(self, _):
            nonlocal running, most
            running += 1
            most = max(most, running)
            threading.Event().wait(0.002)
            running -= 1
            return []

    inference = SharedInference(Detector(), None)
    detectors = [inference.detector(inference.join(str(index))) for index in range(4)]
    threads = [
        threading.Thread(target=lambda detector=detector: [detector.detect(None) for _ in range(5)])
        for detector in detectors
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == 1
    assert inference.embedder(inference.join("no model")) is None


def test_a_detector_of_two_steps_stays_one():
    class TwoSteps:
        name = "two"

        def detect(self, _):
            return ["fine"]

        def find(self, _):
            return ["coarse"]

        def improve(self, _, faces):
            return [f"better {face}" for face in faces]

    inference = SharedInference(TwoSteps(), None)
    shared = inference.detector(inference.join("door"))
    assert isinstance(shared, TwoStepDetector)
    assert shared.improve(None, shared.find(None)) == ["better coarse"]
    assert shared.detect(None) == ["fine"]


def test_a_detector_that_fails_gives_its_turn_back():
    class Broken:
        name = "broken"

        def detect(self, _):
            raise RuntimeError("out of memory")

    inference = SharedInference(Broken(), None)
    shared = inference.detector(inference.join("door"))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="memory"):
            shared.detect(None)
    assert inference.busy_s == 0
