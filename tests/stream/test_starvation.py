"""No peer takes the connections or the descriptors of others."""

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from edge_sphereface import FaceStream, open_detector
from edge_sphereface.http_server.connections import ConnectionCaps, Connections
from edge_sphereface.stream.monitoring import HealthEndpoint

CAPS = ConnectionCaps(pending=4, pending_per_address=3, accepted=3, accepted_per_address=2)
POST = b"POST /api/enroll HTTP/1.1\r\n"
HALF = b"GET /api/frame HTTP/1.1\r\nHost: localhost\r\nX-Half: "


def test_a_new_connection_replaces_the_oldest_of_its_address_and_no_other():
    connections, closed = Connections(CAPS), []
    other = connections.enter("10.0.0.2", lambda: closed.append("other"))
    for number in range(5):
        connections.enter("10.0.0.1", lambda number=number: closed.append(number))
    assert closed == [0, 1]
    assert not other.closing


def test_many_addresses_replace_the_oldest_of_all():
    connections, closed = Connections(CAPS), []
    for number in range(6):
        connections.enter(f"10.0.0.{number}", lambda number=number: closed.append(number))
    assert closed == [0, 1]


def test_a_network_of_ipv6_is_one_peer():
    connections, closed = Connections(CAPS), []
    for number in range(5):
        connections.enter(f"2001:db8::{number:x}%eth0", lambda number=number: closed.append(number))
    connections.enter("::ffff:10.0.0.1", lambda: None)
    assert closed == [0, 1]


def test_an_accepted_connection_is_never_replaced_and_accepted_ones_have_caps():
    connections, closed = Connections(CAPS), []
    kept = [connections.enter("10.0.0.1", lambda: closed.append("kept")) for _ in range(3)]
    assert [connections.accept(one) for one in kept] == [True, True, False]
    assert connections.accept(kept[0])  # its next request
    for _ in range(5):
        pending = connections.enter("10.0.0.1", lambda: closed.append("pending"))
    assert set(closed) == {"pending", "kept"}
    assert closed.count("kept") == 1  # the one that was not accepted
    assert not connections.accept(pending)
    connections.leave(kept[0])
    assert connections.accept(pending)


def test_what_was_replaced_and_does_not_go_has_a_bound():
    connections = Connections(CAPS)
    taken = [connections.enter("10.0.0.1", lambda: None) for _ in range(50)]
    assert sum(one is not None for one in taken) == len(connections) == 11


@pytest.mark.parametrize(
    "caps", [CAPS, ConnectionCaps.of_this_process(most=512), ConnectionCaps.of_this_process(most=0)]
)
def test_batches_find_room_while_the_connections_that_they_replace_are_closed(caps):
    """Though all places of accepted connections are taken."""
    connections = Connections(caps)
    accepted = [connections.enter(f"10.0.{number}.1", lambda: None) for number in range(caps.accepted)]
    assert all(connections.accept(one) for one in accepted)
    for number in range(caps.pending + 3 * caps.batch):
        assert connections.enter(f"10.1.{number}.1", lambda: None) is not None


@pytest.mark.skipif(os.name != "posix", reason="needs limits of processes")
@pytest.mark.parametrize(("limit", "least", "most"), [(256, 16, 144), (1024, 400, 512), (64, 16, 16)])
def test_caps_follow_from_the_descriptors_of_the_process(limit, least, most):
    code = (
        "import resource; from edge_sphereface.http_server.connections import ConnectionCaps; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit})); "
        "caps = ConnectionCaps.of_this_process(most=512); print(caps.accepted + 2 * caps.pending)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert least <= int(done.stdout) <= most


class Camera(BaseHTTPRequestHandler):
    """Gives two seconds of MJPEG, then ends, so that it is opened again and again."""

    portraits: tuple[bytes, ...] = ()
    openings = 0

    def do_GET(self):
        type(self).openings += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
        self.end_headers()
        for jpeg in self.portraits:
            head = f"--x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            try:
                self.wfile.write(head + jpeg + b"\r\n")
            except OSError:  # the test has ended
                return
            time.sleep(0.05)

    def log_message(self, *_):
        pass


@pytest.fixture
def camera(astronaut):
    """An HTTP camera in which somebody sways, with the count of its openings."""
    frames = []
    for index in range(40):
        frame = np.full((360, 480, 3), 90, np.uint8)
        frame[20:320, 120 + index : 360 + index] = astronaut[:300, 100:340]
        frames.append(cv2.imencode(".jpg", frame)[1].tobytes())
    handler = type("ThisCamera", (Camera,), {"portraits": tuple(frames)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/video", handler
        server.shutdown()


def free_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return listener.getsockname()[1]


def ask(port, path, source=None, headers=None):
    """Status and body, asked from an address of this machine."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    request += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items()) + "\r\n"
    address = None if source is None else (source, 0)
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=address) as line:
        line.sendall(request.encode())
        answer = b""
        while block := line.recv(1 << 16):
            answer += block
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs limits of processes, and 127.0.0.0/8")
@pytest.mark.parametrize("servers", ["two servers", "one server"])
def test_400_idle_and_half_requests_at_256_descriptors_stop_nothing(
    camera, people, small_model, tmp_path, wait_until, servers
):
    """The page (with a token), health, snapshots and the opening of the camera go on while the attack lasts."""
    url, handler = camera
    page = free_port()
    metrics = page if servers == "one server" else free_port()
    words = [
        "watch", url, "--gallery", people, "--model", small_model, "--threshold", "0.99", "--json",
        "--view", page, "--metrics", metrics, "--snapshots", tmp_path / "faces", "--lost-after-s", "0.3",
    ]  # fmt: skip
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); "
        "from edge_sphereface.cli.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    environment = {**os.environ, "EDGE_SPHEREFACE_VIEW_TOKEN": "token-of-this-test"}
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)], stdout=out, stderr=err, env=environment
        )
    bearer = {"Authorization": "Bearer token-of-this-test"}
    with ExitStack() as stack:
        stack.callback(process.wait, 10)
        stack.callback(process.terminate)
        faces = tmp_path / "faces"
        wait_until(lambda: faces.is_dir() and any(faces.glob("*.jpg")), 60)
        for number in range(400):
            for port in (page, metrics):
                line = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=5)))
                if number % 2:
                    line.sendall(HALF)
        pictures, openings = len(list(faces.glob("*.jpg"))), handler.openings
        assert ask(metrics, "/metrics")[0] == 200
        for source in ("127.0.0.1", "127.0.0.2"):  # beside the attack, and from elsewhere
            assert ask(metrics, "/health", source)[0] in (200, 503)
            assert ask(page, "/api/frame", source)[0] == 401
            status, body = ask(page, "/api/frame", source, bearer)
            assert status == 200
            assert b"\xff\xd8" in body
        assert len(os.listdir(f"/proc/{process.pid}/fd")) < 200
        wait_until(lambda: len(list(faces.glob("*.jpg"))) > pictures and handler.openings > openings, 30)
        assert process.poll() is None
    assert "Traceback" not in (tmp_path / "err").read_text()


def ends(line, seconds=10):
    """Whether the other end hangs up in time; what it sends before is read."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([line], [], [], 0.05)[0]:
            try:
                if not line.recv(1 << 16):
                    return True
            except OSError:
                return True
    return False


def drip_until_it_ends(line):
    """One byte before each time-out between two of them."""
    began = time.monotonic()
    while not ends(line, 0.1):
        assert time.monotonic() - began < 10
        try:
            line.sendall(b"x")
        except OSError:
            return


@pytest.fixture
def served_page(served):
    """A page whose viewers have little time."""
    return served(request_s=0.6, answer_s=1.2)[0]


@pytest.fixture
def served_health(portrait, stack):
    """An endpoint whose visitors have little time."""
    stream = FaceStream(portrait, detector=open_detector())
    with HealthEndpoint(stream, port=0, deadline_s=0.6) as endpoint:
        yield endpoint


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [
        b"",
        HALF,
        b"GET /missing HTTP/1.1\r\nHost: localhost\r\n\r\n" + HALF,  # another request has gone before
        POST + b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        POST + b"Host: evil\r\nContent-Length: 9999999\r\n\r\n{",  # refused before its body
    ],
)
def test_drops_of_a_request_do_not_hold_a_connection(served_page, start):
    """Each drop comes before any time-out between two of them."""
    with closing(socket.create_connection(("127.0.0.1", served_page.port))) as line:
        line.sendall(start)
        drip_until_it_ends(line)


@pytest.mark.slow
def test_an_answer_that_nobody_reads_does_not_hold_a_connection(served_page):
    with closing(socket.socket()) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", served_page.port))
        poll = select.poll()
        poll.register(line, select.POLLHUP | select.POLLERR)
        line.setblocking(False)
        began = time.monotonic()
        while not poll.poll(50):  # more and more requests, and not a byte is read
            assert time.monotonic() - began < 10
            try:
                line.send(b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
            except BlockingIOError:
                pass
            except OSError:
                break


@pytest.mark.slow
def test_a_viewer_who_stays_is_not_cut_off(served_page):
    """Requests one after another on one connection, for longer than any one may take."""
    with closing(socket.create_connection(("127.0.0.1", served_page.port), timeout=5)) as line:
        began, answers = time.monotonic(), 0
        reader = line.makefile("rb")
        while time.monotonic() - began < 2:
            line.sendall(b"GET /api/gallery HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in reader.readline()
            length = 0
            while header := reader.readline().strip():
                found = re.fullmatch(rb"content-length: (\d+)", header, re.IGNORECASE)
                length = int(found[1]) if found else length
            assert json.loads(reader.read(length))["total"] == 0
            answers += 1
            time.sleep(0.1)
    assert answers > 5


@pytest.mark.slow
def test_drops_of_a_request_do_not_hold_the_health_endpoint(served_health):
    with closing(socket.create_connection(("127.0.0.1", served_health.port))) as line:
        line.sendall(b"GET /health HTTP/1.1\r\n")
        drip_until_it_ends(line)


@pytest.mark.slow
def test_200_viewers_at_once_are_served(served):
    page, _ = served()
    seen, lock = [], threading.Lock()

    def look():
        for _ in range(3):
            with urllib.request.urlopen(f"http://localhost:{page.port}/api/frame?after=0", timeout=20) as answer:
                body = answer.read()
            with lock:
                seen.append(len(body) > 1000)

    viewers = [threading.Thread(target=look) for _ in range(200)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join(30)
    assert seen == [True] * 600
