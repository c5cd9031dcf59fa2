"""Measure models and peers in the rhythm of a camera: faces at a fixed rate with pauses, caches warm and cold.

All contenders are loaded, each in a separate process, and take turns of a few faces. In cold rows, each pause writes
more memory than the caches hold, as the work on the next frame does.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.cases import select_cases
from benchmarks.contenders import find_peer
from benchmarks.latency import example_crops
from benchmarks.peer_environments import PeerUnavailableError
from benchmarks.runner import SETTLE_S, Inputs, started
from benchmarks.worker import Order, Problem
from edge_sphereface.evaluation.timing import LatencySummary, summarize
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import rounded
from export.parity import normalize_plainly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.environment import TimedEnvironment
    from benchmarks.runner import Case, Worker

EVICT_MIB = 64
"""More than the last cache of most processors."""
_TURN = 5
"""Faces of a contender before the next one's turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RhythmRow:
    """Latency and processor time of one contender at one rate.

    Attributes:
        label: name of contender and model.
        contender: name of the contender.
        settings: settings of the contender.
        version: version of the runtime, and how it runs the model; empty if it failed.
        model: file name of the model.
        precision: precision of the model.
        threads: number of threads of one inference.
        faces_per_s: faces per second.
        cold: whether other data was written to the caches in each pause.
        latency: latency of one face; null if the contender failed.
        cpu_ms: processor time of all threads for a face and the pause before it, in milliseconds; null as above.
        samples_ms: latency of each face in milliseconds.
        error: reason why there are no figures; empty if there are.
    """

    label: str
    contender: str
    settings: str
    version: str
    model: str
    precision: str
    threads: int
    faces_per_s: float
    cold: bool
    latency: LatencySummary | None
    cpu_ms: float | None = field(metadata=rounded(2))
    samples_ms: tuple[float, ...] = field(metadata=rounded(3))
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RhythmReport:
    """What ``rhythm`` measured.

    Attributes:
        environment: machine, versions and load by other programs.
        evict_mib: memory that each pause of a cold row writes, in MiB.
        rhythm: one row for each contender, number of threads, rate and state of the caches.
    """

    environment: TimedEnvironment
    evict_mib: int
    rhythm: tuple[RhythmRow, ...]


class _Setting(NamedTuple):
    """Rate in faces per second, and whether the caches are cold."""

    faces_per_s: float
    cold: bool


class _Run:
    """A loaded contender, and its samples by setting."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.worker: Worker | None = None
        self.version = ""
        self.problem = case.refusal
        self.samples_ms: dict[_Setting, list[float]] = {}
        self.cpu_ms: dict[_Setting, list[float]] = {}

    def take(self, setting: _Setting, faces: int) -> None:
        """Take samples, unless the contender has failed."""
        if self.problem or self.worker is None:
            return
        evict = EVICT_MIB if setting.cold else 0
        order = Order(rounds=faces, warmup=1, period_ms=1e3 / setting.faces_per_s, evict_mib=evict)
        answer = self.worker.measure(order)
        if isinstance(answer, Problem):
            self.problem = answer.error
            return
        self.samples_ms.setdefault(setting, []).extend(answer.samples_ms)
        self.cpu_ms.setdefault(setting, []).append(answer.cpu_ms)

    def row(self, setting: _Setting) -> RhythmRow:
        """Result at one setting."""
        samples = () if self.problem else tuple(self.samples_ms[setting])
        return RhythmRow(
            label=self.case.label,
            contender=self.case.contender,
            settings=find_peer(self.case.contender).settings,
            version=self.version,
            model=self.case.model.name,
            precision=self.case.precision,
            threads=self.case.threads,
            faces_per_s=setting.faces_per_s,
            cold=setting.cold,
            latency=summarize(np.array(samples)) if samples else None,
            cpu_ms=float(np.mean(self.cpu_ms[setting])) if samples else None,
            samples_ms=samples,
            error=self.problem,
        )


def measure(
    models: Sequence[Path],
    *,
    threads: Sequence[int],
    rates: Sequence[float],
    faces: int,
    peers: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[RhythmRow]:
    """Measure models and peers at each rate, with warm and with cold caches.

    Args:
        models: ONNX files; the first one, a float32 file, is also that of peers that run no quantized models.
        threads: numbers of threads of one inference.
        rates: faces per second.
        faces: number of samples of each row.
        peers: other contenders.
        progress: called with the number of finished turns of all contenders and their total.

    Raises:
        ModelError: a file is not a model.
    """
    specs = {path: Embedder(path, provider="cpu").spec for path in models}
    crops = example_crops(specs[models[0]], 1)
    floats = normalize_plainly(crops, specs[models[0]])
    settings = [_Setting(rate, cold) for rate in rates for cold in (False, True)]
    turns = [min(_TURN, faces - done) for done in range(0, faces, _TURN)]
    total = len(threads) * len(turns) * len(settings)
    finished = itertools.count(1)
    rows: list[RhythmRow] = []
    for count in threads:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            inputs = Inputs.write(Path(folder), crops, floats)
            cases = select_cases(specs, peers=peers, threads=count, batch=1)
            runs = list(_loaded(cases, Path(folder), inputs, stack))
            for turn, setting in itertools.product(turns, settings):
                for run in runs:
                    run.take(setting, turn)
                    time.sleep(SETTLE_S)
                if progress is not None:
                    progress(next(finished), total)
            rows += [run.row(setting) for setting in settings for run in runs]
    return rows


def _loaded(cases: Sequence[Case], folder: Path, inputs: Inputs, stack: ExitStack) -> Iterator[_Run]:
    """Load the contenders one after the other."""
    for case in cases:
        run = _Run(case)
        if not run.problem:
            try:
                run.worker = stack.enter_context(started(case, folder, inputs))
            except PeerUnavailableError as error:
                run.problem = str(error)
            else:
                answer = run.worker.ready()
                if isinstance(answer, Problem):
                    run.problem = answer.error
                else:
                    run.version = answer.version
        yield run


def text(rows: Sequence[RhythmRow]) -> str:
    """Format the rows as one table for each number of threads, rate and state of the caches."""
    parts = []
    for (threads, rate, cold), group in itertools.groupby(
        rows, key=lambda row: (row.threads, row.faces_per_s, row.cold)
    ):
        title = f"{threads} threads, {rate:g} faces/s, {'cold' if cold else 'warm'}"
        lines = [f"{title:<44} {'p50 ms':>8} {'p95':>8} {'p99':>8} {'processor ms':>13} {'faces':>6}"]
        for row in group:
            if row.latency is None or row.cpu_ms is None:
                lines.append(f"{row.label[:44]:<44} not measured: {row.error}")
                continue
            latency = row.latency
            lines.append(
                f"{row.label[:44]:<44} {latency.median_ms:>8.2f} {latency.p95_ms:>8.2f} {latency.p99_ms:>8.2f} "
                f"{row.cpu_ms:>13.2f} {latency.samples:>6}"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _group(row: RhythmRow) -> tuple[int, float, bool]:
    return row.threads, row.faces_per_s, row.cold
