"""The class as a program has it: iterators, callbacks, enrolling from another thread."""

import json
import threading
import time
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from edge_sphereface import Embedder, FaceStream, StreamSettings, load_pipeline, open_detector, open_gallery
from edge_sphereface.errors import SourceError, TrackError
from edge_sphereface.stream import FileSink, TrackingSettings


@pytest.mark.slow
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
            stream.enroll(1, "Again").result(10)


@pytest.mark.slow
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


def test_an_iterator_that_ends_the_program_ends_the_stream_at_once(black):
    """Ctrl-C reaches whoever runs the stream, also where an iterator raises it in the reader's thread."""

    def frames():
        yield black
        raise KeyboardInterrupt

    stream = FaceStream(frames, detector=open_detector())
    kinds = []
    with pytest.raises(KeyboardInterrupt):
        kinds.extend(event.kind for event in stream)
    assert stream.statistics().problems == ()
    assert stream.counters.events["statistics"] == 1


def test_a_loop_that_is_left_gives_the_last_events_to_the_outputs(script, stage, fake_source, tmp_path):
    acting = script(lambda _: [("ann", stage.face_at(100, 60))])
    source = fake_source([[acting.image(index) for index in range(50)]], live=False, fps=25.0)
    outputs = {"sinks": [FileSink(tmp_path / "events.jsonl")], "settings": StreamSettings(pace=False)}
    for event in FaceStream(source, detector=acting, **outputs):
        if event.kind == "appeared":
            break
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["source-up", "appeared", "lost", "statistics"]
    assert events[-1]["final"]


def test_a_loop_that_is_left_after_the_last_event_reports_the_end_once(black, fake_source, tmp_path):
    stream = FaceStream(
        fake_source([[black]], live=False), detector=open_detector(), sinks=[FileSink(tmp_path / "events.jsonl")]
    )
    for event in stream:
        if event.kind == "statistics":
            break
    assert (tmp_path / "events.jsonl").read_text().count('"final": true') == 1


def test_a_stream_runs_once(black, fake_source):
    stream = FaceStream(fake_source([[black]], live=False), detector=open_detector())
    stream.run()
    with pytest.raises(RuntimeError, match="another FaceStream"):
        stream.run()


@pytest.mark.slow
def test_a_pipeline_stands_for_its_detector_and_its_embedder(film, people, small_model):
    pipeline = load_pipeline(small_model)
    with open_gallery(people, pipeline.embedder) as gallery:
        stream = FaceStream(film, pipeline=pipeline, gallery=gallery, settings=StreamSettings(pace=False))
        assert "Eileen" in [event.name for event in stream if event.kind == "identified"]


def test_a_pipeline_and_one_of_its_parts_contradict_each_other(film, small_model):
    pipeline = load_pipeline(small_model)
    for part in ({"detector": pipeline.detector}, {"embedder": pipeline.embedder}):
        with pytest.raises(ValueError, match="pipeline, or a detector and an embedder, got both"):
            FaceStream(film, pipeline=pipeline, **part)
    with pytest.raises(TypeError, match="got neither"):
        FaceStream(film)


def test_a_track_of_a_result_does_not_change_with_later_frames(script, stage, fake_source, gallery_of):
    acting = script(lambda index: [("ann", stage.face_at(60 + index, 60))])
    results, seen = [], []

    def values(result):
        return [(t.standing, t.name, t.seen_s, t.evidence, t.face.box.tolist()) for t in result.tracks]

    def on_frame(result):
        results.append(result)
        seen.append(values(result))

    stream = FaceStream(
        fake_source([[acting.image(index) for index in range(40)]], live=False, fps=25.0),
        detector=acting,
        embedder=acting,
        gallery=gallery_of(acting, ["ann"]),
        settings=StreamSettings(pace=False, tracking=TrackingSettings(detect_fps=25.0)),
        on_frame=on_frame,
    )
    stream.run()
    assert len({str(tracks) for tracks in seen}) > 30, "the face moves"
    assert [values(result) for result in results] == seen
    with pytest.raises(FrozenInstanceError):
        results[20].tracks[0].name = "bob"
