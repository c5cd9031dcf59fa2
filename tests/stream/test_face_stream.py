"""The class as a program has it: iterators, callbacks, enrolling from another thread."""

import threading
import time

import numpy as np
import pytest

from edge_sphereface import Embedder, FaceStream, StreamSettings, open_detector, open_gallery
from edge_sphereface.errors import SourceError, TrackError


def test_frames_of_an_iterator_and_enrolling_from_another_thread(astronaut, small_model, tmp_path):
    embedder = Embedder(small_model)
    told = threading.Event()

    def camera():
        while True:
            time.sleep(0.03)
            yield astronaut

    with open_gallery(tmp_path / "people.db", embedder, create=True) as gallery:
        stream = FaceStream(
            camera(),
            detector=open_detector("mtcnn"),
            embedder=embedder,
            gallery=gallery,
            on_event=lambda event: event.kind == "unknown" and told.set(),
        )
        done = []
        thread = threading.Thread(target=lambda: done.append(stream.run()))
        thread.start()
        assert told.wait(30)
        enrollment = stream.enroll(1, "Eileen").result(10)
        stream.stop()
        thread.join(10)
        assert enrollment.name == "Eileen"
        assert len(gallery) == 1
        assert stream.counters.events["identified"] == 1
        assert done[0].frames > 0
        with pytest.raises(TrackError, match="ended"):
            stream.enroll(1, "Again").result(1)


def test_a_slow_callback_does_not_stop_the_camera(film):
    """A fifth of a second for each event; what it raises is counted and not lost."""
    seen = []

    def slow(event):
        time.sleep(0.2)
        seen.append(event.kind)
        raise RuntimeError("and it fails, too")

    stream = FaceStream(film, detector=open_detector("mtcnn"), settings=StreamSettings(pace=False), on_event=slow)
    statistics = stream.run()
    assert len(seen) >= 3
    assert statistics.frames == 40
    assert "and it fails, too" in stream.statistics().problems[0]


def test_an_iterator_that_fails_is_an_error_with_its_reason():
    def frames():
        yield np.zeros((64, 64, 3), np.uint8)
        raise OSError("cable pulled")

    stream = FaceStream(frames(), detector=open_detector("mtcnn"), settings=StreamSettings(reopen=False))
    with pytest.raises(SourceError, match="cable pulled"):
        stream.run()


def test_a_stream_runs_once(black, fake_source):
    stream = FaceStream(fake_source([[black]], live=False), detector=open_detector())
    stream.run()
    with pytest.raises(RuntimeError, match="another FaceStream"):
        stream.run()
