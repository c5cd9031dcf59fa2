"""Measure contenders on the same photographs: time and accuracy in one run."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.accuracy.evaluate import Accuracy, Scores, judge
from benchmarks.case_row import Failure
from benchmarks.peer_environments import PeerUnavailableError
from benchmarks.peer_process import PeerProcess
from benchmarks.pipeline.contenders import find_contender
from benchmarks.pipeline.worker import SEARCH, Loaded, Photograph, Processed, Request, Results, Turn
from benchmarks.runner import BLOCK, SETTLE_S
from benchmarks.worker import Problem
from edge_sphereface.evaluation.timing import LatencySummary, summarize
from edge_sphereface.json_output import INLINE, rounded
from export.orl.photographs import balanced_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.environment import TimedEnvironment
    from benchmarks.pipeline.contenders import Setup
    from edge_sphereface.evaluation.pairs import Pair
    from edge_sphereface.types import Float64Array

STAGES = ("decode", "detect", "landmarks", "align", "embed", SEARCH)
"""Stages of all contenders, in order; a contender that cannot tell two stages apart has one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One contender with one network and one detector.

    Attributes:
        contender: name of the contender's module.
        label: name in tables.
        setup: its setup; the folder of the gallery is given when it starts.
    """

    contender: str
    label: str
    setup: Setup


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """Time of one stage, or of several together.

    Attributes:
        stage: name of the stage.
        latency: summary of the samples.
        samples_ms: time for each photograph in milliseconds.
    """

    stage: str
    latency: LatencySummary
    samples_ms: tuple[float, ...] = field(metadata=rounded(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFigures:
    """Figures of a contender that ran.

    Attributes:
        version: versions of its packages.
        load_ms: time to load it in milliseconds.
        peak_rss_mib: peak resident memory of the process in MiB; None if the system does not report it.
        photograph: time from a file to names.
        frame: time from a decoded image to names; each of its faces is embedded.
        stages: the stages that the contender tells apart, in order.
        rank_1: share of the searched photographs whose largest face gets the right name.
        searched: number of these photographs.
        accuracy: accuracy on the pairs of all photographs.
    """

    version: str
    load_ms: float = field(metadata=rounded(1))
    peak_rss_mib: float | None = field(metadata=rounded(1))
    photograph: StageFigures
    frame: StageFigures
    stages: tuple[StageFigures, ...]
    rank_1: float
    searched: int
    accuracy: Accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRow:
    """Result of one contender.

    Attributes:
        label: name in tables.
        contender: name of the contender's module.
        settings: settings of the contender, and the reason for them.
        model: file name of the network that it was given; face_recognition uses its own.
        threads: number of threads of one inference.
        measured: figures; None if the contender failed.
        failure: reason why there are none; None if there are figures.
    """

    label: str
    contender: str
    settings: str
    model: str
    threads: int
    measured: PipelineFigures | None = field(metadata=INLINE)
    failure: Failure | None = field(metadata=INLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineReport:
    """What ``pipeline`` measured.

    Attributes:
        environment: machine and versions.
        people: number of people, each enrolled from one photograph.
        photographs: number of photographs, with the enrolled ones.
        pipelines: one row for each contender and number of threads.
    """

    environment: TimedEnvironment
    people: int
    photographs: int
    pipelines: tuple[PipelineRow, ...]


class _Run(NamedTuple):
    """A contender that was loaded, and its results so far."""

    process: PeerProcess
    loaded: Loaded
    processed: list[Processed]
    peaks_mib: list[float]


def measure(
    cases: Sequence[Case],
    folder: Path,
    photographs: Sequence[Photograph],
    *,
    progress: Callable[[int, int], None] | None = None,
    start: Callable[[Case, Path, Path], PeerProcess] | None = None,
) -> list[PipelineRow]:
    """Take all photographs through each contender, a few at a time in turn, each in a separate process.

    Args:
        cases: contenders; accuracy is compared with that of the first one.
        folder: folder of the photographs.
        photographs: photographs, the enrolled ones first.
        progress: called with photographs done and their total.
        start: starts the process of a case, with the folder of the photographs and an empty one for its gallery; None
            for a process in the contender's environment.

    Returns:
        One row per case, in order; a contender that is not available or fails has the reason instead of figures.
    """
    with ExitStack() as stack:
        galleries = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runs: dict[Case, _Run] = {}
        problems: dict[Case, str] = {}
        for number, case in enumerate(cases):
            gallery = galleries / str(number)
            gallery.mkdir(mode=0o700)
            try:
                process = stack.enter_context(closing((start or start_contender)(case, folder, gallery)))
            except PeerUnavailableError as error:
                problems[case] = str(error)
                continue
            answer = process.read(Loaded)  # one after the other: loading is measured too
            if isinstance(answer, Problem):
                problems[case] = answer.error
            else:
                runs[case] = _Run(process, answer, [], [])
        for done in range(0, len(photographs), BLOCK):
            turn = Turn(photographs=tuple(photographs[done : done + BLOCK]))
            for case, run in runs.items():
                if case not in problems and (problem := _take(run, turn)):
                    problems[case] = problem
            if progress is not None:
                progress(done + len(turn.photographs), len(photographs))
    return _rows(cases, runs, problems, photographs)


def start_contender(case: Case, folder: Path, gallery: Path) -> PeerProcess:
    """Start the process of a contender.

    Raises:
        PeerUnavailableError: its packages cannot be installed.
    """
    request = Request(
        contender=case.contender,
        setup=replace(case.setup, folder=str(gallery)),
        photographs=str(folder.absolute()),
    )
    peer = find_contender(case.contender)
    return PeerProcess(peer, "benchmarks.pipeline.worker", request, threads=case.setup.threads)


def _take(run: _Run, turn: Turn) -> str:
    """Let a contender take its turn; returns why it could not."""
    run.process.send(turn)
    answer = run.process.read(Results)
    if isinstance(answer, Problem):
        return answer.error
    run.processed.extend(answer.processed)
    if answer.peak_rss_mib is not None:
        run.peaks_mib.append(answer.peak_rss_mib)
    time.sleep(SETTLE_S)
    return ""


def _rows(
    cases: Sequence[Case], runs: dict[Case, _Run], problems: dict[Case, str], photographs: Sequence[Photograph]
) -> list[PipelineRow]:
    pairs = balanced_pairs([photograph.path for photograph in photographs])
    reference: Scores | None = None
    rows = []
    for case in cases:
        measured = None
        if case not in problems:
            scores = score(pairs, photographs, runs[case].processed)
            measured = _figures(runs[case], photographs, judge(scores, reference))
            # Networks differ: their embeddings are not compared with each other
            reference = reference or scores._replace(embeddings={})
        rows.append(
            PipelineRow(
                label=case.label,
                contender=case.contender,
                settings=find_contender(case.contender).settings,
                model=Path(case.setup.model).name,
                threads=case.setup.threads,
                measured=measured,
                failure=None if measured else Failure(error=problems[case]),
            )
        )
    return rows


def score(pairs: Sequence[Pair], photographs: Sequence[Photograph], processed: Sequence[Processed]) -> Scores:
    """Compare the photographs of pairs by their Euclidean distance d, as 1 - d² / 2.

    For unit embeddings that is the cosine similarity, and for those of dlib it has the same order as the distance.
    """
    found = {
        photograph.path: np.array(result.embedding, np.float32)
        for photograph, result in zip(photographs, processed, strict=True)
        if result.embedding
    }
    scores = [
        1 - float(np.sum((found[pair.first] - found[pair.second]) ** 2)) / 2
        if pair.first in found and pair.second in found
        else -1.0
        for pair in pairs
    ]
    return Scores(np.array(scores), np.array([pair.same for pair in pairs]), len(processed) - len(found), found)


def _figures(run: _Run, photographs: Sequence[Photograph], accuracy: Accuracy) -> PipelineFigures:
    results = list(zip(photographs, run.processed, strict=True))
    searched = [(photograph, result) for photograph, result in results if not photograph.enrolled]
    stages = list(searched[0][1].times_ms)
    samples = {stage: np.array([result.times_ms[stage] for _, result in searched]) for stage in stages}
    total = np.sum(list(samples.values()), axis=0)
    return PipelineFigures(
        version=run.loaded.version,
        load_ms=run.loaded.load_ms,
        peak_rss_mib=max(run.peaks_mib, default=None),
        photograph=_stage("photograph", total),
        frame=_stage("frame", total - samples[stages[0]]),
        stages=tuple(_stage(stage, values) for stage, values in samples.items()),
        rank_1=float(np.mean([result.name == photograph.person for photograph, result in searched])),
        searched=len(searched),
        accuracy=accuracy,
    )


def _stage(stage: str, samples_ms: Float64Array) -> StageFigures:
    return StageFigures(stage=stage, latency=summarize(samples_ms), samples_ms=tuple(samples_ms.tolist()))


def text(rows: Sequence[PipelineRow]) -> str:
    """Format the rows as a table: medians in milliseconds, accuracy with its 95 % confidence interval."""
    width = max(len(row.label) for row in rows)
    columns = ("photograph", "frame", *STAGES)
    head = f"{'':<{width}} {'threads':>7}" + "".join(f" {name:>10}" for name in columns)
    lines = [f"{head} {'rank-1':>8} {'pairs, 10-fold':>25} {'no face':>7}"]
    for row in rows:
        start = f"{row.label:<{width}} {row.threads:>7}"
        if row.failure is not None:
            lines.append(f"{start} {row.failure.error}")
        elif row.measured is not None:
            lines.append(start + _columns(row.measured, columns))
    return "\n".join(lines)


def _columns(figures: PipelineFigures, columns: Sequence[str]) -> str:
    parts = (figures.photograph, figures.frame, *figures.stages)
    medians = {part.stage: f"{part.latency.median_ms:.2f}" for part in parts}
    low, high = figures.accuracy.accuracy_interval
    accuracy = f"{figures.accuracy.accuracy:.2%} ({low:.2%}-{high:.2%})"
    times = "".join(f" {medians.get(name, ''):>10}" for name in columns)
    return f"{times} {figures.rank_1:>8.2%} {accuracy:>25} {figures.accuracy.undetected:>7}"
