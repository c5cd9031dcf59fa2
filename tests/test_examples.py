"""The examples run as a user would run them: on a video file, and on raw frames from another program."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "camera.py"


@pytest.fixture
def known(tmp_path, astronaut):
    for name, image in (("eileen", astronaut), ("mirrored", astronaut[:, ::-1])):
        (tmp_path / "people" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "people" / name / "1.png"), image)
    return tmp_path / "people"


def run(*words, frames=None):
    done = subprocess.run([sys.executable, EXAMPLE, *map(str, words)], input=frames, capture_output=True, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_a_video_file(known, small_model, astronaut, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (512, 512))
    for _ in range(3):
        writer.write(astronaut)
    writer.release()
    code, lines, errors = run("--model", small_model, "--known", known, tmp_path / "v.avi")
    assert code == 0, errors
    assert [line["name"] for line in lines] == ["eileen"] * 3
    assert all(line["similarity"] > 0.9 and len(line["box"]) == 4 for line in lines)


def test_raw_frames_of_another_program(known, small_model, astronaut):
    """As rpicam-vid and gst-launch-1.0 write them; half a frame at the end is left out."""
    frame = cv2.cvtColor(astronaut, cv2.COLOR_BGR2YUV_I420).tobytes()
    words = ("--model", small_model, "--known", known, "-", "--size", "512x512")
    code, lines, errors = run(*words, frames=frame * 2 + frame[:1000])
    assert code == 0, errors
    assert [line["name"] for line in lines] == ["eileen"] * 2


def test_a_camera_that_is_not_there(known, small_model, tmp_path):
    code, lines, errors = run("--model", small_model, "--known", known, tmp_path / "none.avi")
    assert code == 1
    assert lines == []
    assert "cannot open" in errors
