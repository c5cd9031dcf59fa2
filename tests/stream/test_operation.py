"""What those who run a stream for months ask of it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from edge_sphereface import FaceStream, StreamSettings, open_detector
from edge_sphereface.errors import ExtraError, SinkError
from edge_sphereface.image import save_image
from edge_sphereface.stream import SourceOptions
from edge_sphereface.stream.monitoring import HealthEndpoint, SystemdNotifier
from edge_sphereface.web import PageView


def ask(endpoint, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def health(endpoint):
    status, body = ask(endpoint, "/health")
    return status, json.loads(body)


@pytest.fixture
def endpoint(running, portrait, stack):
    stream = FaceStream(portrait, detector=open_detector(), settings=StreamSettings(name='the "door"'))
    with HealthEndpoint(stream, port=0) as endpoint:
        running(stream)
        yield endpoint


def test_a_stream_that_works_is_healthy(endpoint, wait_until):
    wait_until(lambda: health(endpoint)[0] == 200)
    about = health(endpoint)[1]
    assert about["healthy"] is about["source_up"] is True
    assert about["frame_s"] < 2


def test_before_the_first_frame_it_is_not(portrait, stack):
    stream = FaceStream(portrait, detector=open_detector())
    with HealthEndpoint(stream, port=0) as endpoint:
        status, about = health(endpoint)
        assert (status, about["healthy"], about["frame_s"]) == (503, False, None)


@pytest.mark.slow
def test_a_camera_that_is_gone_is_not_healthy(running, fake_source, black, wait_until):
    source = fake_source([[black] * 20, OSError("unplugged")], interval_s=0.05)
    stream = FaceStream(source, detector=open_detector(), settings=StreamSettings(source=SourceOptions(stall_s=1)))
    with HealthEndpoint(stream, port=0) as endpoint:
        running(stream)
        wait_until(lambda: health(endpoint)[0] == 200)
        wait_until(lambda: health(endpoint)[0] == 503)
        assert health(endpoint)[1]["source_up"] is False


def test_a_thread_that_hangs_is_not_healthy_and_is_still_told(running, portrait, clock):
    hangs, released = threading.Event(), threading.Event()

    def hang(_):
        hangs.set()
        released.wait(20)

    stream = FaceStream(portrait, detector=open_detector(), on_frame=hang, clock=clock)
    with HealthEndpoint(stream, port=0) as endpoint:
        running(stream)
        assert hangs.wait(20)
        assert health(endpoint)[0] == 200
        clock.ahead_s += 6.0
        status, about = health(endpoint)
        assert (status, about["healthy"], about["source_up"]) == (503, False, True)
        assert about["turn_s"] > 5
        released.set()


def test_what_is_wrong_is_counted_and_told_though_frames_are_worked_on(running, portrait, wait_until):
    def fail(_event):
        raise RuntimeError("a callback of mine")

    stream = FaceStream(portrait, detector=open_detector(), on_event=fail)
    with HealthEndpoint(stream, port=0) as endpoint:
        running(stream)
        wait_until(lambda: 'edge_sphereface_problems{stream="camera"} 1.0' in ask(endpoint, "/metrics")[1])
        wait_until(lambda: health(endpoint)[0] == 200)
        assert "a callback of mine" in health(endpoint)[1]["problems"][0]


def test_metrics_are_what_prometheus_reads(endpoint, wait_until):
    from prometheus_client.parser import text_string_to_metric_families

    def samples():
        families = text_string_to_metric_families(ask(endpoint, "/metrics")[1])
        return {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }

    wait_until(lambda: samples()["edge_sphereface_detections_total", 'the "door"'] > 2)
    found = samples()
    assert found["edge_sphereface_healthy", 'the "door"'] == 1
    assert (
        found["edge_sphereface_frames_total", 'the "door"'] >= found["edge_sphereface_detections_total", 'the "door"']
    )
    assert 0 < found["edge_sphereface_latency_seconds", "0.99", 'the "door"'] < 5
    assert found["edge_sphereface_events_total", "source-up", 'the "door"'] == 1
    assert found["edge_sphereface_work_seconds_total", 'the "door"'] > 0
    time.sleep(0.2)
    later = samples()
    assert all(later[name] >= value for name, value in found.items() if name[0].endswith("_total"))


def test_other_paths_are_told(endpoint):
    assert ask(endpoint, "/") == (404, "/health or /metrics\n")


def test_an_answer_is_the_same_on_either_stack(endpoint, wait_until, stack):
    """The headers, what ends the connection, and what is refused; only the version of HTTP tells which stack it is."""
    wait_until(lambda: health(endpoint)[0] == 200)
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/health?x=1", timeout=5) as answer:
        headers = answer.headers
        assert answer.version == {"uvicorn": 11, "standard library": 10}[stack]
        assert int(headers["Content-Length"]) == len(answer.read())
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Connection"] == "close"
    assert headers["Server"].strip() == "edge_sphereface"
    assert headers["Date"]


def answer_to(endpoint, method, path):
    """Status, headers and body of an answer, read to the end of its connection."""
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) as line:
        line.sendall(f"{method} {path} HTTP/1.1\r\nHost: anything\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: line.recv(1 << 16), b"")).partition(b"\r\n\r\n")
    first, *lines = head.decode().splitlines()
    return int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ") for line in lines)}, body


def test_methods_are_answered_as_http_asks(endpoint, wait_until):
    """HEAD as GET without the body, others with those that are allowed: RFC 9110, 9.3.2 and 15.5.6."""
    wait_until(lambda: health(endpoint)[0] == 200)
    for path, expected in (("/health", 200), ("/metrics", 200), ("/", 404)):
        status, headers, body = answer_to(endpoint, "HEAD", path)
        _, like, _ = answer_to(endpoint, "GET", path)
        assert (status, body) == (expected, b"")
        assert headers["content-type"] == like["content-type"]
        assert int(headers["content-length"]) > 10
    for method in ("POST", "OPTIONS", "DELETE", "BREW"):
        status, headers, body = answer_to(endpoint, method, "/health")
        assert (status, headers["allow"], body) == (405, "GET, HEAD", b"expected GET, HEAD\n"), method


@pytest.mark.integration
def test_without_the_extra_web_the_command_serves_them(film_of_nobody):
    """In a process that can import neither starlette nor uvicorn."""
    code = (
        "import sys; sys.modules['uvicorn'] = sys.modules['starlette'] = None; "
        "from edge_sphereface.cli.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = ["watch", film_of_nobody, "--folder-fps", "0.5", "--metrics", str(port)]
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert b"64 x 48" in process.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert b"edge_sphereface_frames_total" in answer.read()
    finally:
        process.terminate()
        _, err = process.communicate(timeout=10)
    assert process.returncode == 0, err


def test_page_and_metrics_at_one_address_share_a_server(served):
    """Both answer, and neither takes the rules of the other: health needs no token and no name of this machine."""
    page, _ = served(token="a token of this test", metrics=True)
    status, about = health(page)
    assert status in (200, 503)
    assert "healthy" in about
    assert "edge_sphereface_frames_total" in ask(page, "/metrics")[1]
    for path in ("/", "/api/gallery", "/health/", "/metrics/x"):
        assert ask(page, path)[0] == 401, path
    request = urllib.request.Request(f"http://127.0.0.1:{page.port}/health", headers={"Host": "box.lan"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 200
    except urllib.error.HTTPError as error:  # the stream may not be healthy yet
        assert error.code == 503  # noqa: PT017


def test_a_page_serves_no_metrics_unasked(served):
    page, _ = served()
    assert ask(page, "/health")[0] == 404


@pytest.mark.integration
@pytest.mark.parametrize("metrics", ["18097", "localhost:18097"])
def test_the_command_serves_both_at_one_address(film_of_nobody, metrics):
    words = [sys.executable, "-m", "edge_sphereface", "watch", film_of_nobody, "--folder-fps", "0.5"]
    process = subprocess.Popen(
        [*words, "--view", "18097", "--metrics", metrics], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert b"64 x 48" in process.stdout.readline()
        for path, found in (("/", b"<html"), ("/metrics", b"edge_sphereface_healthy"), ("/api/gallery", b"people")):
            with urllib.request.urlopen(f"http://127.0.0.1:18097{path}", timeout=5) as answer:
                assert found in answer.read(), path
    finally:
        process.terminate()
        _, err = process.communicate(timeout=10)
    assert process.returncode == 0, err


def test_a_page_with_metrics_needs_their_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "edge_sphereface.stream.monitoring.metrics", None)
    with pytest.raises(ExtraError, match=r"\[metrics\]"):
        PageView(metrics=True)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_all_addresses_of_ipv6_are_those_of_ipv4_too(portrait, stack):
    with HealthEndpoint(FaceStream(portrait, detector=open_detector()), "::", 0) as endpoint:
        assert ask(endpoint, "/health")[0] == 503


def test_a_port_that_is_taken(endpoint, portrait):
    stream = FaceStream(portrait, detector=open_detector())
    with pytest.raises(SinkError, match=f"port {endpoint.port}"):
        HealthEndpoint(stream, port=endpoint.port)


def test_the_port_is_free_after_the_end(portrait, stack):
    """Though connections were open: one idle, one in the middle of its request."""
    stream = FaceStream(portrait, detector=open_detector())
    with HealthEndpoint(stream, port=0) as first:
        idle = socket.create_connection(("127.0.0.1", first.port))
        half = socket.create_connection(("127.0.0.1", first.port))
        half.sendall(b"GET /health HTTP/1.1\r\n")
        assert health(first)[0] == 503
    with idle, half, HealthEndpoint(stream, port=first.port) as second:
        assert health(second)[0] == 503


def test_without_the_extra_it_says_what_to_install(monkeypatch, portrait):
    monkeypatch.setitem(sys.modules, "edge_sphereface.stream.monitoring.metrics", None)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    stream = FaceStream(portrait, detector=open_detector())
    with pytest.raises(ExtraError, match=r"\[metrics\]"):
        HealthEndpoint(stream)


@pytest.fixture
def systemd(tmp_path):
    """The socket on which systemd listens, and what was said on it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(10)

        def heard():
            said = []
            line.setblocking(False)
            try:
                while True:
                    said.append(line.recv(4096).decode())
            except BlockingIOError:
                line.settimeout(10)
                return said

        line_and_words = type(
            "Systemd", (), {"path": str(tmp_path / "notify"), "line": line, "heard": staticmethod(heard)}
        )
        yield line_and_words


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_systemd_hears_that_it_began_lives_and_ends(systemd, end_of):
    """The command as its unit starts it."""
    environment = {**os.environ, "NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": "600000"}
    words = [
        sys.executable,
        "-m",
        "edge_sphereface",
        "watch",
        "videotestsrc is-live=true ! video/x-raw,width=64,height=48",
    ]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert [systemd.line.recv(4096) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]
    finally:
        end_of(process, signal.SIGTERM)
    assert systemd.heard()[-1] == "STOPPING=1"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_signs_come_three_times_in_a_period(monkeypatch, systemd):
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.path)
    monkeypatch.setenv("WATCHDOG_USEC", "600000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    now = [0.0]
    supervisor = SystemdNotifier(clock=lambda: now[0])
    for now[0] in (0.0, 0.1, 0.19, 0.2, 0.3, 0.39, 0.41):
        supervisor.alive()
    assert systemd.heard() == ["READY=1", *["WATCHDOG=1"] * 3]


@pytest.mark.integration
def test_with_everything_on_and_somebody_who_waits_it_ends_at_once(black, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(10):
        save_image(pictures / f"{index}.png", black)
    words = [
        sys.executable, "-m", "edge_sphereface", "watch", str(pictures), "--folder-fps", "0.1", "--json",
        "--view", "18095", "--metrics", "18096", "--record", str(tmp_path / "video"),
        "--snapshots", str(tmp_path / "faces"), "--events", str(tmp_path / "events.jsonl"),
    ]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    viewer = socket.socket()
    try:
        assert '"source-up"' in process.stdout.readline()
        end = time.monotonic() + 10
        while viewer.connect_ex(("127.0.0.1", 18095)):
            assert time.monotonic() < end
            time.sleep(0.05)
        viewer.sendall(b"GET /api/frame?after=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")  # the next comes in ten seconds
        time.sleep(0.3)
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=6)  # it takes two, and longer only beside busy processes
        viewer.close()
    assert process.returncode == 0, err
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["final"] is True
    assert lines[1:] == out.splitlines()
    assert len(list((tmp_path / "video").glob("*Z.*"))) == 1


def test_without_systemd_nothing_is_said(monkeypatch):
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    supervisor = SystemdNotifier()
    supervisor.alive()
    supervisor.stopping()


def test_a_watchdog_of_another_process_is_not_ours(monkeypatch, systemd):
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.path)
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    supervisor = SystemdNotifier()
    for _ in range(3):
        supervisor.alive()
        time.sleep(0.01)
    assert systemd.heard() == ["READY=1"]
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)


def test_a_stream_that_hangs_gives_no_sign(running, portrait, systemd, monkeypatch, wait_until):
    """So that systemd starts it anew."""
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.path)
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    hang, hangs, released = threading.Event(), threading.Event(), threading.Event()

    def on_frame(_):
        if hang.is_set():
            hangs.set()
            released.wait(20)

    supervisor = SystemdNotifier()
    running(FaceStream(portrait, detector=open_detector(), on_turn=supervisor.alive, on_frame=on_frame))
    signs = []
    wait_until(lambda: signs.extend(systemd.heard()) or len(signs) > 2)
    hang.set()
    assert hangs.wait(20)
    systemd.heard()
    time.sleep(0.3)
    assert systemd.heard() == []
    released.set()


@pytest.mark.integration
def test_the_token_is_in_no_output(film_of_nobody):
    """A token that was set stays where it was set."""
    environment = {**os.environ, "EDGE_SPHEREFACE_VIEW_TOKEN": "secret-of-the-page"}
    words = [sys.executable, "-m", "edge_sphereface", "watch", film_of_nobody, "--fast", "--view", "127.0.0.1:18093"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "18093" in done.stderr
    assert "secret-of-the-page" not in done.stdout + done.stderr


@pytest.mark.integration
def test_a_token_is_made_where_others_can_look(film_of_nobody):
    words = [sys.executable, "-m", "edge_sphereface", "watch", film_of_nobody, "--fast", "--view", "0.0.0.0:18094"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"http://\S+:18094/\?token=\S{32}\n", done.stderr)


@pytest.fixture
def film_of_nobody(tmp_path, black):
    (tmp_path / "film").mkdir()
    for index in range(5):
        save_image(tmp_path / "film" / f"{index}.png", black)
    return str(tmp_path / "film")
