"""The examples run as a user would run them: on a video file, and on raw frames from another program."""

import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

pytestmark = pytest.mark.integration
EXAMPLE = Path(__file__).parents[1] / "examples" / "camera.py"


def run(*words):
    done = subprocess.run([sys.executable, EXAMPLE, *map(str, words)], capture_output=True, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_a_video_file(people, small_model, astronaut, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (512, 512))
    for _ in range(12):
        writer.write(astronaut)
    writer.release()
    code, lines, errors = run("--model", small_model, "--gallery", people, tmp_path / "v.avi")
    assert code == 0, errors
    assert [(line["event"], line["name"]) for line in lines] == [("identified", "Eileen"), ("lost", "Eileen")]


def test_raw_frames_of_another_program(people, small_model, astronaut):
    """As rpicam-vid and gst-launch-1.0 write them; half a frame at the end is left out."""
    frame = cv2.cvtColor(astronaut, cv2.COLOR_BGR2YUV_I420).tobytes()
    words = [EXAMPLE, "--model", small_model, "--gallery", people, "-", "--size", "512x512"]
    process = subprocess.Popen([sys.executable, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for _ in range(40):
        process.stdin.write(frame)
        time.sleep(0.05)
    process.stdin.write(frame[:1000])
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["Eileen"] * 2


def test_a_camera_that_is_not_there(people, small_model, tmp_path):
    code, lines, errors = run("--model", small_model, "--gallery", people, tmp_path / "none.avi")
    assert code == 1
    assert lines == []
    assert "none.avi" in errors
