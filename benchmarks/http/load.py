"""Open-loop load on a server process: requests come at random moments, whether or not earlier ones were answered."""

from __future__ import annotations

import http.client
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.http.memory import INTERVAL_S, MemoryUnderLoad
from edge_sphereface.cli.signals import stopped_by_signals
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.json_output import rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_START_S = 60.0
_TIMEOUT_S = 30.0
_MOST_OPEN = 64
"""Requests that wait for their answers at once at most; more would be those of a load generator that falls behind."""
_WARM = 5
_OK, _REFUSED = 200, 429


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """One load.

    Attributes:
        load: requests per second in shares of the capacity.
        offered_per_s: requests per second.
        seconds: length of the measurement.
        settling_s: time before it under the same load, whose requests do not count.
        sent: number of requests.
        admitted: number of requests that were answered with a result.
        refused: number of requests that were refused with 429.
        failed: number of requests with any other end.
        refused_share: share of the requests that was refused.
        p50_ms: median time of the admitted, from the planned moment to the end of the answer, in milliseconds.
        p99_ms: 99th percentile of these times.
        p99_ratio: ``p99_ms`` in multiples of the 99th percentile without load.
        rss_begin_mib: resident memory of the server at the begin of the measurement, in MiB.
        rss_end_mib: the same at its end.
        memory: the same over the whole load, and whether it stays flat; None for a load of less than six minutes.
        late_p99_ms: 99th percentile of how late the load generator sent, in milliseconds; part of the times above.
    """

    load: float
    offered_per_s: float = field(metadata=rounded(3))
    seconds: float = field(metadata=rounded(1))
    settling_s: float
    sent: int
    admitted: int
    refused: int
    failed: int
    refused_share: float = field(metadata=rounded(4))
    p50_ms: float | None = field(metadata=rounded(2))
    p99_ms: float | None = field(metadata=rounded(2))
    p99_ratio: float | None = field(metadata=rounded(3))
    rss_begin_mib: float = field(metadata=rounded(1))
    rss_end_mib: float = field(metadata=rounded(1))
    memory: MemoryUnderLoad | None
    late_p99_ms: float = field(metadata=rounded(2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unloaded:
    """Requests one after the other.

    Attributes:
        requests: number of requests.
        p50_ms: median time of a request, in milliseconds.
        p99_ms: 99th percentile of the times.
        capacity_per_s: requests per second, one after the other.
    """

    requests: int
    p50_ms: float = field(metadata=rounded(2))
    p99_ms: float = field(metadata=rounded(2))
    capacity_per_s: float = field(metadata=rounded(3))


class Server:
    """A process of ``edge-sphereface`` that serves the HTTP interface.

    Args:
        url_port: port on this machine.
        process: the process.
    """

    def __init__(self, url_port: int, process: subprocess.Popen[str]) -> None:
        self.port, self._process = url_port, process

    def ask(self, path: str, picture: bytes) -> int:
        """Send a picture; returns the status of the answer, or 0 without one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", path, body=picture, headers={"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return 0
        else:
            return answer.status
        finally:
            connection.close()

    def rss_mib(self) -> float:
        """Resident memory of the process, in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024


@contextmanager
def serving(words: Sequence[str], port: int, take: Callable[[str], object] = lambda _: None) -> Iterator[Server]:
    """Start a server, and end it: at once on Ctrl-C and SIGTERM, which raise :class:`KeyboardInterrupt`.

    Args:
        words: the command, without its first word, and its options.
        port: port on this machine at which it serves.
        take: called in another thread with each line that it prints.

    Raises:
        EdgeSphereFaceError: it does not start.
    """
    readers: list[threading.Thread] = []

    def read(pipe: Iterable[str], take: Callable[[str], object]) -> None:
        readers.append(threading.Thread(target=lambda: [take(line) for line in pipe], daemon=True))
        readers[-1].start()

    command = [sys.executable, "-m", "edge_sphereface", *words]
    with (
        stopped_by_signals(_interrupt),
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,  # noqa: S603 -- our own command
    ):
        try:
            assert process.stderr is not None  # noqa: S101 -- pipes were asked for
            assert process.stdout is not None  # noqa: S101
            read(process.stdout, take)
            lines = []
            for line in process.stderr:
                lines.append(line)
                if line.startswith("serving "):
                    break
            else:
                raise EdgeSphereFaceError(f"The server did not start: {''.join(lines[-3:]).strip()}")
            read(process.stderr, lambda _: None)  # a full pipe would stop it
            yield Server(port, process)
            process.terminate()
            process.wait(_START_S)
        finally:  # also where it hangs, or a signal comes
            process.kill()
            for reader in readers:
                reader.join(_START_S)


def _interrupt() -> None:
    raise KeyboardInterrupt


def unloaded(ask: Callable[[], int], seconds: float, clock: Callable[[], float] = time.perf_counter) -> Unloaded:
    """Send one request after the other.

    Args:
        ask: sends a request and returns the status of its answer.
        seconds: how long.
        clock: gives seconds.

    Raises:
        EdgeSphereFaceError: a request is not answered.
    """
    times: list[float] = []
    for _ in range(_WARM):
        ask()
    began = clock()
    while clock() - began < seconds:
        sent = clock()
        status = ask()
        if status != _OK:
            raise EdgeSphereFaceError(f"A request without load was answered with the status {status}.")
        times.append((clock() - sent) * 1000)
    return Unloaded(
        requests=len(times),
        p50_ms=median(times),
        p99_ms=quantile(times, 0.99),
        capacity_per_s=1000 * len(times) / sum(times),
    )


def loaded(
    ask: Callable[[], int],
    rss_mib: Callable[[], float],
    *,
    load: float,
    base: Unloaded,
    seconds: float,
    settling_s: float,
    seed: int = 0,
) -> LoadRow:
    """Send requests at random moments (a Poisson process) at a share of the capacity.

    Args:
        ask: sends a request and returns the status of its answer.
        rss_mib: resident memory of the server.
        load: share of the capacity.
        base: the measurement without load.
        seconds: length of the measurement.
        settling_s: time before it under the same load.
        seed: of the moments.
    """
    draw = random.Random(seed)  # noqa: S311 -- moments of arrivals
    rate = load * base.capacity_per_s
    ends: list[tuple[int, float, float]] = []
    lock = threading.Lock()

    def send(planned: float, *, counts: bool) -> None:
        late_ms = (time.perf_counter() - planned) * 1000
        status = ask()
        if counts:
            with lock:
                ends.append((status, (time.perf_counter() - planned) * 1000, late_ms))

    rss_begin = rss_mib()
    began = time.perf_counter()
    planned, counting = began, False
    samples: list[float] = []
    with _senders() as senders:
        while planned < began + settling_s + seconds:
            if planned >= began + len(samples) * INTERVAL_S:
                samples.append(rss_mib())
            planned += draw.expovariate(rate)
            time.sleep(max(planned - time.perf_counter(), 0.0))
            if not counting and planned >= began + settling_s:
                counting, rss_begin = True, rss_mib()
            senders.submit(send, planned, counts=counting)
    times = [taken for status, taken, _ in ends if status == _OK]
    refused = sum(status == _REFUSED for status, _, _ in ends)
    p99 = quantile(times, 0.99) if times else None
    return LoadRow(
        load=load,
        offered_per_s=rate,
        seconds=seconds,
        settling_s=settling_s,
        sent=len(ends),
        admitted=len(times),
        refused=refused,
        failed=len(ends) - len(times) - refused,
        refused_share=refused / max(len(ends), 1),
        p50_ms=median(times) if times else None,
        p99_ms=p99,
        p99_ratio=None if p99 is None else p99 / base.p99_ms,
        rss_begin_mib=rss_begin,
        rss_end_mib=rss_mib(),
        memory=MemoryUnderLoad.judge(samples),
        late_p99_ms=quantile([late for _, _, late in ends], 0.99) if ends else 0.0,
    )


@contextmanager
def _senders() -> Iterator[ThreadPoolExecutor]:
    """Threads that send; their requests are waited for at the end, but not if the measurement breaks off."""
    senders = ThreadPoolExecutor(_MOST_OPEN)
    try:
        yield senders
    except BaseException:
        senders.shutdown(wait=False, cancel_futures=True)
        raise
    senders.shutdown()


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
