"""Against real servers: GStreamer's RTSP server, and a GStreamer pipeline of its own."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.errors import SourceError
from edge_sphereface.stream.capture.factory import SourceOptions, make_source
from edge_sphereface.stream.capture.gstreamer import PipelineSource
from edge_sphereface.stream.capture.reader import FrameReader

pytestmark = pytest.mark.integration
SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"
NEEDED = "gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer, Gst; Gst.init(None); "


def has_server():
    code = f"import gi; {NEEDED} assert Gst.ElementFactory.find('x264enc')"
    if not os.path.exists(SYSTEM_PYTHON):
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.fixture
def serve():
    """Start an RTSP server on a port; everything is ended afterwards."""
    if not has_server():
        pytest.skip("needs GStreamer's RTSP server, which is not here: sudo scripts/install-test-servers")
    started = []

    def start(port, width=320, height=240):
        process = subprocess.Popen(
            [SYSTEM_PYTHON, str(SERVER), str(port), str(width), str(height)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline().strip() == "ready"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Watching:
    """Reads a source and remembers what came."""

    def __init__(self, address, stall_s=2.0):
        options = SourceOptions(stall_s=stall_s)
        self.reader = FrameReader(
            lambda: make_source(address, options), stall_s=stall_s, first_wait_s=0.2, longest_wait_s=0.5
        )
        self.reader.start()
        self.sizes, self.changes, self.frames = set(), [], 0

    def until(self, done, limit_s=20.0):
        end = time.monotonic() + limit_s
        while not done() and time.monotonic() < end:
            frame = self.reader.next(0.1)
            self.changes += self.reader.changes()
            if frame is not None:
                self.frames += 1
                self.sizes.add(frame.image.shape[1::-1])
        assert done(), (self.frames, self.sizes, self.changes)

    def more(self, count=10, **limit):
        goal = self.frames + count
        self.until(lambda: self.frames >= goal, **limit)


@pytest.fixture
def watching():
    made = []

    def watch(*words, **options):
        made.append(Watching(*words, **options))
        return made[-1]

    yield watch
    for one in made:
        assert one.reader.stop()


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_again_with_another_size(serve, watching, port):
    server = serve(port)
    one = watching(f"rtsp://user:s3cret@127.0.0.1:{port}/live")
    one.more()
    server.kill()
    one.until(lambda: any(not change.up for change in one.changes))
    serve(port, 480, 320)
    one.more()
    assert one.sizes == {(320, 240), (480, 320)}
    assert [change.up for change in one.changes][-1]
    assert not any("s3cret" in change.reason + change.hint for change in one.changes)


@pytest.mark.slow
def test_a_connection_that_is_open_and_silent(serve, watching, port):
    """The server is stopped, not ended: nothing comes and nothing says so."""
    server = serve(port)
    one = watching(f"rtsp://127.0.0.1:{port}/live", stall_s=1.5)
    one.more()
    server.send_signal(signal.SIGSTOP)
    one.until(lambda: any(not change.up for change in one.changes))
    server.send_signal(signal.SIGCONT)
    one.more()


@pytest.mark.slow
def test_another_size_in_mid_stream(serve, watching, port):
    """The pictures go on; OpenCV brings them to the size that the connection began with."""
    server = serve(port)
    one = watching(f"rtsp://127.0.0.1:{port}/live")
    one.more()
    server.stdin.write("resize 480 320\n")
    server.stdin.flush()
    assert server.stdout.readline().strip() == "480"
    one.more(60)
    assert one.sizes == {(320, 240)}
    assert all(change.up for change in one.changes)


@pytest.mark.slow
def test_damaged_bytes_on_the_way(serve, watching, port):
    """A proxy turns bytes around; the stream goes on, or is opened again."""
    serve(port)
    damage = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=relay, args=(listener, port, damage), daemon=True).start()
        one = watching(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live")
        one.more()
        damage.set()
        one.more(20, limit_s=40)
        damage.clear()
        one.more(20, limit_s=40)
        one.reader.stop()


def relay(listener, port, damage):
    """Carry bytes between a client and the server; of what comes back, turn some around while damage is set."""
    rng = np.random.default_rng(0)

    def pump(source, target, spoil):
        try:
            while data := source.recv(65536):
                if spoil and damage.is_set():
                    spoiled = bytearray(data)
                    for place in rng.integers(0, len(spoiled), max(len(spoiled) // 400, 1)):
                        spoiled[place] ^= 0xFF
                    data = bytes(spoiled)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()

    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=pump, args=(client, server, False), daemon=True).start()
        threading.Thread(target=pump, args=(server, client, True), daemon=True).start()


needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None,
    reason="needs gst-launch-1.0, which is not here: sudo scripts/install-test-servers",
)


def pipelines():
    """Process numbers of the pipelines that this process runs."""
    listed = subprocess.check_output(["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], text=True)
    rows = [line.split(maxsplit=1) for line in listed.splitlines()]
    return {int(number) for number, name in rows if name.startswith("gst-launch")}


@needs_gstreamer
@pytest.mark.parametrize("size", [(64, 48), (320, 240), (328, 246)])
def test_a_pipeline_gives_the_pixels_that_it_should(size):
    source = PipelineSource(
        f"videotestsrc num-buffers=5 pattern=solid-color foreground-color=0xff2040c0 ! "
        f"video/x-raw,width={size[0]},height={size[1]},framerate=10/1 ! appsink"
    )
    source.open()
    frames = []
    while (image := source.read()) is not None:
        frames.append(image)
    source.close()
    assert 1 <= len(frames) <= 5
    assert source.fps == 10
    assert frames[0].shape == (size[1], size[0], 3)
    assert np.abs(frames[0].astype(int) - [0xC0, 0x40, 0x20]).max() <= 4


@needs_gstreamer
@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("nosuchelement ! fakesink", "nosuchelement"),
        ("videotestsrc ! video/x-raw,width=322,height=240", "8 divides"),
        ("filesrc location=/missing ! decodebin", "gave no video"),
    ],
)
def test_a_pipeline_that_cannot_work_says_why(pipeline, said):
    before = pipelines()
    with pytest.raises(SourceError, match=said):
        PipelineSource(pipeline).open()
    assert pipelines() == before, "none is left behind"


@needs_gstreamer
def test_a_pipeline_that_hangs_is_ended(watching):
    """The process is killed and started again; none is left behind."""
    one = watching("videotestsrc is-live=true ! video/x-raw,width=64,height=48 ! identity sleep-time=0", stall_s=1.0)
    one.more()
    (process,) = pipelines()
    os.kill(process, signal.SIGSTOP)
    one.until(lambda: any(not change.up for change in one.changes))
    one.more()
