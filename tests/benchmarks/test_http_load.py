"""The load on the HTTP interface: what counts as admitted, refused and late."""

import json
import signal
import threading

import cv2
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.http.house import Reports, write_house
from benchmarks.http.load import Unloaded, loaded, quantile, serving, unloaded
from benchmarks.http.memory import MemoryUnderLoad
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.errors import EdgeSphereFaceError


def test_requests_are_counted_by_their_answers():
    numbers, lock = iter(range(10_000)), threading.Lock()

    def ask():
        with lock:
            return (200, 429, 0)[next(numbers) % 3]

    base = Unloaded(requests=1, p50_ms=1.0, p99_ms=2.0, capacity_per_s=300.0)
    row = loaded(ask, lambda: 50.0, load=2, base=base, seconds=0.2, settling_s=0.05)
    assert row.sent == row.admitted + row.refused + row.failed
    assert min(row.admitted, row.refused, row.failed) > 10
    assert row.p99_ratio == row.p99_ms / 2.0
    assert (row.offered_per_s, row.rss_begin_mib, row.rss_end_mib) == (600.0, 50.0, 50.0)


def test_a_measurement_that_breaks_off_waits_for_no_answer():
    """As on Ctrl-C: a server that ends or hangs does not answer."""
    asked, released, answered = threading.Event(), threading.Event(), []

    def ask():
        asked.set()
        released.wait(20)
        answered.append(200)
        return 200

    def rss_mib():
        if asked.is_set():
            raise KeyboardInterrupt
        return 50.0

    base = Unloaded(requests=1, p50_ms=1.0, p99_ms=2.0, capacity_per_s=100.0)
    with pytest.raises(KeyboardInterrupt):
        loaded(ask, rss_mib, load=1, base=base, seconds=20, settling_s=0.1)
    assert not answered
    released.set()


@pytest.mark.parametrize(
    ("after", "growth_mib", "is_flat"), [([80.0] * 40, 0.0, True), ([80.0 + n for n in range(40)], 28.0, False)]
)
def test_memory_is_flat_if_it_does_not_grow_after_the_warm_up(after, growth_mib, is_flat):
    """Samples come every 10 s; medians of two minutes are compared."""
    memory = MemoryUnderLoad.judge([10.0, 70.0, 75.0, *[80.0] * 9, *after])
    assert (memory.growth_mib, memory.is_flat) == (growth_mib, is_flat)
    assert len(memory.samples_mib) == 52


def test_memory_of_a_short_load_is_not_judged():
    assert MemoryUnderLoad.judge([80.0] * 35) is None


def test_without_load_every_request_must_be_answered():
    now = [0.0]

    def ask():
        now[0] += 0.01
        return 200

    found = unloaded(ask, 1.0, lambda: now[0])
    assert (round(found.p50_ms), round(found.capacity_per_s), found.requests) == (10, 100, 100)
    with pytest.raises(EdgeSphereFaceError, match="status 500"):
        unloaded(lambda: 500, 1.0)


@pytest.mark.parametrize(
    "words",
    [
        ("http", "--seconds", "1e-9"),
        ("http", "--seconds", "1e9"),
        ("http", "--loads", "1", "1e9"),
        ("http", "--loads", "1e-9"),
        ("http", "--settling", "1e9"),
        ("http", "--port", "65536"),
        ("http", "--cameras", "1000"),
        ("http", "--fps", "1e9"),
        ("cameras", "--seconds", "1e-9"),
        ("cameras", "--round-seconds", "1e-9"),
        ("cameras", "--fps", "1e9"),
        ("memory", "--seconds", "1e-9"),
        ("rhythm", "--rates", "1e-9"),
        *((name, "--threads", "2000") for name in ("latency", "memory", "rhythm", "detection", "operators")),
    ],
)
def test_a_measurement_that_measures_nothing_or_never_ends_is_refused(words):
    command, option, *values = words
    with pytest.raises(UsageError, match=rf"argument {option}: expected an? .* got '{values[-1]}'"):
        build_parser().parse_args([command, "model.onnx", option, *values])


def test_quantiles():
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(list(range(100)), 0.99) == 99


def report(stream, latency, *, dropped, final=False):
    quantiles = {"p50": latency, "p99": 2 * latency}
    about = {"event": "statistics", "stream": stream, "final": final, "fps": 10.0, "dropped": dropped}
    return json.dumps({**about, "age_ms": quantiles, "latency_ms": quantiles})


def test_cameras_are_compared_with_those_without_requests():
    now = [0.0]
    reports = Reports(lambda: now[0])

    def come(latency, dropped):
        for place, stream in enumerate(("door", "yard")):
            reports.take(report(stream, latency + place, dropped=dropped))
        now[0] += 5.0

    for dropped in (0, 1, 3):
        come(10.0, dropped)
    alone = reports.row("nothing", 0.0, None)
    assert (alone.intervals, alone.latency_ms_p50, alone.latency_ms_p99, alone.dropped) == (4, 10.5, 21.0, 4)
    assert alone.latency_ratio is None
    began = now[0]
    reports.take('{"event": "source-up"}\n')
    reports.take(report("door", 99.0, dropped=9, final=True))
    for _ in range(3):
        come(20.0, 3)
    assert reports.row("2", began, alone).latency_ratio == pytest.approx(20.5 / 10.5)
    with pytest.raises(EdgeSphereFaceError, match="No camera"):
        reports.row("2", now[0], alone)


def test_a_house_of_folders_has_enough_frames(tmp_path, small_model, astronaut):
    """Each file is stored once, whatever the duration."""
    files = [cv2.imencode(".jpg", astronaut[:64, :64])[1] for _ in range(3)]
    settings = write_house(tmp_path, small_model, files, cameras=2, fps=4.0, seconds=2.0)
    assert [f'source = "{tmp_path}/camera {number}"' in settings.read_text() for number in range(3)] == [
        True,
        True,
        False,
    ]
    frames = sorted((tmp_path / "camera 1").iterdir())
    assert len(frames) == 9
    assert {frame.stat().st_ino for frame in frames} == {file.stat().st_ino for file in (tmp_path / "stored").iterdir()}


@pytest.mark.integration
def test_a_signal_ends_the_server_too(small_model):
    with pytest.raises(KeyboardInterrupt), serving(["serve", str(small_model), "--listen", "18479"], 18479) as server:
        assert server.rss_mib() > 1
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(FileNotFoundError):
        server.rss_mib()
