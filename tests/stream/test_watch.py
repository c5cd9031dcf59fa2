"""The command as a user has it: files, signals, settings, events, what its page says."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from edge_sphereface import Embedder, open_gallery
from edge_sphereface.cli.event_lines import PlainLines, plain_line
from edge_sphereface.stream.capture.opencv import CaptureSource
from edge_sphereface.stream.capture.reader import FrameReader, SourceChange
from edge_sphereface.stream.event_kinds import EventKind
from edge_sphereface.stream.events import Event, EventMaker

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "watch.md").read_text(encoding="utf-8")


def objects(out):
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.slow
def test_a_film_from_the_first_face_to_the_end(cli, film, people, small_model, tmp_path, require_schema):
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
    for event in events:
        require_schema("watch", event)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.slow
def test_a_stranger_is_told_when_seen_again(cli, film, small_model, tmp_path):
    open_gallery(tmp_path / "nobody.db", Embedder(small_model), create=True).close()
    strangers = tmp_path / "strangers.db"
    words = (
        film, "--gallery", tmp_path / "nobody.db", "--model", small_model, "--fast", "--json",
        "--strangers", strangers, "--keep-strangers", "1h",
    )  # fmt: skip
    for times in (0, 1):
        code, out, err = cli("watch", *words)
        assert code == 0, err
        (lost,) = [event for event in objects(out) if event["event"] == "lost"]
        assert lost.get("stranger", {}).get("sightings", 0) == times
    assert stat.S_IMODE(strangers.stat().st_mode) == 0o600
    code, out, _ = cli("strangers", "list", "--strangers", strangers)
    assert (code, out.split(" on ")[0]) == (0, f"{lost['stranger']['id']}: 2 sightings")
    code, out, _ = cli("strangers", "forget", lost["stranger"]["id"], "--strangers", strangers)
    assert (code, out) == (0, "2 sightings removed\n")
    assert cli("strangers", "list", "--strangers", strangers)[1] == "no strangers\n"


@pytest.mark.parametrize(
    ("words", "part"), [((), "how long"), (("--keep-strangers", "168h"), "everybody is a stranger")]
)
def test_strangers_need_a_limit_and_a_gallery(cli, tmp_path, words, part):
    code, _, err = cli("watch", tmp_path, "--strangers", tmp_path / "strangers.db", *words)
    assert code == 2
    assert part in err
    assert not (tmp_path / "strangers.db").exists()


def test_the_page_lists_every_kind_of_event():
    """The schema, to which it links, describes their fields."""
    section = PAGE.split("## Events")[1].split("### MQTT")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \| \w", section, re.MULTILINE)) - {"event"} == set(get_args(EventKind))
    example = json.loads(re.search(r"```json\n(.*?)```", section, re.DOTALL)[1])
    assert list(example) == [field.name for field in fields(Event)]
    assert "(schema/watch.json)" in section


@pytest.mark.slow
def test_for_people(cli, film, people, small_model):
    code, out, err = cli("watch", film, "--gallery", people, "--model", small_model, "--fast", "--threshold", "0.1")
    assert code == 0
    assert "face 1: Eileen (similarity" in out
    assert "1 people known" in err


@pytest.mark.slow
def test_a_broker_that_is_not_there_is_told_and_stops_nothing(cli, astronaut, tmp_path):
    """Two seconds of one picture, since problems are looked for once a second."""
    (tmp_path / "pictures").mkdir()
    for index in range(8):
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), astronaut)
    words = ("--folder-fps", "4", "--mqtt", "mqtt://ann:secret@127.0.0.1:1/x", "--mqtt-spool", tmp_path / "spool.db")
    code, out, err = cli("watch", tmp_path / "pictures", *words, "--json")
    assert code == 0, err
    assert err.count("problem: MQTT broker 127.0.0.1:1: no connection") == 1
    assert "secret" not in err + out
    final = objects(out)[-1]
    assert "no connection" in final["problems"][0]
    assert final["events_pending"] >= 3
    assert f"kept on the disk: {final['sequence']};" in err


@pytest.mark.slow
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
        (("0", "--home-assistant"), 2, "usage"),
        (("0", "--mqtt", "mqtt://127.0.0.1:1", "--home-assistant", "a/#"), 2, "usage"),
    ],
)
def test_what_cannot_work_is_one_error(cli, words, code, kind):
    got, out, _ = cli("watch", *words, "--json")
    assert (got, objects(out)[-1]["error"]["code"]) == (code, kind)


def test_nothing_is_printed_before_every_output_is_open(cli, film, tmp_path):
    """Not the banner, and not a picture that nobody can open."""
    words = (film, "--view", "no-host.invalid:8080", "--mqtt", "mqtt://127.0.0.1:1", "--mqtt-spool", tmp_path / "spool")
    code, out, err = cli("watch", *words)
    assert (code, out) == (1, "")
    assert err.startswith("error: Cannot listen on no-host.invalid")
    assert list(tmp_path.iterdir()) == []  # no connection to the broker was begun
    code, _, err = cli("watch", film, "--detector", "mtcnn", "--detector-model", "x.onnx")
    assert (code, err.partition("\n")[0]) == (2, "error: --detector-model is YuNet's, and --detector is mtcnn.")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_events_that_standard_output_does_not_take_are_an_error(film):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge_sphereface", "watch", str(film), "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "events could not be delivered before the end: stdout: [Errno 28]" in done.stderr


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
        ("fps = [3, 5]", "a string or a number for 'fps', got a list"),
        ("fast = [true]", "true or false for 'fast', got a list"),
        ("fps = ", "not TOML"),
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


@pytest.mark.integration
def test_no_password_in_any_output_of_a_stream_that_fails(tmp_path, end_of):
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
        assert end_of(process, signal.SIGTERM) == 0
    said = (tmp_path / "out").read_text()
    assert "s3cret" not in said
    assert json.loads(said.splitlines()[-1])["final"] is True


@pytest.mark.integration
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_at_once_with_everything_told(film, tmp_path, number, code, end_of):
    log = tmp_path / "events.jsonl"
    command = [sys.executable, "-m", "edge_sphereface", "watch", str(film), "--events", str(log)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 30
    while not (log.exists() and "appeared" in log.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    assert end_of(process, number) == code
    told = objects(log.read_text())
    assert [event["sequence"] for event in told] == list(range(1, len(told) + 1))
    assert [event["event"] for event in told[-2:]] == ["lost", "statistics"]


@pytest.mark.integration
def test_the_page_of_python_runs_as_written(film, people, small_model, tmp_path):
    shutil.copy(film, tmp_path / "film.avi")
    shutil.copy(small_model, tmp_path / "sphereface20.onnx")
    code = re.search(r"```python\n(from edge.*?)```", PAGE, re.DOTALL)[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    identified, lost = done.stdout.splitlines()
    assert identified.startswith("track 1 is Eileen")
    assert lost.startswith("track 1 left after")


@pytest.mark.integration
def test_the_page_of_several_cameras_runs_as_written(film, people, small_model, tmp_path):
    """Each camera recognizes the person of its film."""
    shutil.copy(film, tmp_path / "film.avi")
    shutil.copy(small_model, tmp_path / "sphereface20.onnx")
    code = re.search(r"```python\n(from edge.*?)```", (DOCS / "cameras.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["door", "ended"], ["yard", "ended"]]
    told = objects((tmp_path / "events.jsonl").read_text())
    named = {(event["stream"], event["name"]) for event in told if event["event"] == "identified"}
    assert {stream for stream, _ in named} == {"door", "yard"}
    assert all(name.startswith("Eileen") for _, name in named)


@pytest.mark.slow
def test_the_page_of_parts_runs_as_written(film, tmp_path):
    shutil.copy(film, tmp_path / "film.avi")
    code = re.search(r"```python\n(from edge_sphereface\.stream import.*?)```", PAGE, re.DOTALL)[1]
    # ports of this test's own, since others may use those of the page
    code = "from edge_sphereface import FaceStream, open_detector\n" + code.replace("8080", "0").replace("9464", "0")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "faces").is_dir()


SECRET = "rtsp://admin:pa/s3cret#x@127.0.0.1:1/user=admin&password=s3cret"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "words",
    [
        ("0", SECRET),
        (SECRET, SECRET),
        ("0", "--fps", SECRET),
        ("0", f"--s={SECRET}"),
        ("0", "--view", SECRET),
        ("0", f"--nothing={SECRET}"),
        ("0", "--mqtt", SECRET),
        ("0", "--pixel-format", SECRET),
        (SECRET.replace("rtsp", "ftp"),),
        (f"rtspsrc location='{SECRET} ! decodebin",),
        ("--config", SECRET),
    ],
)
def test_no_mistake_on_the_command_line_prints_a_password(cli, words, as_json):
    code, out, err = cli("watch", *words, *["--json"] * as_json)
    assert code in (1, 2)
    assert "s3cret" not in out + err
    assert '{"error": {' in out if as_json else "error:" in err


@pytest.mark.parametrize(
    "text",
    [
        f'json = "{SECRET}"',
        f'fast = ["{SECRET}"]',
        f'fps = "{SECRET}"',
        f'fps = {{a = "{SECRET}"}}',
        f'"{SECRET}" = 1',
        f"source = {SECRET}",
        f'source = "{SECRET}',
        f'source = "{SECRET}"\nsource = "{SECRET}"',
    ],
)
def test_no_mistake_in_a_file_of_settings_prints_a_password(cli, tmp_path, text):
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    file = tmp_path / "watch.toml"
    file.write_text(text)
    code, out, err = cli("watch", "0", "--config", file)
    assert code == 2
    assert "s3cret" not in out + err


@pytest.mark.parametrize("rest", ["fps = true", "budget_ms = 3", "fps = "])
def test_errors_are_json_where_the_file_asks_for_it(cli, tmp_path, rest):
    """Whatever else is wrong in it."""
    file = tmp_path / "watch.toml"
    file.write_text(f"json = true\n{rest}")
    code, out, err = cli("watch", "0", "--config", file)
    assert code == 2
    assert json.loads(out)["error"]["code"] == "usage"
    assert err == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{'a.' * 60_000}a = 1", "at most 65536"),
        (f"{'a.' * 30_000}a = 1", "dots in one line"),
        (f"[{'a.' * 30_000}a]", "dots in one line"),
        (f"a = {'[' * 3000}", "not TOML"),
        (f"a = {'{a=' * 3000}", "not TOML"),
        (f"fps = {'9' * 5000}", "not TOML"),
        (f"fps = 0x{'f' * 5000}", "not TOML"),
        ("fps = 1979-05-27", "expected a string or a number"),
        ("name = '\\ud800'\nfps = nan", "above 0"),
        ("\x00", "not TOML"),
    ],
)
def test_a_hostile_file_of_settings_is_one_error(cli, tmp_path, text, said):
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    file = tmp_path / "watch.toml"
    file.write_text(text)
    code, _, err = cli("watch", "0", "--config", file)
    assert code == 2
    assert said in err
    assert len(err) < 1000


@pytest.mark.skipif(os.name != "posix", reason="needs devices and pipes")
def test_settings_come_from_a_regular_file(cli, tmp_path):
    """Neither a device without an end nor a pipe that nobody writes."""
    os.mkfifo(tmp_path / "pipe")
    for place in ("/dev/zero", tmp_path / "pipe", tmp_path, tmp_path / "missing"):
        code, _, err = cli("watch", "0", "--config", place)
        assert code == 2
        assert str(place) in err


def test_a_stream_that_cannot_be_opened_is_named_without_its_password(cli):
    address, shown = "rtsp://user:secret@127.0.0.1:9/stream", "Cannot open rtsp://***@127.0.0.1:9/stream."
    code, out, err = cli("watch", address, "--once")
    assert code == 1
    assert f"error: {shown}" in err
    assert "? as %3F and @ as %40" in err
    assert "secret" not in out + err
    reader = FrameReader(lambda: CaptureSource(address))
    reader.start()
    changes = []
    while not changes:
        assert reader.next(0.1) is None
        changes = reader.changes()
    assert reader.stop()
    down = changes[0]
    assert down.reason == shown
    assert down.hint.endswith("? as %3F and @ as %40")


@pytest.mark.parametrize(
    ("reason", "hint", "retry_s", "line"),
    [
        ("Cannot open camera 0.", "is it on?", 2.0, "Cannot open camera 0; trying again in 2 s. Is it on?"),
        ("Cannot open camera 0.", "is it on?", None, "Cannot open camera 0."),
        ("the source ended", "", 1.0, "the source ended; trying again in 1 s"),
    ],
)
def test_a_source_that_is_down_is_one_line(reason, hint, retry_s, line):
    change = SourceChange(up=False, reason=reason, hint=hint, retry_s=retry_s)
    shown = plain_line(EventMaker("camera").source_changed("0", change, 0.0))
    assert shown == f"00:00:00  {line}"


def test_a_source_that_stays_away_is_told_every_ten_minutes():
    """Not at each try to open it; another reason, and a failure after it was back, are told at once."""
    maker, lines = EventMaker("camera"), PlainLines()

    def told(at_s, reason="Cannot open camera 0."):
        change = SourceChange(up=False, reason=reason, hint="", retry_s=60.0)
        return lines(maker.source_changed("0", change, at_s)) is not None

    assert [told(second) for second in range(0, 1300, 60)] == [second % 600 == 0 for second in range(0, 1300, 60)]
    assert told(1310, "the camera broke")
    assert not told(1311, "the camera broke")
    lines(maker.source_changed("0", SourceChange(up=True, width=640, height=480), 1320.0))
    assert told(1321, "the camera broke")


@pytest.mark.integration
def test_a_source_whose_name_is_no_text_is_watched(tmp_path, photo):
    folder = os.fsencode(tmp_path) + b"/film\xff"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system has no such names")
    shutil.copy(photo, folder + b"/1.png")
    for options in ([], ["--json"], ["--json", "--events", tmp_path / "events.jsonl"]):
        done = subprocess.run(
            [sys.executable, "-m", "edge_sphereface", "watch", folder, "--fast", *options],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        assert b"film?" in done.stdout


@pytest.fixture
def damaged_film(tmp_path):
    """226 frames, of which 2 % of the bytes in the middle are noise."""
    path, noise = tmp_path / "damaged.avi", np.random.default_rng(0)
    picture = cv2.resize(noise.integers(0, 256, (60, 80, 3), dtype=np.uint8), (320, 240))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
    for index in range(226):
        writer.write(np.roll(picture, index * 3, axis=1))
    writer.release()
    data = bytearray(path.read_bytes())
    begin, length = len(data) * 43 // 100, len(data) * 2 // 100
    data[begin : begin + length] = noise.bytes(length)
    path.write_bytes(data)
    return path


@pytest.mark.slow
def test_a_damaged_recording_is_read_to_its_end_and_said_to_be_damaged(cli, damaged_film):
    code, out, _ = cli("watch", damaged_film, "--fast", "--json")
    *events, error = objects(out)
    assert code == 1
    assert re.search(r"damaged: [1-9]\d? of 226 frames could not be read", error["error"]["message"])
    assert re.search(r"of 226 frames could not be read", events[-2]["reason"])
    assert events[-1]["final"] is True
    assert 210 <= events[-1]["frames"] < 226  # 2 % of the bytes are about five frames


@pytest.mark.slow
def test_a_whole_recording_is_not_said_to_be_damaged(cli, film):
    code, out, _ = cli("watch", film, "--fast", "--json")
    assert code == 0
    assert objects(out)[-2]["reason"] == "the source ended"


def test_a_picture_that_cannot_be_read_is_left_out_and_told(cli, tmp_path, photo):
    for name in ("1.png", "3.png"):
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "2.png").write_bytes(b"no picture")
    code, out, _ = cli("watch", tmp_path, "--fast", "--json")
    *events, error = objects(out)
    assert code == 1
    assert "1 of 3 pictures could not be read" in error["error"]["message"]
    assert events[-1]["frames"] == 2


def test_frames_of_a_recording_are_looked_at_at_the_rate_that_was_asked(cli, film):
    """Of 40 frames at 10 a second."""
    _, out, _ = cli("watch", film, "--fast", "--fps", "5", "--json")
    assert objects(out)[-1]["frames"] == 20


@pytest.mark.slow
def test_a_thread_inside_opencv_does_not_abort_the_end():
    """Python unwinds a daemon thread through C++ code, which ends the process by SIGABRT."""
    code = """
import threading, time, cv2, numpy as np
from edge_sphereface.cli import __main__ as command
picture = np.zeros((300, 400, 3), np.uint8)
def work():
    while True:
        cv2.GaussianBlur(picture, (5, 5), 1)
for _ in range(4):
    threading.Thread(target=work, daemon=True, name="recorder").start()
time.sleep(0.2)
command.main = lambda: print("told") or 3
command.entry_point()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "told\n", "")
