"""Throughput of embedding a folder with one worker and with several."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.batch import embed_folder
from edge_sphereface.batch.engines import LocalEngine, RayEngine
from edge_sphereface.image import find_images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.environment import TimedEnvironment
    from edge_sphereface.batch import OperatorConfig
    from edge_sphereface.batch.engines import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRun:
    """One run of an engine.

    Attributes:
        faces: number of faces found.
        start_s: time until the first batch was done, in seconds.
        per_second: photographs per second from the first batch on.
        total_s: duration of the run in seconds.
    """

    faces: int
    start_s: float
    per_second: float
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """Throughput of one engine.

    Attributes:
        engine: name of the engine and number of workers.
        model: file name of the model.
        precision: precision of the model.
        detector: name of the face detector.
        provider: execution provider of the model.
        threads: number of threads of one worker.
        photographs: number of photographs.
        faces: number of faces found.
        runs: the runs of the engine.
        per_second: photographs per second from the first batch on, median of the runs.
        start_s: time until the first batch was done, in seconds, median of the runs.
    """

    engine: str
    model: str
    precision: str
    detector: str
    provider: str
    threads: int
    photographs: int
    faces: int
    runs: tuple[EngineRun, ...]
    per_second: float
    start_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleReport:
    """What ``embed-folder`` measured.

    Attributes:
        environment: machine, versions and load by other programs.
        engines: one row for each engine.
    """

    environment: TimedEnvironment
    engines: tuple[EngineRow, ...]


def measure(
    config: OperatorConfig,
    *,
    photographs: int,
    workers: Sequence[int],
    rounds: int,
    reporter: Callable[[str], Callable[[int, int], None]],
) -> list[EngineRow]:
    """Embed the same photographs with each engine in turn, with one thread per worker.

    Args:
        config: configuration with a folder of at least ``photographs`` photographs.
        photographs: number of photographs, taken evenly from the folder.
        workers: numbers of Ray workers.
        rounds: number of runs of each engine.
        reporter: returns a progress function for a named step.
    """
    single = replace(config, session=replace(config.session, threads=1))
    pipeline = single.open()
    engines: dict[str, Callable[[], Engine]] = {"local": LocalEngine}
    engines |= {f"ray, {count} workers": partial(RayEngine, workers=count) for count in workers}
    runs: dict[str, list[EngineRun]] = {name: [] for name in engines}
    with TemporaryDirectory() as folder:
        chosen = replace(single, folder=_link(config.folder, Path(folder) / "photographs", photographs))
        for number in range(rounds):
            for name, make in engines.items():
                show = reporter(f"{name}, run {number + 1} of {rounds}: photographs")
                runs[name].append(_run(chosen, make(), Path(folder) / "faces.parquet", show))
    return [
        EngineRow(
            engine=name,
            model=config.model.name,
            precision=pipeline.embedder.spec.precision,
            detector=pipeline.detector.name,
            provider=pipeline.embedder.provider.active[0],
            threads=1,
            photographs=photographs,
            faces=made[0].faces,
            runs=tuple(made),
            per_second=float(np.median([run.per_second for run in made])),
            start_s=float(np.median([run.start_s for run in made])),
        )
        for name, made in runs.items()
    ]


def text(rows: Sequence[EngineRow]) -> str:
    """Format the rows as a table."""
    head = f"{'engine':<18}{'photographs/s':>15}{'of one worker':>15}{'until the first s':>19}"
    one = next((row for row in rows if row.engine.startswith("ray, 1 ")), rows[0])
    lines = [head, "-" * len(head)]
    for row in rows:
        share = row.per_second / one.per_second
        lines.append(f"{row.engine:<18}{row.per_second:>15.1f}{share:>15.2f}{row.start_s:>19.1f}")
    first = rows[0]
    runs = len(first.runs)
    lines += [
        "",
        f"{first.photographs} photographs with {first.faces} faces, median of {runs} runs, one thread each",
    ]
    return "\n".join(lines)


def _link(source: Path, target: Path, count: int) -> Path:
    """Create a folder with links to some of the photographs."""
    paths = find_images(source)
    target.mkdir()
    for number in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int):
        link = target / f"{number:06d}{paths[number].suffix}"
        if not link.exists():
            link.symlink_to(paths[number].resolve())
    return target


def _run(config: OperatorConfig, engine: Engine, output: Path, show: Callable[[int, int], None]) -> EngineRun:
    """Measure one run. The rate excludes the time before the first batch, which is negligible in a long run."""
    start = time.perf_counter()
    marks: list[tuple[float, int]] = []

    def progress(done: int, total: int) -> None:
        marks.append((time.perf_counter(), done))
        show(done, total)

    result = embed_folder(config, output, engine=engine, overwrite=True, progress=progress)
    (first, begun), (last, done) = marks[0], marks[-1]
    if len(marks) == 1:  # too few photographs for a second batch: all that there is to tell is the whole
        begun, last = 0, time.perf_counter()
    return EngineRun(
        faces=result.faces,
        start_s=first - start,
        per_second=(done - begun) / (last - (first if begun else start)),
        total_s=time.perf_counter() - start,
    )
