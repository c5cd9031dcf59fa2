"""Compare two results, and find cases that became significantly slower.

Samples of one process start share random effects, such as the placement of memory. Only several starts separate these
effects from a change. The confidence interval is Welch's, over the logarithms of the starts' medians.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from scipy.special import stdtrit

from benchmarks.case_row import MAX_SAMPLES
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.storage.record import Between, Length, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_sphereface.types import Float64Array, JsonObject

TOLERANCE = 0.05
"""A change of less than five percent is ignored, even if it is significant."""
MIN_STARTS = 3
"""Least number of starts in each result; cases with fewer are not judged."""
_CONFIDENCE = 0.99
_KEYS = ("label", "contender", "stage", "detector", "threads", "batch", "provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Change of one case between the results.

    Attributes:
        name: name of the case.
        ratio: geometric mean of the starts' medians, new divided by old.
        low: lower end of the 99 % confidence interval of the ratio; None with fewer than ``MIN_STARTS`` starts.
        high: upper end of that interval.
        verdict: ``slower``, ``faster``, ``same``, ``wrong`` or ``not judged``.
    """

    name: str
    ratio: float
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareReport:
    """Comparison of two results.

    Attributes:
        changes: one for each case in both results.
        only_in_one: names of the cases in only one of them.
        slower: number of cases that are slower or wrong; with any the exit code is 1.
    """

    changes: tuple[Change, ...]
    only_in_one: tuple[str, ...]
    slower: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed(Record):
    """Samples of one case; a case without starts in the file counts as one start.

    Attributes:
        samples_ms: latency of each inference in milliseconds.
        start_samples: number of samples of each process start, in order.
        correct: whether the embeddings are those of the reference.
    """

    record_name = "A row of the result"
    record_error = UsageError
    record_hint = "measure again: python -m benchmarks latency"

    samples_ms: Annotated[tuple[float, ...], Length(MAX_SAMPLES, least=1)]
    start_samples: tuple[Annotated[int, Between(1, MAX_SAMPLES)], ...]
    correct: bool

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        samples = values["samples_ms"]
        starts = values.get("start_samples", [len(samples)] if isinstance(samples, list) else [])
        return {"samples_ms": samples, "start_samples": starts, "correct": values.get("correct", True)}

    def _faults(self) -> Iterator[str]:
        if sum(self.start_samples) != len(self.samples_ms):
            yield f"start_samples must add up to {len(self.samples_ms)} samples, not {sum(self.start_samples)}"
        elif min(self.start_medians()) <= 0:
            yield "the median of every start must be above 0"

    def start_medians(self) -> list[float]:
        """Median of each start in milliseconds."""
        parts = np.split(np.asarray(self.samples_ms), np.cumsum(self.start_samples)[:-1])
        return [float(np.median(part)) for part in parts]


def compare(old: JsonObject, new: JsonObject) -> tuple[list[Change], list[str]]:
    """Compare latency and stage rows of two result files.

    Returns:
        One change for each case in both results, and the names of cases in only one of them.

    Raises:
        UsageError: a row has no valid samples.
    """
    before, after = _samples(old), _samples(new)
    changes = [_change(name, before[name], after[name]) for name in before if name in after]
    return changes, sorted(set(before) ^ set(after))


def _samples(result: JsonObject) -> dict[str, _Timed]:
    rows: Sequence[Any] = [*result.get("rows", []), *result.get("stages", [])]
    return {_name(row): _Timed.from_values(row) for row in rows if "samples_ms" in row}


def _name(row: JsonObject) -> str:
    keys = ("model", *_KEYS) if "stage" in row else _KEYS
    return " ".join(f"{row[key]}" for key in keys if key in row)


def _change(name: str, old: _Timed, new: _Timed) -> Change:
    before, after = np.log(old.start_medians()), np.log(new.start_medians())
    difference = float(after.mean() - before.mean())
    ratio, verdict = float(np.exp(difference)), "same"
    low, high = _interval(before, after, difference)
    if not new.correct:
        verdict = "wrong"
    elif low is None or high is None:
        verdict = "not judged"
    elif low > 1 + TOLERANCE:
        verdict = "slower"
    elif high < 1 - TOLERANCE:
        verdict = "faster"
    return Change(name=name, ratio=ratio, low=low, high=high, verdict=verdict)


def _interval(before: Float64Array, after: Float64Array, difference: float) -> tuple[float | None, float | None]:
    if min(len(before), len(after)) < MIN_STARTS:
        return None, None
    shares = [float(part.var(ddof=1)) / len(part) for part in (before, after)]
    error = sum(shares)
    if not error:
        return float(np.exp(difference)), float(np.exp(difference))
    freedom = error**2 / sum(share**2 / (len(part) - 1) for share, part in zip(shares, (before, after), strict=True))
    reach = float(stdtrit(freedom, (1 + _CONFIDENCE) / 2)) * error**0.5
    return float(np.exp(difference - reach)), float(np.exp(difference + reach))


def text(changes: Sequence[Change], only: Sequence[str]) -> str:
    """Format the changes as a table, the worst first."""
    lines = [f"{'new / old':>9}  {'99 % interval':>15}  {'verdict':<10}  case"]
    for change in sorted(changes, key=lambda change: -change.ratio):
        interval = "" if change.low is None else f"{change.low:.3f} to {change.high:.3f}"
        lines.append(f"{change.ratio:>9.3f}  {interval:>15}  {change.verdict:<10}  {change.name}")
    if any(change.verdict == "not judged" for change in changes):
        lines.append(f"not judged: fewer than {MIN_STARTS} starts of a process; `latency --starts` makes more")
    return "\n".join([*lines, *(f"in one result only: {name}" for name in only)])
