"""Several cameras of one file of settings: read, watched, and read again while they run."""

import http.server
import json
import signal
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from edge_sphereface.cameras import CameraGroup
from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.cli.camera_tables import camera_from_json
from edge_sphereface.cli.house import cameras_of, reload
from edge_sphereface.cli.liveness_models import LivenessModels
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.errors import ModelFormatError, ModelNotFoundError
from tests.liveness.networks import brightness_model

HOUSE = """
detect-fps = 4
gallery = "people.db"

[[camera]]
name = "door"
source = "rtsp://camera.lan/door"
fps = 5

[[camera]]
name = "yard"
source = 0
detect-fps = 2
once = true

[mqtt]
url = "mqtt://broker/house"
spool = "mqtt.db"
"""


@pytest.fixture
def bright_model(tmp_path):
    return brightness_model(tmp_path / "bright.onnx")


def parsed(path, text):
    path.write_text(text)
    return build_parser().parse_args(["watch", "--config", str(path)])


def test_tables_are_cameras_and_share_the_other_settings(tmp_path):
    arguments = parsed(tmp_path / "house.toml", HOUSE)
    door, yard = cameras_of(arguments, LivenessModels())
    assert (door.name, door.source, door.settings.fps, door.settings.tracking.detect_fps) == (
        "door", "rtsp://camera.lan/door", 5, 4
    )  # fmt: skip
    assert (yard.source, yard.settings.tracking.detect_fps, yard.settings.reopen) == ("0", 2, False)
    assert (arguments.mqtt, str(arguments.mqtt_spool)) == ("mqtt://broker/house", "mqtt.db")
    assert arguments.read_again().camera_tables == arguments.camera_tables


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "detect-fps = 2",
            "detct-fps = 2",
            r"camera 'yard': there is no setting 'detct-fps'. .do you mean 'detect-fps'",
        ),
        ("detect-fps = 2", "detect-fps = 0", r"camera 'yard': detect-fps: expected a number above 0"),
        ('name = "yard"', "", "A camera has no name"),
        ("source = 0", "", "The camera 'yard' has no source"),
        ("[[camera]]", "[camera]", "not TOML|expected tables"),
        ("[mqtt]\nurl", "[mqtt]\nurll", "no setting 'mqtt-urll'"),
        ("detect-fps = 4", 'source = "0"', "one source or"),
        ('"yard"', '"door"', "a name for each camera alone, got 'door' beside 'door'"),
    ],
)
def test_a_mistake_in_a_table_is_named(tmp_path, old, new, message):
    with pytest.raises(UsageError, match=message):
        cameras_of(parsed(tmp_path / "house.toml", HOUSE.replace(old, new)), LivenessModels())


def test_a_request_describes_a_camera_as_a_table_does(tmp_path):
    shared = vars(parsed(tmp_path / "house.toml", HOUSE))
    camera = camera_from_json({"name": "gate", "source": 1, "fps": 2.0}, shared, LivenessModels())
    assert (camera.name, camera.settings.fps, camera.settings.tracking.detect_fps) == ("gate", 2, 4)
    with pytest.raises(UsageError, match="do you mean 'source'"):
        camera_from_json({"name": "gate", "sourc": 1}, shared, LivenessModels())


def test_cameras_check_liveness_by_their_own_settings_or_the_shared_ones(tmp_path, bright_model):
    text = f"""
gallery = "people.db"
[liveness]
file = ["{bright_model}"]
threshold = 0.6

[[camera]]
name = "door"
source = 0
[[camera]]
name = "gate"
source = 1
[[camera]]
name = "hall"
source = 2
liveness-threshold = 0.8
[[camera]]
name = "yard"
source = 3
liveness = []
"""
    models, path = LivenessModels(), tmp_path / "house.toml"
    before = parsed(path, text)
    door, gate, hall, yard = cameras_of(before, models)
    assert (door.liveness.threshold, hall.liveness.threshold, yard.liveness) == (0.6, 0.8, None)
    assert gate.liveness is door.liveness
    group = CameraGroup([door, gate, hall, yard], detector=FoundNobody())
    streams = group.streams
    reload(group, before, before.read_again, models)
    assert group.streams == streams, "the same settings read again change no camera"
    path.write_text(text.replace("liveness = []", ""))
    reload(group, before, before.read_again, models)
    assert [one == other for one, other in zip(group.streams, streams, strict=True)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("fps = 5", 'liveness = ["missing.onnx"]', ModelNotFoundError, "missing.onnx"),
        ("fps = 5", "liveness-threshold = 0.7", UsageError, "needs the model that it is for"),
        ("fps = 5", 'liveness = "house.toml"', ModelFormatError, "house.toml"),
        ('gallery = "people.db"', 'liveness = ["missing.onnx"]', UsageError, "no gallery"),
    ],
)
def test_a_wrong_liveness_model_is_an_error_at_the_start(tmp_path, monkeypatch, old, new, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        cameras_of(parsed(tmp_path / "house.toml", HOUSE.replace(old, new)), LivenessModels())


class FoundNobody:
    name = "none"

    def detect(self, _):
        return []


def test_reading_again_changes_only_what_changed(tmp_path, capsys):
    path = tmp_path / "house.toml"
    before = parsed(path, HOUSE)
    group = CameraGroup(cameras_of(before, LivenessModels()), detector=FoundNobody())
    door, yard = group.stream("door"), group.stream("yard")
    path.write_text(
        HOUSE.replace("detect-fps = 2", "detect-fps = 3").replace("people.db", "others.db")
        + '\n[[camera]]\nname = "gate"\nsource = "rtsp://camera.lan/gate"\n'
    )
    after = reload(group, before, before.read_again, LivenessModels())
    assert [camera.name for camera in group.configured()] == ["door", "yard", "gate"]
    assert group.stream("door") is door
    assert group.stream("yard") is not yard
    said = capsys.readouterr().err
    assert "cameras added: 1, changed: 1, removed: 0\n" in said
    assert "from the next start: gallery" in said
    path.write_text(HOUSE.replace('[[camera]]\nname = "door"\nsource = "rtsp://camera.lan/door"\nfps = 5\n', ""))
    reload(group, after, after.read_again, LivenessModels())
    assert [camera.name for camera in group.configured()] == ["yard"]
    assert "cameras added: 0, changed: 1, removed: 2\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HOUSE.replace("fps = 5", "fsp = 5"), "no setting 'fsp'"),
        (HOUSE.replace('"yard"', '"door"'), "a name for each camera"),
        ("detect-fps = 4", "No [[camera]] table"),
        ("[[camera", "is not TOML"),
    ],
)
def test_bad_settings_change_nothing_and_say_why(tmp_path, capsys, text, reason):
    path = tmp_path / "house.toml"
    before = parsed(path, HOUSE)
    group = CameraGroup(cameras_of(before, LivenessModels()), detector=FoundNobody())
    cameras = group.configured()
    path.write_text(text)
    assert reload(group, before, before.read_again, LivenessModels()) is before
    assert group.configured() == cameras
    said = capsys.readouterr().err
    assert "settings not changed" in said
    assert reason in said


def test_a_camera_that_cannot_be_leaves_the_others_as_they_should_be(tmp_path, capsys):
    path = tmp_path / "house.toml"
    before = parsed(path, HOUSE)
    group = CameraGroup(cameras_of(before, LivenessModels()), detector=FoundNobody())
    path.write_text(HOUSE.replace("source = 0", 'source = "gopher://camera"').replace("fps = 5", "fps = 6"))
    reload(group, before, before.read_again, LivenessModels())
    assert "'yard' could not be changed" in capsys.readouterr().err
    assert [camera.source for camera in group.configured()] == ["rtsp://camera.lan/door", "0"]
    assert group.configured()[0].settings.fps == 6


@pytest.fixture
def receiver():
    """The address of a webhook, and what was posted to it."""
    posted = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/faces", posted
        server.shutdown()
        thread.join()


@pytest.mark.integration
def test_the_command_watches_two_films_and_reads_settings_on_a_signal(tmp_path, wait_until, receiver):
    """Hook and webhook, named by tables of their own, get the events of both cameras."""
    address, posted = receiver
    script = tmp_path / "note.sh"
    script.write_text(f'#!/bin/sh\nread -r line\nprintf "%s\\n" "$line" >> "{tmp_path}/hooked"\n')
    script.chmod(0o700)
    (tmp_path / "secret").touch(0o600)
    (tmp_path / "secret").write_text("a secret of the tests")
    hooks = (
        f'[webhook]\nurl = "{address}"\nspool = "{tmp_path}/webhook.db"\nsecret = "{tmp_path}/secret"\n'
        f'[on-event]\ncommand = "{script}"\nkinds = "source-up"\n'
    )
    for name in ("one", "two"):
        film = cv2.VideoWriter(str(tmp_path / f"{name}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (64, 48))
        for _ in range(750):
            film.write(np.zeros((48, 64, 3), np.uint8))
        film.release()
    config = tmp_path / "house.toml"
    tables = [f'[[camera]]\nname = "{name}"\nsource = "{tmp_path / name}.avi"\n' for name in ("one", "two")]
    config.write_text("\n".join([tables[0], hooks]))
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_sphereface", "watch", "--config", str(config)], stdout=out, stderr=err
        )
    try:
        said = lambda name: (tmp_path / name).read_text()  # noqa: E731 -- read again and again
        wait_until(lambda: "one  " in said("out"), seconds=30)
        config.write_text("\n".join([*tables, hooks]))
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "two  " in said("out"), seconds=30)
        assert "camera 'two': added" in said("err")
        up = [("one", "source-up"), ("two", "source-up")]
        wait_until(lambda: [(one["stream"], one["event"]) for one in posted] == up)
        wait_until(lambda: (tmp_path / "hooked").exists() and said("hooked").count("\n") == 2)
        assert sorted((one["stream"], one["event"]) for one in map(json.loads, said("hooked").splitlines())) == up
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait(10)
