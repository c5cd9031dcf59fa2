"""A camera that does not answer keeps no other one from being opened."""

import socket
import threading

import cv2
import numpy as np
import pytest

from edge_sphereface.errors import SourceError
from edge_sphereface.stream.capture.knock import require_answer
from edge_sphereface.stream.capture.opencv import CaptureSource


@pytest.fixture
def listener():
    """A port that accepts connections and says nothing; gives what was asked to a test that accepts them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_silent_camera_is_left_after_its_time(listener):
    with pytest.raises(SourceError, match=r"no answer within 0\.1 s"):
        require_answer(f"rtsp://user:secret@127.0.0.1:{listener.getsockname()[1]}/live", 0.1)


def test_a_camera_that_answers_is_asked_without_its_password(listener):
    asked = []

    def serve():
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(1000))
            connection.sendall(b"RTSP/1.0 401 Unauthorized\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    require_answer(f"rtsp://user:secret@127.0.0.1:{port}/live", 10.0)
    thread.join(10)
    assert asked == [
        f"OPTIONS rtsp://127.0.0.1:{port}/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: edge-sphereface\r\n\r\n".encode()
    ]


def test_a_camera_that_hangs_up_is_refused(listener):
    def hang_up():
        connection, _ = listener.accept()
        connection.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    with pytest.raises(SourceError, match="closed the connection|reset"):
        require_answer(f"rtsp://127.0.0.1:{listener.getsockname()[1]}", 10.0)
    thread.join(10)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("rtsp://127.0.0.1:9/live", "refused"),
        ("http://127.0.0.1:9/", "refused"),
        ("rtsp://no.such.host.invalid/", "name|resolution"),
    ],
)
def test_the_reason_is_named(address, reason):
    with pytest.raises(SourceError, match=f"(?i){reason}"):
        require_answer(address, 10.0)


@pytest.mark.parametrize(
    "address", ["udp://239.0.0.1:5000", "rtsp://u:a/b@host/live", "rtsp:///live", "tcp://127.0.0.1:9"]
)
def test_other_addresses_are_left_to_ffmpeg(address):
    require_answer(address, 0.01)


@pytest.mark.integration
def test_a_source_is_opened_while_a_silent_camera_is(listener, tmp_path):
    """OpenCV itself opens them one after another, and each silent camera takes its whole time-out."""
    film = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (64, 48))
    film.write(np.zeros((48, 64, 3), np.uint8))
    film.release()
    silent = CaptureSource(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live", timeout_s=20.0)
    failures = []

    def open_silent():
        try:
            silent.open()
        except SourceError as error:
            failures.append(error)

    thread = threading.Thread(target=open_silent, daemon=True)
    thread.start()
    connection, _ = listener.accept()
    assert silent.is_waiting
    other = CaptureSource(str(tmp_path / "film.avi"))
    other.open()
    assert other.read() is not None
    assert not failures
    other.close()
    connection.close()
    listener.close()
    thread.join(20)
    assert "closed the connection" in failures[0].hint or "reset" in failures[0].hint
    assert not silent.is_waiting
