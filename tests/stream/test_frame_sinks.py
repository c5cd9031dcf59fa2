"""Snapshots and recordings: what is in the files, who may read them, and that they do not grow for ever."""

import json
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_sphereface import EmbeddedFace, FaceStream, draw_faces
from edge_sphereface.errors import ImageError, SinkError
from edge_sphereface.retention import INDEX_NAME, FolderIndex
from edge_sphereface.stream import FrameResult, Snapshots, VideoRecorder
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.outputs.frames.drawing import fitted
from edge_sphereface.stream.settings import StreamSettings
from edge_sphereface.stream.tracking.track import Track


class Named:
    """As much of a stream as a sink asks for."""

    def __init__(self, name="front door"):
        self.settings = StreamSettings(name=name)


@pytest.fixture
def result_of(stage):
    def make(index, *, kinds=(), fps=25.0, image=None, name="Ann"):
        frame = stage.frame_of(index, np.full((240, 320, 3), 128, np.uint8) if image is None else image, fps)
        face = stage.face_at(80, 60)
        track = Track(number=1, face=face, began_s=0, seen_s=frame.time_s, standing="identified", name=name)
        maker = EventMaker("front door")
        make = {
            "appeared": lambda: maker.appeared(track, frame),
            "identified": lambda: maker.decided(track, frame, None),
            "unknown": lambda: maker.decided(replace(track, standing="unknown", name=None), frame, None),
        }
        events = tuple(make[kind]() for kind in kinds)
        return FrameResult(frame=frame, tracks=(track,), events=events, detected=True, embedded=0, work_ms=1.0)

    return make


def files(folder):
    return sorted(path for path in folder.iterdir() if path.name != INDEX_NAME)


def settled(folder, count):
    """The files, when there are as many."""
    end = time.monotonic() + 10
    while len(found := [path for path in files(folder) if not path.name.startswith(".")]) != count:
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def save(snapshots, result):
    """Snapshots of the events of a frame; gives their names."""
    return [snapshots.snapshot(event, result.frame) for event in result.events]


def give(sink, result):
    """A frame with its events, as a stream hands them over."""
    if isinstance(sink, Snapshots):
        save(sink, result)
    sink.take(result)


def test_a_snapshot_shows_the_face_and_has_the_name_that_the_event_gets(result_of, tmp_path):
    snapshots = Snapshots(tmp_path / "faces")
    snapshots.open(Named())
    result = result_of(5, kinds=("appeared", "identified"))
    name = snapshots.snapshot(result.events[1], result.frame)
    snapshots.close(5.0)
    (path,) = files(tmp_path / "faces")
    assert path.name == name
    assert re.fullmatch(r"front_door-\d{8}T\d{9}Z-\w{8}-2\.jpg", path.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    height, width = cv2.imread(str(path)).shape[:2]
    box = result.tracks[0].face.box
    assert box[2] - box[0] < width <= 320
    assert box[3] - box[1] < height <= 240


def test_the_newest_snapshots_stay_also_over_a_restart(result_of, tmp_path):
    for run in range(2):
        snapshots = Snapshots(tmp_path, keep=3)
        snapshots.open(Named())
        for index in range(3):
            save(snapshots, result_of(25 * (10 * run + index), kinds=("unknown",)))
            settled(tmp_path, min(3, 3 * run + index + 1))
        snapshots.close(5.0)
    assert [path.name[11:30] for path in files(tmp_path)] == [f"20010909T01465{second}000Z" for second in range(3)]


def test_files_of_others_stay(result_of, tmp_path):
    """Another stream, whose name begins alike, and whatever lies in the folder."""
    others = [tmp_path / "front_door-2-20200101T000000000Z-aaaaaaaa-1.jpg", tmp_path / "front_door-notes.jpg"]
    for path in others:
        path.touch()
    snapshots = Snapshots(tmp_path, keep=1)
    snapshots.open(Named())
    for index in range(3):
        save(snapshots, result_of(25 * index, kinds=("unknown",)))
    snapshots.close(5.0)
    assert all(path.exists() for path in others)
    assert len(files(tmp_path)) == 3


def test_a_disk_that_fails_is_a_problem_and_no_end(result_of, tmp_path, wait_until):
    folder = tmp_path / "faces"
    snapshots = Snapshots(folder)
    snapshots.open(Named())
    shutil.rmtree(folder)
    save(snapshots, result_of(0, kinds=("unknown",)))
    wait_until(lambda: snapshots.problem)
    folder.mkdir()
    save(snapshots, result_of(25, kinds=("unknown",)))
    settled(folder, 1)
    snapshots.close(5.0)
    assert snapshots.problem == ""


@pytest.mark.parametrize("kind", [Snapshots, VideoRecorder])
def test_a_folder_that_cannot_be_written_is_an_error_at_the_start(kind, as_nobody):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to everybody else
        Path(folder).chmod(0o555)
        with as_nobody(), pytest.raises(SinkError, match="permission denied"):
            kind(Path(folder)).open(Named())


def record(recorder, results):
    """Every frame, at the recorder's own pace: it leaves out what it cannot follow."""
    recorder.open(Named())
    for result in results:
        recorder.take(result)
        end = time.monotonic() + 20
        while recorder.pending() and time.monotonic() < end:
            time.sleep(0.002)
    recorder.close(5.0)


def test_a_recording_runs_at_the_time_of_the_camera(result_of, tmp_path):
    """25 frames a second become 10, and a camera that stutters leaves no hole."""
    folder = tmp_path / "video"
    moments = [*range(50), *range(70, 100)]
    record(VideoRecorder(folder, fps=10), [result_of(index) for index in moments])
    (path,) = files(folder)
    frames, fps = frames_of(path)
    assert fps == 10
    assert len(frames) == pytest.approx(40, abs=2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_recording_has_boxes_and_the_frame_has_none(result_of, tmp_path):
    results = [result_of(index) for index in range(25)]
    record(VideoRecorder(tmp_path), results)
    frames, _ = frames_of(files(tmp_path)[0])
    left, top, _, bottom = results[0].tracks[0].face.box.astype(int)
    edge = frames[5][(top + bottom) // 2, left - 1 : left + 2].astype(int)
    assert (edge[:, 1] - edge[:, 2]).max() > 50  # green
    assert all((result.frame.image == 128).all() for result in results)


def test_recordings_are_cut_into_pieces_and_the_newest_stay(result_of, tmp_path):
    record(VideoRecorder(tmp_path, fps=10, minutes=1 / 60, keep=2), [result_of(index) for index in range(125)])
    pieces = files(tmp_path)
    assert len(pieces) == 2
    assert len(frames_of(pieces[0])[0]) == 10


def test_another_size_and_a_long_gap_begin_another_piece(result_of, tmp_path):
    small = np.full((120, 160, 3), 99, np.uint8)
    results = [
        *[result_of(index) for index in range(10)],
        *[result_of(index, image=small) for index in range(10, 20)],
        *[result_of(index, image=small) for index in range(2000, 2010)],
    ]
    record(VideoRecorder(tmp_path), results)
    shapes = [frames_of(path)[0][0].shape for path in files(tmp_path)]
    assert sorted(shapes) == [(120, 160, 3), (120, 160, 3), (240, 320, 3)]


def test_of_pieces_within_a_second_the_newest_stays(result_of, tmp_path):
    sizes = [np.full((120 + 2 * index, 160, 3), 99, np.uint8) for index in range(4)]
    record(VideoRecorder(tmp_path, keep=1), [result_of(3 * index, image=size) for index, size in enumerate(sizes)])
    (path,) = files(tmp_path)
    assert frames_of(path)[0][0].shape == sizes[-1].shape


def test_a_disk_that_hangs_does_not_hold_up_the_end(result_of, tmp_path):
    held = threading.Event()
    snapshots = Snapshots(tmp_path, write=lambda *_: held.wait(60))
    snapshots.open(Named())
    for index in range(50):
        save(snapshots, result_of(25 * index, kinds=("unknown",)))
    assert "too slow" in snapshots.problem
    closing = threading.Thread(target=snapshots.close, args=(0.2,))
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    held.set()


def test_a_full_disk_stops_the_recording_alone(result_of, tmp_path):
    recorder = VideoRecorder(tmp_path, free_bytes=1 << 60)
    record(recorder, [result_of(index) for index in range(20)])
    assert "nearly full" in recorder.problem
    assert files(tmp_path) == []


@pytest.mark.parametrize("size", [(1920, 1081), (3, 5000), (1, 1)])
def test_pictures_are_shrunk_to_even_sizes(size):
    picture, scale = fitted(np.zeros((*size, 3), np.uint8), 640)
    assert all(edge % 2 == 0 and 0 < edge <= 640 for edge in picture.shape[:2])
    assert scale == pytest.approx(picture.shape[1] / size[1])


@pytest.mark.parametrize("name", ["Ann", "Zoë", "李明", "x" * 300])
def test_any_name_is_drawn(result_of, name):
    (track,) = result_of(0, name=name).tracks
    top = int(track.face.box[1])
    drawn = draw_faces(np.zeros((240, 320, 3), np.uint8), [track])
    assert drawn[top - 20 : top - 3].any()


def test_faces_of_every_kind_are_drawn_on_a_copy(stage):
    """A detected face, one with its embedding, a track; at the border and beyond it; the image itself stays."""
    image = np.full((240, 320, 3), 90, np.uint8)
    face = stage.face_at(80, 60)
    embedded = EmbeddedFace(face=face, crop=np.zeros((112, 96, 3), np.uint8), embedding=np.zeros(4, np.float32))
    for one in (face, embedded, Track(number=1, face=face, began_s=0, seen_s=0)):
        drawn = draw_faces(image, [one, stage.face_at(-50, 200)])
        left, top, _, bottom = face.box.astype(int)
        assert (drawn[top + 5 : bottom - 5, left - 1 : left + 2] != 90).any(axis=(1, 2)).all()
        assert (image == 90).all()
        assert (drawn[100:110, 200:] == 90).all()
    assert (draw_faces(image, []) == image).all()
    assert (draw_faces(image[:, ::-1], [face]) != 90).any()
    with pytest.raises(ImageError, match="uint8"):
        draw_faces(image.astype(np.float32), [face])


def test_boxes_are_scaled_with_the_image(stage):
    drawn = draw_faces(np.zeros((120, 160, 3), np.uint8), [stage.face_at(80, 60)], scale=0.5)
    rows, columns = np.nonzero(drawn.any(axis=2))
    left, top, right, bottom = stage.face_at(80, 60).box / 2
    assert (columns.min(), columns.max()) == (pytest.approx(left, abs=2), pytest.approx(right, abs=2))
    assert (rows.min(), rows.max()) == (pytest.approx(top, abs=2), pytest.approx(bottom, abs=2))


@pytest.mark.slow
def test_the_command_writes_both(cli, astronaut, people, small_model, tmp_path):
    (tmp_path / "pictures").mkdir()
    for index in range(12):
        cv2.imwrite(str(tmp_path / "pictures" / f"{index:02}.png"), astronaut)
    faces, video = tmp_path / "faces", tmp_path / "video"
    code, out, err = cli(
        "watch", tmp_path / "pictures", "--folder-fps", "6", "--gallery", people, "--model", small_model, "--json",
        "--threshold", "0.1", "--snapshots", faces, "--record", video, "--name", "door",
    )  # fmt: skip
    assert code == 0, err
    identified = next(event for event in map(json.loads, out.splitlines()) if event["event"] == "identified")
    assert [path.name for path in files(faces)] == [identified["snapshot"]]
    assert len(frames_of(files(video)[0])[0]) > 5


@pytest.mark.parametrize("sink", [Snapshots, VideoRecorder])
def test_an_image_that_cannot_be_written_ends_no_thread(result_of, tmp_path, sink, wait_until):
    sink = sink(tmp_path / "out")
    sink.open(Named())
    give(sink, result_of(0, kinds=("unknown",), image=np.zeros((0, 0, 3), np.uint8)))
    wait_until(lambda: sink.problem)
    give(sink, result_of(10, kinds=("unknown",)))
    sink.close(5.0)
    assert sink.problem == ""
    assert len(files(tmp_path / "out")) == 1


class Watching:
    """A frame sink that keeps the events of every frame."""

    problem = ""

    def __init__(self):
        self.events = []

    def open(self, stream):
        pass

    def take(self, result):
        self.events += result.events

    def close(self, timeout_s):
        pass


def test_every_output_sees_the_event_with_the_name_of_its_snapshot(script, stage, tmp_path, fake_source, gallery_of):
    """Also one that comes before the snapshots; nothing changes an event after any output has it."""
    acting = script(lambda _: [("ann", stage.face_at(100, 60))])
    images = [acting.image(index) for index in range(20)]
    before, after, delivered = Watching(), Watching(), []
    stream = FaceStream(
        fake_source([images], live=False, fps=25.0),
        detector=acting,
        embedder=acting,
        gallery=gallery_of(acting, ["ann"]),
        settings=StreamSettings(pace=False),
        frame_sinks=[before, Snapshots(tmp_path / "faces"), after],
        on_frame=lambda result: delivered.extend(result.events),
    )
    emitted = list(stream)
    (path,) = files(tmp_path / "faces")
    for events in (before.events, after.events, delivered, emitted):
        (identified,) = [event for event in events if event.kind == "identified"]
        assert identified.snapshot.file_name == path.name
        assert list(identified.as_json())[-1] == "snapshot"
    with pytest.raises(FrozenInstanceError):
        identified.snapshot = None


def test_an_enrollment_on_the_page_has_its_snapshot(script, stage, tmp_path, fake_source, gallery_of):
    """Also the event of a face that loses its name because the gallery has changed."""
    acting = script(lambda _: [("ann", stage.face_at(100, 60))])
    gallery = gallery_of(acting, ["bob"])
    asked, answers = {20: lambda: stream.enroll(1, "ann"), 40: lambda: gallery.remove(["ann"])}, []

    def on_frame(result):
        if result.frame.number in asked:
            answers.append(asked[result.frame.number]())
            stream.reconsider()

    stream = FaceStream(
        fake_source([[acting.image(index) for index in range(60)]], live=False, fps=25.0),
        detector=acting,
        embedder=acting,
        gallery=gallery,
        settings=StreamSettings(pace=False),
        frame_sinks=[Snapshots(tmp_path / "faces")],
        on_frame=on_frame,
    )
    decided = [event for event in stream if event.kind in ("identified", "unknown")]
    assert [event.kind for event in decided] == ["unknown", "identified", "unknown"]
    assert [path.name for path in files(tmp_path / "faces")] == [event.snapshot.file_name for event in decided]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs modes and owners")
@pytest.mark.parametrize("sink", [Snapshots, VideoRecorder])
def test_a_folder_in_which_others_replace_files_is_refused(tmp_path, sink):
    tmp_path.chmod(0o777)
    with pytest.raises(SinkError, match="replace files"):
        sink(tmp_path).open(Named())
    tmp_path.chmod(0o1777)  # as /tmp
    out = sink(tmp_path)
    out.open(Named())
    out.close(5.0)


def held(folder):
    with FolderIndex(folder) as index:
        return {name: (set(file.names), file.has_unknown) for name, file in index.files().items()}


def test_the_index_has_who_is_in_a_snapshot(result_of, stage, tmp_path):
    snapshots = Snapshots(tmp_path, keep=2)
    snapshots.open(Named())
    give(snapshots, result_of(1, kinds=("unknown",), name=None))
    (first,) = [path.name for path in settled(tmp_path, 1)]
    beside = Track(number=2, face=stage.face_at(90, 70), began_s=0, seen_s=0, standing="identified", name="Bo")
    apart = Track(number=3, face=stage.face_at(-900, -900), began_s=0, seen_s=0)
    snapshots.take(replace(result_of(2), tracks=(beside, apart)))
    give(snapshots, result_of(3, kinds=("identified",)))
    (_, second) = [path.name for path in settled(tmp_path, 2)]
    assert held(tmp_path) == {first: (set(), True), second: ({"Ann", "Bo"}, False)}
    give(snapshots, result_of(4, kinds=("identified",)))
    snapshots.close(5.0)
    assert first not in held(tmp_path), "what is deleted is forgotten"
    assert len(held(tmp_path)) == 2


def test_the_index_has_who_is_in_a_recording(result_of, tmp_path, wait_until):
    recorder = VideoRecorder(tmp_path, fps=25)
    recorder.open(Named())
    recorder.take(result_of(0, kinds=("appeared",), name=None))
    wait_until(lambda: list(held(tmp_path).values()) == [(set(), True)])
    recorder.take(result_of(1))
    recorder.close(5.0)
    (path,) = files(tmp_path)
    assert held(tmp_path) == {path.name: ({"Ann"}, False)}, "the face that was unknown at first has a name now"
