"""Time each kind of operator of models, by onnxruntime's profiler: where the time of an inference goes.

All models are loaded and take turns of one inference. The profiler itself takes time, which ``run`` contains and
``operators`` does not.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import environment
from benchmarks.latency import example_crops
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import json_option, positive, thread_count
from edge_sphereface.cli.runner import Outcome, Progress
from edge_sphereface.evaluation.timing import LatencySummary, measure_interleaved, summarize
from edge_sphereface.inference.embedder import Embedder, preprocess
from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.inference.weight_memory import place_matrices
from edge_sphereface.json_output import rounded

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from benchmarks.environment import TimedEnvironment
    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.types import Float32Array

_WARMUP = 3
_KERNEL = "_kernel_time"
"""Ending of the profiler's events of kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """Time of all nodes of one kind in an inference.

    Attributes:
        operator: onnxruntime's name of the operator, after its optimization of the graph.
        nodes: number of nodes.
        ms: sum of the nodes' median times in milliseconds.
    """

    operator: str
    nodes: int
    ms: float = field(metadata=rounded(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """Operators of one model with one number of threads.

    Attributes:
        model: file name of the model.
        threads: number of threads.
        run: latency of an inference under the profiler.
        operators: its operators, the slowest kind first.
    """

    model: str
    threads: int
    run: LatencySummary
    operators: tuple[OperatorTime, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorReport:
    """What ``operators`` measured.

    Attributes:
        environment: machine, versions and load by other programs.
        operators: one row for each model and number of threads.
    """

    environment: TimedEnvironment
    operators: tuple[OperatorRow, ...]


class _Profiled:
    """A session with onnxruntime's profiler, a memory arena and spinning threads."""

    def __init__(self, model: Path, batch: Float32Array, *, threads: int, folder: Path) -> None:
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / model.stem)
        # Threads that spin between inferences would take the processors from the next session.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._placed = place_matrices(ort, model, options)  # must live as long as the session
        self._session: Any = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._feed = {self._session.get_inputs()[0].name: batch}

    def run(self) -> None:
        """Run one inference."""
        self._session.run(None, self._feed)

    def times(self) -> tuple[OperatorTime, ...]:
        """End the profile and sum it up by operator."""
        by_node: dict[tuple[str, str], list[int]] = defaultdict(list)
        for event in json.loads(Path(self._session.end_profiling()).read_bytes()):
            if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
                by_node[event["args"]["op_name"], event["name"]].append(event["dur"])
        by_operator: dict[str, list[float]] = defaultdict(list)
        for (operator, _), durations_us in by_node.items():
            by_operator[operator].append(float(np.median(durations_us[_WARMUP:])) / 1000)
        times = [OperatorTime(operator=name, nodes=len(ms), ms=sum(ms)) for name, ms in by_operator.items()]
        return tuple(sorted(times, key=lambda each: -each.ms))


def measure(
    models: Sequence[Path],
    *,
    threads: Sequence[int],
    rounds: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[OperatorRow]:
    """Profile models on the CPU, with a batch of one crop.

    Args:
        models: ONNX files of one network.
        threads: numbers of threads.
        rounds: inferences of each.
        progress: called with the number of finished numbers of threads and their total.

    Raises:
        ModelError: a file is not a model.
    """
    batches = []
    for model in models:
        spec = Embedder(model, provider="cpu").spec
        batches.append(preprocess(example_crops(spec, 1)[:1], spec))
    rows = []
    with TemporaryDirectory() as folder:
        for number, count in enumerate(threads):
            sessions = {
                str(model): _Profiled(model, batch, threads=count, folder=Path(folder))
                for model, batch in zip(models, batches, strict=True)
            }
            cases = {name: session.run for name, session in sessions.items()}
            samples = measure_interleaved(cases, rounds=rounds, warmup=_WARMUP)
            rows += [
                OperatorRow(
                    model=Path(name).name,
                    threads=count,
                    run=summarize(samples[name]),
                    operators=session.times(),
                )
                for name, session in sessions.items()
            ]
            if progress is not None:
                progress(number + 1, len(threads))
    return rows


def text(rows: Sequence[OperatorRow]) -> str:
    """Format the rows, a block for each."""
    parts = []
    for row in rows:
        lines = [f"{row.model}, threads {row.threads}: {row.run.median_ms:.2f} ms under the profiler"]
        lines += [f"  {each.operator:<20} {each.nodes:>5} {each.ms:>9.3f} ms" for each in row.operators]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def add_command(commands: Commands) -> None:
    """Add the command ``operators``."""
    parser = commands.add_parser(
        "operators",
        parents=[json_option()],
        help="time each kind of operator, by onnxruntime's profiler",
        description="Profile models with onnxruntime on the CPU, one crop at a time, in turns: where the time of an "
        "inference goes, by kind of operator.",
        epilog="example: python -m benchmarks operators full.onnx tuned.onnx --threads 1 2 -o operators.json",
    )
    parser.add_argument("model", nargs="+", type=Path, help="ONNX files of one network")
    parser.add_argument("--threads", nargs="+", type=thread_count, default=[1], metavar="N", help="default: 1")
    parser.add_argument("--rounds", type=positive, default=100, metavar="N", help="inferences of each (default 100)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_operators)


def run_operators(arguments: argparse.Namespace) -> Outcome:
    """Run ``operators``."""
    timed = environment.TimedRun()
    rows = measure(
        arguments.model, threads=arguments.threads, rounds=arguments.rounds, progress=Progress("numbers of threads")
    )
    result = OperatorReport(environment=timed.describe(), operators=tuple(rows))
    keep_result(result, arguments.output)
    return Outcome(result, text(rows))
