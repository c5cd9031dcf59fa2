"""What a camera that fails costs the others of its process: their latency, in turns with and without the failure."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cameras.isolation_worker import BASELINES, CONDITIONS, IsolationJob
from edge_sphereface.json_output import rounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Latencies = tuple[tuple[float, ...], ...]
"""Of the other cameras in milliseconds, in each round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationRow:
    """What one camera does, and what that costs the others.

    Ratios compare with the same round: geometric mean over the rounds, with its 95 % interval by Student's t.

    Attributes:
        camera: what the camera does: ``hangs``, ``dies``, ``begins to flood``, ``floods`` (45 s later, when it is known
            that no backlog comes) or ``changes size``.
        baseline: what it is compared with: ``absent`` for a camera that delivers nothing, or ``works``.
        rounds: number of rounds.
        frames: number of frames of the other cameras in all rounds.
        baseline_ms_p50: median latency of the others' frames in the baseline, over all rounds, in milliseconds.
        latency_ms_p50: the same beside the camera.
        baseline_ms_p95: 95th percentile of the latency in the baseline, over all rounds, in milliseconds.
        latency_ms_p95: the same beside the camera.
        p50_ratio: ratio of the medians.
        p50_ratio_low: lower end of its interval.
        p50_ratio_high: upper end of its interval.
        mean_ratio: ratio of the means.
        mean_ratio_low: lower end of its interval.
        mean_ratio_high: upper end of its interval.
        p95_ratio: ratio of the 95th percentiles.
        p95_ratio_low: lower end of its interval.
        p95_ratio_high: upper end of its interval.
    """

    camera: str
    baseline: str
    rounds: int
    frames: int
    baseline_ms_p50: float = field(metadata=rounded(2))
    latency_ms_p50: float = field(metadata=rounded(2))
    baseline_ms_p95: float = field(metadata=rounded(2))
    latency_ms_p95: float = field(metadata=rounded(2))
    p50_ratio: float = field(metadata=rounded(3))
    p50_ratio_low: float = field(metadata=rounded(3))
    p50_ratio_high: float = field(metadata=rounded(3))
    mean_ratio: float = field(metadata=rounded(3))
    mean_ratio_low: float = field(metadata=rounded(3))
    mean_ratio_high: float = field(metadata=rounded(3))
    p95_ratio: float = field(metadata=rounded(3))
    p95_ratio_low: float = field(metadata=rounded(3))
    p95_ratio_high: float = field(metadata=rounded(3))


def measure_isolation(job: IsolationJob) -> list[IsolationRow]:
    """Measure each disturbance in a process of its own.

    Raises:
        subprocess.CalledProcessError: the process failed.
    """
    command = [sys.executable, "-m", "benchmarks.cameras.isolation_worker", json.dumps(asdict(job))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return rows_of({name: tuple(map(tuple, rounds)) for name, rounds in found.items()})


def rows_of(found: Mapping[str, Latencies]) -> list[IsolationRow]:
    """One row for each disturbance.

    Args:
        found: latencies under each condition.
    """
    rows = []
    for name in CONDITIONS:
        if name not in BASELINES:
            continue
        baseline = found[BASELINES[name]]
        parts = {
            f"{figure}_ratio{end}": value
            for figure, of in _FIGURES.items()
            for end, value in zip(
                ("", "_low", "_high"), ratio([*map(of, found[name])], [*map(of, baseline)]), strict=True
            )
        }
        before, beside = np.concatenate(baseline), np.concatenate(found[name])
        rows.append(
            IsolationRow(
                camera=name,
                baseline=BASELINES[name],
                rounds=len(baseline),
                frames=len(beside),
                baseline_ms_p50=float(np.percentile(before, 50)),
                latency_ms_p50=float(np.percentile(beside, 50)),
                baseline_ms_p95=float(np.percentile(before, 95)),
                latency_ms_p95=float(np.percentile(beside, 95)),
                **parts,
            )
        )
    return rows


def ratio(after: Sequence[float], before: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean of the ratios of pairs, with the ends of its 95 % interval.

    Args:
        after: figures of the rounds, above 0.
        before: figures of the same rounds, above 0.
    """
    logs: NDArray[np.float64] = np.log(np.asarray(after) / np.asarray(before))
    middle = float(logs.mean())
    reach = float("inf")
    if len(logs) > 1:
        from scipy.special import stdtrit

        reach = float(stdtrit(len(logs) - 1, 0.975) * logs.std(ddof=1) / np.sqrt(len(logs)))
    with np.errstate(over="ignore"):
        return float(np.exp(middle)), float(np.exp(middle - reach)), float(np.exp(middle + reach))


def isolation_text(rows: Sequence[IsolationRow]) -> str:
    """Format the rows as a table."""
    head = (
        f"{'a camera that':<16}{'baseline':>9}{'its p50':>9}{'p50':>7}{'its p95':>9}{'p95':>7}"
        "   ratio of p50, mean, p95"
    )
    lines = [head, "-" * len(head)]
    for row in rows:
        ratios = ", ".join(
            f"{middle:.2f} ({low:.2f} to {high:.2f})"
            for middle, low, high in (
                (row.p50_ratio, row.p50_ratio_low, row.p50_ratio_high),
                (row.mean_ratio, row.mean_ratio_low, row.mean_ratio_high),
                (row.p95_ratio, row.p95_ratio_low, row.p95_ratio_high),
            )
        )
        lines.append(
            f"{row.camera:<16}{row.baseline:>9}{row.baseline_ms_p50:>9.1f}{row.latency_ms_p50:>7.1f}"
            f"{row.baseline_ms_p95:>9.1f}{row.latency_ms_p95:>7.1f}   {ratios}"
        )
    return "\n".join([*lines, "", "latency of the other cameras in ms; ratios with 95 % intervals over the rounds"])


_FIGURES = {
    "p50": lambda times: float(np.percentile(times, 50)),
    "mean": lambda times: float(np.mean(times)),
    "p95": lambda times: float(np.percentile(times, 95)),
}
