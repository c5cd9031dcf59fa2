"""The command and the class as a user has them: files, signals, settings, events."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_sphereface import Embedder, FaceStream, StreamSettings, open_detector, open_gallery
from edge_sphereface.errors import SinkError, SourceError, TrackError
from edge_sphereface.stream import FileSink
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.sinks.courier import Courier

PAGE = (Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")


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
def people(cli, small_model, photo, tmp_path):
    path = tmp_path / "people.db"
    code, _, err = cli("enroll", "--gallery", path, "--model", small_model, "Eileen", photo)
    assert code == 0, err
    return path


def objects(out):
    return [json.loads(line) for line in out.splitlines()]


def test_a_film_from_the_first_face_to_the_end(cli, film, people, small_model, tmp_path):
    log = tmp_path / "events.jsonl"
    words = ("--gallery", people, "--model", small_model, "--fast", "--threshold", "0.1", "--events", log)
    code, out, err = cli("watch", film, *words, "--json", "--name", "door")
    events = objects(out)
    assert code == 0, err
    assert [event["event"] for event in events] == [
        "source-up", "appeared", "identified", "lost", "source-down", "statistics",
    ]  # fmt: skip
    assert [event["sequence"] for event in events] == list(range(1, 7))
    assert {event["stream"] for event in events} == {"door"}
    assert events[2]["name"] == events[3]["name"] == "Eileen"
    assert events[-1]["frames"] == events[-1]["read"] == 40
    assert events[-1]["embeddings"] <= 4
    assert objects(log.read_text()) == events
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_page_lists_every_field(cli, film, people, small_model):
    _, out, _ = cli("watch", film, "--gallery", people, "--model", small_model, "--fast", "--json")
    named = set(re.findall(r"`([a-z_0-9]+)`", PAGE.split("## Events")[1])) | set(
        json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    )
    for event in objects(out):
        assert set(event) <= named, event["event"]


def test_for_people(cli, film, people, small_model):
    code, out, err = cli("watch", film, "--gallery", people, "--model", small_model, "--fast", "--threshold", "0.1")
    assert code == 0
    assert "face 1: Eileen (similarity" in out
    assert "1 people known" in err


def test_without_a_gallery_no_model_is_needed(cli, film):
    code, out, _ = cli("watch", film, "--fast", "--json")
    assert code == 0
    assert [event["event"] for event in objects(out)][1:3] == ["appeared", "lost"]


def test_a_folder_of_pictures(cli, astronaut, tmp_path):
    (tmp_path / "pictures").mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), astronaut)
    code, out, _ = cli("watch", tmp_path / "pictures", "--fast", "--folder-fps", "4", "--json")
    assert code == 0
    assert objects(out)[-1]["detections"] == 4


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ((), 2, "usage"),
        (("missing.mp4",), 1, "source"),
        (("ftp://host/x",), 1, "source"),
        (("0", "--fps", "0"), 2, "usage"),
        (("0", "--size", "large"), 2, "usage"),
        (("0", "--gallery", "missing.db"), 2, "usage"),
        (("0", "--detect-side", "3"), 2, "usage"),
    ],
)
def test_what_cannot_work_is_one_error(cli, words, code, kind):
    got, out, _ = cli("watch", *words, "--json")
    assert (got, objects(out)[-1]["error"]["code"]) == (code, kind)


def test_settings_come_from_a_file_and_the_command_line_counts_more(cli, film, tmp_path):
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    file = tmp_path / "watch.toml"
    file.write_text(f'source = "{film}"\nname = "from the file"\nfast = true\njson = true\ndetect-fps = 5\n')
    code, out, _ = cli("watch", "--config", file, "--json", "--name", "from the line")
    assert code == 0
    assert objects(out)[-1]["stream"] == "from the line"
    assert objects(out)[-1]["detect_fps"] == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budget_ms = 3", "budget-ms"),
        ("fast = 3", "true or false"),
        ("fps = true", "a string or a number"),
        ("[source]\nname = 3", "a string or a number"),
        ("fps = ", "no TOML"),
    ],
)
def test_a_file_with_a_mistake_says_which(cli, tmp_path, text, said):
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    file = tmp_path / "watch.toml"
    file.write_text(text)
    code, _, err = cli("watch", "0", f"--config={file}")
    assert code == 2
    assert said in err


def test_a_password_that_others_may_read_is_a_warning(cli, tmp_path):
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    file = tmp_path / "watch.toml"
    file.write_text('source = "ftp://user:s3cret@host/x"')
    file.chmod(0o644)
    _, _, err = cli("watch", "--config", file)
    assert "chmod 600" in err
    assert "s3cret" not in err


def test_no_password_in_any_output_of_a_stream_that_fails(tmp_path):
    """The whole process, with what OpenCV and FFmpeg print themselves; and SIGTERM ends it at once."""
    command = [
        sys.executable,
        "-m",
        "edge_sphereface",
        "watch",
        "rtsp://admin:s3cret@127.0.0.1:1/x?token=s3cret",
        "--json",
    ]
    with (tmp_path / "out").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        end = time.monotonic() + 30
        while b"source-down" not in (tmp_path / "out").read_bytes() and time.monotonic() < end:
            time.sleep(0.05)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert time.monotonic() - start < 2
    said = (tmp_path / "out").read_text()
    assert "s3cret" not in said
    assert json.loads(said.splitlines()[-1])["final"] is True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_within_two_seconds_with_everything_told(film, tmp_path, number, code):
    log = tmp_path / "events.jsonl"
    command = [sys.executable, "-m", "edge_sphereface", "watch", str(film), "--events", str(log)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 30
    while not (log.exists() and "appeared" in log.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    start = time.monotonic()
    process.send_signal(number)
    assert process.wait(10) == code
    assert time.monotonic() - start < 2
    told = objects(log.read_text())
    assert [event["sequence"] for event in told] == list(range(1, len(told) + 1))
    assert [event["event"] for event in told[-2:]] == ["lost", "statistics"]


def test_the_page_of_python_runs_as_written(film, people, small_model, tmp_path):
    shutil.copy(film, tmp_path / "film.avi")
    shutil.copy(small_model, tmp_path / "sphereface20.onnx")
    code = re.search(r"```python\n(from edge.*?)```", PAGE, re.DOTALL)[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:2] == ["source-up None", "appeared None"]


def test_the_page_of_parts_runs_as_written(film, tmp_path):
    shutil.copy(film, tmp_path / "film.avi")
    code = re.search(r"```python\n(from edge_sphereface\.stream import.*?)```", PAGE, re.DOTALL)[1]
    # ports of this test's own, since others may use those of the page
    code = "from edge_sphereface import FaceStream, open_detector\n" + code.replace("8080", "0").replace("9464", "0")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "faces").is_dir()


# ---- the class -------------------------------------------------------------------------------------------------------


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
        assert stream.statistics.events["identified"] == 1
        assert done[0]["frames"] > 0
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
    assert statistics["frames"] == 40
    assert "and it fails, too" in stream.describe()["problems"][0]


def test_an_iterator_that_fails_is_an_error_with_its_reason():
    def frames():
        yield np.zeros((64, 64, 3), np.uint8)
        raise OSError("cable pulled")

    stream = FaceStream(frames(), detector=open_detector("mtcnn"), settings=StreamSettings(reopen=False))
    with pytest.raises(SourceError, match="cable pulled"):
        stream.run()


# ---- sinks -----------------------------------------------------------------------------------------------------------


def event_of(maker, size=10):
    return maker.make("appeared", 1e9, {"x": "y" * size})


def test_a_file_is_rotated_and_no_line_is_lost_or_cut(tmp_path):
    path, maker = tmp_path / "events.jsonl", EventMaker("test")
    sink = FileSink(path, max_bytes=1000, keep=3)
    sink.open()
    for _ in range(20):
        sink.write(event_of(maker))
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["events.jsonl", *(f"events.jsonl.{n}" for n in (1, 2, 3))]
    assert all(file.stat().st_size <= 1000 and stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    lines = [
        json.loads(line)["sequence"]
        for file in [*reversed(files[1:]), files[0]]
        for line in file.read_text().splitlines()
    ]
    assert lines == list(range(21 - len(lines), 21))


def test_a_line_that_the_power_cut_is_closed(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"half": ')
    sink = FileSink(path)
    sink.open()
    sink.write(event_of(EventMaker("test")))
    sink.close()
    assert json.loads(path.read_text().splitlines()[1])["sequence"] == 1


def test_a_place_that_cannot_be_written_is_said_at_the_start(tmp_path):
    with pytest.raises(SinkError, match="folder must exist"):
        Courier(FileSink(tmp_path / "missing" / "events.jsonl"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_delays_events_and_loses_none(tmp_path):
    path, maker = tmp_path / "events.jsonl", EventMaker("test")
    sink = FileSink(path)
    courier = Courier(sink)
    sink._stream.close()
    sink._stream = open("/dev/full", "a+b", buffering=0)  # noqa: SIM115 -- the sink closes it
    courier.give(event_of(maker))
    courier.give(event_of(maker))
    end = time.monotonic() + 5
    while not courier.problem and time.monotonic() < end:
        time.sleep(0.01)
    assert "No space left" in courier.problem
    assert courier.pending() == 2
    full, sink._stream = sink._stream, sink._opened()
    full.close()
    while courier.pending() and time.monotonic() < end:
        time.sleep(0.01)
    assert courier.close(1.0) == 0
    assert [json.loads(line)["sequence"] for line in path.read_text().splitlines()] == [1, 2]
