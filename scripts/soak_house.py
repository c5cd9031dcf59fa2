"""Watches four cameras of real RTSP servers, of which two are killed and started again at random.

``python -m scripts.soak_house MODEL --minutes 30`` prints memory, files and threads of ``watch`` while it runs, and at
the end whether they grew and whether events are missing. A client of the page's pictures and one of the events over
HTTP are attached; with ``--page`` also the page in Chromium, with ``--home-assistant build/home-assistant/bin/python``
a broker and a real Home Assistant. The servers are those of the tests (``scripts/install-test-servers``).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING

from edge_sphereface import Embedder, open_gallery
from edge_sphereface.gallery.records import Threshold
from scripts.soak_attached import broker, browser, free_port, home_assistant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.soak_attached import HomeAssistant, Page

_SERVER = Path(__file__).resolve().parents[1] / "tests" / "stream" / "rtsp_server.py"
_CAMERAS = 4
_KILLED = 2
"""Cameras that are killed at random."""
_WARM_S = 60.0
"""Time after which nothing may grow."""
_GROWTH_MIB = 5.0
_SAMPLE_S = 5.0
_BACK_S = 90.0
"""Longest time until a camera that was killed is opened again."""
_COMING = 4
"""Files and threads that may be more at the end: those of a camera that is being opened."""


def main() -> int:
    """Run, and tell whether all bounds were kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--minutes", type=float, default=30.0, help="duration")
    parser.add_argument(
        "--home-assistant", type=Path, metavar="PYTHON", help="attach a broker and the Home Assistant of this Python"
    )
    parser.add_argument("--page", action="store_true", help="attach the page in Chromium")
    arguments = parser.parse_args()
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder, port, core = Path(name), None, None
        if arguments.home_assistant is not None:
            port = stack.enter_context(broker(folder))
            core = stack.enter_context(home_assistant(arguments.home_assistant, folder / "core", port))
            _say(f"Home Assistant {core.version}")
        return 0 if _soak(folder, arguments, port, core) else 1


def _soak(folder: Path, arguments: argparse.Namespace, mqtt: int | None, core: HomeAssistant | None) -> bool:
    ports, port, events = [free_port() for _ in range(_CAMERAS)], free_port(), folder / "events.jsonl"
    config = _write_settings(folder, arguments.model, ports, port, mqtt)
    servers = [_serve(port) for port in ports]
    command = [sys.executable, "-m", "edge_sphereface", "watch", "--config", str(config), "--json"]
    watch = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    samples: list[tuple[float, int, int]] = []
    clients = [_Client(port, "/api/frame", again=True), _Client(port, "/api/events", again=False)]
    seen = True
    try:
        with ExitStack() as stack:
            _wait_for_page(port)
            page = stack.enter_context(browser(f"http://127.0.0.1:{port}/")) if arguments.page else None
            begin, killed = time.monotonic(), 0
            while time.monotonic() - begin < arguments.minutes * 60 and watch.poll() is None:
                time.sleep(_SAMPLE_S)
                if random.random() < _SAMPLE_S / 40:  # noqa: S311 -- each camera about every 80 s
                    number = random.randrange(_KILLED)  # noqa: S311
                    servers[number].kill()
                    servers[number].wait()
                    killed += 1
                    time.sleep(random.uniform(0, 5))  # noqa: S311
                    servers[number] = _serve(ports[number])
                if watch.poll() is not None:
                    break
                samples.append(_sample(watch.pid))
                rss, files, threads = samples[-1]
                passed_s = time.monotonic() - begin
                _say(f"{passed_s:6.0f} s  {rss:7.1f} MiB  {files:4} files  {threads:4} threads  {killed} kills")
            has_lived = watch.poll() is None
            for client in clients:
                _say(f"{client.path}: {client.bytes >> 10} KiB in {client.answers} answers")
            if has_lived:
                seen = _is_seen(page, core)
        watch.send_signal(signal.SIGTERM)
        watch.wait(20)
    finally:
        for process in (watch, *servers):
            process.kill()
            process.wait()
    return _judge(samples, events, has_lived=has_lived) and seen


def _write_settings(folder: Path, model: Path, ports: Sequence[int], page: int, mqtt: int | None) -> Path:
    """Write a gallery and the settings of the house; gives the path of these."""
    embedder = Embedder(model)
    with open_gallery(folder / "people.db", embedder, create=True) as gallery:
        known = embedder.fingerprint
        gallery.set_threshold(Threshold(value=0.5, precision=known.precision, fingerprint=known.digest, source="soak"))
    shared = [f'model = "{model.resolve()}"', f'gallery = "{folder}/people.db"', f'events = "{folder}/events.jsonl"']
    shared += ["events-mib = 1000", "statistics-s = 2", f'view = "127.0.0.1:{page}"', f'http = "127.0.0.1:{page}"']
    if mqtt is not None:
        shared += [f'mqtt = "mqtt://127.0.0.1:{mqtt}/house"', 'home-assistant = "homeassistant"']
        shared += [f'mqtt-spool = "{folder}/spool.db"', f'home-assistant-state = "{folder}/home-assistant.json"']
    tables = [f'[[camera]]\nname = "camera {n}"\nsource = "rtsp://127.0.0.1:{p}/live"\n' for n, p in enumerate(ports)]
    config = folder / "house.toml"
    config.write_text("\n".join([*shared, *tables]), encoding="utf-8")
    return config


def _is_seen(page: Page | None, core: HomeAssistant | None) -> bool:
    """Whether page and Home Assistant still see all cameras, those that come back soon included, without complaints."""
    end, is_good = time.monotonic() + _BACK_S, True
    if page is not None:
        while page.pictures() < _CAMERAS and time.monotonic() < end:
            time.sleep(1)
        _say(f"the page shows {page.pictures()} of {_CAMERAS} cameras, {len(page.complaints)} errors in it")
        is_good = page.pictures() == _CAMERAS and not page.complaints
    if core is not None:
        names = [f"camera {number} Frames" for number in range(_CAMERAS)]
        while [core.entities().get(name) for name in names] != ["on"] * _CAMERAS and time.monotonic() < end:
            time.sleep(1)
        entities = core.entities()
        shown = sum(entities.get(name) == "on" for name in names)
        _say(f"Home Assistant has {len(entities)} entities and shows frames of {shown} of {_CAMERAS} cameras")
        for line in core.complaints():
            _say(line)
        is_good &= shown == _CAMERAS and not core.complaints()
    return is_good


def _wait_for_page(port: int) -> None:
    end = time.monotonic() + _BACK_S
    while time.monotonic() < end:
        with suppress(OSError, HTTPException):
            HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/")
            return
        time.sleep(0.5)


class _Client(Thread):
    """Reads one path of the page as long as the program runs, and counts what came."""

    def __init__(self, port: int, path: str, *, again: bool) -> None:
        super().__init__(daemon=True)
        self.path, self.bytes, self.answers = path, 0, 0
        self._port, self._again = port, again
        self.start()

    def run(self) -> None:
        while True:
            connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
            with suppress(OSError, HTTPException):
                self._read(connection)
            connection.close()
            time.sleep(1)

    def _read(self, connection: HTTPConnection) -> None:
        while True:
            connection.request("GET", self.path)
            answer = connection.getresponse()
            self.answers += 1
            while part := answer.read1(1 << 16):
                self.bytes += len(part)
            if not self._again:
                return
            time.sleep(0.2)


def _judge(samples: list[tuple[float, int, int]], events: Path, *, has_lived: bool) -> bool:
    warm = samples[int(_WARM_S / _SAMPLE_S) :] or samples
    fifth = max(len(warm) // 5, 1)
    (first, *first_counts), (last, *last_counts) = (
        [sorted(column)[len(column) // 2] for column in zip(*part, strict=True)]
        for part in (warm[:fifth], warm[-fifth:])
    )
    runs: dict[tuple[str, str], list[int]] = defaultdict(list)
    ages = defaultdict(list)
    for line in events.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        runs[event["stream"], event["run"]].append(event["sequence"])
        if event["event"] == "statistics" and event["age_ms"]["p99"] is not None:
            ages[event["stream"]].append(event["age_ms"]["p99"])
    missing = sum(max(numbers) - len(set(numbers)) for numbers in runs.values())
    for stream, values in sorted(ages.items()):
        _say(f"{stream}: age p99 {sorted(values)[len(values) // 2]:.0f} ms in the middle, at most {max(values):.0f} ms")
    _say(f"memory {first:.1f} MiB, {last - first:+.1f} at the end")
    _say(f"files and threads {first_counts}, {last_counts} at the end")
    _say(f"{sum(map(len, runs.values()))} events of {len(runs)} runs, {missing} missing")
    _say("watch lived to the end" if has_lived else "watch ended by itself")
    grew = any(after - before > _COMING for before, after in zip(first_counts, last_counts, strict=True))
    return has_lived and not missing and not grew and last - first < _GROWTH_MIB


def _sample(process: int) -> tuple[float, int, int]:
    """Resident memory in MiB, open files and threads."""
    place = Path(f"/proc/{process}")
    rss = next(line for line in (place / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(rss.split()[1]) / 1024, len(list((place / "fd").iterdir())), len(list((place / "task").iterdir()))


def _serve(port: int) -> subprocess.Popen[str]:
    command = ["/usr/bin/python3", str(_SERVER), str(port), "640", "360"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert server.stdout is not None  # noqa: S101 -- it is a pipe
    if server.stdout.readline() != "ready\n":
        raise SystemExit("The RTSP server did not start: sudo scripts/install-test-servers")
    return server


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
